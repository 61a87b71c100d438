"""Debian versions in their order (Debian policy 5.6.12).  Pure; compares, and never guesses what a version means."""

import re

from bpfcompat.errors import KernelError

_VERSION = re.compile(r"(?:([0-9]{1,9}):)?([0-9A-Za-z.+~-]{1,200})")
_PAIR = re.compile(r"([^0-9]*)([0-9]*)")

Key = tuple[tuple[tuple[int, ...], int], ...]


def order(version: str) -> tuple[int, Key, Key]:
    """A sort key: `order(a) < order(b)` exactly when Debian says that a is older.  KernelError for no version."""
    epoch, upstream, revision = split(version)
    return int(epoch or 0), _key(upstream), _key(revision or "0")


def split(version: str) -> tuple[str, str, str]:
    """Epoch, upstream version and revision; epoch and revision are "" when absent."""
    found = _VERSION.fullmatch(version)
    if found is None:
        raise KernelError(f"version: expected a Debian version, got {version[:100]!r}")
    upstream, _, revision = found[2].rpartition("-") if "-" in found[2] else (found[2], "", "")
    return found[1] or "", upstream, revision


def _key(text: str) -> Key:
    pairs = ((_weights(signs), int(digits or 0)) for signs, digits in _PAIR.findall(text) if signs or digits)
    return (*pairs, ((0,), 0))  # an end: more than "~", less than all else


def _weights(signs: str) -> tuple[int, ...]:
    return (*(-1 if s == "~" else ord(s) if s.isalpha() else ord(s) + 256 for s in signs), 0)
