"""Explanations: from what real kernels said, from an inventory for or against it, and from stored results."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.labels.score import Asked
from bpfcompat import causes
from bpfcompat.builds import Build
from bpfcompat.causes import CAUSES, Certainty, Phase
from bpfcompat.elf import facts_from_json
from bpfcompat.explanation import (
    BESIDE,
    Explanation,
    Known,
    Result,
    Source,
    explain,
    nearest_pass,
    place_in_log,
    to_json,
)
from bpfcompat.model import Answer, AttachMode
from bpfcompat.nearby import Near
from bpfcompat.telling import as_text
from bpfcompat.verdict import SLUGS, Refusal, refusal_of
from bpfcompat.wire import report_from_json

GOLDEN = Path(__file__).parents[1] / "golden" / "verdicts"
PASSES, FAILS = Answer.COMPATIBLE, Answer.INCOMPATIBLE


def known(name: str, **more: Any) -> Known:
    """What is known of a golden report."""
    kept = json.loads((GOLDEN / f"{name}.json").read_text())
    report, asked = report_from_json(kept["report"]), Asked.from_json(kept.get("asked", {}))
    facts = kept["facts"] if isinstance(kept["facts"], str) else facts_from_json(kept["facts"])
    verdict = asked.classify(report, facts)
    refusal = refusal_of(report, facts, asked.attach, asked.homes)
    return Known(kept["object"], kept["kernel"], report, verdict, refusal, "sha256:" + "0" * 64, **more)


def explained(name: str, **more: Any) -> Explanation:
    """The explanation of a golden report."""
    return explain(known(name, **more))


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda p: p.stem)
def test_every_golden_is_explained(path: Path) -> None:
    """Each real report that is not compatible gets its cause, what to change, and the lines of a log by number."""
    found = explained(path.stem)
    expected = json.loads(path.read_text())["expect"]
    assert (str(found.answer), found.slug) == (expected["answer"], expected["cause"])
    assert bool(found.fix) == (bool(found.slug) or any("INACTIVE" in note for note in found.notes))
    assert found.reproduce == f"doit forget probe:{path.stem} && doit probe:{path.stem}"
    assert all(line.number for line in found.evidence.lines if found.evidence.log.startswith("verifier")), (
        found.evidence
    )
    json.dumps(to_json(found))
    assert found.cause.split(":")[0] in as_text(found)


def test_every_answer_has_a_certainty() -> None:
    """Each cause says how sure it is: those of the table in their row, the others in a table beside it."""
    assert set(SLUGS) == {c.slug for c in CAUSES} | set(BESIDE)


def test_place_of_an_old_log() -> None:
    """A log of 5.10 has the source line's text and the instruction, and no file."""
    found = explained("unbounded@debian-11").source
    assert found == Source("", 0, "return packet[13] ? XDP_PASS : XDP_DROP;", "read_blindly", 1)


def test_place_of_a_new_log() -> None:
    """A log of 7.3 has file, line and function in its block."""
    found = explained("unbounded@debian-13-backports").source
    assert found == Source("unbounded.bpf.c", 14, "return packet[13] ? XDP_PASS : XDP_DROP;", "read_blindly", 1)


def test_place_by_line_information() -> None:
    """Where the log has no file, the object's own line information gives it, if both are about the same text."""
    place = Source("x.bpf.c", 14, "return packet[13] ?  XDP_PASS : XDP_DROP;", "read_blindly", None)
    found = explained("unbounded@debian-11", place=lambda program, insn: place if insn == 1 else None).source
    assert found == replace(place, instruction=1)
    other = replace(place, text="return 0;")
    assert explained("unbounded@debian-11", place=lambda *_: other).source == explained("unbounded@debian-11").source


@pytest.mark.parametrize(
    "log", ["", "processed 0 insns", "Verification failed:", "\nVerification failed: x\n\nAt:\n  "]
)
def test_no_place(log: str) -> None:
    """A log without a source line, an instruction or a place gives none."""
    assert place_in_log(log) is None


def test_evidence_has_the_lines_of_the_log() -> None:
    """The numbers are those of the log's lines, and the digest is of the whole log."""
    given = known("unbounded@debian-11")
    assert given.refusal is not None
    log = given.refusal.case.verifier
    found = explain(given).evidence
    assert [log.splitlines()[(line.number or 0) - 1] for line in found.lines] == [line.text for line in found.lines]
    assert (found.log, found.errno) == ("verifier, program 'read_blindly'", "EACCES")
    longer = explain(replace(given, log="another line\n" + log)).evidence
    assert [line.number for line in longer.lines] == [(line.number or 0) + 1 for line in found.lines]
    assert longer.digest != found.digest


BUILD = Build(
    "5.10.0",
    helpers={"map_lookup_elem": 1},
    map_types={"BPF_MAP_TYPE_HASH": 1},
    program_types={"BPF_PROG_TYPE_XDP": 6},
    attach_types={"BPF_XDP": 37},
)


def test_an_inventory_proves() -> None:
    """A type that was missing by the table of releases is proven missing by a build that does not have it."""
    before, after = explained("task_storage@debian-11"), explained("task_storage@debian-11", build=BUILD)
    assert (before.confidence, after.confidence) == (Certainty.INFERRED, Certainty.PROVEN)
    assert "BPF_MAP_TYPE_TASK_STORAGE is not among the 1 map types" in after.on_this_kernel[0]
    assert after.since == "5.11"


@pytest.mark.parametrize(("release", "option"), [("6.12.1", "CONFIG_SCHED_CLASS_EXT"), ("6.1.0", "")])
def test_a_scheduler_that_is_compiled_out(release: str, option: str) -> None:
    """A build without sched_ext is told by its option; a kernel older than the option is not said to lack it."""
    words = "struct_ops init_kern: struct sched_ext_ops is not found in kernel BTF\n"
    given = known("many@debian-11")
    assert given.refusal is not None
    case = replace(given.refusal.case, phase=Phase.LOAD, errno=3, libbpf=words, verifier="")
    assert case.program is not None
    case = replace(case, program=replace(case.program, name="on_init", section="struct_ops.s/init", type="struct_ops"))
    refusal = Refusal(case, *causes.explain(case))
    build = replace(BUILD, release=release, options={})
    found = explain(replace(given, refusal=refusal, program="on_init", build=build))
    assert (found.slug, found.since) == ("attach-target-missing", "6.12")
    assert [option in line for line in found.on_this_kernel] == ([True] if option else [])
    assert any("SCHED_CLASS_EXT=y" in text for text in found.fix) == bool(option)


@pytest.mark.parametrize(("value", "named"), [({}, True), ({"CONFIG_FUNCTION_ERROR_INJECTION": "y"}, False)])
def test_what_may_sleep_is_listed(value: dict[str, str], named: bool) -> None:
    """Error injection lists functions that may sleep: its option is named, and only where it is off."""
    found = explained("tracing_sleepable@debian-13", build=replace(BUILD, options=value))
    assert any("CONFIG_FUNCTION_ERROR_INJECTION" in line for line in found.on_this_kernel) == named
    assert any("CONFIG_FUNCTION_ERROR_INJECTION=y" in text for text in found.fix) == named


def test_an_inventory_contradicts() -> None:
    """A build that has what is said to be missing makes the cause a guess; the cause stays, and the reader is told."""
    build = replace(BUILD, map_types={"BPF_MAP_TYPE_TASK_STORAGE": 29})
    found = explained("task_storage@debian-11", build=build)
    assert (found.slug, found.confidence) == ("map-type-missing", Certainty.GUESSED)
    assert found.on_this_kernel == (
        "present: BPF_MAP_TYPE_TASK_STORAGE is among the map types of this build, "
        "backported: upstream has it in Linux 5.11",
    )
    newer = explained("task_storage@debian-11", build=replace(build, release="5.11.0"))
    assert "backported" not in newer.on_this_kernel[0]


def test_an_option_that_is_off() -> None:
    """What the headers have and the configuration has not is switched off, and the option is a thing to change."""
    build = replace(BUILD, program_types={"BPF_PROG_TYPE_NETFILTER": 32}, options={"CONFIG_NET": "y"})
    found = explained("netfilter@debian-11", build=build)
    assert found.confidence is Certainty.PROVEN
    assert "CONFIG_NETFILTER_BPF_LINK is not set" in found.on_this_kernel[0]
    assert any("CONFIG_NETFILTER_BPF_LINK=y" in text for text in found.fix)


def test_a_renamed_field() -> None:
    """The member that took a field's place leads the list of changes, and both BTFs prove it."""
    near = Near("struct task_struct", "state", ("__state", "stats"), "__state")
    found = explained("core_renamed@debian-12", near=lambda spec: near if "state" in spec else None)
    assert found.subject.relocation == "struct task_struct___old.state"
    assert found.confidence is Certainty.PROVEN
    assert "likely renamed to: __state" in found.on_this_kernel
    assert "struct task_struct___new { … __state; }" in found.fix[0]
    assert "bpf_core_field_exists(((struct task_struct___old *)0)->state)" in found.fix[1]


def test_a_field_that_is_there() -> None:
    """Where every name is there, the relocation fails for another reason: less sure, and said."""
    found = explained("core_renamed@debian-12", near=lambda _: Near("struct task_struct", ""))
    assert found.confidence is Certainty.INFERRED
    assert found.on_this_kernel[0].startswith("present:")


def test_the_verifier_suggests() -> None:
    """The kernel's own suggestion comes before ours."""
    assert explained("unbounded@debian-13-backports").fix[0].startswith("the verifier's own suggestion: Add or adjust")


def test_inactive_lsm_says_what_to_change() -> None:
    """An LSM program that attaches where bpf is no active LSM is compatible, and the reader is told how to have it."""
    given = known("lsm@debian-11")
    found = explain(given)
    assert (found.answer, found.slug) == (PASSES, "") and "lsm=…,bpf" in found.fix[0]
    assert explain(replace(given, verdict=replace(given.verdict, notes=()))).fix == ()


def test_inactive_lsm_comes_first() -> None:
    """Where a behaviour test failed and an LSM program is never called, what wakes the program is advised first."""
    given = known("lsm@debian-11")
    failed = replace(given.verdict, answer=FAILS, cause="behaviour-failed", hint="compare what was expected and got")
    assert given.verdict.notes
    found = explain(replace(given, verdict=failed)).fix
    assert "lsm=…,bpf" in found[0] and found[-1] == "compare what was expected and got"
    assert explain(replace(given, verdict=replace(failed, notes=()))).fix == (failed.hint,)


def test_one_program() -> None:
    """A program that is asked for by name is explained as it was asked alone, also one that loads."""
    given = known("many@debian-11")
    facts = given.refusal.case.facts if given.refusal else None
    assert facts is not None
    for own in given.verdict.programs:
        refusal = refusal_of(given.report, facts, AttachMode.ATTACH, {}, own.name)
        found = explain(replace(given, program=own.name, refusal=refusal))
        assert (found.slug, found.answer is Answer.COMPATIBLE) == (own.cause, not own.cause)
        assert own.name in found.cause
        assert own.cause or found.cause.startswith(f"program '{own.name}': loads and is attached")


def result(kernel: str, release: str, answer: Answer) -> Result:
    return Result(kernel, release, answer, "" if answer is PASSES else "x")


def test_nearest_pass() -> None:
    """Oldest, newest and flips go by release, not by name or by text; what has no answer is no neighbour."""
    five, ten, six, seven = (
        result("e", "5.9.0-1", FAILS), result("d", "5.10.0-32", FAILS), result("c", "6.1.0-50", PASSES),
        result("b", "7.3.4", FAILS),
    )  # fmt: skip
    lost = result("a", "6.12.1", Answer.INCONCLUSIVE)
    found = nearest_pass((seven, lost, six, ten, five), "b")
    assert (found.oldest, found.newest, found.asked) == (six, six, 4)
    assert found.flips == ((six, seven), (ten, six))
    assert nearest_pass((ten,), "d").oldest is None


def test_command_is_one_line() -> None:
    """What asks again is one line however long the names are: its first half alone would ask the whole matrix."""
    found = explain(replace(known("unbounded@debian-11"), object="o" * 80))
    assert f"again       {found.reproduce}" in as_text(found).splitlines()


def test_hostile_words() -> None:
    """Escapes in names and logs reach no terminal."""
    given = known("unbounded@debian-11")
    case = given.refusal.case if given.refusal else None
    assert case is not None and given.refusal is not None and case.program is not None
    evil = replace(case, verifier="; \x1b[31m\x07 @ \x1b.c:1\n0: (61) r1\n\x1b]0;x\x07\xff bad\n")
    found = explain(replace(given, refusal=replace(given.refusal, case=evil)))
    assert "\x1b" not in as_text(found) and "\x07" not in as_text(found)
