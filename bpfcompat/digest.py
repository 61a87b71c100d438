"""Canonical JSON and SHA-256: the only place that hashes.

A digest is written `sha256:` and 64 lower-case hex digits, everywhere.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, BinaryIO

from bpfcompat.errors import TrustError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CHUNK = 1 << 20
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_SCALARS = frozenset((str, int, bool, type(None)))
_FIELDS: dict[type, tuple[str, ...] | None] = {}  # of each kind of dataclass; None for what is none


def canonical(value: Any) -> bytes:
    """JSON with sorted keys, no blanks, UTF-8; equal values give equal bytes.

    Raises ValueError for NaN and infinities, TypeError for what JSON cannot say.
    """
    return _ENCODER.encode(value).encode("utf-8")


def as_json(value: Any) -> Any:
    """A value as JSON reads it back: dataclasses and mappings as dicts, sequences as lists; the rest as it is."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind not in _FIELDS:
        _FIELDS[kind] = _fields_of(kind)
    names = _FIELDS[kind]
    if names is not None:
        return {name: as_json(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(name): as_json(inner) for name, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [as_json(inner) for inner in value]
    return value


def _fields_of(kind: type) -> tuple[str, ...] | None:
    if not hasattr(kind, "__dataclass_fields__"):
        return None
    from dataclasses import fields  # a tenth of what a look at an object takes, which has none

    return tuple(f.name for f in fields(kind))


def digest_bytes(data: bytes) -> str:
    """`sha256:…` of these bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def raw_digest(data: bytes) -> bytes:
    """The 32 bytes of the digest, for where there are a hundred thousand of them."""
    return hashlib.sha256(data).digest()


def digest_json(value: Any) -> str:
    """`sha256:…` of the canonical JSON of a value."""
    return digest_bytes(canonical(value))


def digest_chunks(chunks: Iterable[bytes]) -> str:
    """`sha256:…` of bytes that arrive in pieces."""
    state = hashlib.sha256()
    for chunk in chunks:
        state.update(chunk)
    return "sha256:" + state.hexdigest()


def digest_stream(stream: BinaryIO) -> str:
    """`sha256:…` of what is left in an open binary file."""
    return digest_chunks(iter(lambda: stream.read(_CHUNK), b""))


def digest_file(path: str | os.PathLike[str]) -> str:
    """`sha256:…` of a regular file's bytes; OSError as open() raises it."""
    with open(path, "rb") as stream:
        return digest_stream(stream)


def is_digest(text: object) -> bool:
    """True for exactly `sha256:` and 64 lower-case hex digits."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def hex_of(digest: str) -> str:
    """The 64 hex digits of a digest; TrustError if it is not one."""
    if not is_digest(digest):
        raise TrustError(f"digest: expected sha256: and 64 hex digits, got {digest[:80]!r}")
    return digest[7:]


def short(digest: str) -> str:
    """A digest as people read it: `sha256:` and 12 digits."""
    return digest[:19]
