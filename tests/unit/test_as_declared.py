"""What a verdict says of declarations, and which lines it asks for."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bpfcompat import fitting, reports
from bpfcompat.as_declared import is_remark, notes, to_declare, toml_lines
from bpfcompat.config import from_dict, parse_toml
from bpfcompat.declared import Declared, DeclaredReport, SettingReport, TriedReport, VariantReport, target_line
from bpfcompat.elf import ProgramFacts
from bpfcompat.model import Answer, Attach, AttachMode, Log, MapReport, Report, Verdict
from bpfcompat.twins import listed, placeholder
from bpfcompat.verdict import classify
from tests.rows import YES, row
from tests.unit.test_elf import EXEC, EXIT, FUNC, Section, elf
from tests.unit.test_verdict import FACTS, program, refused, report, unattached

SIZE = SettingReport("map", "counts", "max_entries", "1024", 0)
TYPE = "libbpf: prog 'one': missing BPF prog type, check ELF section name 'filter'\n"
TARGET = "libbpf: prog 'one': no BTF-based attach target is specified, use bpf_program__set_attach_target()\n"
PROGRAM = "libbpf: prog 'one': attach program FD is not set\n"
CALLER = """libbpf: prog 'one': SEC("struct_ops") program isn't referenced anywhere, did you forget to use it?\n"""
INNER = "libbpf: map 'outer': failed to create: -EINVAL\n"


def tried(needs: str, held: bool | None, number: int = 0, programs: tuple[str, ...] = ("a",)) -> TriedReport:
    return TriedReport(needs, programs, held, number)


def said(*settings: SettingReport, variants: tuple[VariantReport, ...] = (), **changes: Any) -> Report:
    """A report of a declared object that loads."""
    return replace(report(program()), declared=DeclaredReport(settings, variants), **changes)


def pasted(found: Verdict) -> Declared:
    """What a verdict's lines to add declare when they are put into an object's table as they are."""
    text = [line for note in found.notes for line in toml_lines(note, "mine")]
    settings = from_dict(parse_toml("\n".join(["[objects.mine]", 'prebuilt = "x.o"', *text]).encode(), "t"), Path("/"))
    return settings.objects["mine"].declared


def test_settings_are_told() -> None:
    """Each thing that was set is a note, and the sentence says that the answer is as declared."""
    found = classify(said(SIZE), FACTS, AttachMode.ATTACH)
    assert found.notes[0] == "declared: maps.counts.max_entries = 1024"
    assert ", as declared; 1 of 1 programs attached" in found.sentence
    assert "declared" not in classify(report(program()), FACTS, AttachMode.ATTACH).sentence


@pytest.mark.parametrize(
    ("group", "words"),
    [
        (
            VariantReport("g", 1, (tried("helper:bpf_loop:181", False), tried("always", True, programs=("b", "c")))),
            "variant g: on: b, c; because helper:bpf_loop is not there; b, c needs nothing; off: a",
        ),
        (
            VariantReport("g", 1, (tried("trial-load", False, 13), tried("trial-load", True, programs=("b",)))),
            "variant g: on: b; because a does not load on trial (EACCES); b loads on trial; off: a",
        ),
        (
            VariantReport("g", 0, (tried("kfunc:f", True), tried("always", None, programs=("a",)))),
            "variant g: on: a; because kfunc:f is there",
        ),
        (
            VariantReport("g", 1, (tried("symbol:s", False), tried("always", True, programs=("-",)))),
            "variant g: on: none; because symbol:s is not there; none needs nothing; off: a",
        ),
    ],
)
def test_choices_are_told(group: VariantReport, words: str) -> None:
    """A choice is told with every condition that was asked on the way to it."""
    assert list(notes(said(variants=(group,)))) == [words]
    assert not is_remark(words)


def test_no_variant() -> None:
    """An object of which no variant can be used is incompatible, however well the rest of it loads."""
    group = VariantReport("g", None, (tried("kfunc:f", False), tried("trial-load", False, 22)))
    found = classify(said(variants=(group,)), FACTS, AttachMode.ATTACH)
    assert (found.answer, found.cause, found.subject) == (Answer.INCOMPATIBLE, "no-variant", "g")
    assert found.evidence == ("kfunc:f is not there", "a does not load on trial (EINVAL)")


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (said(replace(SIZE, errno=95)), "maps.counts.max_entries = 1024 (EOPNOTSUPP)"),
        (
            said(variants=(VariantReport("g", 1, (tried("prog-type:x", False, 95), tried("always", True))),)),
            "prog-type:x",
        ),
    ],
)
def test_unfit(given: Report, word: str) -> None:
    """A setting that was not taken, or a condition that was not asked, leaves no answer: never yes, never no."""
    found = classify(given, FACTS, AttachMode.ATTACH)
    assert (found.answer, found.cause) == (Answer.INCONCLUSIVE, "declaration-unfit")
    assert word in found.sentence


def test_the_kernel_refuses_a_target() -> None:
    """A declared target that the kernel has not is its refusal, as if the section had named it."""
    words = "libbpf: prog 'one': failed to find kernel BTF type ID of 'nope': -3\n"
    refusal = replace(report(refused(3, "", words)), load_errno=3)
    given = replace(refusal, declared=DeclaredReport((SettingReport("program", "one", "target", "nope", 3),)))
    found = classify(given, FACTS, AttachMode.ATTACH)
    assert (found.answer, found.cause, found.subject) == (Answer.INCOMPATIBLE, "attach-target-missing", "nope")


@pytest.mark.parametrize(
    ("given", "table"),
    [
        (
            report(
                refused(22, "", "libbpf: map 'a': failed to create: -EINVAL(-22)\n"),
                maps=(
                    MapReport("a", "hash", 4, 4, 0),
                    MapReport("rb", "ringbuf", 0, 0, 0),
                    MapReport("e", "perf_event_array", 4, 4, 0),
                    MapReport("b", "hash", 4, 4, 1),
                    MapReport("s", "stack_trace", 4, 0, 8),
                ),
            ),
            {
                "maps": {
                    "a": {"max_entries": 10240},
                    "rb": {"max_entries": "pages:64"},
                    "s": {"value_size": 1016, "max_entries": 10240},
                }
            },
        ),
        (report(refused(22, "", TYPE)), {"programs": {"one": {"type": "socket_filter"}}}),
        (report(refused(22, "", PROGRAM, type="ext")), {"programs": {"one": {"target_program": "main"}}}),
        (
            replace(
                report(refused(22, "", INNER), maps=(MapReport("outer", "hash_of_maps", 4, 4, 8),)),
                load_log=Log(INNER),
            ),
            {"maps": {"outer": {"inner": {"type": "hash", "key_size": 4, "value_size": 8, "max_entries": 1024}}}},
        ),
        (report(refused(22, "", CALLER)), {"programs": {"one": {"autoload": False}}}),
        (report(refused(22, "", TARGET)), {"programs": {"one": {"target": "vfs_read"}}}),
    ],
)
def test_lines_to_add(given: Report, table: dict[str, Any]) -> None:
    """What an object needs is told as lines of bpfcompat.toml that are taken as they are, all of them at once."""
    found = classify(given, FACTS, AttachMode.ATTACH)
    assert found.cause == "needs-declaration"
    assert pasted(found).to_json() == {"format": 1, **table}
    assert found.hint.startswith("declare it: [objects.NAME.")


def test_optional_programs_need_nothing() -> None:
    """A program that is not loaded by default needs no declaration."""
    assert not list(to_declare(report(refused(22, "", TYPE, autoload=False)), None))


def test_names_that_are_no_bare_keys() -> None:
    """A name with a dot is quoted in what is to be added."""
    given = replace(report(program()), maps=(MapReport("a.b", "hash", 4, 4, 0),))
    assert [toml_lines(n, "x")[0] for n in to_declare(given, None)] == ['[objects.x.maps."a.b"]']


def test_other_notes_are_no_lines() -> None:
    """Only what is to be declared becomes lines."""
    assert toml_lines("a log was too long and is cut", "x") == ()


def test_shown_as_declared() -> None:
    """Tables head the row of a declared object as such, without the mark that a note has."""
    made = replace(row(YES, name="a@k1", notes=("declared: maps.m.max_entries = 1",)), declared=True)
    assert reports.table([made]).splitlines()[-1] == "a (as declared)  yes"
    assert "| a (as declared) | ✅ |" in reports.as_markdown([made])
    assert "compatible, as declared" in reports.line(made)
    assert '"declared": true' in reports.as_json([made])


def test_a_cut_log_is_still_a_remark() -> None:
    """Other notes of a declared object are marked as ever."""
    found = classify(said(SIZE, load_log=Log("x", cut=True)), FACTS, AttachMode.ATTACH)
    assert "yes *" in reports.table([row(YES, name="a@k1", notes=found.notes)])


def test_twins() -> None:
    """A placeholder target of programs that are there twice is the application's choice: no answer, and the group."""
    facts = replace(FACTS, programs=(ProgramFacts("fentry/dummy", "one"), ProgramFacts("kprobe/dummy", "two")))
    words = "libbpf: prog 'one': failed to find kernel BTF type ID of 'dummy': -3\n"
    given = report(refused(3, "", words, section="fentry/dummy"), program(name="two", section="kprobe/dummy"))
    found = classify(given, facts, AttachMode.ATTACH)
    assert (found.answer, found.cause) == (Answer.INCONCLUSIVE, "needs-declaration")
    text = [line for note in found.notes for line in toml_lines(note, "mine")]
    made = from_dict(parse_toml("\n".join(["[objects.mine]", 'prebuilt = "x.o"', *text]).encode(), "t"), Path("/"))
    (group,) = made.objects["mine"].declared.variants
    assert [a.programs for a in group.alternatives] == [("one",), ("two",)]
    alone = replace(FACTS, programs=(ProgramFacts("fentry/gone", "one"), ProgramFacts("kprobe/other", "two")))
    one = refused(3, "", words.replace("dummy", "gone"), section="fentry/gone")
    gone = report(one, program(name="two", section="kprobe/other"))
    assert classify(gone, alone, AttachMode.ATTACH).cause == "attach-target-missing"


PLACELESS = "the section names no tracepoint: its loader chooses one"


@pytest.mark.parametrize(
    ("section", "type", "target", "word"),
    [
        ("tp", "tracepoint", "sched/sched_switch", "tracepoint"),
        ("raw_tp", "raw_tracepoint", "sched_switch", "raw_tp"),
        ("raw_tracepoint.w", "raw_tracepoint_writable", "bpf_test_finish", "raw_tp"),
        ("tracepoint", "tracepoint", "sched/sched_switch", "tracepoint"),
        ("odd", "tracepoint", "sched/sched_switch", "tracepoint"), ("odd", "raw_tracepoint", "sched_switch", "raw_tp"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("mode", [AttachMode.ATTACH, AttachMode.REQUIRED])
def test_no_tracepoint(section: str, type: str, target: str, word: str, mode: AttachMode) -> None:
    """A tracepoint of the loader's choice is a line to declare; pasted, it is what the guest takes for this program."""
    given = program(section=section, type=type, attach=Attach.NOT_ATTEMPTED, attach_reason=PLACELESS)
    facts = replace(FACTS, programs=(ProgramFacts(section, "one"),))
    found = classify(report(given), facts, mode)
    declared = pasted(found)
    assert declared.to_json() == {"format": 1, "programs": {"one": {"target": target}}}
    typed = replace(declared, programs=(replace(declared.programs[0], type=type),))
    data = elf([Section(section, EXIT, EXEC)], [("one", FUNC, 1)])
    assert fitting.lines(typed, data, "x")[-1] == f"program one {word} {target}"
    assert found.answer is (Answer.COMPATIBLE if mode is AttachMode.ATTACH else Answer.INCONCLUSIVE)
    assert mode is AttachMode.ATTACH or f'declare it: [objects.NAME.programs.one] target = "{target}"' in found.hint


@pytest.mark.parametrize(
    "change",
    [
        {"attach": Attach.ATTACHED}, {"autoload": False, "attach_reason": PLACELESS},
        {"attach_reason": "the guest has no file /x"}, {"attach_reason": "only loading was asked for"},
    ],
)  # fmt: skip
def test_no_line_for_what_has_its_place(change: dict[str, Any]) -> None:
    """Nothing is proposed for a program that is attached, off, or not attempted for another reason."""
    found = classify(report(program(**{"section": "tp", "attach": Attach.NOT_ATTEMPTED, **change})), FACTS,
                     AttachMode.ATTACH)  # fmt: skip
    assert not any(toml_lines(note, "mine") for note in found.notes)


@pytest.mark.parametrize("key", ["kprobe", "kprobe_multi", "ksyscall", "raw_tp", "tracepoint", "uprobe"])
@pytest.mark.parametrize("section", ["tp", "tp/sched/other"])
def test_a_declared_target_that_is_not_there(key: str, section: str) -> None:
    """A declared target that the kernel does not find when it attaches is its refusal, and it is named."""
    words = "libbpf: prog 'one': failed to create tracepoint 'a/b' perf event: -ENOENT\n"
    declared = DeclaredReport(
        (SettingReport("program", "two", key, "c/d", 0), SettingReport("program", "one", key, "a/b", 0))
    )
    given = replace(report(unattached(2, words, section=section)), declared=declared)
    found = classify(given, FACTS, AttachMode.ATTACH)
    assert (found.answer, found.cause, found.subject) == (Answer.INCOMPATIBLE, "attach-target-missing", "a/b")
    assert "'a/b'" in found.sentence and found.hint.startswith("correct the declared target")


@pytest.mark.parametrize(
    "section", ["fentry/func", "?fexit/dummy_fexit", "kprobe/foo", "kretprobe/dummy_kretprobe+0x4"]
)
def test_placeholders(section: str) -> None:
    """A target that only stands for one is the application's choice, before loading as when attaching."""
    name = placeholder(section)
    words = f"libbpf: prog 'one': failed to find kernel BTF type ID of '{name}': -3\n"
    given = refused(3, "", words, section=section)
    if "probe" in section:
        words = f"libbpf: prog 'one': failed to create kprobe '{name}+0x0' perf event: No such file or directory\n"
        given = replace(unattached(2, words, section=section))
    facts = replace(FACTS, programs=(ProgramFacts(section, "one"),))
    found = classify(report(given), facts, AttachMode.ATTACH)
    assert (found.answer, found.cause, found.subject) == (Answer.INCONCLUSIVE, "needs-declaration", name)
    text = [line for note in found.notes for line in toml_lines(note, "mine")]
    assert text[-1].startswith('target = "vfs_read"')


@pytest.mark.parametrize(
    ("mode", "attach", "answer"),
    [
        ("load", Attach.FAILED, Answer.INCONCLUSIVE),  # a report that says what was not asked is none
        ("load", Attach.NOT_ATTEMPTED, Answer.COMPATIBLE),
        ("attach", Attach.FAILED, Answer.INCOMPATIBLE),
        ("attach", Attach.NOT_ATTEMPTED, Answer.COMPATIBLE),
        ("attach-required", Attach.NOT_ATTEMPTED, Answer.INCONCLUSIVE),
        ("attach-required", Attach.ATTACHED, Answer.COMPATIBLE),
    ],
)
@pytest.mark.parametrize("whole", [AttachMode.LOAD, AttachMode.ATTACH, AttachMode.REQUIRED])
def test_each_program_goes_as_far_as_declared(mode: str, attach: Attach, answer: Answer, whole: AttachMode) -> None:
    """What is declared of a program decides how far it must go, whatever its object's own mode is."""
    one = program(attach=attach, attach_errno=22 if attach is Attach.FAILED else 0, attach_reason="why")
    given = replace(report(one), declared=DeclaredReport((SettingReport("program", "one", "attach", mode, 0),)))
    found = classify(given, FACTS, whole)
    assert found.answer is answer, found


@pytest.mark.parametrize("name", ['x"] = {}\n[build]\ncc = "evil', "back\\slash", 'a" b', "\x1b[2J", "plain"])
def test_names_are_quoted(name: str) -> None:
    """Whatever an object calls its programs, a line to declare is about a program of just this name."""
    line = target_line(name, "kprobe").partition("  #")[0].strip()
    table, _, setting = line.rpartition("] ")
    found = tomllib.loads(f"{table}]\n{setting}\n")
    assert found == {"objects": {"NAME": {"programs": {name: {"target": "vfs_read"}}}}}
    assert tomllib.loads(f"names = {listed([name, name])}\n") == {"names": [name, name]}
