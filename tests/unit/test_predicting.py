"""Predictions: what is certain, what is only a doubt, and that a branch makes the difference."""

import json
import struct
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat import flow, sections
from bpfcompat.anatomy import meaning, read_anatomy
from bpfcompat.btfindex import KernelTypes
from bpfcompat.insns import Function, read_code
from bpfcompat.inspecting import look, oldest, text, to_json
from bpfcompat.predicting import NOTICE, Obstacle, Prediction, Target, Word, helper_name, predict, upstream
from tests.compiling import compiled

KERNEL = """
enum bpf_func_id { BPF_FUNC_unspec, BPF_FUNC_map_lookup_elem, BPF_FUNC_ktime_get_ns = 5, __BPF_FUNC_MAX_ID };
enum bpf_map_type { BPF_MAP_TYPE_UNSPEC, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY, __MAX_BPF_MAP_TYPE };
enum bpf_prog_type { BPF_PROG_TYPE_UNSPEC, BPF_PROG_TYPE_KPROBE = 2, BPF_PROG_TYPE_XDP = 6,
	BPF_PROG_TYPE_CGROUP_SOCK_ADDR = 18, BPF_PROG_TYPE_LSM = 29, BPF_PROG_TYPE_TRACING = 26 };
enum bpf_attach_type { BPF_XDP = 37, BPF_LSM_MAC = 27, BPF_TRACE_FENTRY = 24 };
struct task { u32 pid; };
enum bpf_func_id a; enum bpf_map_type b; enum bpf_prog_type c; enum bpf_attach_type d; struct task e;
int bpf_lsm_open(void) { return 0; }
int known(void) { return 0; }
"""
OTHER = "struct task { u32 pid, gone; } CORE;"


def target(**changes: object) -> Target:
    """KERNEL as a kernel without modules and without a word of its configuration."""
    taken = read_code(compiled(KERNEL)).elf
    known = {"types": KernelTypes(taken.contents(taken.named(".BTF"))), "homes": {}, **changes}
    return Target("small", "5.8.0", **known)  # type: ignore[arg-type]


def predicted(source: str, declared: bool = False, **changes: object) -> Prediction:
    """What is predicted of a source's object."""
    return predict(read_anatomy(compiled(source)), target(**changes), declared)


def told(source: str, **changes: object) -> list[tuple[str, str, bool]]:
    """Cause, subject and certainty of each obstacle."""
    return [(o.cause, o.subject, o.certain) for o in predicted(source, **changes).obstacles]


@pytest.mark.parametrize(
    ("body", "certain"),
    [
        ("return bpf_loop(1, 0, 0, 0);", True),
        ("if (bpf_ktime_get_ns()) return 0; return bpf_loop(1, 0, 0, 0);", False),
        ("u64 n = bpf_ktime_get_ns(); if (n & 1) n++; bpf_loop(n, 0, 0, 0); return n;", True),
        ("for (int i = 0; i < 5; i++) bpf_loop(bpf_ktime_get_ns(), 0, 0, 0); return 0;", True),
        ("return has ? bpf_loop(1, 0, 0, 0) : 0;", False),
        ("return called(1);", True),
        ("return bpf_ktime_get_ns() ? called(1) : 0;", False),
    ],
)
def test_helper(body: str, certain: bool) -> None:
    """A helper that the kernel lacks is certain if every way leads over it, through functions too."""
    source = "const volatile int has;\nstatic NOINLINE long called(u32 n) { return bpf_loop(n, 0, 0, 0); }\n"
    source += f'SEC("kprobe/known") int one(void *ctx) {{ {body} }}'
    assert told(source) == [("helper-missing", "bpf_loop", certain)]
    assert predicted(source).word is (Word.IMPOSSIBLE if certain else Word.DOUBTFUL)


def test_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are too many instructions to know, nothing is certain."""
    source = 'SEC("kprobe/known") int one(void *ctx) { return bpf_ktime_get_ns() + bpf_loop(1, 0, 0, 0); }'
    assert told(source) == [("helper-missing", "bpf_loop", True)]
    monkeypatch.setattr(flow, "MAX_INSNS", 1)
    assert told(source) == [("helper-missing", "bpf_loop", False)]


def after(parts: list[tuple[int, int]], at: int) -> set[int]:
    """Where control may go after an instruction, flow.END for an end."""
    opcode, offset = parts[at]
    there = {0x95: {-1}, 0x05: {at + 1 + offset}, 0x15: {at + 1, at + 1 + offset}}.get(opcode, {at + 1})
    return {way if 0 <= way < len(parts) else flow.END for way in there}


def around(parts: list[tuple[int, int]], insn: int) -> bool:
    """Whether an end can be reached without this instruction, by the plainest search."""
    seen, waiting = {insn}, [0]
    while waiting:
        at = waiting.pop()
        if at == flow.END:
            return True
        if at not in seen:
            seen.add(at)
            waiting.extend(after(parts, at))
    return False


def unavoidable(parts: list[tuple[int, int]]) -> frozenset[int]:
    """What flow makes of a function of these opcodes and offsets."""
    body = b"".join(struct.pack("<BBhi", opcode, 0, offset, 0) for opcode, offset in parts)
    function = Function("f", "s", 0, len(parts), True, (), frozenset())
    code = SimpleNamespace(bytes_of=lambda _: body, elf=SimpleNamespace(order="<"))
    return flow.unavoidable(code, function)  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.sampled_from((0xB7, 0x05, 0x15, 0x95)), st.integers(-6, 6)), min_size=1, max_size=14))
def test_every_way(parts: list[tuple[int, int]]) -> None:
    """What is unavoidable is what no search finds a way around, whatever the jumps."""
    ends = around(parts, -2)
    assert unavoidable(parts) == {n for n in range(len(parts)) if ends and not around(parts, n)}


WIDE, HALF, MOVE, EXIT = (0x18, 0), (0, 0), (0xB7, 0), (0x95, 0)


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ([WIDE, HALF, EXIT], {0, 1, 2}),
        ([(0x15, 2), WIDE, HALF, EXIT], {0, 3}),
        ([(0x15, 1), WIDE, HALF, EXIT], set()),
        ([WIDE, MOVE, EXIT], set()),
        ([MOVE, WIDE], set()),
        ([], set()),
    ],
)
def test_wide(parts: list[tuple[int, int]], found: set[int]) -> None:
    """A load of 64 bits takes two places; where one is only half there, or jumped into, nothing is certain."""
    assert unavoidable(parts) == found


def test_optional() -> None:
    """What is only loaded when it is asked for forbids nothing; its maps are made all the same."""
    assert told('SEC("?kprobe/known") int one(void *ctx) { return bpf_loop(1, 0, 0, 0); }') == []
    ring = 'struct { __uint(type, 27); __uint(max_entries, 4096); } ring SEC(".maps");'
    assert told(ring) == [("map-type-missing", "ringbuf", True)]


@pytest.mark.parametrize(
    ("section", "maps", "certain"),
    [
        ("struct_ops/init", (".struct_ops.link",), [True]),
        ("?struct_ops/init", (".struct_ops",), [True]),
        ("struct_ops/init", ("?.struct_ops.link",), []),
        ("struct_ops.s/init", ("?.struct_ops",), []),
        ("struct_ops/init", ("?.struct_ops", ".struct_ops.link"), [True]),
        ("struct_ops/init", (), [True]),
        ("?struct_ops/init", (), []),
    ],
)
def test_struct_ops(section: str, maps: tuple[str, ...], certain: list[bool]) -> None:
    """A struct_ops program that maps name loads where one of them is made; without a map its own section says."""
    source = f"""
    SEC("{section}") int one(void *ctx) {{ return bpf_loop(1, 0, 0, 0); }}
    struct ops {{ int size; int (*init)(void *); }};
    """
    source += "".join(f'SEC("{of}") struct ops map{n} = {{ .init = one }};\n' for n, of in enumerate(maps))
    found = [o for o in predicted(source).obstacles if o.cause == "helper-missing"]
    assert [(o.program, o.certain) for o in found] == [("one", c) for c in certain]


def test_too_many_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps with more relocations than anyone has leave programs as their sections say, and that is told."""
    source = 'SEC("struct_ops/a") int one(void *ctx) { return 0; }\nstruct ops { int (*a)(void *), (*b)(void *); };\n'
    source += 'SEC("?.struct_ops") struct ops made = { .a = one, .b = one };'
    found = read_anatomy(compiled(source))
    monkeypatch.setattr(sections, "MAX_RELOCATIONS", 1)
    assert [p.autoload for p in found.programs] == [True] and "relocations" in found.debug.fault
    monkeypatch.undo()
    assert [p.autoload for p in read_anatomy(compiled(source)).programs] == [False]


@pytest.mark.parametrize(
    ("section", "found"),
    [
        ("xdp", []),
        ("netfilter", [("prog-type-missing", "netfilter", True)]),
        ("cgroup/connect_unix", [("attach-type-missing", "cgroup_unix_connect", True)]),
        ("xdp/devmap", [("attach-type-missing", "xdp_devmap", False)]),
        ("lsm/open", []),
        ("lsm/close", [("attach-target-missing", "close", True)]),
        ("fentry/known", []),
        ("fentry/unknown", [("attach-target-missing", "unknown", False)]),
        ("kprobe/unknown", [("attach-target-missing", "unknown", False)]),
        ("kprobe/known+4", []),
        ("anything", []),
    ],
)
def test_sections(section: str, found: list[tuple[str, str, bool]]) -> None:
    """Types that are not there are certain where loading checks them; targets may be a module's, but for LSM hooks."""
    assert told(f'SEC("{section}") int one(void *ctx) {{ return 0; }}') == found


def test_config() -> None:
    """What the configuration leaves out is as good as absent; without the configuration nothing is said."""
    lsm = 'SEC("lsm/open") int one(void *ctx) { return 0; }'
    assert told(lsm, options=lambda: frozenset(("CONFIG_BPF",))) == [("config-disabled", "CONFIG_BPF_LSM", True)]
    assert told(lsm, options=lambda: frozenset(("CONFIG_BPF_LSM",))) == []
    wants = 'extern int CONFIG_HZ __attribute__((section(".kconfig")));\n'
    wants += 'SEC("xdp") int one(void *ctx) { return CONFIG_HZ; }'
    assert told(wants, options=lambda: frozenset(("CONFIG_BPF",))) == [("extern-unresolved", "CONFIG_HZ", True)]


@pytest.mark.parametrize(
    ("homes", "found"),
    [
        (None, [("kfunc-missing", "bpf_x", False)]),
        ({"bpf_x": "nf_conntrack"}, [("kfunc-missing", "bpf_x", False)]),
        ({}, [("kfunc-missing", "bpf_x", True)]),
    ],
)
def test_kfunc(homes: dict[str, str] | None, found: list[tuple[str, str, bool]]) -> None:
    """A kfunc is certainly missing if the modules were looked at too; a weak one is no obstacle."""
    source = 'extern int bpf_x(int n) KSYM;\nSEC("xdp") int one(void *ctx) { return bpf_x(1); }'
    assert told(source, homes=homes) == found
    assert told(source.replace(" KSYM", " WEAK KSYM"), homes=homes) == []


def test_relocation() -> None:
    """An access to what is not there is certain on every way, and nothing where the program asks first."""
    plain = OTHER + 'SEC("kprobe/known") int one(struct task *t) { return t->gone; }'
    assert told(plain) == [("core-relocation-unresolved", "struct task.gone", True)]
    asking = OTHER + 'SEC("kprobe/known") int one(struct task *t) { return FIELD(t->gone, 2) ? t->gone : t->pid; }'
    found = predicted(asking)
    assert (found.word, [o.guarded for o in found.obstacles]) == (Word.POSSIBLE, [True])


def test_no_types() -> None:
    """A kernel that shows no types cannot take relocations; one that was built without says nothing of helpers."""
    plain = OTHER + 'SEC("kprobe/known") int one(struct task *t) { return t->pid + bpf_loop(1, 0, 0, 0); }'
    assert ("kernel-btf-absent", "", True) in told(plain, shown=False)
    assert told(plain, types=None) == [("kernel-btf-absent", "", True)]


def test_declared() -> None:
    """Where its own loader changes the object first, nothing is certain."""
    found = predicted('SEC("kprobe/known") int one(void *ctx) { return bpf_loop(1, 0, 0, 0); }', declared=True)
    assert found.word is Word.DOUBTFUL
    assert "declared" in found.obstacles[0].words


def test_look() -> None:
    """The text and the JSON say that they predict, and name the oldest kernel that could work."""
    source = 'SEC("kprobe/known") int one(void *ctx) { return bpf_loop(1, 0, 0, 0); }'
    other = Target("new", "5.17.1", None)
    looked = look("x.o", 3, read_anatomy(compiled(source)), [other, target()], absent={"far": "not here"})
    assert [t.name for t, _, _ in looked.kernels] == ["small", "new"]
    first = oldest(looked)
    assert first is not None and first.name == "new"
    said, body = text(looked), json.loads(json.dumps(to_json(looked)))
    assert NOTICE in said and body["notice"] == NOTICE
    assert "oldest of these that could work: new" in said and body["oldest_that_could_work"] == "new"
    assert "far" in said and "NO helper-missing: program 'one' calls bpf_loop" in said
    assert body["kernels"][0]["prediction"] == "cannot work"
    assert "verdict" not in body


def test_upstream() -> None:
    """The newest thing that is surely needed sets the oldest Linux."""
    sure = 'SEC("kprobe/known") int one(void *ctx) { return bpf_loop(1, 0, 0, 0); }'
    assert next((n.short, s.version) for n, s in upstream(read_anatomy(compiled(sure)))) == ("helper bpf_loop", "5.17")
    maybe = 'SEC("kprobe/known") int one(void *ctx) { return bpf_ktime_get_ns() ? bpf_loop(1, 0, 0, 0) : 0; }'
    assert "helper bpf_loop" not in {n.short for n, _ in upstream(read_anatomy(compiled(maybe)))}


@pytest.mark.parametrize(
    ("section", "meant"),
    [
        ("kprobe/do_exit", ("KPROBE", "", "do_exit")),
        ("?fentry/x", ("TRACING", "TRACE_FENTRY", "x")),
        ("tp/sched/sched_switch", ("TRACEPOINT", "", "sched/sched_switch")),
        ("kprobe", ("KPROBE", "", "")),
        ("xdp/anything", ("", "", "")),
        ("iter/task", ("TRACING", "TRACE_ITER", "task")),
    ],
)
def test_meaning(section: str, meant: tuple[str, str, str]) -> None:
    """A section's name is taken as libbpf takes it."""
    assert meaning(section) == meant


def test_helper_name() -> None:
    """Helpers are named as in the uapi header."""
    assert (helper_name(181), helper_name(4711)) == ("bpf_loop", "helper 4711")
    assert Obstacle("c", "s", "p", True, "w").guarded is False
