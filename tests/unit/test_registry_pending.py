"""What is signed and not yet in the log."""

from dataclasses import replace
from pathlib import Path

import pytest

from bpfcompat import envelope
from bpfcompat.errors import Exit, StoreError, TrustError
from bpfcompat.keys import hex_fingerprint
from bpfcompat.registry import layout, pending
from bpfcompat.registry.client import Folder
from bpfcompat.registry.verify import verify
from bpfcompat.statement import verdict_payload
from tests.claims import KEY, NOW, OTHER, POLICY, claim, registry, row, signer, two_claims
from tests.formats import format_1

GOOD, OLD = two_claims()


def test_nothing_waits(tmp_path: Path) -> None:
    """After a publish nothing waits, and a folder that is not there is an empty one."""
    assert pending.waiting(tmp_path) == {}
    registry(tmp_path / "r")
    assert pending.waiting(tmp_path / "r") == {}


def test_waiting_bundle_is_not_signed_again(tmp_path: Path) -> None:
    """The signature that a killed run wrote down is the one that is published."""
    place = tmp_path / "r"
    registry(place, GOOD)
    payload = verdict_payload(OLD)
    signed = envelope.sign(payload, KEY)
    digest = envelope.pae_digest(payload)
    pending.put(place, {digest: signed})
    (place / layout.PENDING / ".tmp-0123").write_bytes(b"half")
    registry(place, GOOD, OLD)
    found = envelope.parse((place / layout.bundle_path(digest)).read_bytes())
    assert found.signature == envelope.parse(signed).signature
    assert not list((place / layout.PENDING).iterdir())


def test_damage(tmp_path: Path) -> None:
    """A waiting bundle that is damaged, under another name, or by a key that is not there is named, and stays."""
    place = tmp_path / "r"
    registry(place, GOOD)
    payload = verdict_payload(OLD)
    digest = envelope.pae_digest(payload)
    path = place / layout.pending_path(digest)
    forged = replace(
        envelope.parse(envelope.sign(payload, OTHER)), keyid=envelope.parse(envelope.sign(b"x", KEY)).keyid
    )
    for data, words in (
        (b"junk", "it is damaged"),
        (envelope.sign(b"other", KEY), "another payload"),
        (envelope.bundle_bytes(forged), "does not hold"),
        (envelope.sign(payload, OTHER), "put the public key"),
    ):
        path.write_bytes(data)
        with pytest.raises(StoreError, match=words):
            registry(place, GOOD)
        assert path.read_bytes() == data


def test_format_1(tmp_path: Path) -> None:
    """The next publish gives a registry of format 1 a log: every bundle keeps its signature, nothing is lost."""
    place = tmp_path / "r"
    registry(place, GOOD, OLD)
    format_1(place)
    before = {p.name: envelope.parse(p.read_bytes()).signature for p in (place / "bundles").iterdir()}
    assert verify(Folder(place), [KEY.public_key()], now=NOW).exit_code is Exit.OK
    refused = verify(Folder(place), POLICY, now=NOW)
    assert "is not cut from a log" in refused.problems[0]
    done = registry(place, GOOD)
    assert (done.new, done.known, done.log.size) == (0, 1, 2)
    assert verify(Folder(place), POLICY, now=NOW).exit_code is Exit.OK
    assert {p.name: envelope.parse(p.read_bytes()).signature for p in (place / "bundles").iterdir()} == before


def test_format_1_by_two_keys(tmp_path: Path) -> None:
    """Bundles of an older key are logged with the key that lies in `keys/`; the upgrade says which it misses."""
    place = tmp_path / "r"
    registry(place, OLD, key=OTHER)
    registry(place, GOOD, OLD)
    format_1(place)
    key = place / layout.key_path(hex_fingerprint(OTHER.public_key()))
    kept = key.read_bytes()
    key.unlink()
    with pytest.raises(StoreError, match="put the public key SHA256:"):
        registry(place, GOOD, OLD)
    key.write_bytes((place / layout.key_path(hex_fingerprint(KEY.public_key()))).read_bytes())
    with pytest.raises(StoreError, match="is not the key"):
        registry(place, GOOD, OLD)
    key.write_bytes(kept)
    assert registry(place, GOOD, OLD).log.size == 2


def test_read(tmp_path: Path) -> None:
    """A bundle is read by its name, and is what its name says."""
    registry(tmp_path / "r", GOOD)
    digest = row(GOOD).bundle or ""
    place = tmp_path / "r" / layout.bundle_path(digest)
    assert pending.read(place, digest).index == 0
    with pytest.raises(StoreError, match="another payload than its name says"):
        pending.read(place, row(claim(classifier="9")).bundle or "")


def test_records_are_not_in_the_registry(tmp_path: Path) -> None:
    """What the log's key signed is recorded outside what is published."""
    registry(tmp_path / "r", GOOD)
    assert not signer(tmp_path / "r").records.is_relative_to(tmp_path / "r")
    with pytest.raises(TrustError):
        envelope.Verifier(POLICY).checkpoint(envelope.parse(envelope.sign(b"x", KEY)))
