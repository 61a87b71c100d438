"""Root documents for tests: keys that are the same in every run, and versions signed by whom a test says."""

from collections.abc import Iterable
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric import ec

from bpfcompat.keys import LogPrivateKey, PrivateKey, fingerprint
from bpfcompat.rootchain import sign
from bpfcompat.rootdoc import Key, Root, document, payload_of

NAME = "results.example"
FROM, UNTIL = 1_750_000_000, 1_850_000_000


def ed25519(number: int) -> LogPrivateKey:
    """An Ed25519 key, the same for the same number below 256."""
    return LogPrivateKey.from_private_bytes(bytes([number]) * 32)


def p256(number: int) -> PrivateKey:
    """A P-256 key, the same for the same number from 1."""
    return ec.derive_private_key(number, ec.SECP256R1())


HOLDERS = [ed25519(n) for n in range(5)]
LOG, WITNESS, VERDICT = ed25519(10), ed25519(20), p256(30)
KEYS = (
    Key("verdict", "runner", VERDICT.public_key(), FROM),
    Key("log", NAME, LOG.public_key(), FROM),
    Key("witness", "auditor.example", WITNESS.public_key(), FROM),
)


def root(version: int = 1, holders: Iterable[LogPrivateKey] = HOLDERS[:3], threshold: int = 2) -> Root:
    """A version with KEYS."""
    return Root(NAME, version, UNTIL, threshold, tuple(h.public_key() for h in holders), KEYS)


def signed(value: Root, by: Iterable[LogPrivateKey] = HOLDERS[:2]) -> bytes:
    """Its document, signed by these."""
    payload = payload_of(value)
    return document(value, {fingerprint(key.public_key()): sign(payload, key) for key in by})


def versions(count: int) -> dict[int, bytes]:
    """A chain of so many versions, from 1, all by the same holders."""
    return {n: signed(replace(root(), version=n)) for n in range(1, count + 1)}
