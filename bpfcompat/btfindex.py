"""The types of a kernel, found by name at once: an index that is made once per kernel and kept.

A kernel has 100,000 types and more; a walk over them costs a quarter of a second, and an object needs a handful of
names.  The index is three arrays (where each type stands, its name, its kind), so that looking a name up is one search
in the strings and one in an array, both in C.
"""

import re
import struct
import sys
from array import array
from collections.abc import Iterator

from bpfcompat.btftypes import MAX_TYPES, Kind, Type, Types, extra_of, read_header
from bpfcompat.errors import ObjectError

VERSION = 1
_HEAD = struct.Struct("<4sIIQ")
_MAGIC = b"BTFI"
_WORD = 4


_FLAVOURED = re.compile(r"(.*[^_])___[^_]", re.DOTALL)


def essential(name: str) -> str:
    """A name without its flavour, which is what follows the last `___` between two characters that are no `_`."""
    found = _FLAVOURED.match(name)
    return found[1] if found else name


def make_index(data: bytes) -> bytes:
    """The index of these BTF bytes; ObjectError when they are damaged."""
    order, _, start, end = read_header(data)
    at, unpack = start, struct.Struct(f"{order}III").unpack_from
    places, names, kinds = array("I", (0,)), array("I", (0,)), bytearray(1)
    try:
        while at < end:
            name, info, _size = unpack(data, at)
            kind = (info >> 24) & 0x1F
            fixed, each = extra_of(kind, len(places))
            places.append(at)
            names.append(name)
            kinds.append(kind)
            at += 12 + fixed + each * (info & 0xFFFF)
    except struct.error as error:
        raise ObjectError(f"btf: damaged: {error}") from None
    if at != end:
        raise ObjectError(f"btf: the last type ends at {at}, the types at {end}")
    if sys.byteorder == "big":
        places.byteswap()
        names.byteswap()
    head = _HEAD.pack(_MAGIC, VERSION, len(places), len(data))
    return head + places.tobytes() + names.tobytes() + bytes(kinds)


class KernelTypes(Types):
    """All types of a kernel; with an index of these very bytes, nothing is walked.

    `index` is what make_index() made of `data`; ObjectError for one that is not.
    """

    def __init__(self, data: bytes, index: bytes | None = None) -> None:
        self._load(make_index(data) if index is None else index, len(data))
        super().__init__(data)

    def _load(self, index: bytes, size: int) -> None:
        if len(index) < _HEAD.size:
            raise ObjectError(f"btf: index of {len(index)} bytes")
        magic, version, count, of = _HEAD.unpack_from(index)
        if (magic, version, of) != (_MAGIC, VERSION, size) or len(index) != _HEAD.size + 9 * count or not count:
            raise ObjectError(f"btf: index {version} of {of} bytes of BTF, expected {VERSION} of {size}")
        first = _HEAD.size + _WORD * count
        self._places, self._names = array("I"), array("I")
        self._places.frombytes(index[_HEAD.size : first])
        self._names.frombytes(index[first : first + _WORD * count])
        self._kinds = bytes(index[first + _WORD * count :])
        if sys.byteorder == "big":
            self._places.byteswap()
            self._names.byteswap()

    def _index(self, at: int, end: int) -> "array[int]":
        if len(self._places) > MAX_TYPES:
            raise ObjectError(f"btf: {len(self._places)} types, at most {MAX_TYPES} expected")
        return self._places

    def of_kind(self, kind: Kind) -> Iterator[tuple[int, Type]]:
        """All types of a kind with their ids."""
        at = self._kinds.find(kind)
        while at >= 0:
            yield at, self[at]
            at = self._kinds.find(kind, at + 1)

    def kind_of(self, number: int) -> int:
        """The number of a type's kind."""
        return self._kinds[number]

    def named(self, name: str, *kinds: Kind) -> Iterator[int]:
        """Ids of the types of exactly this name, of these kinds or of all."""
        for offset in self._offsets(b"\0" + name.encode() + b"\0"):
            yield from self._with_name(offset, kinds)

    def candidates(self, name: str, *kinds: Kind) -> list[int]:
        """Ids of the types of these kinds that have this name but for a flavour, ascending."""
        wanted = essential(name).encode()
        offsets = [*self._offsets(b"\0" + wanted + b"\0"), *self._offsets(b"\0" + wanted + b"___")]
        ids = {i for at in offsets if essential(self.text(at)).encode() == wanted for i in self._with_name(at, kinds)}
        return sorted(ids)

    def _offsets(self, wanted: bytes) -> Iterator[int]:
        """Where among the strings one begins like this; the first string is empty, so that each follows a zero."""
        at = self._data.find(wanted, self._strings)
        while at >= 0:
            yield at + 1 - self._strings
            at = self._data.find(wanted, at + 1)

    def _with_name(self, offset: int, kinds: tuple[Kind, ...]) -> Iterator[int]:
        names, at = self._names, 0
        while True:
            try:
                at = names.index(offset, at + 1)
            except ValueError:
                return
            if not kinds or self._kinds[at] in kinds:
                yield at
