"""Members of a Debian package, as bytes.  Nothing is ever unpacked to disk, so no name in a package names a file here.

A .deb is an ar archive (deb(5)) of `debian-binary`, `control.tar.*` and `data.tar.*`; the last is streamed.
"""

import fnmatch
import io
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self

from bpfcompat.errors import KernelError
from bpfcompat.kernels.expand import expanding

MAX_PARTS = 16  # of the ar archive
MAX_MEMBERS = 100_000
MAX_MATCHES = 16
MAX_NAME = 64 << 10  # bytes of one extended tar header
MAX_DATA = 2 << 30  # bytes of an expanded data.tar
_EXTENDED = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE,
             tarfile.SOLARIS_XHDTYPE)  # fmt: skip


def deb_members(deb: Path, patterns: Sequence[str], limit: int) -> Mapping[str, bytes]:
    """All regular files (path → bytes) that match one of the patterns.

    A pattern is a path without leading `/`; its `*` stays within one folder.  Each file may have `limit` bytes, and at
    most 16 may match.
    """
    try:
        with open(deb, "rb") as stream:
            return _matching(data_tar(stream, deb.name), patterns, limit, deb.name)
    except OSError as error:
        raise KernelError(f"{deb}: cannot read: {error.strerror}") from error


def data_tar(stream: BinaryIO, name: str) -> BinaryIO:
    """The expanded data.tar of the package in an open file, as a stream."""
    return expanding(_data_part(stream, name), MAX_DATA, f"{name}: data.tar")


def deb_files(deb: Path, wanted: Callable[[str], bool], limit: int) -> Iterator[tuple[str, bytes]]:
    """Every regular file whose path is wanted, as it comes; each may have `limit` bytes.

    KernelError, perhaps only after some were given, when the package is damaged.
    """
    try:
        with open(deb, "rb") as stream:
            yield from _wanted(data_tar(stream, deb.name), wanted, limit, deb.name)
    except OSError as error:
        raise KernelError(f"{deb}: cannot read: {error.strerror}") from error


def matches(path: str, pattern: str) -> bool:
    """True when each folder and the name match their part of the pattern."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def _data_part(stream: BinaryIO, name: str) -> BinaryIO:
    """The compressed data.tar inside a .deb; the stream stands at the archive's beginning."""
    if stream.read(8) != b"!<arch>\n":
        raise KernelError(f"{name}: expected a Debian package (an ar archive)")
    for _ in range(MAX_PARTS):
        header = stream.read(60)
        size = header[48:58].strip()
        if len(header) < 60 or header[58:] != b"`\n" or not size.isdigit():
            break
        if header[:16].rstrip(b" /").startswith(b"data.tar"):
            return io.BufferedReader(_Part(stream, int(size)))
        stream.seek(int(size) + int(size) % 2, io.SEEK_CUR)
    raise KernelError(f"{name}: damaged: no data.tar in the archive")


def _matching(data: BinaryIO, patterns: Sequence[str], limit: int, name: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for path, content in _wanted(data, lambda path: any(matches(path, p) for p in patterns), limit, name):
        found[path] = content
        if len(found) > MAX_MATCHES:
            raise KernelError(f"{name}: more members than the {MAX_MATCHES} matching ones expected")
    return found


def _wanted(data: BinaryIO, wanted: Callable[[str], bool], limit: int, name: str) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(fileobj=data, mode="r|", tarinfo=Header) as archive:
            for count, member in enumerate(archive):
                path = member.name.removeprefix("./")
                if count >= MAX_MEMBERS:
                    raise KernelError(f"{name}: more members than the {MAX_MEMBERS} expected")
                if member.isreg() and wanted(path):
                    yield path, _read(archive, member, limit, name)
        while data.read(1 << 20):  # to the end of the stream, where its own checksums are
            pass
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise KernelError(f"{name}: data.tar: damaged: {error}") from error


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo, limit: int, name: str) -> bytes:
    stream = archive.extractfile(member)
    if stream is None or member.issparse():
        raise KernelError(f"{name}: {member.name}: expected a plain file")
    if member.size > limit:
        raise KernelError(f"{name}: {member.name}: {member.size} bytes, at most {limit} expected")
    return stream.read()


class Header(tarfile.TarInfo):
    """A tar header whose size can be worked with: tarfile reads extended headers into memory whole."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in _EXTENDED and header.size > MAX_NAME):
            raise KernelError(f"data.tar: a header of size {header.size}, at most {MAX_NAME} expected")
        return header


class _Part(io.RawIOBase):
    """A stretch of a file as a stream of its own."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(min(len(buffer), self._left))
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)
