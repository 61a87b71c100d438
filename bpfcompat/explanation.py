"""Why, since when, where, what to change, how sure: a report and its verdict, in an engineer's words.

Pure: the same report, verdict, object and inventory give the same explanation, years later and without a boot.  It adds
to a verdict and never changes it.  What the kernel's own inventory (BTF, configuration) says raises or lowers how sure
a cause is; what is only alike in name is told as a proposal.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

from bpfcompat import inventoried
from bpfcompat.as_declared import named
from bpfcompat.builds import Build
from bpfcompat.causes import Certainty, Finding, Phase, clip, reason, suggestion
from bpfcompat.digest import canonical, digest_bytes
from bpfcompat.fixes import MOST, Ground, fixes
from bpfcompat.inventoried import Here
from bpfcompat.model import Answer, Attach, Report, Verdict
from bpfcompat.nearby import Near
from bpfcompat.verdict import INACTIVE, Refusal

FORMAT = 1
MAX_OTHERS = 12
MAX_FLIPS = 4
# Answers that come from no refusal; the words of who gave them decide.
BESIDE: Mapping[str, Certainty] = {
    "kernel-crash": Certainty.PROVEN,
    "kernel-hang": Certainty.PROVEN,
    "kernel-splat": Certainty.PROVEN,
    "behaviour-failed": Certainty.PROVEN,
    "behaviour-not-attempted": Certainty.PROVEN,
    "declaration-unfit": Certainty.PROVEN,
    "no-variant": Certainty.PROVEN,
    "loader-exit": Certainty.PROVEN,
    "loader-not-started": Certainty.PROVEN,
    "loader-timed-out": Certainty.PROVEN,
    "loader-out-of-memory": Certainty.PROVEN,
    "contradictory": Certainty.GUESSED,
}


@dataclass(frozen=True, slots=True)
class Subject:
    """What a cause is about; "" where it is about no such thing.  `relocation` is libbpf's kind and specification."""

    program: str = ""
    section: str = ""
    map: str = ""
    helper: str = ""
    kfunc: str = ""
    relocation: str = ""
    target: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Where in the source: what of it is known; `line` 0 and `instruction` None where it is not."""

    file: str
    line: int
    text: str
    function: str
    instruction: int | None


@dataclass(frozen=True, slots=True)
class Line:
    """A line that proves it, and its number in its log, from 1; None where it is of no log."""

    number: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """The deciding lines of one log: whose, the digest of all of it, the errno's name; `log` "" where there is none."""

    log: str
    digest: str
    errno: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """What we have stored of the same object on a kernel."""

    kernel: str
    release: str
    answer: Answer
    cause: str = ""


@dataclass(frozen=True, slots=True)
class NearestPass:
    """Where it passes: oldest and newest by release, and neighbours between which the answer flips."""

    oldest: Result | None
    newest: Result | None
    flips: tuple[tuple[Result, Result], ...]
    asked: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """One pair, explained.  Its JSON is documented in docs/explain.md."""

    object: str
    kernel: str
    release: str
    loader: str
    answer: Answer
    slug: str
    confidence: Certainty
    because: str
    subject: Subject
    cause: str
    since: str
    since_source: str
    on_this_kernel: tuple[str, ...]
    source: Source | None
    nearest_pass: NearestPass
    evidence: Evidence
    fix: tuple[str, ...]
    others: tuple[str, ...]
    notes: tuple[str, ...]
    report: str
    reproduce: str


@dataclass(frozen=True, slots=True)
class Known:
    """All that an explanation may lean on.

    `refusal` is what verdict.refusal_of() says of the object or of one `program`.  `log` is the whole deciding log
    where the report has but its end.  `near` and `functions` ask the kernel's BTF, `place` the object's line
    information by program and instruction, `attach_type` libbpf for that of a section.
    """

    object: str
    kernel: str
    report: Report
    verdict: Verdict
    refusal: Refusal | None
    report_digest: str
    program: str = ""
    log: str = ""
    build: Build | None = None
    near: Callable[[str], Near | None] = lambda _: None
    functions: Callable[[str], tuple[str, ...]] = lambda _: ()
    place: Callable[[str, int], Source | None] = lambda _program, _insn: None
    attach_type: Callable[[str], str] = lambda _: ""
    results: Sequence[Result] = ()


def again(pair: str) -> str:
    """The command that asks a pair again, although it is proved."""
    return f"doit forget probe:{pair} && doit probe:{pair}"


def explain(known: Known) -> Explanation:
    """The explanation of a pair, or of one of its programs."""
    told, refusal, report = _told(known), known.refusal, known.report
    subject = _subject(refusal)
    here = inventoried.here(refusal, _asked(known)) if refusal else Here()
    sure, because = _certainty(told, here)
    ground = _ground(refusal, subject, here, told.hint) if refusal else Ground(told.slug, hint=told.hint)
    return Explanation(
        object=known.object,
        kernel=known.kernel,
        release=clip(str(report.guest.get("release", "?")), 64),
        loader=_loader(known),
        answer=told.answer,
        slug=told.slug,
        confidence=sure,
        because=because,
        subject=subject,
        cause=told.sentence,
        since=here.since,
        since_source=here.since_source,
        on_this_kernel=here.lines,
        source=_source(known),
        nearest_pass=nearest_pass(known.results, known.kernel),
        evidence=_evidence(known, told),
        fix=tuple(named(text, known.object) for text in _fix(known, ground)),
        others=tuple(_others(known))[:MAX_OTHERS],
        notes=tuple(named(note, known.object) for note in known.verdict.notes),
        report=known.report_digest,
        reproduce=again(f"{known.object}@{known.kernel}"),
    )


def _fix(known: Known, ground: Ground) -> tuple[str, ...]:
    """The proposals; a program that nothing calls does nothing, so that what wakes it comes before all others."""
    waking = fixes(Ground("lsm-inactive")) if _inactive(known) else ()
    return (*waking, *(fixes(ground) if ground.slug else ()))[:MOST]


def _inactive(known: Known) -> bool:
    """True where LSM programs attach and nothing will call them."""
    return any(note.startswith(INACTIVE) for note in known.verdict.notes)


@dataclass(frozen=True, slots=True)
class _Told:
    """What the classifier says, of the object or of one program."""

    slug: str
    answer: Answer
    sentence: str
    evidence: tuple[str, ...]
    errno: str
    hint: str
    certainty: Certainty


_OWN = {
    Attach.ATTACHED: "loads and is attached",
    Attach.FAILED: "loads, and attaching it failed",
    Attach.NOT_ATTEMPTED: "loads; attaching it was not attempted",
}


def _told(known: Known) -> _Told:
    verdict, refusal = known.verdict, known.refusal
    if refusal is not None and (known.program or refusal.cause.slug == verdict.cause):
        found: Finding = refusal.finding
        sure = found.certainty or refusal.cause.certainty
        return _Told(refusal.cause.slug, refusal.cause.answer, clip(found.sentence, 600), found.evidence,
                     refusal.case.code, clip(found.hint), sure)  # fmt: skip
    own = next((p for p in verdict.programs if p.name == known.program), None)
    if own is not None:
        words = f"program '{own.name}': {_OWN[own.attach]}"
        return _Told("", Answer.COMPATIBLE, clip(f"{words}: {own.detail}" if own.detail else words, 600), (), "", "",
                     Certainty.PROVEN)  # fmt: skip
    sure = BESIDE.get(verdict.cause, Certainty.PROVEN)
    return _Told(verdict.cause, verdict.answer, verdict.sentence, verdict.evidence, verdict.errno, verdict.hint, sure)


def _certainty(told: _Told, here: Here) -> tuple[Certainty, str]:
    """How sure, and why: the inventory speaks last, for it is the kernel's own."""
    if here.certainty is not None:
        return here.certainty, here.because
    words = {
        Certainty.PROVEN: "the kernel's or the loader's own words say it",
        Certainty.INFERRED: "read from the errno and a table; nothing names it",
        Certainty.GUESSED: "the errno alone; more than one thing answers so",
    }
    return told.certainty, words[told.certainty]


def _loader(known: Known) -> str:
    if known.report.command is not None:
        return "the project's own"
    return f"libbpf {clip(str(known.report.guest.get('libbpf', '?')), 20)}"


def _asked(known: Known) -> inventoried.Asked:
    return inventoried.Asked(known.build, known.near, known.functions, known.attach_type)


def _subject(refusal: Refusal | None) -> Subject:
    if refusal is None:
        return Subject()
    slug, about, program = refusal.cause.slug, clip(refusal.finding.subject), refusal.case.program
    own = program.name if program else ""
    found = Subject(clip(own), clip(program.section) if program else "")
    names = {
        "helper-missing": "helper", "helper-not-allowed": "helper", "locked-down": "helper", "kfunc-missing": "kfunc",
        "kfunc-changed": "kfunc", "kfunc-not-allowed": "kfunc", "module-not-loaded": "kfunc", "map-type-missing": "map",
        "map-create-failed": "map", "map-memlock": "map", "core-relocation-unresolved": "relocation",
        "attach-target-missing": "target",
    }  # fmt: skip
    field = "map" if any(m.name == about for m in refusal.case.maps) and slug == "config-disabled" else names.get(slug)
    field = "helper" if slug == "config-disabled" and about.startswith("bpf_") else field
    return replace(found, **{field: about}) if field and about != clip(own) else found


def _ground(refusal: Refusal, subject: Subject, here: Here, hint: str) -> Ground:
    case = refusal.case
    mine = next((m for m in case.maps if subject.map and m.name == subject.map), None)
    return Ground(
        slug=refusal.cause.slug,
        program=subject.program,
        section=subject.section.removeprefix("?"),
        type=case.program.type if case.program else "",
        map=subject.map,
        map_type=mine.type if mine else "",
        helper=subject.helper,
        kfunc=subject.kfunc,
        spec=subject.relocation,
        target=subject.target,
        near=here.near,
        closest=here.closest,
        since=here.since,
        option=here.option,
        home=case.homes.get(subject.kfunc, ""),
        said=suggestion(case.verifier),
        reason=reason(case.verifier),
        hint=hint,
    )


# --- where in the source

_REASON = re.compile(r"^(?!;|\s|\d+: |R\d+|from \d|processed \d|func#|last_idx|regs=|parent |mark_)\S", re.M)
_AT = re.compile(r"^At:\n[ \t]+(?P<function>\S+)(?: @ (?P<file>[^\n:]{1,300}):(?P<line>\d{1,7}))?", re.M)
_SHOWN = re.compile(r"^ *>>> *(?P<line>\d{1,7}) \| ?(?P<text>.*)$", re.M)
_TEXT = re.compile(r"^; (?P<text>.*?)(?: @ (?P<file>[^\s:]{1,300}):(?P<line>\d{1,7}))?$")
_INSN = re.compile(r"^(?P<at>\d{1,8}): (?:\([0-9a-f]{2}\) |<invalid)")


def _source(known: Known) -> Source | None:
    """The place that a verifier's log is about: by the log itself, then by the object's line information."""
    case = known.refusal.case if known.refusal else None
    if case is None or case.program is None or case.phase is not Phase.LOAD or not case.verifier.strip():
        return None
    found = place_in_log(known.log or case.verifier)
    if found is None:
        return None
    by_object = known.place(case.program.name, found.instruction) if found.instruction is not None else None
    agree = by_object and (not found.text or "".join(found.text.split()) == "".join(by_object.text.split()))
    if by_object and agree and not found.line:
        return replace(by_object, instruction=found.instruction)
    function = by_object.function if by_object and agree else clip(case.program.name)
    return replace(found, function=found.function or function)


def place_in_log(log: str) -> Source | None:
    """The source line and instruction that a verifier's log ends at, as far as it has them."""
    head, block, tail = log.partition("\nVerification failed:")
    text, file, line, insn = "", "", 0, None
    for row in head.split("\n"):
        if said := _TEXT.match(row):
            text, file, line = said["text"], said["file"] or "", int(said["line"] or 0)
        elif at := _INSN.match(row):
            insn = int(at["at"])
    at_block = _AT.search(tail) if block else None
    if at_block and at_block["line"]:
        shown = _SHOWN.search(tail, at_block.end())
        text = shown["text"] if shown and shown["line"] == at_block["line"] else text
        file, line = at_block["file"], int(at_block["line"])
    if insn is None and not text and not line:
        return None
    return Source(clip(file), line, clip(text.strip()), clip(at_block["function"]) if at_block else "", insn)


# --- evidence


def _evidence(known: Known, told: _Told) -> Evidence:
    whose, log = _deciding_log(known, told)
    lines = [clip(line.removeprefix("libbpf: ").rstrip()) for line in log.splitlines()]
    at = {text: number for number, text in enumerate(lines, 1)}  # of equal lines the last: it is nearest to the end
    found = tuple(Line(at.get(text) or _beginning(at, text), text) for text in told.evidence)
    return Evidence(whose, digest_bytes(log.encode()) if log else "", told.errno, found)


def _beginning(at: Mapping[str, int], text: str) -> int | None:
    """The number of the line that a block's field stands on: `Reason: …` is told in one line, and logged in several."""
    head = text.partition(" ")[0]
    return at.get(head) if head in ("Reason:", "At:") else None


def _deciding_log(known: Known, told: _Told) -> tuple[str, str]:
    """The log that most of the evidence is of: its name, and all of it."""
    case = known.refusal.case if known.refusal else None
    if case is None or not told.evidence:
        return "", ""
    who = f"program '{clip(case.program.name)}'" if case.program else "the object"
    logs = [(f"verifier, {who}", known.log or case.verifier), (f"libbpf, {who}", case.libbpf)]
    if not case.program:
        logs = logs[1:]
    first = told.evidence[0]
    return next(((name, log) for name, log in logs if log and first[:60] in log), logs[0] if logs[0][1] else logs[-1])


def _others(known: Known) -> Iterator[str]:
    """The other programs that were refused, each asked alone."""
    mine = known.refusal.case.program.name if known.refusal and known.refusal.case.program else ""
    for program in known.verdict.programs:
        if program.cause and program.name != clip(mine):
            yield clip(f"{program.name} ({program.section}): {program.cause}: {program.detail}", 300)


# --- where it passes


def nearest_pass(results: Sequence[Result], kernel: str) -> NearestPass:
    """Oldest and newest kernel of these where it passes; flips are neighbours by release, those of `kernel` first."""
    ordered = sorted((r for r in results if r.answer is not Answer.INCONCLUSIVE), key=_by_release)
    passing = [r for r in ordered if r.answer is Answer.COMPATIBLE]
    pairs = [(a, b) for a, b in pairwise(ordered) if a.answer is not b.answer]
    pairs.sort(key=lambda pair: kernel not in (pair[0].kernel, pair[1].kernel))
    oldest, newest = (passing[0], passing[-1]) if passing else (None, None)
    return NearestPass(oldest, newest, tuple(pairs[:MAX_FLIPS]), len(ordered))


def _by_release(found: Result) -> tuple[list[int], str]:
    """Older first; a distribution's own numbers count after Linux's."""
    return [int(number) for number in re.findall(r"\d{1,9}", found.release)[:6]], found.kernel


# --- as JSON


def to_json(found: Explanation) -> dict[str, Any]:
    """An explanation as JSON values."""
    value: dict[str, Any] = json.loads(canonical({"format": FORMAT, **asdict(found)}))
    return value
