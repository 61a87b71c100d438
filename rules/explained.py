"""Explanations of a project's pairs: fetches what explanation.py leans on from the store; asks no guest."""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bpfcompat import building, elf, kmods, libbpfs
from bpfcompat.action import Action
from bpfcompat.asking import CLASSIFIER_SOURCES, HERE
from bpfcompat.beside import OBJECT, log_name
from bpfcompat.btftypes import Types
from bpfcompat.digest import canonical
from bpfcompat.errors import BpfcompatError, ConfigError, ObjectError
from bpfcompat.explanation import Explanation, Known, Result, Source, explain, to_json
from bpfcompat.gate import Row
from bpfcompat.insns import read_code
from bpfcompat.lineinfo import Debug, place_of
from bpfcompat.model import Answer, Attach, AttachMode, Report, Verdict
from bpfcompat.nearby import Near, functions_near, near
from bpfcompat.plan import Pair
from bpfcompat.realise import Made, NotThere
from bpfcompat.rules.session import Session
from bpfcompat.squeezed import from_archive
from bpfcompat.verdict import Refusal, refusal_of

_Found = TypeVar("_Found")
SOURCES = (*CLASSIFIER_SOURCES, "explanation.py", "inventoried.py", "fixes.py", "nearby.py", "likeness.py",
           "btfindex.py", "lineinfo.py", "insns.py")  # fmt: skip


class Explainer:
    """Explains pairs of one session; what it read of a kernel it keeps, so that many pairs cost little."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._types: dict[str, Types | None] = {}  # by the digest of the BTF: variants of a kernel share it

    def explain(self, pair: Pair, program: str = "", results: Sequence[Result] | None = None) -> Explanation:
        """The explanation of a pair, or of one of its programs asked alone; NotThere for a pair that was not asked."""
        asker, kernel = self.session.asker, pair.kernel
        blob, verdict = asker.probe(pair, make=False).outputs["report"], asker.verdict(pair)
        report, facts = asker.report(pair), elf.facts_or_fault(asker.shop.store.read(asker.object(pair.object)))
        if program and program not in (names := [p.name for p in report.programs]):
            raise ConfigError(f"{pair}: no program {program[:80]!r}", hint=", ".join(names[:8]))
        attach = AttachMode(self.session.matrix.objects[pair.object].attach)
        build = building.if_readable(asker, kernel)
        refusal = refusal_of(report, facts, attach, kmods.homes(asker, kernel), program, build)
        beside = self.beside(pair, self._results(pair, program)) if results is None else tuple(results)
        log = self._whole_log(pair, report, refusal)
        known = Known(pair.object, kernel, report, verdict, refusal, blob.digest, program, log, results=beside)
        if not refusal or (verdict.answer is Answer.COMPATIBLE and not program):
            return explain(known)
        return explain(
            replace(
                known,
                build=build,
                near=partial(self._near, kernel),
                functions=partial(self._functions, kernel),
                attach_type=self._attach_type,
                place=self._places(pair.object),
            )
        )

    def stored(self, pair: Pair, results: Sequence[Result]) -> dict[str, Any]:
        """The explanation of a pair as JSON values, from the store or made now: publishing explains many, often."""
        action = self._action(pair, results)

        def make(_work: Path) -> Made:
            return Made({"explanation": canonical(to_json(self.explain(pair, results=results)))})

        blob = self.session.asker.have(action, make).outputs["explanation"]
        value: dict[str, Any] = json.loads(self.session.asker.shop.store.read(blob))
        return value

    def _action(self, pair: Pair, results: Sequence[Result]) -> Action:
        asker = self.session.asker
        kernel, memo = asker.kernel(pair.kernel, make=False), asker.shop.memo
        inputs = {
            "pair": str(pair),
            "object": asker.object(pair.object, make=False).digest,
            "report": asker.probe(pair, make=False).outputs["report"].digest,
            "verdict": asker.verdict_entry(pair, make=False).outputs["verdict"].digest,
            "btf": kernel.btf.digest if kernel.btf else "",
            "config": kernel.config.digest if kernel.config else "",
            "modules": kmods.digest_of(asker, pair.kernel, make=False) or "",
            "results": [[r.kernel, r.release, str(r.answer), r.cause] for r in results],
            "sources": {name: memo.digest(HERE / name) for name in SOURCES},
        }
        return Action("explanation", str(pair), inputs)

    def types(self, kernel: str) -> Types | None:
        """The types of a kernel's BTF, for what an inventory does not hold; None where there are none to be read."""
        found = self.session.asker.kernel(kernel, make=False).btf
        if found is None:
            return None
        if found.digest not in self._types:
            self._types[found.digest] = _read(lambda: Types(self.session.asker.shop.store.read(found)))
        return self._types[found.digest]

    def _near(self, kernel: str, spec: str) -> Near | None:
        types = self.types(kernel)
        return _read(lambda: near(types, spec)) if types else None

    def _functions(self, kernel: str, name: str) -> tuple[str, ...]:
        types = self.types(kernel)
        return (_read(lambda: functions_near(types, name)) or ()) if types else ()

    def _attach_type(self, section: str) -> str:
        """The uapi name of the attach type that libbpf gives to a section: `BPF_TRACE_FENTRY`."""
        from bpfcompat.libbpf import section_type

        asker = self.session.asker
        found = section_type(asker.shop.store.checked(asker.validator(make=False).outputs["libbpf.so"]), section)
        # libbpf has the number 0 for sections that need none, and 0 has a name of its own
        none = found is None or (
            found[1] == "cgroup_inet_ingress" and not section.removeprefix("?").startswith("cgroup")
        )
        return "" if found is None or none else f"BPF_{found[1].upper()}"

    def _places(self, name: str) -> Callable[[str, int], Source | None]:
        """Where an instruction of a program comes from, by the object's own line information."""
        asker = self.session.asker
        data = asker.shop.store.read(asker.object(name))

        def place(program: str, insn: int) -> Source | None:
            found = _read(lambda: place_of(Debug(read_code(data)), program, insn))
            return Source(found.file, found.line, found.text, found.function, insn) if found else None

        return place

    def _whole_log(self, pair: Pair, report: Report, refusal: Refusal | None) -> str:
        """The verifier's whole log where the report has but its end."""
        blob = self.session.asker.probe(pair, make=False).outputs.get("logs")
        if blob is None or refusal is None:
            return ""
        own = refusal.case.program
        name = OBJECT if own is None else log_name(report.programs.index(own))
        return from_archive(self.session.asker.shop.store.read(blob), name) or ""

    def beside(self, pair: Pair, results: Iterable[Result]) -> tuple[Result, ...]:
        """Without other kernels under conditions of their own: what those change, no release does."""
        kernels = self.session.matrix.kernels
        return tuple(r for r in results if r.kernel == pair.kernel or not kernels[libbpfs.split(r.kernel)[0]].base)

    def _results(self, pair: Pair, program: str) -> Iterator[Result]:
        """What is stored of the same object, or of this program of it, on other kernels, asked by the same loader."""
        asker, loader = self.session.asker, libbpfs.split(pair.kernel)[1]
        for other in self.session.matrix.pairs:
            if other.object != pair.object or libbpfs.split(other.kernel)[1] != loader:
                continue
            try:
                asker.probe(other, make=False)  # a stored report is classified, and nothing else is made
                verdict = asker.verdict(other)
            except (NotThere, BpfcompatError):
                continue
            release = asker.kernel(other.kernel, make=False).release
            yield Result(other.kernel, release, *_outcome(verdict, program))


def explanations(session: Session, rows: Iterable[Row]) -> dict[str, dict[str, Any]]:
    """The explanations, as JSON values by pair, of those rows that have an answer and are not compatible."""
    explainer = Explainer(session)
    wanted = [row for row in rows if row.verdict is not None and row.answer is not Answer.COMPATIBLE]
    results: dict[str, list[Result]] = {}
    for row in rows:
        if row.verdict is not None:
            found = Result(row.pair.kernel, row.release, row.answer, row.verdict.cause)
            results.setdefault(_asked_as(row.pair), []).append(found)
    told: dict[str, dict[str, Any]] = {}
    for row in wanted:
        with contextlib.suppress(NotThere, BpfcompatError):  # a verdict without an explanation is still a verdict
            beside = explainer.beside(row.pair, results[_asked_as(row.pair)])
            told[str(row.pair)] = explainer.stored(row.pair, beside)
    return told


def _outcome(verdict: Verdict, program: str) -> tuple[Answer, str]:
    """Answer and cause of a verdict, or of this one program, which was asked alone."""
    own = next((p for p in verdict.programs if p.name == program), None)
    if own is None:
        return verdict.answer, verdict.cause
    works = own.loaded and own.attach is not Attach.FAILED
    return (Answer.COMPATIBLE, "") if works else (Answer.INCOMPATIBLE, own.cause)


def _asked_as(pair: Pair) -> str:
    """What pairs share that may be held against each other: the object, and who loads it."""
    return libbpfs.column(pair.object, libbpfs.split(pair.kernel)[1])


def _read(work: Callable[[], _Found]) -> _Found | None:
    """What is read from a stranger's types; None where they are damaged: an explanation then says less."""
    try:
        return work()
    except ObjectError:
        return None


def explain_named(root: Path, name: str, program: str) -> Explanation:
    """The explanation of `OBJECT@KERNEL` of a folder's project; ConfigError for a pair that is none or not asked."""
    from bpfcompat.rules.roots import pair_named

    session, pair = pair_named(root, name)
    try:
        return Explainer(session).explain(pair, program)
    except NotThere as error:
        raise ConfigError(f"{name}: not asked yet: waits for {error.label}", hint=f"doit probe:{pair}") from None
