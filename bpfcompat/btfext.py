"""The `.BTF.ext` section of an object: where functions are, which source lines, which CO-RE relocations.

Format: Documentation/bpf/btf.rst.  A part that is cut, points outside or has records too short is an ObjectError that
names the part; older objects that lack a part have none of it.
"""

import struct
from collections.abc import Iterator, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

from bpfcompat.btftypes import Types
from bpfcompat.errors import ObjectError

MAX_RECORDS = 1 << 20
_MAGIC = 0xEB9F
_NOTHING: "_Records" = MappingProxyType({})
_HINT = "compile with clang -O2 -g -target bpf -c"


class FuncInfo(NamedTuple):
    """At this offset in bytes of its section a function of this type begins."""

    offset: int
    type: int


class LineInfo(NamedTuple):
    """From this offset in bytes on, instructions come of this line; file and text are offsets of names."""

    offset: int
    file: int
    text: int
    line: int
    column: int


class CoreRelo(NamedTuple):
    """At this offset in bytes of its section: the type's access by this string's offset, and the kind's number."""

    offset: int
    type: int
    access: int
    kind: int


_Records = Mapping[str, tuple[struct.Struct, bytes]]


class Ext:
    """All three parts, by the name of the section that they tell of; records as they stand there.

    That every part is whole was seen when it was read; a part's records are made when they are asked for.
    """

    def __init__(self, functions: _Records = _NOTHING, lines: _Records = _NOTHING, relocations: _Records = _NOTHING):
        self._functions, self._lines, self._relocations = functions, lines, relocations

    @property
    def has_lines(self) -> bool:
        """True when there are source lines."""
        return bool(self._lines)

    @cached_property
    def functions(self) -> Mapping[str, tuple[FuncInfo, ...]]:
        """Types of functions."""
        return {name: tuple(map(FuncInfo._make, shape.iter_unpack(b))) for name, (shape, b) in self._functions.items()}

    @cached_property
    def lines(self) -> Mapping[str, tuple[LineInfo, ...]]:
        """Source lines."""
        return {
            name: tuple(LineInfo(at, f, t, word >> 10, word & 0x3FF) for at, f, t, word in shape.iter_unpack(body))
            for name, (shape, body) in self._lines.items()
        }

    @cached_property
    def relocations(self) -> Mapping[str, tuple[CoreRelo, ...]]:
        """CO-RE relocations."""
        found = self._relocations.items()
        return {name: tuple(map(CoreRelo._make, shape.iter_unpack(body))) for name, (shape, body) in found}


def read_ext(data: bytes, types: Types) -> Ext:
    """The section's parts; `types` is the object's own BTF, which has the names."""
    order = "<" if data[:2] == b"\x9f\xeb" else ">"
    try:
        magic, version, _, length = struct.unpack_from(f"{order}HBBI", data)
        if magic != _MAGIC or version != 1 or not 24 <= length <= len(data):
            raise ObjectError(f"btf.ext: expected version 1, got {magic:#x} version {version}, header {length}", _HINT)
        count = 3 if length >= 32 else 2  # the first compilers had no relocations
        words = struct.unpack_from(f"{order}{2 * count}I", data, 8)
        return Ext(*(
            dict(_sections(_part(data, length + words[2 * n], words[2 * n + 1], name), order, types, size, name))
            for n, (name, size) in enumerate(_PARTS[:count])
        ))  # fmt: skip
    except struct.error as error:
        raise ObjectError(f"btf.ext: damaged: {error}", hint=_HINT) from None


# Words of a record that are read; a record may be longer.
_PARTS = (("func_info", 2), ("line_info", 4), ("core_relo", 4))


def _part(data: bytes, start: int, size: int, name: str) -> bytes:
    if start + size > len(data):
        raise ObjectError(f"btf.ext: {name} ends at {start + size}, the section at {len(data)}", hint=_HINT)
    return data[start : start + size]


def _sections(
    part: bytes, order: str, types: Types, words: int, what: str
) -> Iterator[tuple[str, tuple[struct.Struct, bytes]]]:
    if not part:
        return
    (record,) = struct.unpack_from(f"{order}I", part)
    if not 4 * words <= record <= 4096:
        raise ObjectError(f"btf.ext: {what}: records of {record} bytes, at least {4 * words} expected", hint=_HINT)
    head, at = struct.Struct(f"{order}II"), 4
    shape = struct.Struct(f"{order}{words}I{record - 4 * words}x")
    while at < len(part):
        name, count = head.unpack_from(part, at)
        at += 8
        if count > MAX_RECORDS or at + count * record > len(part):
            raise ObjectError(f"btf.ext: {what}: {count} records at {at}, the part has {len(part)} bytes", hint=_HINT)
        yield types.text(name), (shape, part[at : at + count * record])
        at += count * record
