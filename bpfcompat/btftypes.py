"""The types in a `.BTF` section: names, functions, variables and how a value of a type lies in memory.

Format: Documentation/bpf/btf.rst.  The bytes may be a stranger's: everything is bounded, and what is not as the format
says is an ObjectError.  Either byte order; nothing is kept but an index of where each type stands.
"""

import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum
from mmap import mmap
from typing import NamedTuple

from bpfcompat.errors import ObjectError

MAX_TYPES = 1 << 20
MAX_TEXT = 512  # bytes of a name
MAX_HOPS = 64  # of typedefs and qualifiers before a type that has a size

_MAGIC = 0xEB9F


class Kind(IntEnum):
    """Kinds of types, by the format's numbers."""

    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


_ALIASES = (Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG)
# Bytes that follow a type's header: fixed, and for each of its `vlen` members.
_EXTRA = {
    Kind.INT: (4, 0), Kind.PTR: (0, 0), Kind.ARRAY: (12, 0), Kind.STRUCT: (0, 12), Kind.UNION: (0, 12),
    Kind.ENUM: (0, 8), Kind.FWD: (0, 0), Kind.TYPEDEF: (0, 0), Kind.VOLATILE: (0, 0), Kind.CONST: (0, 0),
    Kind.RESTRICT: (0, 0), Kind.FUNC: (0, 0), Kind.FUNC_PROTO: (0, 8), Kind.VAR: (4, 0), Kind.DATASEC: (0, 12),
    Kind.FLOAT: (0, 0), Kind.DECL_TAG: (4, 0), Kind.TYPE_TAG: (0, 0), Kind.ENUM64: (0, 12),
}  # fmt: skip


class Type(NamedTuple):
    """One type: its kind, name, size in bytes or the id of the type it is made of, and where its members stand."""

    kind: Kind
    name: str
    flag: bool
    vlen: int
    size_or_type: int
    at: int


class Member(NamedTuple):
    """A member of a structure: offset in bits, and in a bit field its width (else 0)."""

    name: str
    type: int
    offset: int
    bits: int


class Types:
    """All types of one section, by id; 0 is void."""

    def __init__(self, data: bytes | mmap) -> None:
        self._data = data
        try:
            self._order, self._strings, start, end = read_header(data)
            self._u3 = struct.Struct(f"{self._order}III")
            self._at = self._index(start, end)
        except struct.error as error:
            raise ObjectError(f"btf: damaged: {error}") from None

    def __len__(self) -> int:
        return len(self._at)

    def _index(self, at: int, end: int) -> Sequence[int]:
        places, unpack = [0], self._u3.unpack_from
        while at < end:
            kind = (unpack(self._data, at)[1] >> 24) & 0x1F
            fixed, each = extra_of(kind, len(places))
            places.append(at)
            at += 12 + fixed + each * (unpack(self._data, at)[1] & 0xFFFF)
        if at != end:
            raise ObjectError(f"btf: the last type ends at {at}, the types at {end}")
        return places

    def __getitem__(self, number: int) -> Type:
        if not 0 < number < len(self._at):
            raise ObjectError(f"btf: no type has the id {number}")
        at = self._at[number]
        name, info, size = self._u3.unpack_from(self._data, at)
        return Type(Kind((info >> 24) & 0x1F), self.text(name), bool(info >> 31), info & 0xFFFF, size, at + 12)

    def kind(self, number: int) -> Kind:
        """The kind alone of a type."""
        if not 0 < number < len(self._at):
            raise ObjectError(f"btf: no type has the id {number}")
        return Kind((self._u3.unpack_from(self._data, self._at[number])[1] >> 24) & 0x1F)

    def text(self, offset: int) -> str:
        """A name by its offset among the strings."""
        start = self._strings + offset
        # strings without an end would else be searched to the end of the file, for each name anew
        end = self._data.find(b"\0", start, start + MAX_TEXT)
        return self._data[start : end if end >= 0 else start + MAX_TEXT].decode("utf-8", "replace")

    def of_kind(self, kind: Kind) -> Iterator[tuple[int, Type]]:
        """All types of a kind with their ids."""
        for number in range(1, len(self._at)):
            if (self._u3.unpack_from(self._data, self._at[number])[1] >> 24) & 0x1F == kind:
                yield number, self[number]

    def functions(self) -> frozenset[str]:
        """Names of all functions."""
        return frozenset(found.name for _, found in self.of_kind(Kind.FUNC))

    def resolved(self, number: int) -> tuple[int, Type]:
        """The type behind typedefs and qualifiers."""
        for _ in range(MAX_HOPS):
            found = self[number]
            if found.kind not in _ALIASES:
                return number, found
            number = found.size_or_type
        raise ObjectError(f"btf: type {number}: more than {MAX_HOPS} typedefs and qualifiers")

    def variables(self, section: str) -> dict[str, int]:
        """The variables of a data section: name to the id of their type."""
        found: dict[str, int] = {}
        for _, datasec in self.of_kind(Kind.DATASEC):
            if datasec.name == section:
                for n in range(datasec.vlen):
                    variable = self[self._u3.unpack_from(self._data, datasec.at + 12 * n)[0]]
                    found[variable.name] = variable.size_or_type
        return found

    def members(self, of: Type) -> Iterator[Member]:
        """The members of a structure or union."""
        for n in range(of.vlen):
            name, kind, offset = self._u3.unpack_from(self._data, of.at + 12 * n)
            bits, offset = (offset >> 24, offset & 0xFFFFFF) if of.flag else (0, offset)
            yield Member(self.text(name), kind, offset, bits)

    def element(self, array: Type) -> tuple[int, int]:
        """The type of an array's elements, and their number."""
        kind, _, count = self._u3.unpack_from(self._data, array.at)
        return kind, count

    def integer(self, of: Type) -> tuple[bool, bool, int]:
        """Of an INT: whether it is signed, whether it is a bool, and its width in bits."""
        (word,) = struct.unpack_from(f"{self._order}I", self._data, of.at)
        return bool(word >> 24 & 1), bool(word >> 24 & 4), word & 0xFF

    def int_offset(self, of: Type) -> int:
        """Of an INT: where its bits begin; not 0 only in the bit fields of old compilers."""
        (word,) = struct.unpack_from(f"{self._order}I", self._data, of.at)
        return int(word >> 16 & 0xFF)

    def parameters(self, of: Type) -> Iterator[tuple[str, int]]:
        """Names and types of a FUNC_PROTO's parameters."""
        for n in range(of.vlen):
            name, kind = struct.unpack_from(f"{self._order}II", self._data, of.at + 8 * n)
            yield self.text(name), kind

    def enumerators(self, of: Type) -> dict[str, int]:
        """Names and values of an ENUM or ENUM64."""
        found: dict[str, int] = {}
        for n in range(of.vlen):
            if of.kind is Kind.ENUM:
                name, value = struct.unpack_from(f"{self._order}I{'i' if of.flag else 'I'}", self._data, of.at + 8 * n)
            else:
                name, low, high = self._u3.unpack_from(self._data, of.at + 12 * n)
                value = high << 32 | low
                value -= 1 << 64 if of.flag and value >> 63 else 0
            found[self.text(name)] = value
        return found

    def size(self, number: int) -> int:
        """How many bytes a value takes."""
        count = 1
        for _ in range(MAX_HOPS):
            _, found = self.resolved(number)
            if found.kind is Kind.PTR:
                return 8 * count
            if found.kind is not Kind.ARRAY:
                return found.size_or_type * count
            number, each = self.element(found)
            count *= each
        raise ObjectError(f"btf: type {number}: arrays in arrays without end")


_KNOWN = {int(kind): extra for kind, extra in _EXTRA.items()}


def extra_of(kind: int, number: int) -> tuple[int, int]:
    """Bytes that follow the header of a type of this kind: fixed, and for each member; ObjectError for no kind."""
    if kind not in _KNOWN or number > MAX_TYPES:
        raise ObjectError(f"btf: type {number} of kind {kind}: expected a kind up to 19, and few of them")
    return _KNOWN[kind]


def read_header(data: bytes | mmap) -> tuple[str, int, int, int]:
    """Byte order, where the strings start, where the types start and end."""
    order = "<" if data[:2] == b"\x9f\xeb" else ">"
    if len(data) < 24:
        raise ObjectError(f"btf: expected a header of 24 bytes, got {len(data)} bytes in all")
    magic, version, _, length, types, size, strings, _ = struct.unpack_from(f"{order}HBBIIIII", data)
    start, end = length + types, length + types + size
    if magic != _MAGIC or version != 1 or not length <= start <= end <= len(data):
        raise ObjectError(f"btf: expected version 1 and types within {len(data)} bytes, got {magic:#x} {version} {end}")
    return order, length + strings, start, end
