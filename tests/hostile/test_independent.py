"""Verifiers that are not ours: they accept every bundle offline with its inclusion in our log, and refuse the rest."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bpfcompat.digest import canonical
from bpfcompat.logentry import trusted_root
from bpfcompat.statement import verdict_payload
from tests import independent
from tests.claims import BAD, KEY, LOG, OBJECT, claim
from tests.logs import logged

pytestmark = pytest.mark.hostile


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """The public key, the trusted root and the object, as files."""
    (tmp_path / "root.json").write_bytes(trusted_root(LOG))
    (tmp_path / "probe.bpf.o").write_bytes(OBJECT)
    key = independent.public_pem_file(tmp_path, KEY.public_key())
    return {"key": key, "root": tmp_path / "root.json", "file": tmp_path / "probe.bpf.o"}


def bundles(folder: Path, count: int) -> list[Path]:
    """This many logged bundles about one object, as files; every second one incompatible."""
    claims = [claim(classifier=str(n), **({"verdict": BAD} if n % 2 else {})) for n in range(count)]
    places = [folder / f"{n}.json" for n in range(count)]
    for place, data in zip(places, logged(*map(verdict_payload, claims)), strict=True):
        place.write_bytes(data)
    return places


BREAKS: dict[str, Callable[[Any], object]] = {
    "hash": lambda p: p["hashes"].__setitem__(0, "A" * 43 + "="),
    "root": lambda p: p.update(rootHash="A" * 43 + "="),
    "checkpoint": lambda p: p["checkpoint"].update(envelope=p["checkpoint"]["envelope"].replace("\n3\n", "\n4\n")),
    "no proof": lambda p: p.clear(),
}


def broken(place: Path, change: Callable[[Any], object]) -> Path:
    """The same bundle with another inclusion proof."""
    bundle = json.loads(place.read_bytes())
    change(bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"])
    made = place.with_name(f"broken-{place.name}")
    made.write_bytes(canonical(bundle))
    return made


def test_cosign(tmp_path: Path, files: dict[str, Path]) -> None:
    """cosign, without a network and with inclusion required, accepts bundles and refuses broken proofs."""
    made = bundles(tmp_path, 3)
    for place in made:
        done = independent.cosign(place, **{name: files[name] for name in ("key", "root", "file")})
        assert (done.code, "Verified OK" in done.stderr + done.stdout.decode()) == (0, True), done
    for name in ("hash", "checkpoint", "no proof"):  # it takes the root from the checkpoint alone
        assert independent.cosign(broken(made[1], BREAKS[name]), **files).code != 0, name


def test_cosign_wants_the_object(tmp_path: Path, files: dict[str, Path]) -> None:
    """cosign refuses a bundle beside another object than its subject."""
    (place,) = bundles(tmp_path, 1)
    files["file"].write_bytes(OBJECT + b"\0")
    assert independent.cosign(place, **files).code != 0


def test_npm(tmp_path: Path, files: dict[str, Path]) -> None:
    """Sigstore's JavaScript verifier accepts the same bundles, and refuses the same broken ones."""
    made = bundles(tmp_path, 3)
    assert independent.npm(made, files["key"], files["root"]) == ["ok"] * 3
    refused = independent.npm([broken(made[1], c) for c in BREAKS.values()], files["key"], files["root"])
    assert [said.partition(":")[0] for said in refused] == ["refused"] * 4, refused
