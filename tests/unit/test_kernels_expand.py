"""Bounded decompression of what each packer of ours makes, and of what none would."""

import gzip
import io
import lzma
import struct
import zlib
from collections.abc import Callable

import lz4.block
import pytest
import zstandard

from bpfcompat.errors import KernelError
from bpfcompat.kernels.expand import LZ4_BLOCK, expand, expanded

DATA = bytes(range(256)) * 40_000 + b"end"


def lz4_legacy(data: bytes) -> bytes:
    """As `lz4 -l` writes it: magic, then blocks of 8 MiB with their packed sizes."""
    out = b"\x02\x21\x4c\x18"
    for at in range(0, len(data), LZ4_BLOCK):
        block = lz4.block.compress(data[at : at + LZ4_BLOCK], store_size=False)
        out += struct.pack("<I", len(block)) + block
    return out


PACKERS: list[Callable[[bytes], bytes]] = [gzip.compress, lzma.compress, zstandard.compress, lz4_legacy]
packers = pytest.mark.parametrize("pack", PACKERS, ids=["gzip", "xz", "zstd", "lz4"])


@packers
def test_whole(pack: Callable[[bytes], bytes]) -> None:
    """What was packed comes back."""
    assert expanded(pack(DATA), len(DATA), "x") == DATA


@packers
def test_size_behind(pack: Callable[[bytes], bytes]) -> None:
    """The plain size that the kernel's build appends is no part of the stream."""
    assert expanded(pack(DATA) + struct.pack("<I", len(DATA)), len(DATA), "x") == DATA


@pytest.mark.hostile
@packers
def test_bomb(pack: Callable[[bytes], bytes]) -> None:
    """One byte more than the limit is an error, and is found before all of it is in memory."""
    bomb = pack(bytes(64 << 20))
    done = 0
    with pytest.raises(KernelError, match="expands to more than 1000 bytes"):
        for piece in expand(io.BytesIO(bomb), 1000, "x"):
            done += len(piece)
    assert done <= 1000
    with pytest.raises(KernelError):
        expanded(pack(DATA), len(DATA) - 1, "x")


@pytest.mark.hostile
@packers
def test_cut(pack: Callable[[bytes], bytes]) -> None:
    """A stream without its end is damaged, never short."""
    packed = pack(DATA)
    for size in (7, len(packed) // 2, len(packed) - 5):
        with pytest.raises(KernelError):
            expanded(packed[:size], len(DATA), "x")


@pytest.mark.hostile
@packers
def test_flipped(pack: Callable[[bytes], bytes]) -> None:
    """A changed byte never makes anything but bytes within the limit or a KernelError."""
    packed = pack(DATA[:5000])
    for at in range(len(packed)):
        try:
            assert len(expanded(packed[:at] + bytes([packed[at] ^ 0x55]) + packed[at + 1 :], 6000, "x")) <= 6000
        except KernelError as error:
            assert error.message.startswith("x: ")


@pytest.mark.hostile
def test_dictionary() -> None:
    """A stream that wants a dictionary of gigabytes is refused, however short it is."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 20}]
    packed = bytearray(lzma.compress(b"x" * 100, filters=filters))
    at = packed.index(b"\x21\x01") + 2  # the dictionary's size in the block header, one byte
    packed[at] = 39  # 3 GiB
    header = bytes(packed[12 : 12 + (packed[12] + 1) * 4 - 4])
    packed[12 + len(header) : 12 + len(header) + 4] = struct.pack("<I", zlib.crc32(header))
    with pytest.raises(KernelError, match=r"[Mm]emory"):
        expanded(bytes(packed), 1000, "x")


@pytest.mark.parametrize("data", [b"", b"BZh9", b"\x7fELF", b"\x5d\x00\x00\x80\x00"])
def test_unknown(data: bytes) -> None:
    """A format that is not ours is named by its bytes."""
    with pytest.raises(KernelError, match="expected gzip, xz, zstd or lz4"):
        expanded(data, 1000, "x")
