"""CO-RE relocations by libbpf's rules: one object, one kernel, both made of C that says what it is about."""

import pytest

from bpfcompat.btfindex import KernelTypes, essential, make_index
from bpfcompat.corelo import Outcome, RelocationKind, Resolved, Resolver, relocations
from bpfcompat.errors import ObjectError
from bpfcompat.insns import read_code
from bpfcompat.lineinfo import Debug
from tests.compiling import compiled

LOCAL = """
struct inner { u32 deep; u32 gone_deep; } CORE;
struct task___mine {
	u32 pid;
	struct inner in;
	char comm[16];
	struct { u32 hidden; };
	u32 bits:3;
	int sbits:5;
	u32 state;
	u32 widened;
	int narrowed;
	struct task___mine *next;
	int ptr_now;
	u32 rows[4];
} CORE;
struct nowhere { int x; } CORE;
struct forked { u32 id; } CORE;
enum color { RED = 1, GREEN___v2 = 2, BLUE = 3, VIOLET = 9 };
typedef u32 number;

SEC("kprobe/x") int reads(struct task___mine *t) { return t->pid + t->in.deep + t->hidden + t->next->pid; }
SEC("kprobe/x") int elements(struct task___mine *t) { return t->comm[5] + t[1].pid + t->rows[1] + t->rows[3]; }
SEC("kprobe/x") int gone(struct task___mine *t) { return t->state + t->in.gone_deep + t->ptr_now; }
SEC("kprobe/x") int sizes(struct task___mine *t) { return t->widened + t->narrowed; }
SEC("kprobe/x") int nothing(struct nowhere *t) { return t->x; }
SEC("kprobe/x") int twice(struct forked *t) { return t->id; }
SEC("kprobe/x") u64 infos(struct task___mine *t)
{
	return FIELD(t->pid, 2) + (FIELD(t->state, 2) << 1) + FIELD(t->comm, 1) + FIELD(t->bits, 0) + FIELD(t->bits, 1)
		+ FIELD(t->bits, 4) + FIELD(t->bits, 5) + FIELD(t->sbits, 3) + FIELD(t->bits, 3);
}
SEC("kprobe/x") u64 types(void *ctx)
{
	return TYPE(struct inner, 0) + TYPE(struct inner, 1) + TYPE(struct nowhere, 0) + TYPE(struct nowhere, 1)
		+ TYPE_ID(struct inner, 0) + TYPE_ID(struct inner, 1) + TYPE(number, 0);
}
SEC("kprobe/x") u64 enums(void *ctx)
{
	return ENUMVAL(enum color, RED, 1) + ENUMVAL(enum color, GREEN___v2, 1) + ENUMVAL(enum color, BLUE, 0)
		+ ENUMVAL(enum color, VIOLET, 1) + ENUMVAL(enum color, VIOLET, 0);
}
"""

KERNEL = """
typedef u32 number;
typedef u32 uid;
struct inner { u64 before; uid deep; };
struct task {
	u64 flags;
	const volatile number pid;
	union { struct { u32 other; u32 hidden; }; u64 both; };
	struct inner in;
	char comm[8];
	u32 pad:6, bits:3;
	int sbits:5;
	u32 __state;
	u64 widened;
	long narrowed;
	struct task *next;
	void *ptr_now;
	u32 rows[2];
};
struct forked { u64 pad; u32 id; };
struct forked___other { u32 id; };
enum color { RED = 5, GREEN = 6, BLUE___v3 = 7 };
struct task a; struct forked b; struct forked___other c; enum color d; uid e;
"""


def kernel() -> KernelTypes:
    """The types of KERNEL."""
    taken = read_code(compiled(KERNEL)).elf
    return KernelTypes(taken.contents(taken.named(".BTF")))


def resolved(function: str = "") -> list[Resolved]:
    """The relocations of LOCAL, or of one function of it, against KERNEL."""
    debug = Debug(read_code(compiled(LOCAL)))
    return [r for r in Resolver(debug, kernel()).all(relocations(debug)) if function in ("", r.local.function)]


def told(function: str) -> list[tuple[str, str, tuple[int, int] | None]]:
    """Kind, spec and values of a function's relocations; None where the instruction is poisoned."""
    return [(r.local.word, r.local.spec, None if r.poisoned else r.values) for r in resolved(function)]


def test_fields() -> None:
    """Through a flavour, typedefs and qualifiers, a nested structure, an anonymous union and a pointer."""
    assert set(told("reads")) == {
        ("byte_off", "struct task___mine.pid", (0, 8)),
        ("byte_off", "struct task___mine.in.deep", (4, 32)),
        ("byte_off", "struct task___mine.hidden", (28, 20)),
        ("byte_off", "struct task___mine.next", (48, 72)),
    }


def test_elements() -> None:
    """Elements within the kernel's bounds; the second of an array is offset by the kernel's size of the first."""
    assert set(told("elements")) == {
        ("byte_off", "struct task___mine.comm[5]", (17, 45)),
        ("byte_off", "struct task___mine[1].pid", (80, 104)),
        ("byte_off", "struct task___mine.rows[1]", (64, 92)),
        ("byte_off", "struct task___mine.rows[3]", None),
    }


def test_missing() -> None:
    """What the kernel lacks is named, with the type that lacks it and what it has that is like it."""
    found = {r.local.spec: (r.outcome, r.where, r.wanted, r.closest) for r in resolved("gone")}
    assert found == {
        "struct task___mine.state": (Outcome.MISSING, "struct task", "state", ("__state",)),
        "struct task___mine.in.gone_deep": (Outcome.MISSING, "struct inner", "gone_deep", ("deep",)),
        "struct task___mine.ptr_now": (Outcome.MISSING, "struct task", "ptr_now", ("ptr_now",)),
    }
    (nothing,) = resolved("nothing")
    assert (nothing.outcome, nothing.where, nothing.wanted) == (Outcome.MISSING, "", "nowhere")


def test_ambiguous() -> None:
    """Two types of the name that disagree are no answer."""
    assert [(r.outcome, r.poisoned) for r in resolved("twice")] == [(Outcome.AMBIGUOUS, True)]


def test_sizes() -> None:
    """A load of a field that grew is adjusted if it is unsigned, and refused if it is signed."""
    assert [r.poisoned for r in resolved("sizes")] == [False, True]
    assert "4 bytes here, 8 in the kernel" in resolved("sizes")[1].fault


def test_field_infos() -> None:
    """Existence, sizes, signedness, and how to load a bit field."""
    compilers_own = ("byte_sz", "struct task___mine.bits")  # is of their choice before, and libbpf's after
    assert {row for row in told("infos") if row[:2] != compilers_own} == {
        ("field_exists", "struct task___mine.pid", (1, 1)),
        ("field_exists", "struct task___mine.state", (1, 0)),
        ("byte_sz", "struct task___mine.comm", (16, 8)),
        ("byte_off", "struct task___mine.bits", (32, 48)),
        ("lshift_u64", "struct task___mine.bits", (61, 55)),
        ("rshift_u64", "struct task___mine.bits", (61, 61)),
        ("signed", "struct task___mine.sbits", (1, 1)),
        ("signed", "struct task___mine.bits", (0, 0)),
    }


def test_a_bit_field_as_written() -> None:
    """Of a bit field the value before is what the compiler wrote into the instruction, as libbpf takes and tells it."""
    (found,) = (r for r in resolved("infos") if r.local.word == "byte_sz" and r.local.spec.endswith(".bits"))
    elf = read_code(compiled(LOCAL)).elf
    code = elf.contents(elf.named(found.local.section))
    functions = {f.name: f for f in read_code(compiled(LOCAL)).functions}
    at = 8 * (functions["infos"].start + found.local.insn)
    assert found.values == (int.from_bytes(code[at + 4 : at + 8], "little"), 4)


def test_types() -> None:
    """Types are there or not, with their size and id; what is not there is 0, never poison."""
    target = kernel()
    ids = {name: next(target.named(name)) for name in ("inner", "number")}
    found = {(word, spec): values for word, spec, values in told("types")}
    own = found["local_type_id", "struct inner"]
    assert own is not None and own[0] == own[1] > 0
    assert found["target_type_id", "struct inner"] == (own[0], ids["inner"])
    assert found["type_exists", "struct inner"] == (1, 1)
    assert found["type_size", "struct inner"] == (8, 16)
    assert found["type_exists", "struct nowhere"] == (1, 0)
    assert found["type_size", "struct nowhere"] == (4, 0)
    assert found["type_exists", "typedef number"] == (1, 1)


def test_enumerators() -> None:
    """Enumerators by name without flavour, on both sides; a missing value is poison, a missing existence 0."""
    assert set(told("enums")) == {
        ("enumval_value", "enum color::RED = 1", (1, 5)),
        ("enumval_value", "enum color::GREEN___v2 = 2", (2, 6)),
        ("enumval_exists", "enum color::BLUE = 3", (1, 1)),
        ("enumval_value", "enum color::VIOLET = 9", None),
        ("enumval_exists", "enum color::VIOLET = 9", (1, 0)),
    }


@pytest.mark.parametrize(("name", "same"), [("task___mine", False), ("inner", False), ("forked", True)])
def test_matches(name: str, same: bool) -> None:
    """type_matches wants all members that the object declares; clang 14 cannot ask, so its question is reworded."""
    debug = Debug(read_code(compiled(LOCAL)))
    local = next(r for r in relocations(debug) if r.access and r.spec.startswith(f"struct {name}"))
    assert local.access is not None
    asked = local._replace(kind=RelocationKind.TYPE_MATCHES, access=local.access._replace(steps=(), bits=0))
    (found,) = Resolver(debug, kernel()).all([asked])
    assert (found.outcome, found.values) == ((Outcome.FOUND, (1, 1)) if same else (Outcome.MISSING, (1, 0)))


def test_place() -> None:
    """A relocation is placed in its function, and of code that is not there there is none."""
    found = resolved("nothing")[0].local
    assert (found.function, found.section, found.insn < 3) == ("nothing", "kprobe/x", True)
    assert relocations(Debug(read_code(compiled('SEC("xdp") int pass(void *ctx) { return 2; }', "-g0")))) == ()


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("a___b", "a"),
        ("a___b___c", "a___b"),
        ("___a", "___a"),
        ("a___", "a___"),
        ("a____b", "a____b"),
        ("a__b", "a__b"),
    ],
)
def test_flavours(name: str, bare: str) -> None:
    """A flavour follows three underscores between two characters that are none; the last one counts."""
    assert essential(name) == bare


def test_index() -> None:
    """With its index a kernel's types are the same; an index of other bytes is refused."""
    taken = read_code(compiled(KERNEL)).elf
    data = taken.contents(taken.named(".BTF"))
    quick, slow = KernelTypes(data, make_index(data)), KernelTypes(data)
    assert [quick[n] for n in range(1, len(quick))] == [slow[n] for n in range(1, len(slow))]
    assert quick.candidates("forked___mine") == [*quick.named("forked"), *quick.named("forked___other")]
    with pytest.raises(ObjectError, match="index"):
        KernelTypes(data + b"x", make_index(data))
