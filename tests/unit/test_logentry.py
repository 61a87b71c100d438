"""A bundle in a log: the leaf's bytes, the one spelling, and that no other entry passes for it."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bpfcompat import envelope, logentry
from bpfcompat.digest import canonical
from bpfcompat.envelope import Envelope, Verifier
from bpfcompat.errors import TrustError
from bpfcompat.note import NoteKey
from bpfcompat.policy import Policy, VerdictKey
from tests.claims import KEY, LOG, LOG_KEY, OTHER
from tests.logs import entries, logged

PAYLOADS = [b'{"n":%d}' % n for n in range(5)]
BUNDLES = logged(*PAYLOADS)
POLICY = Policy((VerdictKey(KEY.public_key()),), log=(LOG,))
MIDDLE = envelope.parse(BUNDLES[2])


def index_of(data: bytes) -> int | None:
    """The place in the log of a bundle that holds with all that POLICY asks."""
    verifier = Verifier(POLICY)
    found = verifier.verify(data)
    assert verifier.checkpoint(found).size == len(PAYLOADS)
    return found.index


def refuse(data: bytes, words: str) -> None:
    """Assert that a bundle is refused with these words."""
    with pytest.raises(TrustError, match=words):
        index_of(data)


def changed(**fields: Any) -> bytes:
    """The middle bundle with an entry that says otherwise."""
    assert MIDDLE.entry is not None
    return envelope.logged(MIDDLE, replace(MIDDLE.entry, **fields))


def test_leaf() -> None:
    """A leaf is the canonical JSON of a hashedrekord 0.0.2 body over the bytes under the signature."""
    signed = envelope.parse(envelope.sign(PAYLOADS[0], KEY))
    leaf = envelope.leaf_of(signed, KEY.public_key())
    found = json.loads(leaf)
    assert canonical(found) == leaf
    spec = found["spec"]["hashedRekordV002"]
    assert (found["kind"], found["apiVersion"], spec["data"]["algorithm"]) == ("hashedrekord", "0.0.2", "SHA2_256")
    assert base64.b64decode(spec["signature"]["content"]) == signed.signature
    assert spec["signature"]["verifier"]["keyDetails"] == "PKIX_ECDSA_P256_SHA_256"
    assert logentry.digest_in(leaf) == envelope.pae_digest(PAYLOADS[0])


def test_round_trip() -> None:
    """Every bundle of a log holds, knows its index, and is written again as the same bytes."""
    for index, data in enumerate(BUNDLES):
        assert index_of(data) == index == envelope.parse(data).index
        assert envelope.bundle_bytes(envelope.parse(data)) == data == canonical(json.loads(data))


def test_no_entry() -> None:
    """Without an entry a bundle has no index; a policy with a log's key refuses it, one without does not."""
    plain = envelope.sign(PAYLOADS[0], KEY)
    assert envelope.verify(plain, [KEY.public_key()]).index is None
    refuse(plain, "is in no log")


def test_every_flipped_bit() -> None:
    """No byte of a logged bundle can be changed unnoticed."""
    data = BUNDLES[2]
    for place in range(len(data)):
        for mask in (0x01, 0x20):
            with pytest.raises(TrustError):
                index_of(data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :])


def test_entry_of_another_bundle() -> None:
    """A valid entry of another signature, of the same payload by another key or signed twice, is none of this one."""
    other = envelope.parse(BUNDLES[3]).entry
    twice = envelope.parse(logged(PAYLOADS[2])[0]).entry
    foreign = envelope.parse(logged(PAYLOADS[2], key=OTHER)[0]).entry
    for entry in (other, twice, foreign):
        assert entry is not None
        refuse(envelope.logged(MIDDLE, entry), "another signature, payload or key")


LEAF = b"" if MIDDLE.entry is None else MIDDLE.entry.body
HASHES = () if MIDDLE.entry is None else MIDDLE.entry.hashes
PROOFS: dict[str, dict[str, Any]] = {
    "a hash swapped": {"hashes": (*reversed(HASHES[:2]), *HASHES[2:])},
    "a hash dropped": {"hashes": HASHES[:-1]},
    "a hash added": {"hashes": (*HASHES, bytes(32))},
    "another index": {"index": 3},
    "index of the size": {"index": 5},
    "huge index": {"index": 10**15},
    "size one": {"size": 1},
    "another size": {"size": 6},
    "another root": {"root": bytes(32)},
}


@pytest.mark.parametrize("fields", PROOFS.values(), ids=PROOFS.keys())
def test_proofs(fields: dict[str, Any]) -> None:
    """A proof that is changed in any way leads nowhere."""
    refuse(changed(**fields), "inclusion proof|log entry")


def test_another_checkpoint() -> None:
    """A checkpoint by another key, of another log, or of another tree is refused."""
    own = MIDDLE.entry
    assert own is not None
    leaves = [entry.body for entry in (envelope.parse(data).entry for data in BUNDLES) if entry]
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    refuse(changed(checkpoint=entries(leaves, Ed25519PrivateKey.generate())[2].checkpoint), "trusted:")
    refuse(changed(checkpoint=entries(leaves, LOG_KEY, "other.test")[2].checkpoint), "trusted:")
    refuse(changed(checkpoint=entries(leaves[:4])[2].checkpoint), "its checkpoint for 4")
    refuse(changed(checkpoint=own.checkpoint.replace(b"\n5\n", b"\n6\n")), "does not hold")
    refuse(changed(log=logentry.log_id(NoteKey("other.test", LOG.key))), "another log")


SPELLINGS: dict[str, Callable[[Any], object]] = {
    "negative index": lambda e: e.update(logIndex="-1"),
    "number": lambda e: e.update(logIndex=2),
    "leading zero": lambda e: e["inclusionProof"].update(treeSize="05"),
    "plus": lambda e: e["inclusionProof"].update(treeSize="+5"),
    "two indexes": lambda e: e["inclusionProof"].update(logIndex="3"),
    "no proof": lambda e: e.pop("inclusionProof"),
    "promise": lambda e: e.update(inclusionPromise={"signedEntryTimestamp": ""}),
    "time": lambda e: e.update(integratedTime="1"),
    "kind": lambda e: e["kindVersion"].update(kind="dsse"),
    "version": lambda e: e["kindVersion"].update(version="0.0.1"),
    "loose hash": lambda e: e["inclusionProof"].update(rootHash="B" * 43 + "="),
    "short hash": lambda e: e["inclusionProof"]["hashes"].append("AAAA"),
    "hash of another type": lambda e: e["inclusionProof"].update(hashes=[1]),
    "hashes of another type": lambda e: e["inclusionProof"].update(hashes="x"),
    "loose body": lambda e: e.update(canonicalizedBody=e["canonicalizedBody"] + "===="),
    "no checkpoint": lambda e: e["inclusionProof"].update(checkpoint={}),
    "empty checkpoint": lambda e: e["inclusionProof"]["checkpoint"].update(envelope=""),
    "checkpoint with a tab": lambda e: e["inclusionProof"]["checkpoint"].update(envelope="a\tb\n"),
    "checkpoint with a backslash": lambda e: e["inclusionProof"]["checkpoint"].update(envelope="a\\b\n"),
    "long checkpoint": lambda e: e["inclusionProof"]["checkpoint"].update(envelope="a" * 4097),
}


@pytest.mark.parametrize("change", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_one_spelling(change: Callable[[Any], object]) -> None:
    """Every member is there, in the one form that is written, and nothing else is; the one that differs is named."""
    bundle = json.loads(BUNDLES[2])
    change(bundle["verificationMaterial"]["tlogEntries"][0])
    refuse(canonical(bundle), "log entry: ")


@pytest.mark.parametrize("count", [0, 2])
def test_exactly_one(count: int) -> None:
    """A bundle has one entry or no list of them."""
    bundle = json.loads(BUNDLES[2])
    bundle["verificationMaterial"]["tlogEntries"] *= count
    refuse(canonical(bundle), "tlogEntries: expected a list of exactly one")


def test_foreign_leaves() -> None:
    """What is no leaf of ours names no bundle."""
    for leaf in (b"", b"{}", LEAF[:-1], LEAF + b" ", LEAF.replace(b"SHA2_256", b"SHA2_512")):
        with pytest.raises(TrustError, match="no hashedrekord"):
            logentry.digest_in(leaf)


def test_former_log_key() -> None:
    """A log key of old is good for checkpoints of the size that it may have signed, and for no larger ones."""
    keys = (VerdictKey(KEY.public_key()),)
    for below, holds in ((5, True), (4, False)):
        verifier = Verifier(Policy(keys, former=((LOG, below),)))
        found: Envelope = verifier.verify(BUNDLES[0])
        if holds:
            assert verifier.checkpoint(found).size == 5
        else:
            with pytest.raises(TrustError, match="trusted: nobody"):
                verifier.checkpoint(found)
