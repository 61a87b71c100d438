"""The `.BTF.ext` section of an object: where functions are, which source lines, which CO-RE relocations.

Format: Documentation/bpf/btf.rst.  A part that is cut, points outside or has records too short is an ObjectError that
names the part; older objects that lack a part have none of it.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bpfcompat.btftypes import Types
from bpfcompat.errors import ObjectError

MAX_RECORDS = 1 << 20
_MAGIC = 0xEB9F
_HINT = "compile with clang -O2 -g -target bpf -c"


@dataclass(frozen=True, slots=True)
class FuncInfo:
    """At this offset in bytes of its section a function of this type begins."""

    offset: int
    type: int


@dataclass(frozen=True, slots=True)
class LineInfo:
    """From this offset in bytes on, instructions come of this line; file and text are offsets of names."""

    offset: int
    file: int
    text: int
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class CoreRelo:
    """At this offset in bytes of its section: the type's access by this string's offset, and the kind's number."""

    offset: int
    type: int
    access: int
    kind: int


@dataclass(frozen=True, slots=True)
class Ext:
    """All three parts, by the name of the section that they tell of; records as they stand there."""

    functions: Mapping[str, tuple[FuncInfo, ...]]
    lines: Mapping[str, tuple[LineInfo, ...]]
    relocations: Mapping[str, tuple[CoreRelo, ...]]


def read_ext(data: bytes, types: Types) -> Ext:
    """The section's parts; `types` is the object's own BTF, which has the names."""
    order = "<" if data[:2] == b"\x9f\xeb" else ">"
    try:
        magic, version, _, length = struct.unpack_from(f"{order}HBBI", data)
        if magic != _MAGIC or version != 1 or not 24 <= length <= len(data):
            raise ObjectError(f"btf.ext: expected version 1, got {magic:#x} version {version}, header {length}", _HINT)
        count = 3 if length >= 32 else 2  # the first compilers had no relocations
        words = struct.unpack_from(f"{order}{2 * count}I", data, 8)
        found = [
            dict(_sections(_part(data, length + words[2 * n], words[2 * n + 1], name), order, types, size, name))
            for n, (name, size) in enumerate(_PARTS[:count])
        ]
    except struct.error as error:
        raise ObjectError(f"btf.ext: damaged: {error}", hint=_HINT) from None
    functions, lines, relocations = found if count == 3 else [*found, {}]
    return Ext(
        {name: tuple(FuncInfo(*r) for r in rows) for name, rows in functions.items()},
        {name: tuple(LineInfo(at, f, t, word >> 10, word & 0x3FF) for at, f, t, word in rows)
         for name, rows in lines.items()},
        {name: tuple(CoreRelo(*r) for r in rows) for name, rows in relocations.items()},
    )  # fmt: skip


# Words of a record that are read; a record may be longer.
_PARTS = (("func_info", 2), ("line_info", 4), ("core_relo", 4))
_Rows = list[tuple[int, ...]]


def _part(data: bytes, start: int, size: int, name: str) -> bytes:
    if start + size > len(data):
        raise ObjectError(f"btf.ext: {name} ends at {start + size}, the section at {len(data)}", hint=_HINT)
    return data[start : start + size]


def _sections(part: bytes, order: str, types: Types, words: int, what: str) -> Iterator[tuple[str, _Rows]]:
    if not part:
        return
    (record,) = struct.unpack_from(f"{order}I", part)
    if not 4 * words <= record <= 4096:
        raise ObjectError(f"btf.ext: {what}: records of {record} bytes, at least {4 * words} expected", hint=_HINT)
    head, at = struct.Struct(f"{order}II"), 4
    while at < len(part):
        name, count = head.unpack_from(part, at)
        at += 8
        if count > MAX_RECORDS or at + count * record > len(part):
            raise ObjectError(f"btf.ext: {what}: {count} records at {at}, the part has {len(part)} bytes", hint=_HINT)
        shape = struct.Struct(f"{order}{words}I{record - 4 * words}x")
        yield types.text(name), list(shape.iter_unpack(part[at : at + count * record]))
        at += count * record
