"""An ELF object taken apart with struct alone: sections, symbols, relocations.  Either byte order, bounded, quick.

elf.py tells the classifier what an object is, with a full ELF reader that alone takes 50 ms to import.  This is for the
look before any boot, which has 100 ms for everything; a test holds that both say the same of every object.
Format: elf(5).  What is not as the format says is an ObjectError.
"""

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from bpfcompat.errors import ObjectError

MAX_SIZE = 64 << 20
MAX_SECTIONS = 4096
MAX_SYMBOLS = 65536
MAX_RELOCATIONS = 1 << 20
MAX_NAME = 512

SHT_PROGBITS, SHT_SYMTAB, SHT_RELA, SHT_NOBITS, SHT_REL = 1, 2, 4, 8, 9
SHF_EXECINSTR = 0x4
STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_SECTION = 0, 1, 2, 3
STB_LOCAL, STB_WEAK = 0, 2
SHN_UNDEF = 0

_HINT = "compile with clang -O2 -g -target bpf -c"
_ET_REL = 1
_MACHINES = (0, 247)  # EM_NONE of the first compilers, EM_BPF


class Section(NamedTuple):
    """One section: `offset` and `size` in bytes, `link` and `info` as its type means them."""

    name: str
    type: int
    flags: int
    offset: int
    size: int
    link: int
    info: int

    @property
    def is_code(self) -> bool:
        """True for a section of instructions."""
        return bool(self.flags & SHF_EXECINSTR) and self.type == SHT_PROGBITS


class Symbol(NamedTuple):
    """One symbol; `section` is an index, 0 for what another file must define, or from 0xff00 on none."""

    name: str
    type: int
    binding: int
    section: int
    value: int
    size: int


class Elf(NamedTuple):
    """A file's parts.  `order` is `<` or `>`, as struct writes it."""

    data: bytes
    order: str
    machine: int
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]

    def named(self, name: str) -> Section | None:
        """The first section of this name."""
        return next((s for s in self.sections if s.name == name), None)

    def contents(self, section: Section | None) -> bytes:
        """A section's bytes; none for one that is not there or has no bytes in the file."""
        if section is None or section.type == SHT_NOBITS:
            return b""
        return self.data[section.offset : section.offset + section.size]

    def relocations(self, index: int) -> dict[int, int]:
        """Of one section: offset in bytes to the number of the symbol that belongs there."""
        found: dict[int, int] = {}
        for section in self.sections:
            if section.info == index and section.type in (SHT_REL, SHT_RELA):
                found.update(self._entries(section, MAX_RELOCATIONS - len(found)))
        return found

    def _entries(self, section: Section, most: int) -> Iterator[tuple[int, int]]:
        shape = struct.Struct(f"{self.order}{'QQ' if section.type == SHT_REL else 'QQq'}")
        body = self.contents(section)
        if len(body) // shape.size > most:
            raise ObjectError(f"elf: more than {MAX_RELOCATIONS} relocations of one section", hint=_HINT)
        for entry in shape.iter_unpack(body[: len(body) - len(body) % shape.size]):
            yield entry[0], entry[1] >> 32


def read_elf(data: bytes) -> Elf:
    """Take an object apart; ObjectError that says what was expected and what came."""
    _check_start(data)
    order = "<" if data[5] == 1 else ">"
    try:
        kind, machine = struct.unpack_from(f"{order}HH", data, 16)
        if kind != _ET_REL or machine not in _MACHINES:
            raise ObjectError(f"elf: expected type 1 and machine 247 (BPF), got type {kind} machine {machine}", _HINT)
        sections = _sections(data, order)
        symbols = tuple(_symbols(data, order, sections))
    except (struct.error, OverflowError):
        said = f"got {len(data)} bytes, and its headers point outside of them"
        raise ObjectError(f"elf: expected a whole ELF object, {said}", hint=_HINT) from None
    return Elf(data, order, machine, sections, symbols)


def _check_start(data: bytes) -> None:
    if len(data) > MAX_SIZE:
        raise ObjectError(f"elf: {len(data)} bytes, at most {MAX_SIZE} expected", hint="strip it: llvm-strip -g")
    if data[:4] != b"\x7fELF":
        raise ObjectError(f"elf: expected an ELF object, got a file that begins with {data[:16]!r}", hint=_HINT)
    if data[4:5] != b"\x02" or data[5:6] not in (b"\x01", b"\x02"):
        raise ObjectError(f"elf: expected a 64-bit object, got class and byte order {data[4:6].hex()}", hint=_HINT)


def _sections(data: bytes, order: str) -> tuple[Section, ...]:
    shape = struct.Struct(f"{order}IIQQQQIIQQ")
    (table,) = struct.unpack_from(f"{order}Q", data, 0x28)
    entry, count, names_at = struct.unpack_from(f"{order}HHH", data, 0x3A)
    if table == 0:
        return ()
    first = shape.unpack_from(data, table)
    count, names_at = count or first[5], first[6] if names_at == 0xFFFF else names_at
    if count > MAX_SECTIONS:
        raise ObjectError(f"elf: {count} sections, at most {MAX_SECTIONS} expected", hint=_HINT)
    if entry < shape.size or names_at >= count:
        raise ObjectError(f"elf: section headers of {entry} bytes, {count} of them, names in {names_at}", hint=_HINT)
    raw = [shape.unpack_from(data, table + n * entry) for n in range(count)]
    names_from, names_size = raw[names_at][4], raw[names_at][5]
    names = data[names_from : names_from + names_size]
    return tuple(Section(text_at(names, r[0]), r[1], r[2], r[4], r[5], r[6], r[7]) for r in raw)


def _symbols(data: bytes, order: str, sections: tuple[Section, ...]) -> Iterator[Symbol]:
    table = next((s for s in sections if s.type == SHT_SYMTAB), None)
    if table is None:
        return
    shape = struct.Struct(f"{order}IBBHQQ")
    body = data[table.offset : table.offset + table.size]
    if len(body) // shape.size > MAX_SYMBOLS:
        raise ObjectError(f"elf: {len(body) // shape.size} symbols, at most {MAX_SYMBOLS} expected", hint=_HINT)
    strings = sections[table.link] if table.link < len(sections) else None
    names = data[strings.offset : strings.offset + strings.size] if strings else b""
    named = _names_of(names)
    for name, info, _, section, value, size in shape.iter_unpack(body[: len(body) - len(body) % shape.size]):
        yield Symbol(named(name), info & 0xF, info >> 4, section, value, size)


def _names_of(strings: bytes) -> Callable[[int], str]:
    """text_at() of one table; where nothing in it is to be replaced, which one look tells, without looking at each."""
    table = strings.decode("ascii", "replace")
    if not table.replace("\0", "").isprintable() or not strings.isascii():
        return lambda at: text_at(strings, at)

    def name(at: int) -> str:
        end = table.find("\0", at, at + MAX_NAME)
        return table[at : end if end >= 0 else at + MAX_NAME]

    return name


def text_at(strings: bytes, at: int) -> str:
    """A name by its offset in a string table; bounded, and without control characters."""
    end = strings.find(b"\0", at, at + MAX_NAME)
    return printable(strings[at : end if end >= 0 else at + MAX_NAME].decode("utf-8", "replace"))


def printable(text: str) -> str:
    """The text, with a replacement in the place of each character that a terminal should not see."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "�" for c in text)
