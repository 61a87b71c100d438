"""A compiled BPF object as its ELF file tells it: what libbpf will find in it, read without libbpf or a kernel.

The facts only help to word a verdict.  Whether the object is any good is the real loader's to say, so an object that
cannot be read here still goes to the guest.  Nothing is ever decompressed, relocated or followed outside the bytes.
"""

import io
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from bpfcompat.errors import ObjectError
from bpfcompat.tame import is_odd

MAX_SIZE = 64 << 20
MAX_SECTIONS = 4096
MAX_SYMBOLS = 65536
MAX_NAME = 512
MAX_READS = 2_000_000  # a 640 KB object with DWARF takes some 8,000
MAX_LICENCE = 64

_MACHINES = ("EM_BPF", "EM_NONE")  # libbpf takes both: the first compilers had no number for BPF
_SHF_EXECINSTR = 0x4
_INSN = 8
_CALL = 0x85
_HINT = "compile with clang -O2 -g -target bpf -c"


@dataclass(frozen=True, slots=True)
class ProgramFacts:
    """An entry function: the section that decides its type (`?fentry/do_unlinkat`) and its symbol."""

    section: str
    name: str


@dataclass(frozen=True, slots=True)
class VariableFacts:
    """A global variable: its section (`.rodata`), and where in it, in bytes."""

    name: str
    section: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What is in an object.  All names are as the object writes them, in its symbol table's order.

    `byte_order` is `little` or `big`.  `maps` are of section `.maps`, `legacy_maps` of `maps` and `maps/NAME`, which
    libbpf 1.x does not load.  `externs` are undefined symbols: kfuncs, kernel symbols and Kconfig values.  `helpers`
    are the ids of all helpers that are called anywhere, ascending.  `licence` is "" when there is none.  `variables`
    are those of `.rodata`, `.data`, `.bss` and their like.  `odd` are names as they stand there that could be read for
    somebody's words (see tame): of symbols and sections, and of types those with a line break.
    """

    byte_order: str
    machine: str
    programs: tuple[ProgramFacts, ...]
    maps: tuple[str, ...]
    legacy_maps: tuple[str, ...]
    externs: tuple[str, ...]
    helpers: tuple[int, ...]
    licence: str
    has_btf: bool
    variables: tuple[VariableFacts, ...] = ()
    odd: tuple[str, ...] = ()


class _Metered(io.BytesIO):
    """Bytes that can be read only so often: whatever loop a crafted file starts, it ends."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > MAX_READS:
            raise ObjectError(f"elf: more than {MAX_READS} reads to take it apart: the file loops", hint=_HINT)
        return super().read(size)


@dataclass(frozen=True, slots=True)
class _Symbol:
    name: str
    kind: str
    section: int | str  # an index, or SHN_UNDEF and its like
    value: int = 0
    size: int = 0


def read_object(data: bytes) -> ObjectFacts:
    """The facts of an object's bytes; ObjectError that says what was expected and what came."""
    _check_start(data)
    try:
        return _read(ELFFile(_Metered(data)), data)
    except ObjectError:
        raise
    except Exception as error:  # pyelftools and construct raise a dozen kinds for bytes they cannot take
        said = str(error).strip() or type(error).__name__
        raise ObjectError(f"elf: expected a whole ELF object, got a damaged one: {said[:120]}", hint=_HINT) from error


def section_of(data: bytes, name: str) -> bytes | None:
    """The bytes of the first section of this name, or None; ObjectError for a file that cannot be taken apart."""
    _check_start(data)
    try:
        for section in _sections(ELFFile(_Metered(data))):
            if section.name == name and section.header.sh_type != "SHT_NOBITS":
                return data[section.header.sh_offset : section.header.sh_offset + section.header.sh_size]
    except ObjectError:
        raise
    except Exception as error:  # as in read_object
        raise ObjectError(f"elf: damaged: {str(error)[:120] or type(error).__name__}", hint=_HINT) from error
    return None


def facts_from_json(value: Mapping[str, Any]) -> ObjectFacts:
    """The facts of an object, from their JSON: what the tests keep of real objects, without variables."""
    lists = {k: tuple(v) for k, v in value.items() if isinstance(v, list)}
    programs = tuple(ProgramFacts(**p) for p in value["programs"])
    return ObjectFacts(**{**value, **lists, "programs": programs, "variables": ()})


def facts_or_fault(data: bytes) -> ObjectFacts | str:
    """The facts, or the sentence that says why there are none; never raises for bad bytes."""
    try:
        return read_object(data)
    except ObjectError as error:
        return error.message


def _check_start(data: bytes) -> None:
    if not data:
        raise ObjectError("elf: expected an ELF object, got an empty file", hint=_HINT)
    if len(data) > MAX_SIZE:
        raise ObjectError(f"elf: {len(data)} bytes, at most {MAX_SIZE} expected", hint="strip it: llvm-strip -g")
    if data[:4] != b"\x7fELF":
        raise ObjectError(f"elf: expected an ELF object, got a file that begins with {data[:16]!r}", hint=_HINT)
    if data[4:5] != b"\x02":
        raise ObjectError(f"elf: expected a 64-bit object, got ELF class {data[4:5].hex() or 'none'}", hint=_HINT)


def _read(elf: Any, data: bytes) -> ObjectFacts:
    machine = str(elf.header.e_machine)
    if machine not in _MACHINES:
        raise ObjectError(f"elf: expected machine EM_BPF, got {machine}", hint=_HINT)
    if elf.header.e_type != "ET_REL":
        raise ObjectError(f"elf: expected a relocatable object (ET_REL), got {elf.header.e_type}", hint=_HINT)
    sections = _sections(elf)
    tables = (section for section in sections if isinstance(section, SymbolTableSection))
    symbols = [symbol for table in tables for symbol in _symbols(table)]
    names = {index: clean_name(section.name) for index, section in enumerate(sections)}
    return ObjectFacts(
        byte_order="little" if elf.little_endian else "big",
        machine=machine,
        programs=tuple(_programs(sections, names, symbols)),
        maps=tuple(_objects_in(symbols, {index for index, name in names.items() if name == ".maps"})),
        legacy_maps=tuple(_objects_in(symbols, {index for index, name in names.items() if _is_legacy_maps(name)})),
        externs=tuple(symbol.name for symbol in symbols if symbol.section == "SHN_UNDEF" and symbol.name),
        helpers=tuple(sorted(_helpers(sections, data, elf.little_endian))),
        licence=_licence(sections, names, data),
        has_btf=".BTF" in names.values(),
        variables=tuple(_variables(symbols, names)),
        odd=tuple(dict.fromkeys(_odd(sections, names, data, "<" if elf.little_endian else ">"))),
    )


def _btf_strings(btf: bytes, order: str) -> bytes:
    """The names of .BTF (Documentation/bpf/btf.rst), as far as its header can be believed."""
    if len(btf) < 24:
        return b""
    header, _, _, start, size = struct.unpack_from(f"{order}5I", btf, 4)
    return btf[header + start :][:size]


def _odd(sections: list[Any], names: dict[int, str], data: bytes, order: str) -> Iterator[str]:
    left = len(data)  # as in _helpers
    for index, section in enumerate(sections):
        table = section.header.sh_type == "SHT_STRTAB"
        if table or names[index] == ".BTF":
            start, size = section.header.sh_offset, min(section.header.sh_size, left)
            left -= size
            held = data[start : start + size] if table else _btf_strings(data[start : start + size], order)
            found = (string.decode("utf-8", "replace") for string in held.split(b"\0"))
            # source lines stand among the names of types
            yield from filter(is_odd, found) if table else (string for string in found if "\n" in string)


def _sections(elf: Any) -> list[Any]:
    count = elf.num_sections()
    if count > MAX_SECTIONS:
        raise ObjectError(f"elf: {count} sections, at most {MAX_SECTIONS} expected", hint=_HINT)
    return [elf.get_section(index) for index in range(count)]


def _symbols(table: Any) -> Iterator[_Symbol]:
    count = table.num_symbols()
    if count > MAX_SYMBOLS:
        raise ObjectError(f"elf: {count} symbols, at most {MAX_SYMBOLS} expected", hint=_HINT)
    for symbol in table.iter_symbols():
        entry = symbol.entry
        yield _Symbol(clean_name(symbol.name), entry.st_info.type, entry.st_shndx, entry.st_value, entry.st_size)


def _programs(sections: list[Any], names: dict[int, str], symbols: list[_Symbol]) -> Iterator[ProgramFacts]:
    for symbol in symbols:
        index = symbol.section
        if symbol.kind != "STT_FUNC" or not isinstance(index, int) or not 0 <= index < len(sections):
            continue
        # .text holds subprograms, which libbpf copies into the programs that call them
        if sections[index].header.sh_flags & _SHF_EXECINSTR and names[index] != ".text":
            yield ProgramFacts(names[index], symbol.name)


def _helpers(sections: list[Any], data: bytes, little: bool) -> set[int]:
    found: set[int] = set()
    left = len(data)  # sections of a crafted file may overlap: no byte is paid for twice
    for section in sections:
        if section.header.sh_flags & _SHF_EXECINSTR and section.header.sh_type == "SHT_PROGBITS":
            start, size = section.header.sh_offset, min(section.header.sh_size, left)
            left -= size
            found.update(_called(data[start : start + size], little))
    return found


def _called(code: bytes, little: bool) -> Iterator[int]:
    """Helper ids called by instructions of 8 bytes: opcode, registers, offset, and the id as 32-bit immediate."""
    opcodes = code[::_INSN]
    at = opcodes.find(_CALL)
    while at >= 0 and (at + 1) * _INSN <= len(code):
        insn = code[at * _INSN : (at + 1) * _INSN]
        source = insn[1] >> 4 if little else insn[1] & 0xF
        if source == 0:  # 1 calls a subprogram, 2 a kfunc
            yield int.from_bytes(insn[4:], "little" if little else "big")
        at = opcodes.find(_CALL, at + 1)


def _objects_in(symbols: list[_Symbol], where: set[int]) -> Iterator[str]:
    for symbol in symbols:
        if symbol.section in where and symbol.kind in ("STT_OBJECT", "STT_NOTYPE") and symbol.name:
            yield symbol.name


def _variables(symbols: list[_Symbol], names: dict[int, str]) -> Iterator[VariableFacts]:
    for symbol in symbols:
        section = names.get(symbol.section, "") if isinstance(symbol.section, int) else ""
        if symbol.kind == "STT_OBJECT" and symbol.name and section.split(".")[1:2] in (["rodata"], ["data"], ["bss"]):
            yield VariableFacts(symbol.name, section, symbol.value, symbol.size)


def _is_legacy_maps(section: str) -> bool:
    return section == "maps" or section.startswith("maps/")


def _licence(sections: list[Any], names: dict[int, str], data: bytes) -> str:
    for index, section in enumerate(sections):
        if names[index] == "license":
            start, size = section.header.sh_offset, min(section.header.sh_size, MAX_LICENCE)
            return clean_name(data[start : start + size].split(b"\0")[0].decode("utf-8", "replace"))
    return ""


def clean_name(name: str) -> str:
    """A name fit for a terminal and a report: bounded, and without control characters."""
    return "".join(char if char.isprintable() else "�" for char in name[:MAX_NAME])
