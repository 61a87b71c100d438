"""How often the classifier names the cause that a labelled failure has: right, unknown, and wrong while it says proven.

The cases lie in tests/golden/labels, a file a kernel and corpus, as --capture wrote them: excerpts of real reports with
the cause that each program must have by construction, or that a reader gave it; and in tests/golden/verdicts, whole
reports of examples/.  Nothing is booted.
"""

import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from bpfcompat.behave import parse_tests
from bpfcompat.behaviour import BehaviourTest
from bpfcompat.builds import Build, from_json
from bpfcompat.causes import Certainty
from bpfcompat.elf import ObjectFacts, facts_from_json
from bpfcompat.kernels.catalogue import SHIPPED, load_catalogue
from bpfcompat.model import AttachMode, Report, Verdict
from bpfcompat.verdict import classify, refusal_of
from bpfcompat.wire import report_from_json

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests/golden/labels"
EXAMPLES = ROOT / "tests/golden/verdicts"
BUILDS = ROOT / "tests/golden/builds"
UNKNOWN = ("unknown", "attach-failed", "verifier-rejected")  # what says nothing of a cause: that it was refused


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of a kernel beside the usual: how far to attach, tests, the project's own loader; module homes."""

    attach: AttachMode = AttachMode.ATTACH
    tests: tuple[BehaviourTest, ...] = ()
    homes: Mapping[str, str] = field(default_factory=dict)
    command: Mapping[str, Any] | None = None

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "Asked":
        """As a golden file keeps it; {} is the usual."""
        tests = parse_tests(kept.get("tests", []), ROOT, "golden")
        attach = AttachMode(kept.get("attach", AttachMode.ATTACH))
        return cls(attach, tests, kept.get("homes", {}), kept.get("command"))

    def classify(self, report: Report, facts: ObjectFacts | str, build: Build | None = None) -> Verdict:
        """The verdict of what came of it."""
        return classify(report, facts, self.attach, self.tests, self.homes, self.command, build)


@dataclass(frozen=True, slots=True)
class Case:
    """A labelled failure; `program` "" is the object as a whole."""

    kernel: str
    object: str
    program: str
    cause: str
    why: str
    report: Report
    facts: ObjectFacts | str
    corpus: str = ""
    asked: Asked = field(default_factory=Asked)

    @property
    def name(self) -> str:
        """`verifier.null_value@debian-12`."""
        return f"{self.object}{'.' if self.program else ''}{self.program}@{self.kernel}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the classifier says of a case."""

    case: Case
    cause: str
    certainty: Certainty

    @property
    def right(self) -> bool:
        """True where it is the labelled cause."""
        return self.cause == self.case.cause

    @property
    def unknown(self) -> bool:
        """True where it says that it does not know, whatever the label is."""
        return self.cause in UNKNOWN

    @property
    def wrong_but_proven(self) -> bool:
        """True where it is sure of another cause."""
        return not self.right and self.certainty is Certainty.PROVEN


def cases(folder: Path = CASES) -> Iterator[Case]:
    """All cases, by kernel."""
    for path in sorted(folder.glob("*.json")):
        kept = json.loads(path.read_text())
        for case in kept["cases"]:
            report = report_from_json({**case["report"], "guest": kept["guest"]})
            facts = case["fault"] if "fault" in case else facts_from_json(kept["objects"][case["object"]])
            told = (case[name] for name in ("object", "program", "cause", "why"))
            yield Case(kept["kernel"], *told, report, facts, kept.get("corpus", ""))


def examples(folder: Path = EXAMPLES) -> Iterator[Case]:
    """The reports of examples/ that are kept with the cause that bpfcompat.toml expects."""
    for path in sorted(folder.glob("*.json")):
        kept = json.loads(path.read_text())
        if kept["expect"]["cause"]:
            facts = kept["facts"] if isinstance(kept["facts"], str) else facts_from_json(kept["facts"])
            why = kept["expect"].get("why", "as bpfcompat.toml expects")
            report, asked = report_from_json(kept["report"]), Asked.from_json(kept.get("asked", {}))
            yield Case(kept["kernel"], kept["object"], "", kept["expect"]["cause"], why, report, facts, asked=asked)


@dataclass(frozen=True, slots=True)
class Absent:
    """Causes of which no log of some kernels is kept, and why not."""

    causes: tuple[str, ...]
    why: str
    on: tuple[str, ...] = ("*",)

    def tells(self, cause: str, kernel: str) -> bool:
        """True where it is about this pair."""
        return cause in self.causes and any(fnmatchcase(kernel, p) for p in self.on)


def absent() -> tuple[Absent, ...]:
    """All of absent.toml."""
    rows = tomllib.loads((Path(__file__).parent / "absent.toml").read_text())["absent"]
    return tuple(Absent(**{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}) for row in rows)


def kept() -> set[tuple[str, str]]:
    """Each cause and build of which a log of a real kernel is kept."""
    return {(case.cause, build_of(case.kernel)) for case in (*cases(), *examples())}


@cache
def build_of(kernel: str) -> str:
    """The kernel of the catalogue that is the same build without conditions, variant or another loader."""
    plain, catalogue = kernel.partition("+")[0], load_catalogue([SHIPPED])
    base = catalogue[plain].base if plain in catalogue else plain.rpartition("-")[0]
    return base or plain


@cache
def inventory_of(kernel: str) -> Build | None:
    """The kept inventory of a kernel's build, None without one; of `-bare` kernels nobody has the configuration."""
    path = BUILDS / f"{build_of(kernel)}.json"
    found = from_json(path.read_bytes()) if path.exists() else None
    return replace(found, options=None) if found and kernel.endswith("-bare") else found


def answer(case: Case, build: Build | None = None) -> Answer:
    """What the classifier says of a case where it knows this inventory, and how sure it is."""
    asked = case.asked
    found = refusal_of(case.report, case.facts, asked.attach, asked.homes, case.program, build)
    if found is None:
        return Answer(case, asked.classify(case.report, case.facts, build).cause, Certainty.PROVEN)
    return Answer(case, found.cause.slug, found.finding.certainty or found.cause.certainty)


def table(answers: Sequence[Answer]) -> Iterator[str]:
    """Lines of Markdown: a row a kernel, and all."""
    yield "| kernel | release | failures | right | unknown | wrong, not proven | wrong but proven |"
    yield "|---|---|---|---|---|---|---|"
    for kernel in dict.fromkeys(a.case.kernel for a in answers):
        own = [a for a in answers if a.case.kernel == kernel]
        yield _row(f"{kernel} | {own[0].case.report.guest.get('release', '')}", own)
    yield _row("all | ", answers)


def _row(name: str, answers: Sequence[Answer]) -> str:
    right, unknown = sum(a.right for a in answers), sum(a.unknown for a in answers)
    proven = sum(a.wrong_but_proven for a in answers)
    other = sum(not (a.right or a.unknown or a.wrong_but_proven) for a in answers)
    cells = (name, len(answers), f"{right} ({_share(right, answers)})", f"{unknown} ({_share(unknown, answers)})")
    return f"| {' | '.join(map(str, (*cells, other, proven)))} |"


def _share(count: int, answers: Sequence[Answer]) -> str:
    return f"{100 * count / max(len(answers), 1):.1f} %"


def by_cause(answers: Iterable[Answer]) -> Iterator[str]:
    """Lines of Markdown: a row a labelled cause."""
    found: dict[str, Counter[str]] = {}
    for a in answers:
        found.setdefault(a.case.cause, Counter())[a.cause] += 1
    yield "| labelled | failures | right | taken for |"
    yield "|---|---|---|---|"
    for cause, said in sorted(found.items()):
        wrong = ", ".join(f"`{c}` {n}" for c, n in said.most_common() if c != cause)
        yield f"| `{cause}` | {said.total()} | {said[cause]} | {wrong or '–'} |"
