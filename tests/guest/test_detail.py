"""Each program and map of an object is told of, alone, with what it cost; nothing leaks from one to the next."""

import errno
import re
import secrets
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from bpfcompat import wire
from bpfcompat.asking import Asker
from bpfcompat.elf import facts_or_fault
from bpfcompat.guest import run_clone
from bpfcompat.model import Answer, Attach, AttachMode, Creation, Log, ObjectSpec, ProgramReport, Report, Verdict
from bpfcompat.objects import compile_object
from bpfcompat.verdict import classify
from tests.guest import sources
from tests.guest.conftest import KERNELS, ROOT
from tests.guest.sources import HEAD, a_map, program
from tests.hostile.test_objects import RETURN_UNSET, deep_btf, storm
from tests.unit.test_elf import EXEC, FUNC, RETURN_0, Section, elf

pytestmark = pytest.mark.guest

Build = Callable[[str], bytes]
Ask = Callable[..., Report]


@pytest.fixture(scope="session")
def build(asker: Asker, vmlinuz: dict[str, Path]) -> Build:
    """An object of a source's text, compiled as any object of a project is."""
    store = asker.shop.store
    headers = {n: store.read(b) for n, b in asker.validator().outputs.items() if n.startswith("include/")}
    headers["include/vmlinux.h"] = store.read(asker.header())

    def make(text: str) -> bytes:
        with tempfile.TemporaryDirectory(dir=ROOT / ".bpfcompat") as name:
            source = Path(name) / "made.bpf.c"
            source.write_text(text)
            return compile_object(ObjectSpec("made", source=source), asker.shop.config, headers, Path(name))

    return make


@pytest.fixture(scope="session")
def ask(asker: Asker, vmlinuz: dict[str, Path]) -> Ask:
    """What a thawed guest says of an object."""

    def run(content: bytes, kernel: str = "debian-12", attach: AttachMode = AttachMode.ATTACH) -> Report:
        nonce = secrets.token_hex(16)
        job = asker.job(kernel, content, wire.spec(nonce, attach, time.time_ns(), secrets.token_hex(32)))
        ended = run_clone(asker.qemu(kernel), job, asker.template(kernel).frozen, asker.limits(), wire.is_complete)
        assert ended.splats == ()
        return wire.parse(ended.report, nonce)

    return run


def judged(report: Report, content: bytes) -> Verdict:
    return classify(report, facts_or_fault(content), AttachMode.ATTACH)


# --- what is told


@pytest.mark.parametrize("kernel", KERNELS)
def test_measures(kernel: str, build: Build, ask: Ask) -> None:
    """A program that loads is told with its instructions, the verifier's counts, its stack, its code and its lines."""
    report = ask(build(sources.many(2, 1)), kernel)
    assert report.load_errno == 0
    for found in report.programs:
        measures, cost = found.measures, found.cost
        assert measures is not None and cost is not None
        assert 10 < measures.insns < 60
        assert measures.verified is not None and measures.verified >= measures.insns - 5
        assert (measures.limit, bool(measures.states)) == (1_000_000, True)
        assert measures.stack and 0 < measures.stack[0] <= 512
        assert measures.line_info > 0
        assert cost.jited and cost.jited > 8 * 10
        assert cost.verify_us is not None
    assert report.types is not None and report.types.errno == 0
    assert {(r.spec, r.kind) for r in report.relocations} >= {("struct task_struct.real_parent", "byte_off")}
    assert all(r.found and r.found[1] > 0 for r in report.relocations)


def test_counts_change_no_verdict(asker: Asker, ask: Ask) -> None:
    """A program that is refused is refused with the same errno whether its counts were asked for or not."""
    report = ask(asker.shop.store.read(asker.object("unbounded")))
    (refused,) = report.programs
    assert refused.load_errno == report.load_errno != 0  # the whole is loaded without asking for counts
    assert refused.measures is not None and refused.measures.verified is not None


def test_maps(build: Build, ask: Ask) -> None:
    """Where one map is refused, each of the others is still told to be created."""
    maps = [a_map("good"), a_map("bad", "ARRAY", 0), a_map("better", "LRU_HASH")]
    content = build(HEAD + "".join(maps) + "".join(program(f"use_{n}", "xdp", n) for n in ("good", "bad", "better")))
    report = ask(content)
    assert {m.name: (m.outcome, m.errno) for m in report.maps} == {
        "good": (Creation.CREATED, 0), "bad": (Creation.FAILED, 22), "better": (Creation.CREATED, 0),
    }  # fmt: skip
    assert "failed to create" in next(m for m in report.maps if m.name == "bad").libbpf.text
    assert [m.outcome for m in judged(report, content).maps] == [m.outcome for m in report.maps]


def test_relocations(build: Build, ask: Ask) -> None:
    """A relocation that finds nothing is told as such; guarded, it is a note, and reached, a refusal."""
    wish = "struct task_struct___wish { int of_our_dreams; } __attribute__((preserve_access_index));\n"
    read = "BPF_CORE_READ((struct task_struct___wish *)bpf_get_current_task(), of_our_dreams)"
    guard = "bpf_core_field_exists(struct task_struct___wish, of_our_dreams)"
    content = build(
        f'{HEAD}{wish}SEC("raw_tracepoint/sched_switch") int guarded(void *ctx) {{ return {guard} ? {read} : 0; }}\n'
        f'SEC("raw_tracepoint/sched_switch") int reached(void *ctx) {{ return {read}; }}\n'
    )
    report = ask(content)
    found = {(r.function, r.kind): r.found for r in report.relocations}
    assert found[("guarded", "field_exists")] == (1, 0)
    assert found[("guarded", "byte_off")] is None
    assert found[("reached", "byte_off")] is None
    assert [p.load_errno == 0 for p in report.programs] == [True, False]
    assert any("guarded: struct task_struct___wish.of_our_dreams" in note for note in judged(report, content).notes)


def test_tail_calls(build: Build, ask: Ask) -> None:
    """Programs that call each other through a table that the object fills are each loaded and attached alone."""
    table = (
        "int one(void *); int two(void *);\n"
        "struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 2); __uint(key_size, 4);"
        ' __array(values, int(void *)); } table SEC(".maps") ='
        " { .values = { [0] = (void *)&one, [1] = (void *)&two } };\n"
    )
    calls = "".join(
        f'SEC("{sources.HOOKS[1]}") int {name}(void *ctx) {{ bpf_tail_call(ctx, &table, {n}); return 0; }}\n'
        for n, name in enumerate(("one", "two"))
    )
    report = ask(build(HEAD + table + calls))
    assert report.load_errno == 0
    assert [(p.load_errno, p.attach, p.libbpf.text) for p in report.programs] == [(0, Attach.ATTACHED, "")] * 2


def test_shared_table(build: Build, ask: Ask) -> None:
    """Programs of two types that share a table each load alone, and the whole does not: that is the object's fault."""
    table = (
        "struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 2); __uint(key_size, 4);"
        ' __uint(value_size, 4); } table SEC(".maps");\n'
    )
    calls = "".join(
        f'SEC("{section}") int {name}(void *ctx) {{ bpf_tail_call(ctx, &table, 1); return 0; }}\n'
        for name, section in (("one", "xdp"), ("two", "socket"))
    )
    report = ask(build(HEAD + table + calls))
    assert report.load_errno == 22
    assert [p.load_errno for p in report.programs] == [0, 0]


# --- nothing leaks


def alone(report: Report) -> dict[str, tuple[ProgramReport, frozenset[str]]]:
    """What is said of each program, and of its relocations; a log quotes the source's line numbers."""
    return {
        p.name: (
            replace(p, log=Log(re.sub(r"made\.bpf\.c:\d+", "", p.log.text))),
            frozenset(f"{r.spec} {r.found}" for r in report.relocations if r.function == p.name),
        )
        for p in report.programs
    }


@pytest.mark.parametrize("kernel", [KERNELS[0], KERNELS[2]])
def test_order_changes_nothing(kernel: str, build: Build, ask: Ask) -> None:
    """What is said of a program is the same in any order and alone: with a pinned map, and one that is refused."""
    maps = a_map("kept", more="__uint(pinning, LIBBPF_PIN_BY_NAME);") + a_map("plain")
    made = [program(f"p{n}", hook, "kept" if n % 2 else "plain") for n, hook in enumerate(sources.HOOKS)]
    made.append('SEC("xdp") int refused(struct xdp_md *ctx) { return *(int *)(long)ctx->data; }\n')
    there = alone(ask(build(HEAD + maps + "".join(made)), kernel))
    back = alone(ask(build(HEAD + maps + "".join(reversed(made))), kernel))
    assert {name: said[0].load_errno for name, said in there.items() if said[0].load_errno} == {"refused": 13}
    assert there == back
    for one in (made[1], made[-1]):
        ((name, said),) = alone(ask(build(HEAD + maps + one), kernel)).items()
        assert said == there[name]


def two_schedulers() -> str:
    """The example's scheduler twice, under two names, with programs of its own each."""
    head, mark, body = (ROOT / "examples/sched_ext.bpf.c").read_text().partition("u64 inited, ran;")
    other = re.sub(r"\b(on_init|on_running|scheduler|inited|ran)\b", r"\1_2", mark + body)
    return head + mark + body + other.replace('"bpfcompat"', '"bpfcompat_2"')


def test_no_scheduler_is_left(build: Build, ask: Ask) -> None:
    """There can be one sched_ext scheduler at a time, and each of two has its turn; the next object has, too."""
    content = build(two_schedulers())
    for _ in range(2):
        programs = ask(content, "debian-13-backports").programs
        assert [(p.name, p.attach) for p in programs] == [
            (name, Attach.ATTACHED) for name in ("on_init", "on_init_2", "on_running", "on_running_2")
        ]


DENYING = HEAD + (
    "#include <bpf/bpf_tracing.h>\n"
    'SEC("lsm/bpf") int BPF_PROG(deny_bpf, int cmd) {'
    " return cmd == BPF_PROG_LOAD || cmd == BPF_MAP_CREATE ? -1 : 0; }\n"
    'SEC("lsm/file_open") int BPF_PROG(deny_open, struct file *file) { return -1; }\n'
    'SEC("uprobe") int opens(void *ctx) { return 0; }\n'
    + a_map("made")
    + program("loads", "xdp", "made")
)  # fmt: skip


@pytest.mark.parametrize("kernel", ["debian-12", "debian-13-backports"])
def test_no_lsm_is_left(kernel: str, build: Build, ask: Ask) -> None:
    """A hook that denies loading, or opening any file, is gone when the next program or object is asked about."""
    content = build(DENYING)
    for _ in range(2):
        report = ask(content, kernel)
        assert report.load_errno == 0
        assert {p.name for p in report.programs} == {"deny_bpf", "deny_open", "opens", "loads"}
        assert {(p.load_errno, p.attach) for p in report.programs} == {(0, Attach.ATTACHED)}
        assert [m.outcome for m in report.maps] == [Creation.CREATED]


# --- nothing is left out


def test_all_of_many(build: Build, ask: Ask) -> None:
    """Of an object of 500 programs and 200 maps, all are told of."""
    report = ask(build(sources.many(500, 200, ("socket", "xdp"))), attach=AttachMode.LOAD)
    # libbpf lists the programs of one section after those of another
    assert sorted(p.name for p in report.programs) == sorted(f"program_{n}" for n in range(500))
    assert all(p.load_errno == 0 and p.measures and p.measures.verified for p in report.programs)
    assert [m.outcome for m in report.maps] == [Creation.CREATED] * 200


# --- bad input


LIBBPF_RELOC = 4005  # LIBBPF_ERRNO__RELOC, libbpf.h
LONG, CONTROLS = "n" * (1 << 20), "\x1b[2J\r\nBPFC1"


def named(*names: str) -> bytes:
    """An object of programs of these names, each of which returns."""
    sections = [Section("socket", RETURN_0, EXEC) for _ in names]
    symbols = [(name, FUNC, n + 1) for n, name in enumerate(names)]
    return elf([*sections, Section("license", b"GPL\0")], symbols, size=len(RETURN_0))


@pytest.mark.parametrize("kernel", [KERNELS[0], KERNELS[-1]])
def test_odd_names(kernel: str, ask: Ask) -> None:
    """Two programs of one name and one with a name of a megabyte are each loaded, attached and told of."""
    content = named("twice", "twice", LONG)
    report = ask(content, kernel)
    assert [(p.name, p.load_errno, p.attach) for p in report.programs] == [
        (name, 0, Attach.ATTACHED) for name in ("twice", "twice", LONG)
    ]
    verdict = judged(report, content)
    assert (verdict.answer, len(verdict.programs)) == (Answer.COMPATIBLE, 3)


@pytest.mark.parametrize("kernel", [KERNELS[0], KERNELS[-1]])
def test_a_name_with_control_characters(kernel: str, ask: Ask) -> None:
    """No kernel takes such a name: that program is refused, the one beside it is not, and a person sees no control."""
    content = named("plain", CONTROLS)
    report = ask(content, kernel)
    assert [(p.name, p.load_errno) for p in report.programs] == [("plain", 0), (CONTROLS, errno.EINVAL)]
    verdict = judged(report, content)
    assert verdict.answer is Answer.INCOMPATIBLE
    assert verdict.sentence.isprintable() and "[2J" in verdict.sentence


MANY_RELOCATIONS = 10_000
RELOCATED = HEAD + (
    "#define TEN(what) what what what what what what what what what what\n"
    "int here;\n"
    'SEC("xdp") int addresses(void *ctx) {\n'
    '#define ONE asm volatile("r1 = here ll" ::: "r1");\n'
    " TEN(TEN(TEN(TEN(ONE)))) return XDP_PASS; }\n"
    'SEC("tp_btf/task_newtask") int offsets(__u64 *ctx) { struct task_struct *task = (void *)ctx[0];\n'
    '#define FIELD asm volatile("" :: "r"(*(volatile int *)&task->pid));\n'
    " TEN(TEN(TEN(TEN(FIELD)))) return 0; }\n"
)


@pytest.mark.parametrize("kernel", [KERNELS[0], KERNELS[-1]])
def test_many_relocations(kernel: str, build: Build, ask: Ask) -> None:
    """Ten thousand addresses of variables and ten thousand CO-RE offsets are relocated, and all of the latter told."""
    content = build(RELOCATED)
    report = ask(content, kernel)
    assert [(p.name, p.load_errno) for p in report.programs] == [("addresses", 0), ("offsets", 0)]
    told = [r for r in report.relocations if r.spec == "struct task_struct.pid"]
    assert len(told) == MANY_RELOCATIONS
    assert len({r.found for r in told}) == 1
    addresses = report.programs[0].measures
    assert addresses is not None and addresses.insns >= 2 * MANY_RELOCATIONS
    assert judged(report, content).answer is Answer.COMPATIBLE


def single(section: str, licence: bytes = b"GPL\0", code: bytes = RETURN_0) -> bytes:
    """An object of one program, `p`, in this section, which returns; the code is of two instructions."""
    more = [Section("license", licence)] if licence else []
    return elf([Section(section, code, EXEC), *more], [("p", FUNC, 1)], size=len(code))


class Expected(NamedTuple):
    """What an object comes to: the answer, its cause, words of the sentence, and how each note begins.

    `opened` and `loaded` are errnos; `programs` is how each was loaded, by its own errno, in their order.
    """

    answer: Answer
    cause: str
    sentence: str
    notes: tuple[str, ...] = ()
    opened: int = 0
    loaded: int | None = 0
    programs: tuple[int, ...] = ()


NOTHING = "NOTHING WAS VERIFIED: no program of this object is loaded by default"
BAD: dict[str, tuple[Callable[[], bytes], Expected]] = {
    "odd names": (  # the kernel takes letters, digits, "_" and "." in a name, and says no more than EINVAL
        lambda: named("twice", "twice", CONTROLS, LONG),
        Expected(
            Answer.INCOMPATIBLE, "unknown", "refuses it with EINVAL", loaded=errno.EINVAL,
            programs=(0, 0, errno.EINVAL, 0),
        ),
    ),
    "no programs": (
        lambda: elf([Section("license", b"GPL\0")], []),
        Expected(Answer.COMPATIBLE, "", "0 of 0 programs attached", (NOTHING,)),
    ),
    "unknown section": (
        lambda: single("surprise/me"),
        Expected(
            Answer.INCONCLUSIVE, "needs-declaration", "libbpf knows no program type for section 'surprise/me'",
            ("declare: [objects.NAME.programs.p] type = ",), loaded=errno.EINVAL, programs=(errno.EINVAL,),
        ),
    ),
    "no licence": (  # it calls no helper, so that it needs none
        lambda: single("socket", b""),
        Expected(Answer.COMPATIBLE, "", "1 of 1 programs attached", programs=(0,)),
    ),
    "optional only": (
        lambda: single("?socket"),
        Expected(Answer.COMPATIBLE, "", "0 of 0 programs attached", (NOTHING,), programs=(0,)),
    ),
    "optional only, and refused": (
        lambda: single("?socket", code=RETURN_UNSET),
        Expected(
            Answer.COMPATIBLE, "", "0 of 0 programs attached",
            (NOTHING, "optional program 'p' (socket) does not load here: program 'p': the verifier of this kernel"),
            programs=(errno.EACCES,),
        ),
    ),
    "broken relocations": (
        lambda: storm(10_000),
        Expected(
            Answer.INCOMPATIBLE, "object-malformed", "cannot open it: prog 'p': invalid relo against 'p'",
            opened=LIBBPF_RELOC, loaded=None,
        ),
    ),
    "types": (  # 30 MB, where a kernel takes 16 at most; libbpf does without, as nothing in the object needs them
        lambda: deep_btf(2_500_000, 2),
        Expected(
            Answer.COMPATIBLE, "", "1 of 1 programs attached", ("the kernel does not take the object's BTF (E2BIG)",),
            programs=(0,),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str, ask: Ask) -> None:
    """Whatever an object is, each of its programs has its result, and the verdict is the one for what is wrong."""
    make, expected = BAD[name]
    content = make()
    report = ask(content)
    assert (report.open_errno, report.load_errno) == (expected.opened, expected.loaded)
    assert tuple(p.load_errno for p in report.programs) == expected.programs
    verdict = judged(report, content)
    assert (verdict.answer, verdict.cause) == (expected.answer, expected.cause)
    assert expected.sentence in verdict.sentence
    assert len(verdict.notes) == len(expected.notes), verdict.notes
    assert all(note.startswith(start) for note, start in zip(verdict.notes, expected.notes, strict=True))
