"""Debian control files as values: bytes in, paragraphs, Release and checksums out.  Pure; trusts no field.

Who vouches for the bytes is apt.py's business.  Formats: deb822(5); the Release, Packages and Sources indexes.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from bpfcompat.digest import is_digest
from bpfcompat.errors import KernelError, TrustError
from bpfcompat.model import LockedFile

MAX_PARAGRAPH = 1 << 20
MAX_FILE = 1 << 30
MAX_LISTED = 1 << 36  # of what a Release lists and nobody fetches: sid's Contents is above 1 GiB

Paragraph = Mapping[str, str]

_NAME = re.compile(rb"^Package:[ \t]*([A-Za-z0-9.+-]+)[ \t]*$", re.MULTILINE)
_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~:%@/-]{0,511}")


@dataclass(frozen=True, slots=True)
class Release:
    """What a signed Release file says: the suite's names, its end of validity, its indexes by path."""

    names: frozenset[str]
    valid_until: datetime | None
    files: Mapping[str, LockedFile]


def paragraphs(index: bytes, wanted: Callable[[str], bool]) -> Iterator[Paragraph]:
    """The paragraphs of a Packages or Sources index whose package name is wanted; only those are parsed."""
    for raw in index.split(b"\n\n"):
        name = _NAME.search(raw)
        if name is not None and wanted(name[1].decode()):
            yield fields(raw)


def fields(raw: bytes) -> Paragraph:
    """One paragraph; a continued field keeps its lines, without their first blank."""
    if len(raw) > MAX_PARAGRAPH:
        raise KernelError(f"index: a paragraph of {len(raw)} bytes, at most {MAX_PARAGRAPH} expected")
    found: dict[str, str] = {}
    name = ""
    for line in raw.decode("utf-8", "replace").strip("\n").split("\n"):
        if line[:1] in (" ", "\t") and name:
            found[name] += "\n" + line[1:]
        else:
            name, colon, value = line.partition(":")
            if not colon:
                raise KernelError(f"index: expected 'Field: value', got {line[:100]!r}")
            found[name] = value.strip()
    return found


def need(paragraph: Paragraph, name: str) -> str:
    """A field that must be there."""
    if name not in paragraph:
        raise KernelError(f"index: package {paragraph.get('Package', '?')[:100]!r}: no field {name}")
    return paragraph[name]


def release(raw: bytes) -> Release:
    """The text of a Release file (without its signature) as a Release."""
    paragraph = {} if b"\n\n" in raw.strip() else fields(raw)
    if "SHA256" not in paragraph:
        raise KernelError("release: expected one paragraph with a SHA256 field")
    until = paragraph.get("Valid-Until")
    return Release(
        names=frozenset(paragraph[n] for n in ("Suite", "Codename") if n in paragraph),
        valid_until=None if until is None else _date(until),
        files={file.path: file for file in checksums(paragraph["SHA256"], most=MAX_LISTED)},
    )


def check_fresh(known: Release, now: datetime, suite: str) -> None:
    """TrustError when a Release is past its Valid-Until: an old index can hide newer packages."""
    if known.valid_until is not None and known.valid_until < now:
        raise TrustError(
            f"suite {suite!r}: the mirror's index expired on {known.valid_until:%Y-%m-%d}",
            hint="set [mirror] allow_expired = true if an old index will do",
        )


def checksums(field: str, folder: str = "", most: int = MAX_FILE) -> Iterator[LockedFile]:
    """The lines `hex size path` of a SHA256 or Checksums-Sha256 field, each path below `folder`."""
    for line in field.split("\n"):
        if line.strip():
            parts = line.split()
            if len(parts) != 3:
                raise KernelError(f"index: checksums: expected 'digest size path', got {line[:100]!r}")
            yield locked_file(folder + parts[2], parts[1], parts[0], most)


def locked_file(path: str, size: str, sha256: str, most: int = MAX_FILE) -> LockedFile:
    """A file as an index names it, each part checked, of `most` bytes; a path stays below the mirror."""
    if not _PATH.fullmatch(path) or {"", ".", ".."} & set(path.split("/")):
        raise KernelError(f"index: expected a plain path below the mirror, got {path[:200]!r}")
    if not (size.isascii() and size.isdigit() and len(size) < 12 and int(size) <= most):
        raise KernelError(f"index: {path}: expected a size of at most {most} bytes, got {size[:40]!r}")
    if not is_digest("sha256:" + sha256):
        raise KernelError(f"index: {path}: expected 64 hex digits, got {sha256[:80]!r}")
    return LockedFile(path, int(size), "sha256:" + sha256)


def _date(text: str) -> datetime:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        raise KernelError(f"release: Valid-Until: expected a date, got {text[:60]!r}") from None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
