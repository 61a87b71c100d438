"""The head of an audit trail as a statement: one spelling, no verdict, and a leaf that readers pass over."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bpfcompat import envelope
from bpfcompat.digest import canonical, digest_bytes
from bpfcompat.envelope import pae_digest
from bpfcompat.errors import Exit, TrustError
from bpfcompat.manifest import MAX_MATRIX_BYTES, matrix_payload, parse_matrix_statement
from bpfcompat.registry import layout
from bpfcompat.registry.client import Folder
from bpfcompat.registry.fsck import fsck
from bpfcompat.registry.verify import Verification, format_verification, verify
from bpfcompat.statement import parse_verdict_statement, verdict_payload
from bpfcompat.trailhead import Head, head_payload, is_head, parse_head
from tests.claims import KEY, NOW, OTHER, POLICY, claim, item, put, row, two_claims

HEAD = Head(17, digest_bytes(b"a line"))
PAYLOAD = head_payload(HEAD)


def test_golden() -> None:
    """The bytes, as docs/trail.md shows them; they come back as the head that they are of."""
    assert (
        b'{"_type":"https://in-toto.io/Statement/v1","predicate":{"number":17},'
        b'"predicateType":"urn:bpfcompat:trail-head:v1","subject":[{"digest":{"sha256":"'
        + HEAD.digest[7:].encode() + b'"},"name":"trail"}]}'
    ) == PAYLOAD  # fmt: skip
    assert is_head(PAYLOAD) and parse_head(PAYLOAD) == HEAD


def test_no_verdict() -> None:
    """Neither is read as the other, whatever a verdict's texts say."""
    with pytest.raises(TrustError, match="predicateType"):
        parse_verdict_statement(PAYLOAD)
    with pytest.raises(TrustError, match="predicateType"):
        parse_head(verdict_payload(claim()))
    assert not is_head(verdict_payload(claim(object_name='","predicateType":"urn:bpfcompat:trail-head:v1"')))


CHANGES: dict[str, Callable[[Any], object]] = {
    "number 0": lambda s: s["predicate"].update(number=0),
    "number true": lambda s: s["predicate"].update(number=True),
    "number as text": lambda s: s["predicate"].update(number="17"),
    "another field": lambda s: s["predicate"].update(more=1),
    "another name": lambda s: s["subject"][0].update(name="x"),
    "two subjects": lambda s: s["subject"].append(s["subject"][0]),
    "no subject": lambda s: s["subject"].clear(),
    "upper-case digest": lambda s: s["subject"][0]["digest"].update(sha256="A" * 64),
    "two digests": lambda s: s["subject"][0]["digest"].update(md5="0" * 32),
    "predicate is null": lambda s: s.update(predicate=None),
    "type": lambda s: s.update(_type="x"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_strict_reading(change: Callable[[Any], object]) -> None:
    """A statement that is not what we write for some head is refused, though its signature would hold."""
    statement = json.loads(PAYLOAD)
    change(statement)
    with pytest.raises(TrustError):
        parse_head(canonical(statement))


# --- in a registry


@pytest.fixture
def headed(tmp_path: Path) -> Path:
    """A registry of two verdicts, in whose log there is a head as well."""
    folder, claims = tmp_path / "registry", two_claims()
    put(folder, [item(c) for c in claims], [row(c) for c in claims], head=PAYLOAD)
    return folder


def check(folder: Path) -> Verification:
    """What a reader who knows the log's key makes of it."""
    return verify(Folder(folder), POLICY, now=NOW, every=True)


def place(folder: Path, payload: bytes = PAYLOAD) -> Path:
    """Where the bundle of a payload is."""
    return folder / layout.bundle_path(pae_digest(payload))


def test_passed_over(headed: Path) -> None:
    """A head is in the log, holds, and is told of; it is no verdict, and nothing else changes for it."""
    found = check(headed)
    assert (found.exit_code, found.bundles, found.heads, found.unborn) == (Exit.OK, 2, 1, 0)
    assert "3 leaves" in found.log and "1 more bundles are heads" in format_verification(found)
    assert fsck(headed).exit_code is Exit.OK


def test_logged_once(headed: Path) -> None:
    """The same head again is no second leaf."""
    put(headed, [], [row(c) for c in two_claims()], head=PAYLOAD)
    assert "3 leaves" in check(headed).log and fsck(headed).exit_code is Exit.OK


def test_taken_away(headed: Path) -> None:
    """A head whose bundle is gone is missed, as a verdict's would be."""
    place(headed).unlink()
    assert f"{place(headed).relative_to(headed)}: is missing" in "".join(check(headed).problems)


def test_changed_or_foreign(headed: Path) -> None:
    """Another head in its place, and a head by a key that does not count, are refused."""
    place(headed).write_bytes(place(headed).read_bytes().replace(b"eyJ", b"eyK", 1))
    assert check(headed).exit_code is Exit.UNTRUSTED
    place(headed).write_bytes(envelope.sign(PAYLOAD, OTHER))
    assert check(headed).exit_code is Exit.UNTRUSTED


def test_signed_nonsense(tmp_path: Path) -> None:
    """What means to be a head and is none is refused, though it is signed and logged."""
    folder, claims = tmp_path / "registry", two_claims()
    odd = PAYLOAD.replace(b'"number":17', b'"number":017')
    put(folder, [item(c) for c in claims], [row(c) for c in claims], head=odd)
    assert check(folder).exit_code is Exit.UNTRUSTED


def test_as_a_verdict(headed: Path) -> None:
    """A signed row, or a pair's index, that names a head in a verdict's place is not believed."""
    found = envelope.parse((headed / layout.MATRIX).read_bytes(), MAX_MATRIX_BYTES)
    good = parse_matrix_statement(found.payload)
    lying = replace(row(claim()), bundle=pae_digest(PAYLOAD))
    matrix = replace(good, rows=(lying,), pack=None)
    (headed / layout.MATRIX).write_bytes(envelope.sign(matrix_payload(matrix), KEY, MAX_MATRIX_BYTES))
    assert "is the head of an audit trail, and no verdict" in "".join(check(headed).problems)
    (headed / layout.MATRIX).write_bytes(envelope.bundle_bytes(found, MAX_MATRIX_BYTES))
    assert check(headed).trusted
    index = headed / layout.pair_path(row(claim()).pair or "")
    entries = layout.parse_index(index.read_bytes())
    named = layout.Entry(pae_digest(PAYLOAD), entries[0].answer, entries[0].cause)
    index.write_bytes(layout.index_bytes((*entries, named)))
    assert "says something else" in "".join(check(headed).problems)
