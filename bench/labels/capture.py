"""Ask every kernel about sources/, and keep what it said of each labelled program as a case."""

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bpfcompat.config import load
from bpfcompat.elf import ObjectFacts, facts_or_fault
from bpfcompat.kernels.catalogue import SHIPPED, load_catalogue
from bpfcompat.model import Attach, Log, ObjectSpec, ProgramReport, Report
from bpfcompat.plan import Pair
from bpfcompat.rules.session import Session
from bpfcompat.voice import Voice
from bpfcompat.wire import report_to_json

HERE = Path(__file__).parent
KERNELS = ("debian-11", "debian-12", "debian-13", "debian-13-rt", "debian-13-6.18", "debian-13-backports")
BRIEF = ("debian-12-backports", "debian-13-generic-7")  # near others of the list: one case of each cause is enough
ALL = (*KERNELS, *BRIEF)
MAX_LOG_LINES = 40  # of a verifier's log in a case: its end
MAX_LOG = 6000


@dataclass(frozen=True, slots=True)
class Label:
    """What a program must be refused for, by construction; objects, programs and kernels as shell patterns."""

    object: str
    programs: tuple[str, ...]
    cause: str
    why: str
    on: tuple[str, ...] = ("*",)

    def fits(self, pair: Pair, program: str) -> bool:
        """True where this label is about it."""
        return (
            fnmatchcase(pair.object, self.object)
            and any(fnmatchcase(program, p) for p in self.programs)
            and any(fnmatchcase(pair.kernel, k) for k in self.on)
        )


def labels() -> tuple[Label, ...]:
    """All of labels.toml."""
    rows = tomllib.loads((HERE / "labels.toml").read_text())["label"]
    return tuple(Label(**{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}) for row in rows)


def session_of(root: Path, voice: Voice) -> Session:
    """This repository's settings and kernels, with sources/ in place of its objects."""
    config = load(root, {"guest.deadline_s": "900"})
    catalogue = {**load_catalogue([SHIPPED]), **config.kernels}
    objects = {p.name.removesuffix(".bpf.c"): ObjectSpec(p.name.removesuffix(".bpf.c"), source=p, kernels=ALL)
               for p in sorted((HERE / "sources").glob("*.bpf.c"))}  # fmt: skip
    return Session(config, objects, catalogue, voice)


def ask_all(session: Session) -> None:
    """Ask every kernel about every source, two at once."""
    pairs = [Pair(name, kernel) for kernel in ALL for name in session.matrix.objects]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(session.asker.report, pairs))


def capture(session: Session, kernel: str, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """The cases of a kernel; says what is refused without a label, and what has one and is not refused."""
    rows, found = labels(), []
    for name in session.matrix.objects:
        pair, asker = Pair(name, kernel), session.asker
        report, facts = asker.report(pair), facts_or_fault(asker.shop.store.read(asker.object(name)))
        for program in report.programs:
            label = next((row for row in rows if row.fits(pair, program.name)), None)
            refused = program.load_errno != 0 or program.attach is Attach.FAILED
            if refused and label is None:
                say(f"no label: {pair} {program.name}: {_last(program)}")
            elif label is not None and not refused:
                say(f"not refused: {pair} {program.name}, labelled {label.cause}")
            elif label is not None:
                found.append(case_of(pair, report, program, facts, label))
    return found if kernel in KERNELS else list({case["cause"]: case for case in reversed(found)}.values())[::-1]


def case_of(
    pair: Pair, report: Report, program: ProgramReport, facts: ObjectFacts | str, label: Label
) -> dict[str, Any]:
    """One case: the excerpt of a report that a refusal is explained from."""
    maps = tuple(m for m in report.maps if f"'{m.name}'" in program.libbpf.text)
    short = Report({}, 0, Log(""), program.load_errno, excerpt(program.libbpf), (_short(program),), maps)
    told = report_to_json(short)
    del told["guest"]  # the file has it, once
    case = {"object": pair.object, "program": program.name, "cause": label.cause, "why": label.why, "report": told}
    return case if isinstance(facts, ObjectFacts) else {**case, "fault": facts}


def file_of(session: Session, kernel: str, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The file of a kernel's cases: what its guest says of itself and the facts of the objects stand in it once."""
    store, names = session.asker.shop.store, dict.fromkeys(case["object"] for case in found)
    facts = {name: facts_or_fault(store.read(session.asker.object(name))) for name in names}
    guest = report_to_json(session.asker.report(Pair(next(iter(names)), kernel)))["guest"]
    return {
        "kernel": kernel,
        "guest": guest,
        "objects": {name: plain(f) for name, f in facts.items() if isinstance(f, ObjectFacts)},
        "cases": list(found),
    }


def excerpt(log: Log) -> Log:
    """The end of a log."""
    return Log("\n".join(log.text.splitlines()[-MAX_LOG_LINES:])[-MAX_LOG:] + "\n" if log.text else "")


def _short(program: ProgramReport) -> ProgramReport:
    log = program.log.text
    # from 7.3 on the block below "Verification failed:" is long, and the lines above it are wanted too
    lines = MAX_LOG_LINES * 3 if "Verification failed:" in log else MAX_LOG_LINES
    kept = Log("\n".join(log.splitlines()[-lines:])[-MAX_LOG:] + "\n" if log else "")
    return replace(program, log=kept, libbpf=excerpt(program.libbpf), measures=None, cost=None)


def plain(facts: ObjectFacts) -> Mapping[str, Any]:
    """The facts of an object as JSON, without its variables."""
    value: dict[str, Any] = json.loads(json.dumps(asdict(facts)))
    value["variables"] = []
    return value


def _last(program: ProgramReport) -> str:
    log: Sequence[str] = (program.log.text or program.libbpf.text).splitlines()
    lines = [line for line in log if line.strip() and not line.startswith("processed")]
    return lines[-1][:140] if lines else f"errno {program.load_errno or program.attach_errno}"
