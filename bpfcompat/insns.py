"""What an object's instructions refer to: helpers, kfuncs, maps, other functions; and the instruction set they need.

An instruction is 8 bytes (Documentation/bpf/standardization/instruction-set.rst): opcode, two registers, a 16-bit
offset, a 32-bit immediate; a load of 64 bits takes two.  What a call or a load refers to is in the relocations, as
clang writes them (Documentation/bpf/llvm_reloc.rst).  Pure and bounded; nothing is decoded twice, and what is not
looked for (most instructions) costs no Python at all.
"""

import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

from bpfcompat import sections as elf
from bpfcompat.errors import ObjectError
from bpfcompat.sections import Elf, Symbol, read_elf

INSN = 8
MAX_FUNCTIONS = 65536
MAX_WORK = 2_000_000  # references of all programs, those of a function once for each program that calls it
CALL, EXIT, JA, JA32, LOAD64 = 0x85, 0x95, 0x05, 0x06, 0x18


class To(StrEnum):
    """What a reference refers to."""

    HELPER = "helper"
    KFUNC = "kfunc"
    FUNCTION = "function"  # a call of a function of this object
    CALLBACK = "callback"  # the address of one
    MAP = "map"
    DATA = "data"
    EXTERN = "extern"  # a kernel symbol or Kconfig value


class Reference(NamedTuple):
    """Instruction `insn` of its function refers to something: a helper by `number`, all else by `name`.

    `weak`: it may be missing, and is then null.
    """

    insn: int
    to: To
    name: str
    number: int = 0
    weak: bool = False


class Function(NamedTuple):
    """A function: where it stands, in instructions, and what it refers to.  `entry`: libbpf makes a program of it."""

    name: str
    section: str
    start: int
    insns: int
    entry: bool
    references: tuple[Reference, ...]
    features: frozenset[str]


class Code:
    """All functions of an object, by section and place."""

    def __init__(self, taken: Elf, functions: tuple[Function, ...]) -> None:
        self.elf = taken
        self.functions = functions
        self._subprograms = {f.name: f for f in reversed(functions) if not f.entry}
        self._programs = {f.name: f for f in reversed(functions) if f.entry}
        self._layouts: dict[Function, tuple[tuple[int, Function], ...]] = {}
        self._work = 0

    def named(self, name: str) -> Function | None:
        """The function of this name, a program before another."""
        return self._programs.get(name) or self._subprograms.get(name)

    @property
    def programs(self) -> tuple[Function, ...]:
        """The functions that are programs."""
        return tuple(f for f in self.functions if f.entry)

    def bytes_of(self, function: Function) -> bytes:
        """A function's instructions."""
        whole = self.elf.contents(self.elf.named(function.section))
        return whole[function.start * INSN : (function.start + function.insns) * INSN]

    def layout(self, program: Function) -> tuple[tuple[int, Function], ...]:
        """The functions of a program as libbpf joins them: the instruction at which each starts in what is loaded.

        libbpf appends a function where it is first referred to, and what that one needs right after it.  ObjectError
        where programs and functions are so many that joining them has no end.
        """
        if program not in self._layouts:
            self._layouts[program] = tuple(self._joined(program))
        return self._layouts[program]

    def _joined(self, program: Function) -> Iterator[tuple[int, Function]]:
        placed, size, waiting = {program.name}, program.insns, [iter(self._callees(program))]
        yield 0, program
        while waiting:
            callee = next(waiting[-1], None)
            if callee is None:
                waiting.pop()
            elif callee.name not in placed:
                placed.add(callee.name)
                yield size, callee
                size += callee.insns
                waiting.append(iter(self._callees(callee)))

    def _callees(self, function: Function) -> list[Function]:
        self._work += len(function.references) + 1
        if self._work > MAX_WORK:
            raise ObjectError(f"elf: more than {MAX_WORK} references in all programs with what they call")
        names = (r.name for r in function.references if r.to in (To.FUNCTION, To.CALLBACK))
        return [self._subprograms[name] for name in names if name in self._subprograms]

    def at(self, program: Function, insn: int) -> tuple[Function, int] | None:
        """The function, and the instruction in it, of an instruction of a loaded program."""
        placed = self.layout(program)
        start, function = placed[bisect_right([at for at, _ in placed], insn) - 1]
        return (function, insn - start) if 0 <= insn - start < function.insns else None


def read_code(data: bytes) -> Code:
    """Decode an object; ObjectError for one that cannot be taken apart."""
    return code_of(read_elf(data))


def code_of(taken: Elf) -> Code:
    """Decode the instructions of an object that was taken apart."""
    found: list[Function] = []
    names = _Names(taken)
    for index, section in enumerate(taken.sections):
        if section.is_code and section.size:
            found.extend(_Section(taken, index, names).functions())
            if len(found) > MAX_FUNCTIONS:
                raise ObjectError(f"elf: more than {MAX_FUNCTIONS} functions")
    return Code(taken, tuple(found))


class _Names:
    """What stands where: symbols by section and offset in bytes."""

    def __init__(self, taken: Elf) -> None:
        self.functions = _places(taken, (elf.STT_FUNC,))
        self.objects = _places(taken, (elf.STT_OBJECT, elf.STT_NOTYPE))


class _Section:
    """One section of instructions."""

    def __init__(self, taken: Elf, index: int, names: _Names) -> None:
        self.elf, self.index, self.section, self.names = taken, index, taken.sections[index], names
        self.code = taken.contents(self.section)
        self.little = taken.order == "<"
        self.immediates = numbers("i", self.code, self.little)[1::2]
        last = len(taken.symbols)
        self.symbols = {
            at: taken.symbols[number] for at, number in taken.relocations(index).items() if 0 < number < last
        }

    def functions(self) -> Iterator[Function]:
        symbols = [s for s in self.elf.symbols if s.section == self.index and s.type == elf.STT_FUNC]
        symbols.sort(key=lambda s: s.value)
        references = list(self._references())
        places = [r.insn for r in references]
        for symbol in symbols:
            start, count = symbol.value // INSN, symbol.size // INSN
            if (start + count) * INSN > len(self.code):
                continue  # a symbol that points outside: what it names is not here
            own = references[bisect_right(places, start - 1) : bisect_right(places, start + count - 1)]
            yield Function(
                symbol.name,
                self.section.name,
                start,
                count,
                self.section.name != ".text",
                tuple(Reference(r.insn - start, *r[1:]) for r in own) if start else tuple(own),
                features(self.code[start * INSN : (start + count) * INSN], self.little),
            )

    def _references(self) -> Iterator[Reference]:
        opcodes, symbols, calls = self.code[: len(self.immediates) * INSN : INSN], self.symbols, self.code[1::INSN]
        plain = 0xF0 if self.little else 0x0F  # where a call says what it calls; of a helper nothing is set
        for at in sorted((*_all(opcodes, CALL), *_all(opcodes, LOAD64))):
            symbol = symbols.get(at * INSN)
            if opcodes[at] == CALL:
                if symbol is None and not calls[at] & plain:
                    yield Reference(at, To.HELPER, "", self.immediates[at])
                elif found := self._call(at, symbol):
                    yield found
            elif symbol is not None and (found := self._load(at, symbol)):
                yield found

    def _call(self, at: int, symbol: Symbol | None) -> Reference | None:
        registers, imm = self.code[at * INSN + 1], self.immediates[at]
        if symbol is not None and symbol.section == elf.SHN_UNDEF:
            return Reference(at, To.KFUNC, symbol.name, weak=symbol.binding == elf.STB_WEAK)
        if (registers >> 4 if self.little else registers & 0xF) == 1:
            place = (self.index, at + imm + 1) if symbol is None else (symbol.section, symbol.value // INSN + imm + 1)
            return Reference(at, To.FUNCTION, self._function_at(*place))
        return None

    def _load(self, at: int, symbol: Symbol) -> Reference | None:
        if symbol.section == elf.SHN_UNDEF:
            return Reference(at, To.EXTERN, symbol.name, weak=symbol.binding == elf.STB_WEAK)
        if symbol.section >= len(self.elf.sections):
            return None
        imm, section = self.immediates[at], self.elf.sections[symbol.section]
        if section.is_code:
            return Reference(at, To.CALLBACK, self._function_at(symbol.section, (symbol.value + imm) // INSN))
        if section.name in (".maps", "maps") or section.name.startswith("maps/"):
            return Reference(
                at, To.MAP, symbol.name or self.names.objects.get((symbol.section, symbol.value + imm), "")
            )
        return Reference(at, To.DATA, symbol.name or section.name)

    def _function_at(self, section: int, insn: int) -> str:
        return self.names.functions.get((section, insn * INSN), "")


def numbers(kind: str, code: bytes, little: bool) -> "array[int]":
    """All numbers of a kind (`h`: 16 bits, `i`: 32), as array names it, in instructions that are whole."""
    found = array(kind, code[: len(code) - len(code) % INSN])
    if little != (sys.byteorder == "little"):
        found.byteswap()
    return found


def _all(opcodes: bytes, opcode: int) -> Iterator[int]:
    at = opcodes.find(opcode)
    while at >= 0:
        yield at
        at = opcodes.find(opcode, at + 1)


def _places(taken: Elf, kinds: Iterable[int]) -> dict[tuple[int, int], str]:
    return {(s.section, s.value): s.name for s in reversed(taken.symbols) if s.type in kinds and s.name}


# --- instruction sets

# Opcodes by the version of clang's -mcpu that first emits them; the kernel takes v2 from 4.14, v3 from 5.1, v4 from 6.6
# (Documentation/bpf/bpf_design_QA.rst and the release tags of kernel/bpf/verifier.c).
FEATURES: dict[str, str] = {
    "jlt": "v2", "jmp32": "v3", "atomic": "v3", "sdiv": "v4", "movsx": "v4", "ldsx": "v4", "bswap": "v4", "gotol": "v4",
    "load_acquire": "v4", "addr_space_cast": "arena", "may_goto": "may_goto",
}  # fmt: skip
_JLT = bytes((0xA5, 0xAD, 0xB5, 0xBD, 0xC5, 0xCD, 0xD5, 0xDD))
_JMP32 = bytes(code | 0x06 for code in range(0x10, 0xE0, 0x10)) + bytes(code | 0x0E for code in range(0x10, 0xE0, 0x10))
_BY_OPCODE = {
    "jlt": _JLT,
    "jmp32": bytes(set(_JMP32) - {0x86, 0x8E, 0x96, 0x9E}),
    "ldsx": bytes((0x81, 0x89, 0x91)),
    "bswap": b"\xd7",
    "gotol": b"\x06",
    "may_goto": b"\xe5",
}
_SIGNED = frozenset((0x37, 0x3F, 0x97, 0x9F, 0x34, 0x3C, 0x94, 0x9C))  # div and mod: signed where the offset is 1
_MOVES = frozenset((0xBF, 0xBC))
_ATOMIC = frozenset((0xDB, 0xC3, 0xD3, 0xCB))
_MARK_OFFSET = bytes(int(op in _SIGNED | _MOVES) for op in range(256))
_MARK_ANY = bytes(int(value != 0) for value in range(256))


def features(code: bytes, little: bool = True) -> frozenset[str]:
    """What of newer instruction sets a function uses; names of FEATURES."""
    opcodes = code[::INSN]
    used = set(opcodes)
    found = {name for name, codes in _BY_OPCODE.items() if not used.isdisjoint(codes)}
    if not used.isdisjoint(_ATOMIC):
        found.update(_atomics(code, opcodes, little))
    if not used.isdisjoint(_SIGNED | _MOVES):
        found.update(_by_offset(code, opcodes, little))
    return frozenset(found)


def isa(found: Iterable[str]) -> str:
    """The oldest -mcpu that has these features."""
    return max((version for f in found if (version := FEATURES.get(f, "")).startswith("v")), default="v1")


def _atomics(code: bytes, opcodes: bytes, little: bool) -> Iterator[str]:
    for opcode in _ATOMIC:
        for at in _all(opcodes, opcode):
            imm = int.from_bytes(code[at * INSN + 4 : at * INSN + 8], "little" if little else "big")
            if imm:  # 0 is the addition of v1
                yield "load_acquire" if imm in (0x100, 0x110) else "atomic"


def _by_offset(code: bytes, opcodes: bytes, little: bool) -> Iterator[str]:
    """Moves, divisions and remainders say what is new of them by an offset that once was always 0."""
    low = code[2::INSN] if little else code[3::INSN]
    marked = int.from_bytes(opcodes[: len(low)].translate(_MARK_OFFSET)) & int.from_bytes(low.translate(_MARK_ANY))
    places = marked.to_bytes(len(low)) if marked else b""
    for at in _all(places, 1):
        opcode, offset = opcodes[at], low[at]
        if opcode in _SIGNED:
            yield "sdiv"
        elif offset == 1:
            yield "addr_space_cast"
        else:
            yield "movsx"
