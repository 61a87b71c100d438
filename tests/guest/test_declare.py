"""Declarations in real guests: each example fails without any one of its declarations, and passes with all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bpfcompat.as_declared import toml_lines
from bpfcompat.asking import Asker
from bpfcompat.config import from_dict, parse_toml
from bpfcompat.declare import MAP_TYPES, PROGRAM_TYPES
from bpfcompat.declared import Alternative, Declared, MapChange, ProgramChange, VariantGroup
from bpfcompat.errors import ConfigError
from bpfcompat.model import Answer, Attach, Report, ShippedFile, Verdict
from bpfcompat.plan import Matrix, Pair
from bpfcompat.proposing import Around, propose
from bpfcompat.since import full_name
from tests.guest.conftest import absent

pytestmark = pytest.mark.guest
KERNEL = "debian-12"


class Bench:
    """Asks guests about an example under other declarations than its own; stores nothing of it."""

    def __init__(self, asker: Asker) -> None:
        self.asker = asker

    def ask(
        self, name: str, declared: Declared, kernel: str = KERNEL, files: tuple[ShippedFile, ...] = ()
    ) -> tuple[Report, Verdict]:
        """The report and the verdict of one example."""
        shop = self.asker.shop
        objects = {**shop.matrix.objects, name: replace(shop.matrix.objects[name], declared=declared, files=files)}
        asker = type(self.asker)(replace(shop, matrix=Matrix(objects, shop.matrix.kernels, (), {})))
        pair = Pair(name, kernel)
        attempt = asker.attempt(pair, cold=False)
        if attempt.report is None:
            absent(str(attempt.error))
            raise AssertionError
        return attempt.report, asker.classify(pair, attempt.report)

    def own(self, name: str) -> Declared:
        """What the example declares."""
        return self.asker.shop.matrix.objects[name].declared


@pytest.fixture(scope="module")
def bench(asker: Asker, vmlinuz: Mapping[str, Any]) -> Bench:
    """The examples, to be asked under any declarations."""
    return Bench(asker)


def without(declared: Declared, part: str, name: str) -> Declared:
    """The same but for what is said of one name."""
    kept = tuple(c for c in getattr(declared, part) if (c[0] if isinstance(c, tuple) else c.name) != name)
    assert len(kept) == len(getattr(declared, part)) - 1
    return replace(declared, **{part: kept})


def test_in_the_key(asker: Asker) -> None:
    """What is declared is part of the key, and where nothing is the key says nothing of it."""
    specs = {name: asker.probe_spec(Pair(name, KERNEL)) for name in ("minimal", "declared_maps")}
    assert "declared" not in specs["minimal"]
    assert specs["declared_maps"]["declared"]["maps"]["by_cpus"] == {"max_entries": "cpus"}


def test_refused_before_a_guest(asker: Asker) -> None:
    """A name that the object has not is refused when it is known, without a guest."""
    shop = asker.shop
    wrong = Declared(maps=(MapChange("sized_at_strt", max_entries=1),))
    objects = {"needs_size": replace(shop.matrix.objects["needs_size"], declared=wrong)}
    other = type(asker)(replace(shop, matrix=Matrix(objects, shop.matrix.kernels, (), {})))
    other.attempt = None  # type: ignore[assignment,method-assign]  # would start a guest
    with pytest.raises(
        ConfigError, match=r"\[objects.needs_size\]: maps.sized_at_strt: .* did you mean sized_at_start"
    ):
        other.probe(Pair("needs_size", KERNEL))


def test_maps(bench: Bench) -> None:
    """All maps as declared: the object loads, and what only the guest could know is told as a number."""
    report, verdict = bench.ask("declared_maps", bench.own("declared_maps"))
    assert (verdict.answer, report.load_errno) == (Answer.COMPATIBLE, 0)
    found = {m.name: (m.type, m.max_entries) for m in report.maps}
    assert found["by_number"] == ("hash", 1024)
    assert found["by_cpus"] == ("array", 1)
    assert found["by_pages"] == ("ringbuf", 64 * 4096)
    assert found["events"][0] == "perf_event_array"
    assert "declared: maps.by_cpus.max_entries = 1" in verdict.notes
    assert "declared: maps.ring_buffers.inner = - - - 16384" in verdict.notes


@pytest.mark.parametrize(
    ("name", "kernel"),
    [
        *((name, KERNEL) for name in ("by_number", "by_cpus", "by_pages", "events", "no_prototype", "ring_buffers")),
        ("pinned", KERNEL),
        ("unused", "debian-11"),  # which has no bloom filters
    ],
)
def test_one_map_undeclared(name: str, kernel: str, bench: Bench) -> None:
    """Without any one of them it does not load."""
    own = bench.own("declared_maps")
    (full,) = (m.name for m in own.maps if m.name.startswith(name))
    report, _ = bench.ask("declared_maps", without(own, "maps", full), kernel)
    assert report.load_errno


def test_programs(bench: Bench) -> None:
    """Types, targets and autoload as declared; the function of another program is replaced and the link is made."""
    report, verdict = bench.ask("declared_programs", bench.own("declared_programs"))
    assert verdict.answer is Answer.COMPATIBLE
    found = {p.name: p for p in report.programs}
    assert (found["typed"].type, found["on_connect"].type) == ("socket_filter", "cgroup_sock_addr")
    assert (found["chosen"].attach, found["replaces"].attach) == ("attached", "attached")
    assert (found["replaces"].autoload, found["left_out"].autoload) == (True, False)


@pytest.mark.parametrize("name", ["filter", "on_connect", "chosen", "left_out"])
def test_one_program_undeclared(name: str, bench: Bench) -> None:
    """Without any one of them the object does not load."""
    report, _ = bench.ask("declared_programs", without(bench.own("declared_programs"), "programs", name))
    assert report.load_errno


def test_attach_type_undeclared(bench: Bench) -> None:
    """A type alone is not enough where the kernel asks for the way to attach too."""
    own = bench.own("declared_programs")
    changed = tuple(replace(p, attach_type=None) if p.name == "on_connect" else p for p in own.programs)
    report, _ = bench.ask("declared_programs", replace(own, programs=changed))
    assert report.load_errno


def test_replacing_undeclared(bench: Bench) -> None:
    """A program that replaces a function is off as it came, and does not load without its target."""
    report, _ = bench.ask("declared_programs", without(bench.own("declared_programs"), "programs", "replaces"))
    (found,) = (p for p in report.programs if p.name == "replaces")
    assert found.load_errno and not found.autoload


def test_kprobe_undeclared(bench: Bench) -> None:
    """A kprobe's placeholder is attached where it is declared, and nowhere without."""
    own = bench.own("declared_programs")
    report, _ = bench.ask("declared_programs", own)
    (found,) = (p for p in report.programs if p.name == "placed")
    assert (found.attach, "vfs_read as declared" in found.how) == (Attach.ATTACHED, True)
    _, verdict = bench.ask("declared_programs", without(own, "programs", "placed"))
    assert (verdict.answer, verdict.cause) == (Answer.INCONCLUSIVE, "needs-declaration")


def test_replacing_in_another_object(asker: Asker, bench: Bench) -> None:
    """The replaced function can be another object's, which is brought into the guest."""
    own = bench.own("declared_programs")
    other = ShippedFile("targets/x.bpf.o", asker.shop.store.checked(asker.object("declared_programs")))
    changed = tuple(replace(p, target_file=other.path) if p.name == "replaces" else p for p in own.programs)
    report, verdict = bench.ask("declared_programs", replace(own, programs=changed), files=(other,))
    assert {p.name: p.attach for p in report.programs}["replaces"] is Attach.ATTACHED
    assert verdict.answer is Answer.COMPATIBLE
    report, _ = bench.ask("declared_programs", replace(own, programs=changed))  # and it does not come by itself
    assert [p.name for p in report.programs if p.load_errno] == ["replaces", "left_out"]


def test_one_program_only_loaded(bench: Bench) -> None:
    """Each program can be told how far to go."""
    own = bench.own("declared_programs")
    changed = tuple(replace(p, attach="load") if p.name == "chosen" else p for p in own.programs)
    report, _ = bench.ask("declared_programs", replace(own, programs=changed))
    found = {p.name: p for p in report.programs}
    assert (found["chosen"].attach, found["chosen"].attach_reason) == (
        Attach.NOT_ATTEMPTED,
        "only loading was asked for",
    )
    assert found["replaces"].attach is Attach.ATTACHED


def test_a_target_that_is_not_there(bench: Bench) -> None:
    """A declared target is the kernel's to have: it is incompatible, and only the program that needs it is refused."""
    own = bench.own("declared_programs")
    changed = tuple(replace(p, target="bpfcompat_nowhere") if p.name == "chosen" else p for p in own.programs)
    report, verdict = bench.ask("declared_programs", replace(own, programs=changed))
    assert (verdict.answer, verdict.cause) == (Answer.INCOMPATIBLE, "attach-target-missing")
    assert [p.name for p in report.programs if p.load_errno] == ["chosen", "left_out"]


def test_constants(bench: Bench) -> None:
    """Numbers, texts, lists, members of structures and Kconfig values reach the verifier."""
    _, verdict = bench.ask("declared_constants", bench.own("declared_constants"))
    assert verdict.answer is Answer.COMPATIBLE
    assert "declared: constants.low = bytes fbffffff" in verdict.notes
    assert "declared: kconfig.CONFIG_BPFCOMPAT_LEVEL = 7" in verdict.notes


@pytest.mark.parametrize("name", ["enabled", "limit", "low", "mode", "tag", "ports", "filter.level", "filter.name"])
def test_one_constant_undeclared(name: str, bench: Bench) -> None:
    """Without any one of them the verifier finds what it rules out."""
    own = bench.own("declared_constants")
    _, verdict = bench.ask("declared_constants", without(own, "constants", name))
    assert (verdict.answer, verdict.cause) == (Answer.INCOMPATIBLE, "verifier-type")


def test_kconfig_undeclared(bench: Bench) -> None:
    """Without its value the Kconfig extern is what no kernel has."""
    _, verdict = bench.ask("declared_constants", replace(bench.own("declared_constants"), kconfig=()))
    assert (verdict.answer, verdict.cause) == (Answer.INCOMPATIBLE, "extern-unresolved")


CHOSEN = {  # group → the alternative that each kernel must get
    "debian-11": {"loop": 1, "packet": 1, "storage": 1, "task": 1, "try": 1, "unlink": 0},
    "debian-13-backports": {"loop": 0, "packet": 0, "storage": 0, "task": 0, "try": 1, "unlink": 1},
}


@pytest.mark.parametrize("kernel", CHOSEN)
def test_variants(kernel: str, asker: Asker, bench: Bench) -> None:
    """Each group gets the first alternative whose condition holds on this kernel; the others are off."""
    report, verdict = bench.ask("declared_variants", bench.own("declared_variants"), kernel)
    assert report.declared is not None
    assert {v.group: v.chosen for v in report.declared.variants} == CHOSEN[kernel]
    assert verdict.answer is Answer.COMPATIBLE
    on = {p.name for p in report.programs if p.autoload}
    chosen = {name for v in report.declared.variants for name in v.tried[v.chosen or 0].programs}
    assert on == chosen | {"step"}


@pytest.mark.parametrize("kernel", CHOSEN)
def test_no_variants(kernel: str, bench: Bench) -> None:
    """As it came, with all of them on, the object loads on neither."""
    report, verdict = bench.ask("declared_variants", Declared(), kernel)
    assert report.load_errno and verdict.answer is Answer.INCOMPATIBLE


def test_no_companion(bench: Bench) -> None:
    """A trial without the companion that fills the table of tail calls fails, so nothing of the group can be used."""
    own = bench.own("declared_variants")
    changed = tuple(replace(v, companions=()) if v.name == "try" else v for v in own.variants)
    _, verdict = bench.ask("declared_variants", replace(own, variants=changed))
    assert (verdict.answer, verdict.cause, verdict.subject) == (Answer.INCOMPATIBLE, "no-variant", "try")


def conditions(kind: str, names: Sequence[str]) -> Declared:
    """A group for each name, in this order; that none holds is no fault."""
    groups = (
        VariantGroup(f"g{n:02}", (Alternative(("loop_old",), f"{kind}:{name}"),), optional=True)
        for n, name in enumerate(names)
    )
    return Declared(variants=tuple(groups))


@pytest.mark.parametrize("step", [1, -1], ids=["forwards", "backwards"])
@pytest.mark.parametrize(("kind", "names"), [("prog-type", PROGRAM_TYPES), ("map-type", MAP_TYPES)])
def test_conditions_in_any_order(kind: str, names: Sequence[str], step: int, asker: Asker, bench: Bench) -> None:
    """What a kernel has does not depend on what was asked before: it is what its inventory has, and no option hides."""
    asked, build = names[::step], asker.build(KERNEL)
    report, _ = bench.ask("declared_variants", conditions(kind, asked))
    assert report.declared and build
    held = {name: v.tried[0].held for name, v in zip(asked, report.declared.variants, strict=True)}
    part = {"prog-type": "program_types", "map-type": "map_types"}[kind]
    full = {name: full_name(part, name) for name in asked}
    there = {n: full[n] in build.names(part) and not build.switched_off(part, full[n]) for n in asked}
    assert held == there


def test_optional_group(bench: Bench) -> None:
    """None of an optional group may be on."""
    own = bench.own("declared_variants")
    last = (Alternative(("try_last",), "trial-load"),)
    changed = tuple(replace(v, alternatives=last, optional=True) if v.name == "try" else v for v in own.variants)
    report, verdict = bench.ask("declared_variants", replace(own, variants=changed))
    assert verdict.answer is Answer.COMPATIBLE
    assert "try_last" not in {p.name for p in report.programs if p.autoload}


def test_a_prototype_undeclared(bench: Bench) -> None:
    """A map of maps that has a size but no prototype needs one: that is no refusal by the kernel."""
    own = bench.own("declared_maps")
    _, verdict = bench.ask("declared_maps", without(own, "maps", "no_prototype"))
    assert (verdict.answer, verdict.cause, verdict.subject) == (
        Answer.INCONCLUSIVE,
        "needs-declaration",
        "no_prototype",
    )


def test_nothing_remains(bench: Bench) -> None:
    """A guest of the same template that is told nothing has nothing of what another was told."""
    bench.ask("declared_maps", bench.own("declared_maps"))
    report, verdict = bench.ask("declared_maps", Declared())
    assert report.declared is None and verdict.cause == "needs-declaration"
    assert all(m.max_entries == 0 for m in report.maps if m.name in ("by_number", "by_cpus", "by_pages", "events"))


# --- what is attached to what its loader names


def moved(declared: Declared, targets: Mapping[str, str]) -> Declared:
    """The same with other targets."""
    changed = (replace(p, target=targets.get(p.name, p.target)) for p in declared.programs)
    return replace(declared, programs=tuple(changed))


def outcomes(report: Report) -> dict[str, Attach]:
    """How attaching each program ended."""
    return {p.name: p.attach for p in report.programs}


LACKS_MULTI = {"debian-11": ("attach-type-missing", 22), "debian-12": ("config-disabled", 95)}


@pytest.mark.parametrize("kernel", ["debian-11", KERNEL, "debian-13"])
def test_targets(kernel: str, bench: Bench) -> None:
    """A program whose section names nothing is attached where it is declared; what a kernel has no way to, fails."""
    own = bench.own("declared_targets")
    report, verdict = bench.ask("declared_targets", own, kernel)
    found = {p.name: p for p in report.programs}
    for change in own.programs:
        assert f"on {change.target} as declared" in found[change.name].how
    failed = {p.name: p.attach_errno for p in report.programs if p.attach is not Attach.ATTACHED}
    if kernel in LACKS_MULTI:
        cause, number = LACKS_MULTI[kernel]
        assert (verdict.answer, verdict.cause, failed) == (Answer.INCOMPATIBLE, cause, {"on_functions": number})
    else:
        assert (verdict.answer, failed) == (Answer.COMPATIBLE, {})
        assert [t.outcome for t in verdict.tests] == ["passed"] * 2  # they run there, and nowhere else


@pytest.mark.parametrize("kernel", ["debian-11", KERNEL])
@pytest.mark.parametrize("name", ["on_tracepoint", "on_raw_tracepoint"])
def test_one_tracepoint_undeclared(name: str, kernel: str, bench: Bench) -> None:
    """Without its tracepoint a program is not attached, and the line that is proposed, pasted, has it attached."""
    own = bench.own("declared_targets")
    report, verdict = bench.ask("declared_targets", without(own, "programs", name), kernel)
    assert [n for n, attach in outcomes(report).items() if attach is Attach.NOT_ATTEMPTED] == [name]
    text = [line for note in verdict.notes for line in toml_lines(note, "x")]
    (pasted,) = from_dict(
        parse_toml("\n".join(['objects.x.prebuilt = "x.o"', *text]).encode(), "t"), Path("/")
    ).objects.values()
    assert [p.name for p in pasted.declared.programs] == [name]
    report, _ = bench.ask("declared_targets", pasted.declared, kernel)
    assert outcomes(report)[name] is Attach.ATTACHED


@pytest.mark.parametrize(
    ("name", "answer", "cause"),
    [
        ("on_tracepoint", Answer.INCONCLUSIVE, "behaviour-not-attempted"),
        ("on_raw_tracepoint", Answer.INCONCLUSIVE, "behaviour-not-attempted"),
        ("on_call", Answer.INCOMPATIBLE, "behaviour-failed"),
        ("on_return", Answer.INCOMPATIBLE, "behaviour-failed"),
        ("on_functions", Answer.INCOMPATIBLE, "behaviour-failed"),
    ],
)
def test_one_target_undeclared(name: str, answer: Answer, cause: str, bench: Bench) -> None:
    """Without any one of them its test sees nothing of it: it is nowhere, or at what the guest puts in its place."""
    own = bench.own("declared_targets")
    _, verdict = bench.ask("declared_targets", without(own, "programs", name), "debian-13")
    assert (verdict.answer, verdict.cause) == (answer, cause)


@pytest.mark.parametrize(
    ("name", "target", "kernel"),
    [
        ("on_tracepoint", "sched/bpfcompat_nowhere", "debian-11"), ("on_tracepoint", "bpfcompat/exec", KERNEL),
        ("on_raw_tracepoint", "bpfcompat_nowhere", "debian-11"), ("on_raw_tracepoint", "bpfcompat_nowhere", KERNEL),
        ("on_call", "bpfcompat_nowhere", "debian-11"), ("on_return", "bpfcompat_nowhere", KERNEL),
        ("on_functions", "bpfcompat_nowhere", "debian-13"), ("on_functions", "bpfcompat_n*", "debian-13"),
    ],
)  # fmt: skip
def test_a_declared_target_that_is_not_there(name: str, target: str, kernel: str, bench: Bench) -> None:
    """What the kernel has not fails to attach, and the cause names it."""
    own = moved(bench.own("declared_targets"), {name: target})
    kept = own if kernel not in LACKS_MULTI else without(own, "programs", "on_functions")
    off = (ProgramChange("on_functions", autoload=False),) if kernel in LACKS_MULTI else ()
    report, verdict = bench.ask("declared_targets", replace(kept, programs=(*kept.programs, *off)), kernel)
    assert outcomes(report)[name] is Attach.FAILED
    assert (verdict.answer, verdict.cause, verdict.subject) == (Answer.INCOMPATIBLE, "attach-target-missing", target)


@pytest.mark.parametrize(
    ("example", "targets", "kernel"),
    [
        (
            "probes",
            {
                "on_kretprobe": "vfs_write", "on_kretsyscall": "openat", "on_tracepoint": "sched/sched_process_exec",
                "on_raw_tracepoint": "sched_process_exec", "on_raw_tp_w": "bpf_test_finish",
            },
            "debian-11",
        ),
        ("kprobe_multi", {"on_link": "vfs_*dir", "on_return_of_choice": "vfs_*dir"}, "debian-13"),
        ("kprobe_session", {"both": "vfs_write", "both_of_choice": "vfs_*dir"}, "debian-13"),
    ],
)  # fmt: skip
def test_a_declared_target_goes_first(example: str, targets: dict[str, str], kernel: str, bench: Bench) -> None:
    """A program is attached where it is declared, whatever its section names."""
    report, verdict = bench.ask(
        example, Declared(programs=tuple(ProgramChange(n, target=t) for n, t in targets.items())), kernel
    )
    found = {p.name: p.how for p in report.programs if p.attach is Attach.ATTACHED}
    assert [f"on {target} as declared" in found[name] for name, target in targets.items()] == [True] * len(targets)
    assert verdict.answer is Answer.COMPATIBLE


@pytest.mark.parametrize(
    "change",
    [
        ProgramChange("keep_all", type="raw_tracepoint", target="sched_switch"),
        ProgramChange("keep_all", type="kprobe", target="vfs_read"),
        ProgramChange("keep_all", type="kprobe", attach_type="trace_kprobe_multi", target="vfs_rea*"),
    ],
)
def test_a_target_of_a_declared_type(change: ProgramChange, bench: Bench) -> None:
    """Host and guest take a program whose section says no type for the same family, so that its target is used."""
    report, verdict = bench.ask("no_type", Declared(programs=(change,)), "debian-13")
    (found,) = report.programs
    assert (verdict.answer, found.attach) == (Answer.COMPATIBLE, Attach.ATTACHED)
    assert f"on {change.target} as declared" in found.how


def test_targets_as_init_proposes_them(asker: Asker, bench: Bench) -> None:
    """What `bpfcompat init` writes for such an object is taken, and every program of it is attached by it."""
    data = asker.shop.store.read(asker.object("declared_targets"))
    text = propose("x", ['prebuilt = "x.o"'], data, Around({}, {}))
    (proposed,) = from_dict(parse_toml(text.encode(), "t"), Path("/")).objects.values()
    report, _ = bench.ask("declared_targets", proposed.declared, "debian-13")
    assert set(outcomes(report).values()) == {Attach.ATTACHED}
    assert all("as declared" in p.how for p in report.programs)


UNLOADABLE = ("tool_qemu_rss", "tool_suricata_filter")  # maps of before BTF: no declaration makes libbpf 1.x take them
COMPLETE = ("tool_xdp_forward",)  # its loader sets nothing, and loads a module


def test_tools_as_they_came(asker: Asker, bench: Bench) -> None:
    """What real tools set before they load cannot be done without: undeclared is no answer, never an incompatible."""
    tools = [name for name in asker.shop.matrix.objects if name.startswith("tool_") and name not in COMPLETE]
    found = {name: bench.ask(name, Declared())[1] for name in tools}
    assert {(name, v.answer) for name, v in found.items()} == {(name, Answer.INCONCLUSIVE) for name in tools}
    unloadable = dict.fromkeys(UNLOADABLE, "loader-unsupported")
    assert {name: v.cause for name, v in found.items()} == dict.fromkeys(tools, "needs-declaration") | unloadable


def test_a_module_undeclared(asker: Asker, bench: Bench) -> None:
    """A kfunc whose module nobody loads is missing, and the hint is the line that declares the module."""
    shop, pair = asker.shop, Pair("tool_xdp_forward", "debian-13")
    objects = {**shop.matrix.objects, pair.object: replace(shop.matrix.objects[pair.object], modules=())}
    other = type(asker)(replace(shop, matrix=Matrix(objects, shop.matrix.kernels, (), {})))
    attempt = other.attempt(pair, cold=False)
    assert attempt.report is not None
    verdict = other.classify(pair, attempt.report)
    assert (verdict.answer, verdict.cause) == (Answer.INCOMPATIBLE, "kfunc-missing")
    assert 'modules = ["nf_flow_table"]' in verdict.hint
    assert asker.verdict(pair).answer is Answer.COMPATIBLE


# --- programs that run at another program's entry and exit

TRACING = ("at_entry", "at_exit", "at_own_exit")


@pytest.mark.parametrize("kernel", ["debian-11", KERNEL, "debian-13-backports"])
def test_tracing_a_program(kernel: str, asker: Asker) -> None:
    """fentry and fexit attach to a program of another object, and to one of their own."""
    found = {p.name: p for p in asker.report(Pair("fentry_program", kernel)).programs}
    assert [(found[n].attach, found[n].how) for n in TRACING] == [(Attach.ATTACHED, "libbpf: tracing link")] * 3


@pytest.mark.parametrize("name", TRACING)
def test_tracing_a_program_undeclared(name: str, bench: Bench) -> None:
    """Which program is a loader's choice: without it there is no answer, and a line to add."""
    report, verdict = bench.ask("fentry_program", without(bench.own("fentry_program"), "programs", name))
    assert [p.name for p in report.programs if p.load_errno] == [name]
    assert (verdict.answer, verdict.cause) == (Answer.INCONCLUSIVE, "needs-declaration")
    assert any(f"programs.{name}]" in note for note in verdict.notes)


def test_tracing_a_program_that_is_not_there(bench: Bench) -> None:
    """A program that the other object has not is nothing to attach to, and the others are told as they are."""
    own = bench.own("fentry_program")
    changed = tuple(replace(p, target_program="elsewhere") if p.name == "at_entry" else p for p in own.programs)
    report, verdict = bench.ask("fentry_program", replace(own, programs=changed))
    assert {p.name for p in report.programs if p.load_errno} == {"at_entry"}
    assert verdict.answer is not Answer.COMPATIBLE


def test_a_target_is_in_the_key(asker: Asker) -> None:
    """Another object that holds a target is a part of what is asked, by its digest."""
    action = asker.packing_action("fentry_program")
    digest = asker.object("xdp").digest
    assert action.inputs["files"] == {f"targets/{name}.bpf.o": [digest, 0o644] for name in TRACING[:2]}
