"""What instructions refer to, and in which order libbpf joins functions."""

import struct

import pytest

from bpfcompat.elf import read_object
from bpfcompat.errors import ObjectError
from bpfcompat.insns import Function, To, code_of, features, isa, read_code
from bpfcompat.sections import printable, read_elf
from tests.compiling import compiled
from tests.unit.test_elf import EXEC, FUNC, Section, elf

SOURCE = """
struct { __uint(type, 1); __uint(max_entries, 4); __type(key, u32); __type(value, u64); } counts SEC(".maps");
const volatile u32 limit = 7;
u64 total;
extern int kernel_does(int what) KSYM;
extern int kernel_may(int what) WEAK KSYM;
extern const int kernel_has KSYM;

static NOINLINE u64 now(void) { return bpf_ktime_get_ns() + total; }
static NOINLINE u64 deeper(u32 n) { u64 *found = bpf_map_lookup_elem(&counts, &n); return found ? *found : now(); }
static long each(u32 n, void *context) { total += n; return 0; }
NOINLINE u64 outer(u32 n) { return deeper(n) + limit; }

SEC("tp/a/b") int first(void *ctx) { bpf_loop(3, each, 0, 0); return outer(1) + now(); }
SEC("?kprobe/x") int second(void *ctx) { return kernel_may ? kernel_may(1) : kernel_does(2) + *(int *)&kernel_has; }
"""


def one(name: str) -> Function:
    """A function of SOURCE."""
    found = read_code(compiled(SOURCE)).named(name)
    assert found is not None
    return found


def named(function: Function) -> set[tuple[str, str | int]]:
    """What a function refers to, without places."""
    return {(str(r.to), r.name or r.number) for r in function.references}


def test_references() -> None:
    """Helpers by number; maps, data, functions, callbacks, kfuncs and kernel symbols by name."""
    assert named(one("first")) == {("helper", 181), ("callback", "each"), ("function", "outer"), ("function", "now")}
    assert named(one("second")) == {
        *(("kfunc", "kernel_may"), ("extern", "kernel_may"), ("kfunc", "kernel_does"), ("extern", "kernel_has")),
    }
    assert named(one("deeper")) == {("helper", 1), ("map", "counts"), ("function", "now")}
    assert named(one("outer")) == {("function", "deeper"), ("data", "limit")}
    assert named(one("now")) == {("helper", 5), ("data", "total")}


def test_weak() -> None:
    """What may be missing is told from what must be there."""
    assert {r.name for r in one("second").references if r.weak} == {"kernel_may"}


def test_layout() -> None:
    """Functions follow a program where it first refers to them, each with its own right behind it."""
    code, first = read_code(compiled(SOURCE)), one("first")
    placed = code.layout(first)
    assert [f.name for _, f in placed] == ["first", "each", "outer", "deeper", "now"]
    ends = [0, *(start + f.insns for start, f in placed)]
    assert [start for start, _ in placed] == ends[:-1]
    assert code.at(first, placed[3][0] + 2) == (placed[3][1], 2)
    assert code.at(first, ends[-1]) is None


def test_entries() -> None:
    """A program is a function outside .text, optional or not."""
    assert [f.name for f in read_code(compiled(SOURCE)).programs] == ["first", "second"]


@pytest.mark.parametrize("flags", [(), ("-target", "bpfeb")], ids=["little", "big"])
def test_two_readers(flags: tuple[str, ...]) -> None:
    """The quick reader and the full one say the same of programs, externs and helpers, in either byte order."""
    data = compiled(SOURCE, *flags)
    facts, code = read_object(data), read_code(data)
    assert sorted((f.section, f.name) for f in code.programs) == sorted((p.section, p.name) for p in facts.programs)
    helpers = {r.number for f in code.functions for r in f.references if r.to is To.HELPER}
    assert tuple(sorted(helpers)) == facts.helpers == (1, 5, 181)
    assert [s.name for s in code.elf.symbols if s.section == 0 and s.name] == list(facts.externs)


def insn(opcode: int, registers: int = 0x10, offset: int = 0, imm: int = 0) -> bytes:
    """One instruction of a little-endian object."""
    return struct.pack("<BBhi", opcode, registers, offset, imm)


@pytest.mark.parametrize(
    ("code", "found", "version"),
    [
        (insn(0xBF) + insn(0x95), set(), "v1"),
        (insn(0xDB, imm=0), set(), "v1"),
        (insn(0xAD), {"jlt"}, "v2"),
        (insn(0x16), {"jmp32"}, "v3"),
        (insn(0xDB, imm=0x01), {"atomic"}, "v3"),
        (insn(0x06, imm=9), {"gotol"}, "v4"),
        (insn(0x91), {"ldsx"}, "v4"),
        (insn(0xD7, imm=16), {"bswap"}, "v4"),
        (insn(0xB7) + insn(0xBF, offset=8), {"movsx"}, "v4"),
        (insn(0x3F, offset=1), {"sdiv"}, "v4"),
        (insn(0xDB, imm=0x100), {"load_acquire"}, "v4"),
        (insn(0xBF, offset=1), {"addr_space_cast"}, "v1"),
        (insn(0xE5, 0, 3), {"may_goto"}, "v1"),
    ],
)
def test_instruction_set(code: bytes, found: set[str], version: str) -> None:
    """What a newer -mcpu emits is known by opcode, offset or immediate."""
    assert features(code) == found
    assert isa(features(code)) == version


def test_outside() -> None:
    """A function whose symbol points outside its section is none; a file that is cut is an error with words."""
    program = b"\x95" + bytes(7)
    assert [f.name for f in read_code(elf([Section("xdp", program, EXEC)], [("whole", FUNC, 1)])).functions] == [
        "whole"
    ]
    short = elf([Section("xdp", program[:7], EXEC)], [("outside", FUNC, 1)])
    assert code_of(read_elf(short)).functions == ()
    with pytest.raises(ObjectError, match="headers point outside"):
        read_code(short[:-70])


@pytest.mark.parametrize("name", ["plain", "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "tab\there"])
def test_names_of_a_table(name: str) -> None:
    """A symbol's name is the same whether its table is looked at once or each name by itself."""
    taken = read_elf(elf([Section("xdp", b"\x95" + bytes(7), EXEC)], [(name, FUNC, 1), ("other", FUNC, 1)]))
    assert [s.name for s in taken.symbols if s.name] == [printable(name), "other"]
