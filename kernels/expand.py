"""Compressed bytes to plain ones, never more than asked for: gzip, xz, zstd and the kernel's lz4.

The format is told by its first bytes, never by a name.  Only the first stream of a file is expanded; what follows it
is not looked at (the kernel's build appends the plain size there).
"""

import io
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import lz4.block
import zstandard

from bpfcompat.errors import KernelError

CHUNK = 1 << 20
MEMORY = 256 << 20  # of one decoder, bytes: xz and zstd let the file choose its dictionary
ZSTD_SIP = 256
LZ4_BLOCK = 8 << 20  # what one block of lz4's legacy frame holds at most

_DAMAGE = (lzma.LZMAError, zlib.error, zstandard.ZstdError, lz4.block.LZ4BlockError, EOFError)


def expand(source: BinaryIO, limit: int, what: str) -> Iterator[bytes]:
    """Pieces of about 8 MiB at most; KernelError `what: …` for an unknown format, damage, or more than `limit` bytes.

    `source` must give as many bytes as asked for unless it ends (an open file, BytesIO, a BufferedReader).
    """
    magic = source.read(6)
    decode = next((decode for first, decode in _DECODERS if magic.startswith(first)), None)
    if decode is None:
        raise KernelError(f"{what}: expected gzip, xz, zstd or lz4, got bytes {magic.hex() or 'none'}")
    done = 0
    try:
        for piece in decode(_Joined(magic, source)):
            done += len(piece)
            if done > limit:
                raise KernelError(f"{what}: expands to more than {limit} bytes")
            yield piece
    except _DAMAGE as error:
        raise KernelError(f"{what}: damaged after {done} expanded bytes: {error}") from error


def expanded(data: bytes, limit: int, what: str) -> bytes:
    """All of it at once; as `expand`."""
    return b"".join(expand(io.BytesIO(data), limit, what))


def expanding(source: BinaryIO, limit: int, what: str) -> BinaryIO:
    """The same as a stream, for who reads step by step."""
    return io.BufferedReader(Pieces(expand(source, limit, what)))


class _Joined:
    """A source whose first bytes were read already."""

    def __init__(self, first: bytes, rest: BinaryIO) -> None:
        self._first = first
        self._rest = rest

    def read(self, size: int) -> bytes:
        first, self._first = self._first[:size], self._first[size:]
        return first + self._rest.read(size - len(first))

    def need(self, size: int) -> bytes:
        """Exactly `size` bytes, or EOFError."""
        data = self.read(size)
        if len(data) < size:
            raise EOFError(f"expected {size} more bytes, got {len(data)}")
        return data


def _gzip(source: _Joined) -> Iterator[bytes]:
    state = zlib.decompressobj(wbits=31)
    while not state.eof:
        data = state.unconsumed_tail or source.read(CHUNK)
        piece = state.decompress(data, CHUNK)
        if not data and not piece:
            raise EOFError("the stream has no end")
        yield piece


def _xz(source: _Joined) -> Iterator[bytes]:
    state = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY)
    while not state.eof:
        data = source.read(CHUNK) if state.needs_input else b""
        if state.needs_input and not data:
            raise EOFError("the stream has no end")
        yield state.decompress(data, CHUNK)


def _zstd(source: _Joined) -> Iterator[bytes]:
    """The library cannot bound a piece, but a block (4 bytes at least) holds 128 KiB at most: so small sips do."""
    state = zstandard.ZstdDecompressor(max_window_size=MEMORY // 2).decompressobj()
    while not state.eof:
        data = source.read(ZSTD_SIP)
        if not data:
            raise EOFError("the stream has no end")
        yield state.decompress(data)


def _lz4(source: _Joined) -> Iterator[bytes]:
    """Blocks of (size, bytes) after the magic, without an end mark; the kernel's build appends the plain size."""
    source.need(4)
    while word := source.read(4):
        (size,) = struct.unpack("<I", word + source.need(4 - len(word)))
        if not (following := source.read(1)):
            return  # that was the plain size
        if not 0 < size <= LZ4_BLOCK + (LZ4_BLOCK >> 7):
            raise EOFError(f"a block of {size} bytes")
        yield lz4.block.decompress(following + source.need(size - 1), uncompressed_size=LZ4_BLOCK)


_DECODERS: tuple[tuple[bytes, Callable[[_Joined], Iterator[bytes]]], ...] = (
    (b"\x1f\x8b", _gzip),
    (b"\xfd7zXZ\x00", _xz),
    (b"\x28\xb5\x2f\xfd", _zstd),
    (b"\x02\x21\x4c\x18", _lz4),
)


class Pieces(io.RawIOBase):
    """Pieces of bytes as a stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._held:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._held = memoryview(piece)
        size = min(len(buffer), len(self._held))
        buffer[:size] = self._held[:size]
        self._held = self._held[size:]
        return size
