"""Registries as older versions wrote them."""

import shutil
from dataclasses import replace
from pathlib import Path

from bpfcompat import envelope
from bpfcompat.digest import canonical
from bpfcompat.manifest import Matrix, matrix_payload, parse_matrix_statement
from bpfcompat.registry import layout
from tests.claims import KEY


def format_1(folder: Path) -> None:
    """Make a registry of tests.claims what it was before there was a log; its records go too."""
    for place in (folder / "bundles").iterdir():
        place.write_bytes(envelope.bundle_bytes(replace(envelope.parse(place.read_bytes()), entry=None)))
    found = parse_matrix_statement(envelope.parse((folder / layout.MATRIX).read_bytes()).payload)
    plain = matrix_payload(Matrix(found.rows, found.not_before, found.expires))
    (folder / layout.MATRIX).write_bytes(envelope.sign(plain, KEY))
    (folder / layout.FORMAT_FILE).write_bytes(canonical({"format": 1}))
    (folder / layout.CHECKPOINT).unlink()
    shutil.rmtree(folder / "tile")
    shutil.rmtree(folder / layout.PENDING)
    shutil.rmtree(folder.with_name(f"{folder.name}.records"))
