"""Keep real reports for the tests: one of each cause and kernel that none is kept of.

What a golden file expects is what bpfcompat.toml, or causes.toml, expects of the pair, which a person wrote; the
classifier only says the sentence and the evidence that a person then looks at.
"""

import json
import subprocess
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bench.labels.score import BUILDS, EXAMPLES, Asked
from bpfcompat import building, kmods
from bpfcompat.config import load, object_spec
from bpfcompat.elf import facts_or_fault
from bpfcompat.errors import BpfcompatError
from bpfcompat.expected import expected_on
from bpfcompat.files import ensure_dir
from bpfcompat.kernels.catalogue import SHIPPED, load_catalogue
from bpfcompat.model import PLAIN, Asserts, DirSource, KernelSpec
from bpfcompat.plan import Pair
from bpfcompat.rules.session import Session
from bpfcompat.voice import Voice
from bpfcompat.wire import report_to_json

HERE = Path(__file__).parent
KERNELS = (
    "debian-11", "debian-12", "debian-12-backports", "debian-13", "debian-13-rt", "debian-13-6.18",
    "debian-13-backports", "debian-13-generic-7",
)  # fmt: skip
MAX_REPORT = 40_000  # bytes; of larger ones an example is enough elsewhere
LOADER = HERE.parents[1] / "tests/guest/loader/loader.c"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Made:
    """A pair that must have a cause by construction, as causes.toml says."""

    name: str
    cause: str
    why: str
    object: Mapping[str, Any]
    on: tuple[str, ...] = ("*",)
    variant: str = ""

    @property
    def kernels(self) -> tuple[str, ...]:
        """The kernels that can produce it, each in its variant."""
        there = (k for k in KERNELS if any(fnmatchcase(k, p) for p in self.on))
        return tuple(f"{k}-{self.variant}" if self.variant else k for k in there)


def made() -> tuple[Made, ...]:
    """All of causes.toml."""
    rows = tomllib.loads((HERE / "causes.toml").read_text())["case"]
    return tuple(Made(**{**row, "on": tuple(row.get("on", ("*",)))}) for row in rows)


def keep(root: Path, voice: Voice, say: Say) -> None:
    """Ask every kernel about the examples whose expected cause none is kept of, and keep the first that has it."""
    config = load(root, {"matrix.kernels": ",".join(KERNELS)})
    session = Session(config, config.objects, {**load_catalogue([SHIPPED]), **config.kernels}, voice)
    have = {(k["expect"]["cause"], k["kernel"]) for k in (json.loads(p.read_text()) for p in EXAMPLES.glob("*.json"))}
    for pair, answer, cause in _candidates(session):
        if (cause, pair.kernel) in have or not _has(session, pair, cause, say):
            continue
        if _write(session, pair, {"answer": answer, "cause": cause}, say):
            have.add((cause, pair.kernel))


def keep_builds(root: Path, voice: Voice) -> None:
    """Write the inventory of each kernel, which its verdicts are told apart by, as the store has it."""
    config = load(root, {"matrix.kernels": ",".join(KERNELS)})
    session = Session(config, config.objects, {**load_catalogue([SHIPPED]), **config.kernels}, voice)
    for kernel in KERNELS:
        found = building.blob_of(session.asker, kernel)
        (BUILDS / f"{kernel}.json").write_bytes(session.asker.shop.store.read(found))


def capture(root: Path, voice: Voice, say: Say, wanted: str = "*") -> None:
    """Ask the kernels about causes.toml, and keep what they said; what has another cause is said and not kept."""
    with tempfile.TemporaryDirectory() as work:
        flags = ("-static", "-O1", "-s", "-D_GNU_SOURCE", "-w")
        subprocess.run(["cc", *flags, "-o", f"{work}/loader", LOADER], check=True)
        cases = {case.name: case for case in made() if fnmatchcase(case.name, wanted)}
        session = _session(root, cases, Path(work), voice)
        for pair in session.matrix.pairs:
            case = cases[pair.object]
            if _has(session, pair, case.cause, say):
                answer = str(session.asker.verdict(pair).answer)
                _write(session, pair, {"answer": answer, "cause": case.cause, "why": case.why}, say)


def _has(session: Session, pair: Pair, cause: str, say: Say) -> bool:
    """Whether a kernel answers with this cause; says it where it does not, or cannot be asked."""
    try:
        answer = session.asker.verdict(pair)
    except BpfcompatError as error:
        say(f"no answer: {pair}: {error}")
        return False
    if answer.cause != cause:
        say(f"not as labelled: {pair}: {cause}, told {answer.cause or answer.answer}: {answer.sentence}")
    return answer.cause == cause


def _session(root: Path, cases: Mapping[str, Made], work: Path, voice: Voice) -> Session:
    """This repository's settings and kernels, with the objects of causes.toml in place of its own."""
    used = tuple(dict.fromkeys(k for case in cases.values() for k in case.kernels))
    config = load(root, {"guest.silence_s": "6", "matrix.kernels": ",".join(used)})
    objects = {n: object_spec(n, _table(case, work / "loader"), root, f"causes.toml: {n}") for n, case in cases.items()}
    there = {**load_catalogue([SHIPPED]), **config.kernels}
    some = {name: replace(spec, kernels=KERNELS) for name, spec in objects.items()}
    plain = Session(load(root, {"matrix.kernels": ",".join(KERNELS)}), some, there, voice)
    return Session(config, objects, there | {k: _kernel(k, plain, work) for k in used if k not in there}, voice)


def _kernel(name: str, plain: Session, work: Path) -> KernelSpec:
    """A variant of a kernel, as causes.toml says."""
    base, _, variant = name.rpartition("-")
    spec = plain.matrix.kernels[base]
    if variant == "refusing":
        refusing = replace(PLAIN, command_line="module_blacklist=nf_conntrack")
        return replace(spec, name=name, base=base, conditions=refusing, asserts=Asserts())
    folder = ensure_dir(work / name)
    (folder / "vmlinuz").write_bytes(plain.asker.shop.store.read(plain.asker.kernel(base).vmlinuz))
    return KernelSpec(name, spec.arch, DirSource(folder))


def _table(case: Made, loader: Path) -> dict[str, Any]:
    table = {**case.object, "kernels": list(case.kernels)}
    if "command" in table:
        table["command"] = {**table["command"], "binary": str(loader)}
    return table


def _candidates(session: Session) -> Iterator[tuple[Pair, str, str]]:
    for pair in session.matrix.pairs:
        wanted = expected_on(session.matrix.objects[pair.object], pair.kernel)
        if wanted.answer is not None and wanted.cause is not None:
            yield pair, str(wanted.answer), wanted.cause


def _write(session: Session, pair: Pair, expect: Mapping[str, str], say: Say) -> bool:
    asker = session.asker
    report, facts = asker.report(pair), facts_or_fault(asker.shop.store.read(asker.object(pair.object)))
    asked, told = _asked(session, pair), report_to_json(report)
    if len(json.dumps(told)) > MAX_REPORT:
        say(f"not kept: {pair}: its report is too large")
        return False
    found = Asked.from_json(asked).classify(report, facts)
    plain: Any = facts if isinstance(facts, str) else {**asdict(facts), "variables": []}
    kept = {"object": pair.object, "kernel": pair.kernel, "expect": dict(expect), "sentence": found.sentence,
            "evidence": list(found.evidence), "facts": plain, "report": told}  # fmt: skip
    kept |= {"asked": asked} if asked else {}
    (EXAMPLES / f"{pair}.json").write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    say(f"kept: {pair}: {expect['cause']}")
    return True


def _asked(session: Session, pair: Pair) -> dict[str, Any]:
    """What was asked beside the usual, as it is kept."""
    spec, asker = session.matrix.objects[pair.object], session.asker
    command, homes = asker.command(pair.object), kmods.homes(asker, pair.kernel)
    tests = next((dict(case.object).get("tests") for case in made() if case.name == pair.object), None)
    if spec.tests and tests is None:
        tests = tomllib.loads((session.config.root / "bpfcompat.toml").read_text())["objects"][pair.object]["tests"]
    used = {k: v for k, v in homes.items() if k in json.dumps(report_to_json(asker.report(pair)))}
    found = {"attach": str(spec.attach), "command": command, "homes": used, "tests": tests}
    return {k: v for k, v in found.items() if v and (k, v) != ("attach", "attach")}
