"""The types of a kernel, found by name at once: an index that is made once per kernel and kept.

A kernel has 100,000 types and more; a walk over them costs a tenth of a second, and an object needs a handful of names.
The index is four arrays: where each type stands, its name, its kind, and the named ones sorted by name, so that looking
one up halves its way there.
"""

import re
import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate, takewhile
from mmap import mmap

from bpfcompat.btftypes import MAX_TYPES, Kind, Type, Types, extra_of, read_header
from bpfcompat.errors import ObjectError

VERSION = 2
MAX_NAME = 512
_HEAD = struct.Struct("<4sIIQ")
_MAGIC = b"BTFI"
_WORD = 4
_SIZES = (_WORD, _WORD, 1)  # bytes a type: its place, its name, its kind


_FLAVOURED = re.compile(r"(.*[^_])___[^_]", re.DOTALL)


def essential(name: str) -> str:
    """A name without its flavour, which is what follows the last `___` between two characters that are no `_`."""
    found = _FLAVOURED.match(name)
    return found[1] if found else name


def make_index(data: bytes | mmap) -> bytes:
    """The index of these BTF bytes; ObjectError when they are damaged."""
    order, strings, start, end = read_header(data)
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
    ordered = _by_name(data, strings, names)
    head = _HEAD.pack(_MAGIC, VERSION, len(places), len(data))
    return head + b"".join((_packed(places), _packed(names), bytes(kinds), _packed(ordered)))


def _by_name(data: bytes | mmap, strings: int, names: "array[int]") -> "array[int]":
    texts = {offset: _text(data, strings + offset) for offset in set(names)}
    named = (number for number, offset in enumerate(names) if texts[offset])
    return array("I", sorted(named, key=lambda number: texts[names[number]]))


def _text(data: bytes | mmap, at: int) -> bytes:
    end = data.find(b"\0", at, at + MAX_NAME)
    return data[at : end if end >= 0 else at + MAX_NAME]


def _packed(numbers: "array[int]") -> bytes:
    if sys.byteorder == "big":
        numbers = array("I", numbers)
        numbers.byteswap()
    return numbers.tobytes()


def _unpacked(data: memoryview) -> Sequence[int]:
    """The numbers of an index, in place where this machine has its byte order."""
    if sys.byteorder == "little":
        return data.cast("I")
    numbers = array("I", data.tobytes())
    numbers.byteswap()
    return numbers


class KernelTypes(Types):
    """All types of a kernel; with an index of these very bytes, nothing is walked.

    `index` is what make_index() made of `data`; ObjectError for one that is not.
    """

    def __init__(self, data: bytes | mmap, index: bytes | mmap | None = None) -> None:
        self._load(make_index(data) if index is None else index, len(data))
        super().__init__(data)

    def _load(self, index: bytes | mmap, size: int) -> None:
        if len(index) < _HEAD.size:
            raise ObjectError(f"btf: index of {len(index)} bytes")
        magic, version, count, of = _HEAD.unpack_from(index)
        least = _HEAD.size + sum(_SIZES) * count
        if (
            (magic, version, of) != (_MAGIC, VERSION, size)
            or (len(index) - least) % _WORD
            or not (least <= len(index) <= least + _WORD * count)
        ):
            raise ObjectError(f"btf: index {version} of {of} bytes of BTF, expected {VERSION} of {size}")
        ends, whole = list(accumulate((each * count for each in _SIZES), initial=_HEAD.size)), memoryview(index)
        self._places = _unpacked(whole[ends[0] : ends[1]])
        self._names = _unpacked(whole[ends[1] : ends[2]])
        self._kinds = whole[ends[2] : ends[3]]
        self._ordered = _unpacked(whole[ends[3] :])

    def _index(self, at: int, end: int) -> Sequence[int]:
        if len(self._places) > MAX_TYPES:
            raise ObjectError(f"btf: {len(self._places)} types, at most {MAX_TYPES} expected")
        return self._places

    def of_kind(self, kind: Kind) -> Iterator[tuple[int, Type]]:
        """All types of a kind with their ids."""
        kinds = bytes(self._kinds)
        at = kinds.find(kind)
        while at >= 0:
            yield at, self[at]
            at = kinds.find(kind, at + 1)

    def kind_of(self, number: int) -> int:
        """The number of a type's kind."""
        return self._kinds[number]

    def named(self, name: str, *kinds: Kind) -> Iterator[int]:
        """Ids of the types of exactly this name, of these kinds or of all."""
        wanted = name.encode()
        same = takewhile(lambda n: self._name(n) == wanted, self._beginning(wanted))
        return (n for n in same if self._is(n, kinds))

    def candidates(self, name: str, *kinds: Kind) -> list[int]:
        """Ids of the types of these kinds that have this name but for a flavour, ascending."""
        wanted = essential(name)
        flavoured = f"{wanted}___"
        found = (
            n
            for n in self._beginning(flavoured.encode())
            if essential(self._name(n).decode(errors="replace")) == wanted
        )
        return sorted({*self.named(wanted, *kinds), *(n for n in found if self._is(n, kinds))})

    def _is(self, number: int, kinds: tuple[Kind, ...]) -> bool:
        return not kinds or self._kinds[number] in kinds

    def _name(self, number: int) -> bytes:
        return _text(self._data, self._strings + self._names[number])

    def _beginning(self, prefix: bytes) -> Iterator[int]:
        """The named types whose name begins like this, by name."""
        at = bisect_left(self._ordered, prefix, key=self._name)
        while at < len(self._ordered) and self._name(self._ordered[at]).startswith(prefix):
            yield self._ordered[at]
            at += 1
