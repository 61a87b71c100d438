"""Logs off the wire: text, or deflated text, bounded one by one and together; and whole logs to an archive and back.

A report holds the end of a long log, which is what a verdict reads; the archive has all of it.
"""

import base64
import binascii
import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from bpfcompat.errors import StoreError
from bpfcompat.model import Log

LOG_MAX = 16 << 20  # bytes of one log; the kernel writes no more
LOGS_MAX = 96 << 20  # of all logs of a report, inflated
TEXT_MAX = 16 << 20  # of all logs, as a report holds them; LEAST each after that
LEAST = 4 << 10
ARCHIVE_MAX = 64 << 20
_STAMP = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Squeezed:
    """A log as it came: raw DEFLATE (RFC 1951) of `size` bytes."""

    data: bytes
    size: int
    cut: bool


def squeezed(text: str, size: int, cut: bool) -> Squeezed:
    """A log from its base64; ValueError when it is not that or longer than any log is."""
    if not 0 <= size <= LOG_MAX:
        raise ValueError(f"expected a log of at most {LOG_MAX} bytes, got one of {size}")
    try:
        return Squeezed(base64.b64decode(text, validate=True), size, cut)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from None


class Unpacker:
    """Inflates the logs of one report, `most` bytes of each into the report, within what all of them may take."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._inflated = 0
        self._kept = 0

    def log(self, found: Log | Squeezed) -> Log:
        """The log as a report holds it; ValueError when it does not inflate to what it says."""
        if isinstance(found, Log):
            return found
        self._inflated += found.size
        if self._inflated > LOGS_MAX:
            raise ValueError(f"logs of more than {LOGS_MAX} bytes")
        data = _inflated(found)
        tail = _tail(data, min(self._most, max(LEAST, TEXT_MAX - self._kept)))
        self._kept += len(tail)
        left_out = len(data) - len(tail)
        whole = data.decode("utf-8", "replace") if left_out else None
        return Log(tail.decode("utf-8", "replace"), found.cut, left_out, whole)


def _inflated(found: Squeezed) -> bytes:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = stream.decompress(found.data, found.size + 1)
    except zlib.error as error:
        raise ValueError(f"not deflated: {error}") from None
    if len(data) != found.size or not stream.eof or stream.unused_data:
        raise ValueError(f"a log of {found.size} bytes, expected just that much when it is inflated")
    return data


def _tail(data: bytes, most: int) -> bytes:
    """The last bytes, from the start of a line on."""
    if len(data) <= most:
        return data
    end = data[-most:]
    start = end.find(b"\n") + 1
    return end[start:] if start < len(end) else end


def archived(logs: Mapping[str, str]) -> bytes:
    """A zip archive of logs by name; the same logs give the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in logs.items():
            archive.writestr(zipfile.ZipInfo(name, _STAMP), text, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def from_archive(data: bytes, name: str) -> str | None:
    """One log of an archive, None if it is not there; StoreError for bytes that are no archive of ours."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if name not in archive.namelist():
                return None
            with archive.open(name) as stream:
                return stream.read(2 * LOG_MAX).decode("utf-8", "replace")
    except (zipfile.BadZipFile, zlib.error, OSError, NotImplementedError, RuntimeError) as error:
        raise StoreError(f"logs: expected a zip archive, got a damaged one: {error}") from error
