"""Report in, verdict out.

Pure: the same report gives the same verdict on any machine, years later, so stored reports are classified again
without a boot.  Loading the object as a whole decides; its programs, asked alone, say which and why.  A report that
contradicts itself or is silent about a program is *inconclusive*, never compatible.
"""

import errno
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeVar

from bpfcompat import as_declared, costs, judging
from bpfcompat.behaviour import BehaviourTest, Outcome, TestVerdict
from bpfcompat.builds import Build
from bpfcompat.causes import (
    CAUSES,
    Case,
    Cause,
    Finding,
    Phase,
    attach_since,
    attach_type,
    clip,
    errno_name,
    explain,
    lacks,
    older,
)
from bpfcompat.commanded import SLUGS as COMMANDED
from bpfcompat.commanded import command_verdict
from bpfcompat.digest import as_json
from bpfcompat.elf import ObjectFacts, clean_name
from bpfcompat.errors import StoreError
from bpfcompat.fates import SLUG, fate_verdict
from bpfcompat.model import (
    Answer,
    Attach,
    AttachMode,
    Creation,
    MapReport,
    MapVerdict,
    Measures,
    ProgramReport,
    ProgramVerdict,
    Report,
    Verdict,
)
from bpfcompat.tame import tamed

CLASSIFIER = 7  # raise it whenever the same report may give another verdict
CONTRADICTORY = "contradictory"
INACTIVE = "ATTACHED BUT INACTIVE"  # begins the note on LSM programs that nothing calls
SLUGS = (CONTRADICTORY, *SLUG.values(), *judging.SLUGS, *as_declared.SLUGS, *COMMANDED,
         *(cause.slug for cause in CAUSES))  # fmt: skip
MAX_NOTES = 50
MAX_NAMED = 8

__all__ = [
    "CLASSIFIER", "SLUGS", "Refusal", "classify", "errno_name", "refusal_of", "verdict_from_bytes", "verdict_from_json",
    "verdict_to_json",
]  # fmt: skip
_Word = TypeVar("_Word", Answer, Attach, Creation, Outcome)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What decides against an object, or a program: all that is known of it, the row that explains it, and how."""

    case: Case
    cause: Cause
    finding: Finding


def classify(
    report: Report,
    facts: ObjectFacts | str,
    attach: AttachMode,
    tests: Sequence[BehaviourTest] = (),
    homes: Mapping[str, str] = MappingProxyType({}),
    command: Mapping[str, Any] | None = None,
    build: Build | None = None,
) -> Verdict:
    """The verdict of a report.

    `facts` is what elf.facts_or_fault() says of the same object: it words the verdict and is asked which programs
    the report must speak of; it never decides against the loader.  `tests` are held against what the report tells of
    them once the object loads and attaches.  `homes`: kfunc → the module of this kernel that holds it.  `command` is
    what was asked of the project's own loader, of the probe's spec, if that was asked instead of libbpf.  `build` is
    the inventory of this kernel's exact build, where its files say what it has: it tells causes apart, and decides no
    answer; without one a table of releases does.
    """
    asker = _Asker(report, facts, homes, build)
    found = replace(_of_object(report, facts, attach, asker, command), maps=costs.map_verdicts(report))
    if not tests or found.cause == CONTRADICTORY:
        return found
    if found.answer is not Answer.COMPATIBLE:
        return replace(found, tests=judging.unasked(tests, found.sentence))
    doubt = judging.mismatch(tests, report.tests)
    return (
        replace(_doubtful(report, doubt, found.programs), maps=found.maps) if doubt else _behaved(report, found, tests)
    )


def refusal_of(
    report: Report,
    facts: ObjectFacts | str,
    attach: AttachMode,
    homes: Mapping[str, str],
    program: str = "",
    build: Build | None = None,
) -> Refusal | None:
    """What decides against an object, or against one of its programs asked alone; None when no kernel refused it."""
    asker = _Asker(report, facts, homes, build)
    if not program:
        otherwise = report.command is not None or report.ending is not None or as_declared.objection(report) is not None
        return None if otherwise else asker.refusal(attach)
    found = next((p for p in report.programs if p.name == program), None)
    return asker.refused(found, attach) if found else None


def refusals(
    report: Report, facts: ObjectFacts | str, attach: AttachMode, homes: Mapping[str, str], build: Build | None = None
) -> Iterator[tuple[str, Refusal]]:
    """All that was refused, by a breadcrumb: the object (""), each program asked alone, each map asked alone."""
    asker, whole = _Asker(report, facts, homes, build), refusal_of(report, facts, attach, homes, "", build)
    if whole is not None:
        yield "", whole
    for program in report.programs:
        refused = asker.refused(program, attach)
        if refused is not None:
            yield f"program '{clip(program.name)}'", refused
    for made in report.maps:
        if made.errno and made.libbpf.text:
            yield f"map '{clip(made.name)}'", asker.map(made)


def _behaved(report: Report, found: Verdict, tests: Sequence[BehaviourTest]) -> Verdict:
    """The verdict of an object that loads and attaches, and whose behaviour was looked at."""
    told = judging.judge(tests, report.tests)
    beside = _bounded(*found.notes, *judging.notes(told))
    decisive = judging.decisive(told, clip(str(report.guest.get("release", "?")), 64))
    if decisive is not None:
        return replace(decisive, notes=beside, programs=found.programs, tests=told, maps=found.maps)
    return replace(found, sentence=found.sentence + judging.praise(told), notes=beside, tests=told)


def _bounded(*notes: str) -> tuple[str, ...]:
    more = len(notes) - MAX_NOTES
    return (*notes[:MAX_NOTES], f"and {more} more notes") if more > 0 else notes


def _of_object(
    report: Report,
    facts: ObjectFacts | str,
    attach: AttachMode,
    asker: "_Asker",
    command: Mapping[str, Any] | None,
) -> Verdict:
    programs = tuple(asker.program(program, attach) for program in report.programs)
    if report.ending is not None:
        return fate_verdict(report, report.ending, programs)
    if (report.command is None) != (command is None):
        return _doubtful(report, "it is of another loader than the one that was asked", programs)
    if report.command is not None and command is not None:
        return command_verdict(report, report.command, command)
    doubt = _contradiction(report, facts, attach)
    if doubt is not None:
        return _doubtful(report, doubt, programs)
    notes = _bounded(*as_declared.notes(report), *_notes(report, attach, asker))
    notes = (*notes, *as_declared.to_place(report))
    objection = as_declared.objection(report)
    if objection is not None:
        return _objected(*objection, notes, programs)
    refusal = asker.refusal(attach)
    if refusal is None:
        return Verdict(Answer.COMPATIBLE, "", _praise(report, attach), notes=notes, programs=programs)
    found = refusal.finding
    if refusal.cause.slug == "needs-declaration":
        notes = (*notes, *as_declared.to_declare(report, asker.facts))  # all of them: each is a line to add
    return Verdict(
        answer=refusal.cause.answer,
        cause=refusal.cause.slug,
        sentence=clip(found.sentence, 600),
        evidence=found.evidence,
        errno=refusal.case.code,
        hint=clip(found.hint),
        subject=clip(found.subject),
        notes=notes,
        programs=programs,
    )


def _objected(
    slug: str, answer: Answer, found: Finding, notes: tuple[str, ...], programs: tuple[ProgramVerdict, ...]
) -> Verdict:
    """What was declared decides: it does not fit, or none of the variants can be used."""
    sentence, hint, subject = clip(found.sentence, 600), clip(found.hint), clip(found.subject)
    return Verdict(answer, slug, sentence, found.evidence, "", hint, subject, notes, programs)


class _Asker:
    """Turns each refusal of a report into a case and asks the table."""

    def __init__(
        self, report: Report, facts: ObjectFacts | str, homes: Mapping[str, str], build: Build | None = None
    ) -> None:
        self.report = report
        self.homes, self.build = homes, build
        self.facts = None if isinstance(facts, str) else facts
        self.fault = facts if isinstance(facts, str) else ""

    def refusal(self, attach: AttachMode) -> Refusal | None:
        """What decides against the object, or None when nothing does."""
        report = self.report
        if report.open_errno:
            return self._ask(Phase.OPEN, report.open_errno, report.open_log.text, "", None)
        expected = [program for program in report.programs if program.autoload]
        if report.load_errno:
            refused = next((p for p in expected if p.load_errno), None)
            return self.load(refused) if refused else self._whole(report.load_errno)
        failed = next((p for p in expected if p.attach is Attach.FAILED and self.mode(p, attach).attaches), None)
        missing = next((p for p in expected if _is_missing(p, self.mode(p, attach))), None)
        decisive = failed or missing
        return self._attach(decisive) if decisive else None

    def load(self, program: ProgramReport) -> Refusal:
        """Why a program does not load."""
        return self._ask(Phase.LOAD, program.load_errno, program.libbpf.text, program.log.text, program)

    def program(self, program: ProgramReport, attach: AttachMode) -> ProgramVerdict:
        """One program's own answer."""
        refusal = self.refused(program, attach)
        return ProgramVerdict(
            name=clip(program.name),
            section=clip(program.section),
            type=clip(program.type, 64),
            loaded=program.load_errno == 0,
            attach=program.attach,
            cause=refusal.cause.slug if refusal else "",
            detail=clip(refusal.finding.sentence if refusal else program.attach_reason, 600),
            measures=program.measures,
            how=clip(program.how),
        )

    def refused(self, program: ProgramReport, attach: AttachMode) -> Refusal | None:
        """What one program, asked alone, was refused for."""
        mode = self.mode(program, attach)
        if program.load_errno:
            return self.load(program)
        failed = program.attach is Attach.FAILED and mode.attaches
        return self._attach(program) if failed or _is_missing(program, mode) else None

    def mode(self, program: ProgramReport, attach: AttachMode) -> AttachMode:
        """How far this program was asked to go: as declared for it, else as its object."""
        return as_declared.attach_mode(self.report, program, attach)

    def map(self, found: MapReport) -> Refusal:
        """Why a map is not made."""
        return self._ask(Phase.LOAD, found.errno, found.libbpf.text, "", None)

    def _whole(self, load_errno: int) -> Refusal:
        words = self.report.load_log.text
        return self._ask(Phase.LOAD, load_errno, words, words, None)

    def _attach(self, program: ProgramReport) -> Refusal:
        return self._ask(Phase.ATTACH, program.attach_errno, program.libbpf.text, program.log.text, program)

    def _ask(self, phase: Phase, number: int, libbpf: str, verifier: str, program: ProgramReport | None) -> Refusal:
        report = self.report
        odd = self.facts.odd if self.facts else ()
        case = Case(phase, number, tamed(libbpf, odd), tamed(verifier, odd), report.guest, self.facts, self.fault,
                    report.maps, program, self.homes, self.build,
                    as_declared.place(report, program) if program else "")  # fmt: skip
        return Refusal(case, *explain(case))


def _is_missing(program: ProgramReport, attach: AttachMode) -> bool:
    """Attaching was required, and was not attempted."""
    return attach is AttachMode.REQUIRED and program.attach is Attach.NOT_ATTEMPTED and not program.load_errno


# --- what makes a report no answer at all


def _contradiction(report: Report, facts: ObjectFacts | str, attach: AttachMode) -> str | None:
    return next(_contradictions(report, facts, attach), None)


def _contradictions(report: Report, facts: ObjectFacts | str, attach: AttachMode) -> Iterator[str]:
    if report.open_errno:
        if report.load_errno is not None or report.programs:
            yield "the object did not open, and yet something of it was asked to load"
        return
    if report.load_errno is None:
        yield "the object opened, and loading it was never answered"
    told = {clean_name(program.name) for program in report.programs}
    wanted = [] if isinstance(facts, str) else [clean_name(program.name) for program in facts.programs]
    silent = [name for name in wanted if name not in told]
    if silent:
        yield f"nothing is said of program '{clip(silent[0])}'"
    for program in report.programs:
        if program.load_errno and program.attach is not Attach.NOT_ATTEMPTED:
            yield f"program '{clip(program.name)}' did not load, and yet attaching it is {program.attach}"
        if (program.attach is Attach.FAILED) != (program.attach_errno != 0):
            name, code = clip(program.name), errno_name(program.attach_errno) or "no errno"
            yield f"program '{name}': attaching is {program.attach} with {code}"
        mode = as_declared.attach_mode(report, program, attach)
        if mode is AttachMode.LOAD and program.attach is not Attach.NOT_ATTEMPTED:
            yield f"program '{clip(program.name)}': only loading was asked for, and attaching is {program.attach}"


def _doubtful(report: Report, doubt: str, programs: tuple[ProgramVerdict, ...]) -> Verdict:
    return Verdict(
        answer=Answer.INCONCLUSIVE,
        cause=CONTRADICTORY,
        sentence=f"the report cannot be believed: {doubt}",
        evidence=(f"open errno {report.open_errno}, load errno {report.load_errno}, {len(report.programs)} programs",),
        hint="ask again; if it stays so, the validator or this table is wrong",
        programs=programs,
    )


# --- what is said beside the answer


def _praise(report: Report, attach: AttachMode) -> str:
    release = clip(str(report.guest.get("release", "?")), 64)
    expected = [program for program in report.programs if program.autoload]
    said = ", as declared" if report.declared is not None else ""
    if not _attaches(report, attach):
        return f"object: loads on this kernel ({release}){said}"
    attached = sum(program.attach is Attach.ATTACHED for program in expected)
    rest = len(expected) - attached
    tail = f"; attaching {rest} was not attempted" if rest else ""
    return f"object: loads on this kernel ({release}){said}; {attached} of {len(expected)} programs attached{tail}"


def _notes(report: Report, attach: AttachMode, asker: _Asker) -> Iterator[str]:
    expected = [program for program in report.programs if program.autoload]
    yield from _inactive(report, expected)
    yield from _not_loaded(report)
    yield from costs.notes(report)
    if not _attaches(report, attach):
        yield "attaching was not asked for"
    else:
        yield from _not_attempted(
            report, [p for p in expected if p.attach is Attach.NOT_ATTEMPTED and not p.load_errno], asker.build
        )
    for program in report.programs:
        if not program.autoload and program.load_errno:
            why = asker.load(program).finding.sentence
            yield clip(f"optional program '{program.name}' ({program.section}) does not load here: {why}", 600)
        elif program.load_errno and report.load_errno == 0:
            yield clip(f"program '{program.name}' does not load alone, only with the rest of its object", 600)
    if any(log.cut for log in (report.open_log, report.load_log, *(p.log for p in report.programs))):
        yield "a log was too long and is cut"
    if report.relocations_cut:
        yield f"there are more CO-RE relocations than could be told: {len(report.relocations)} are"


def _attaches(report: Report, attach: AttachMode) -> bool:
    """True when attaching was asked for, of the object or of any of its programs."""
    return attach.attaches or any(as_declared.attach_mode(report, p, attach).attaches for p in report.programs)


def _inactive(report: Report, expected: list[ProgramReport]) -> Iterator[str]:
    active = report.guest.get("lsm")
    names = [p.name for p in expected if p.type == "lsm" and p.attach is Attach.ATTACHED]
    if names and isinstance(active, list | tuple) and "bpf" not in active:
        listed = clip(",".join(map(str, active)))
        yield f"{INACTIVE}: {_named(names)}: bpf is not among the active LSMs ({listed}): never called"


def _not_loaded(report: Report) -> Iterator[str]:
    """Modules that were to be there and are not; one of the usual ones that a kernel lacks is no news."""
    for module in report.guest.get("modules") or ():
        if module["errno"] == errno.ENOENT:
            yield f"module {clip(module['name'], 64)}: this kernel has none of this name"
        elif module["errno"]:
            yield f"module {clip(module['name'], 64)}: not loaded: {errno_name(module['errno'])}"


def _not_attempted(report: Report, programs: list[ProgramReport], build: Build | None) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for program in programs:
        since, absent = attach_since(program.section), lacks(build, "attach_types", attach_type(program.section))
        if absent or (absent is None and older(report.guest, since)):
            where, release = f"{_named([program.name])}: {program.section}", report.guest.get("release")
            yield clip(f"LOADS, BUT WILL HARDLY ATTACH: {where} attaches since Linux {since}, this kernel is {release}")
        reasons.setdefault(program.attach_reason or "no reason given", []).append(program.name)
    for reason, names in reasons.items():
        yield f"attaching not attempted: {_named(names)}: {clip(reason)}"


def _named(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    word = "program" if len(names) == 1 else "programs"
    return f"{word} {', '.join(repr(clip(name, 64)) for name in names[:MAX_NAMED])}{more}"


# --- a verdict as bytes


def verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict as JSON values; verdict_from_json() gives an equal one back."""
    return as_json(verdict)  # type: ignore[no-any-return]


def verdict_from_bytes(data: bytes) -> Verdict:
    """A verdict from its canonical JSON; StoreError when it is none."""
    try:
        return verdict_from_json(json.loads(data))
    except (ValueError, RecursionError) as error:
        raise StoreError(f"verdict: expected JSON, got {data[:40]!r}", hint="forget it and classify again") from error


def verdict_from_json(value: Any) -> Verdict:
    """A verdict from JSON values; StoreError that names the field that is not as it must be."""
    table = _table(value, "verdict", Verdict)
    programs = _list(table["programs"], "programs")
    return Verdict(
        answer=_word(Answer, table["answer"], "answer"),
        **{name: _text(table[name], name) for name in ("cause", "sentence", "errno", "hint", "subject")},
        evidence=tuple(_text(line, "evidence") for line in _list(table["evidence"], "evidence")),
        notes=tuple(_text(line, "notes") for line in _list(table["notes"], "notes")),
        programs=tuple(_program_from_json(program) for program in programs),
        maps=tuple(_map_from_json(found) for found in _list(table["maps"], "maps")),
        tests=tuple(_test_from_json(test) for test in _list(table["tests"], "tests")),
    )


def _program_from_json(value: Any) -> ProgramVerdict:
    table = _table(value, "program", ProgramVerdict)
    if not isinstance(table["loaded"], bool):
        raise _wrong("loaded", "true or false", table["loaded"])
    return ProgramVerdict(
        loaded=table["loaded"],
        attach=_word(Attach, table["attach"], "attach"),
        **{name: _text(table[name], name) for name in ("name", "section", "type", "cause", "detail", "how")},
        measures=_measures(table["measures"]),
    )


def _measures(value: Any) -> Measures | None:
    try:
        return costs.measures_from_json(value)
    except (KeyError, TypeError) as error:
        raise _wrong("measures", "numbers by name", value) from error


def _map_from_json(value: Any) -> MapVerdict:
    table = _table(value, "map", MapVerdict)
    return MapVerdict(
        outcome=_word(Creation, table["outcome"], "outcome"),
        **{name: _text(table[name], name) for name in ("name", "type", "errno", "detail")},
    )


def _test_from_json(value: Any) -> TestVerdict:
    table = _table(value, "test", TestVerdict)
    if not isinstance(table["required"], bool):
        raise _wrong("required", "true or false", table["required"])
    return TestVerdict(
        name=_text(table["name"], "name"),
        required=table["required"],
        outcome=_word(Outcome, table["outcome"], "outcome"),
        detail=tuple(_text(line, "detail") for line in _list(table["detail"], "detail")),
    )


def _table(value: Any, where: str, kind: type[Any]) -> Mapping[str, Any]:
    names = set(kind.__dataclass_fields__)
    if not isinstance(value, dict) or set(value) != names:
        raise _wrong(where, f"exactly the fields {', '.join(sorted(names))}", value)
    return value


def _word(kind: type[_Word], value: Any, where: str) -> _Word:
    try:
        return kind(value)
    except ValueError as error:
        raise _wrong(where, " or ".join(kind), value) from error


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _wrong(where, "a text", value)
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(where, "a list", value)
    return value


def _wrong(where: str, expected: str, got: object) -> StoreError:
    return StoreError(f"verdict: {where}: expected {expected}, got {str(got)[:80]!r}")
