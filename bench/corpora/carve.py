"""Compiled BPF objects inside any file: ELF headers of machine 247, cut out by their section tables.

Programs carry their objects as they were compiled, in a C string, a Go string or a Rust slice.  The file is not
trusted: every offset is bounded by its own size, and a header that does not hold is passed over.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MAGIC = b"\x7fELF\x02"
EM_BPF = 247
ET_REL = 1
SHT_NOBITS = 8
HEADER = 64
SECTION = 64
MAX_SECTIONS = 4096
MAX_OBJECT = 64 << 20
MAX_FOUND = 1000  # in one file


@dataclass(frozen=True, slots=True)
class Cut:
    """An object and where in its file it began, in bytes."""

    offset: int
    data: bytes


def objects_in(data: bytes) -> Iterator[Cut]:
    """Every object in a file's bytes, in order; what is inside an object is not looked at again.

    A file that begins with an object is that object, to its last byte.
    """
    at, found = data.find(MAGIC), 0
    while at >= 0 and found < MAX_FOUND:
        size = object_size(data, at)
        if size is not None:
            yield Cut(at, data if at == 0 else data[at : at + size])
            found += 1
            if at == 0:
                return
        at = data.find(MAGIC, at + (size or 1))


def object_size(data: bytes, at: int) -> int | None:
    """Bytes of the object whose ELF header stands at `at`; None where none that is whole does."""
    order = {1: "<", 2: ">"}.get(data[at + 5] if at + HEADER <= len(data) else 0)
    if order is None:
        return None
    kind, machine = struct.unpack_from(order + "HH", data, at + 16)
    (table,) = struct.unpack_from(order + "Q", data, at + 40)
    entry, count, names = struct.unpack_from(order + "HHH", data, at + 58)
    if (kind, machine, entry) != (ET_REL, EM_BPF, SECTION) or not 0 < count <= MAX_SECTIONS or names >= count:
        return None
    most = min(len(data) - at, MAX_OBJECT)
    if not HEADER <= table <= most - count * SECTION:
        return None
    ends = [table + count * SECTION, *_section_ends(data, at + table, count, order)]
    return max(ends) if max(ends) <= most else None


def _section_ends(data: bytes, table: int, count: int, order: str) -> Iterator[int]:
    for index in range(count):
        place = table + index * SECTION
        (kind,) = struct.unpack_from(order + "I", data, place + 4)
        start, size = struct.unpack_from(order + "QQ", data, place + 24)
        if kind not in (0, SHT_NOBITS):
            yield start + size
