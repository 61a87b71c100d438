"""All verdicts of a matrix, and the reports they rest on, in one file: what a borrower fetches instead of thousands.

gzip of lines: a bundle, then its report, in the order of the matrix's rows.  Both are JSON without blanks, so neither
has a line's end inside, and `zcat` shows what is there.  Believes nothing: a reader checks the pack's digest, and then
each bundle by its signature and each report by the digest that its statement names.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence

from bpfcompat.digest import digest_bytes
from bpfcompat.envelope import MAX_BYTES, pae_digest, parse
from bpfcompat.errors import TrustError
from bpfcompat.registry.layout import MAX_EVIDENCE_BYTES

MAX_PACK_BYTES = 128 << 20
MAX_UNPACKED_BYTES = 1 << 30
_GZIP = 16 + zlib.MAX_WBITS  # zlib writes no time and no name into it, so equal lines give equal bytes
_CHUNK = 1 << 20


def pack(items: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """Bundles and reports as one file; None when readers would refuse its size.  TrustError for what has two lines."""
    stream = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
    parts, size = [], 0
    for line in (line for item in items for line in item):
        if b"\n" in line:
            raise TrustError("pack: expected JSON in one line")
        parts.append(stream.compress(line + b"\n"))
        size += len(line) + 1
    data = b"".join((*parts, stream.flush()))
    return data if len(data) <= MAX_PACK_BYTES and size <= MAX_UNPACKED_BYTES else None


def unpack(data: bytes, most: int) -> Iterator[tuple[bytes, bytes]]:
    """The bundles and reports of a pack, at most so many; TrustError as soon as something is not as it should be."""
    lines = _lines(data)
    for number, bundle in enumerate(lines):
        report = next(lines, None)
        if report is None or number >= most:
            raise TrustError(f"pack: expected at most {most} bundles, each with its report")
        if len(bundle) > MAX_BYTES:
            raise TrustError(f"pack: a bundle of {len(bundle)} bytes, at most {MAX_BYTES} expected")
        yield bundle, report


def check_pack(data: bytes, digest: str, named: Sequence[tuple[str, str]]) -> None:
    """TrustError unless these are the bytes of that digest, and have these bundles and reports, by digest, in order."""
    if digest_bytes(data) != digest:
        raise TrustError("pack: its bytes are not what its name says")
    found = [(pae_digest(parse(bundle).payload), digest_bytes(report)) for bundle, report in unpack(data, len(named))]
    if found != list(named):
        raise TrustError("pack: has other bundles or reports than the matrix names")


def _lines(data: bytes) -> Iterator[bytes]:
    """Each line without its end, inflated no further than the reader has come."""
    held: list[bytes] = []
    size = 0
    for chunk in _inflated(data):
        first, *rest = chunk.split(b"\n")
        held.append(first)
        size += len(first)
        if size > MAX_EVIDENCE_BYTES:
            raise TrustError(f"pack: a line of more than {MAX_EVIDENCE_BYTES} bytes")
        for part in rest:
            yield b"".join(held)
            held, size = [part], len(part)
    if size:
        raise TrustError("pack: its last line has no end")


def _inflated(data: bytes) -> Iterator[bytes]:
    stream, rest, total = zlib.decompressobj(_GZIP), data, 0
    try:
        while not stream.eof:
            chunk = stream.decompress(rest, _CHUNK)
            rest, total = stream.unconsumed_tail, total + len(chunk)
            if total > MAX_UNPACKED_BYTES:
                raise TrustError(f"pack: more than {MAX_UNPACKED_BYTES} bytes when it is unpacked")
            if not chunk and not stream.eof:
                raise TrustError("pack: ends too early")
            yield chunk
    except zlib.error as error:
        raise TrustError(f"pack: not gzip: {error}") from None
    if stream.unused_data:
        raise TrustError("pack: has bytes behind its end")
