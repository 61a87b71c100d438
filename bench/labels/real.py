"""Real objects: the reports of bench.corpora's objects, and what a reader says of each refusal (real.toml)."""

import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.labels.capture import HERE, Label, case_of, plain
from bpfcompat.elf import ObjectFacts
from bpfcompat.model import Attach, ProgramReport, Report
from bpfcompat.plan import Pair
from bpfcompat.wire import report_to_json

CORPUS = "packages"
MOST = 2  # programs of one object and kernel with the same label: their logs are alike
OBJECTS, LARGEST = 110, 400_000  # how many objects are asked, of at most so many bytes
Asked = tuple[Pair, Report, ObjectFacts | str]


@dataclass(frozen=True, slots=True)
class Group:
    """What a reader says of refusals in such words."""

    said: str
    cause: str
    why: str
    section: str = ""
    twice: bool = False

    def fits(self, words: str, program: ProgramReport | None, facts: ObjectFacts | str) -> bool:
        """True where a reader would say it."""
        section = program.section.removeprefix("?") if program else ""
        if not re.search(self.said, words) or not section.startswith(self.section):
            return False
        return not self.twice or (program is not None and isinstance(facts, ObjectFacts) and doubled(facts, section))


def doubled(facts: ObjectFacts, section: str) -> bool:
    """True where the object has a kprobe, or one with BTF, for the target of this section too."""
    family, _, target = section.partition("/")
    kin = {
        s.removeprefix("?").partition("/")[0] for s in (p.section for p in facts.programs) if s.endswith(f"/{target}")
    }
    return bool(target) and family.startswith(("fentry", "fexit", "tp_btf")) and bool(kin & {"kprobe", "kretprobe"})


def groups() -> tuple[Group, ...]:
    """All of real.toml."""
    return tuple(Group(**row) for row in tomllib.loads((HERE / "real.toml").read_text())["group"])


def files(asked: Iterable[Asked], say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """The files of cases, by kernel."""
    rows, found = groups(), {}
    for pair, report, facts in asked:
        own = found.setdefault(pair.kernel, {
            "kernel": pair.kernel, "corpus": CORPUS, "guest": report_to_json(report)["guest"], "objects": {},
            "cases": [],
        })  # fmt: skip
        new = list(_cases(pair, report, facts, rows, say))
        own["cases"] += new
        if new and isinstance(facts, ObjectFacts):
            own["objects"][pair.object] = plain(facts)
    return found


def _cases(
    pair: Pair, report: Report, facts: ObjectFacts | str, rows: Sequence[Group], say: Callable[[str], None]
) -> Iterable[dict[str, Any]]:
    if report.open_errno:
        row = next((g for g in rows if g.fits(report.open_log.text, None, facts)), None)
        if row is None:
            say(f"no label: {pair}: {report.open_log.text[:200]!r}")
        else:
            yield _opened(pair, report, facts, row)
    seen: dict[str, int] = {}
    for program in report.programs:
        if not program.load_errno and program.attach is not Attach.FAILED:
            continue
        words = f"{program.libbpf.text}\n{program.log.text}"
        row = next((g for g in rows if g.fits(words, program, facts)), None)
        if row is None:
            say(f"no label: {pair} {program.name}: {words[-300:]!r}")
        elif seen.setdefault(row.cause, 0) < MOST:
            seen[row.cause] += 1
            yield case_of(pair, report, program, facts, Label(pair.object, (program.name,), row.cause, row.why))


def _opened(pair: Pair, report: Report, facts: ObjectFacts | str, row: Group) -> dict[str, Any]:
    told = report_to_json(report)
    del told["guest"]
    case = {"object": pair.object, "program": "", "cause": row.cause, "why": row.why, "report": told}
    return case if isinstance(facts, ObjectFacts) else {**case, "fault": facts}


def ask() -> Iterable[Asked]:
    """The reports of the corpora's objects on the default kernels; asks what was not asked."""
    import sys

    from bench.corpora.__main__ import FOLDER, ROOT, Shelf, chosen, session_of
    from bench.corpora.ours import KERNELS
    from bpfcompat.elf import facts_or_fault
    from bpfcompat.voice import Terminal

    items = [i for i in chosen(Shelf(FOLDER).read(), "*", {CORPUS: OBJECTS}) if i.size < LARGEST]
    asker = session_of(ROOT, Shelf(FOLDER), items, Terminal(sys.stderr)).asker
    for item in items:
        facts = facts_or_fault(asker.shop.store.read(asker.object(item.name)))
        for kernel in KERNELS:
            pair = Pair(item.name, kernel)
            yield pair, asker.report(pair), facts
