"""What bpfcompat says of each object on each kernel, by its own steps: store, thawed guests, verdict."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.corpora.index import Item, Shelf
from bpfcompat.asking import Asker
from bpfcompat.config import load
from bpfcompat.elf import facts_or_fault
from bpfcompat.errors import BpfcompatError
from bpfcompat.kernels.catalogue import SHIPPED, load_catalogue
from bpfcompat.model import Answer, Attach, AttachMode, ObjectSpec, ProgramVerdict, Report, Verdict
from bpfcompat.plan import Pair
from bpfcompat.rules.session import Session
from bpfcompat.verdict import classify
from bpfcompat.voice import Voice

KERNELS = ("debian-11", "debian-12", "debian-13", "debian-13-backports")
DEADLINE_S = "900"  # some of these objects keep an emulated verifier busy for minutes
CHUNK = 40  # pairs of one kernel follow each other, so its RAM stays in the page cache
DEATHS = ("kernel-crash", "kernel-hang")
NO_ANSWER, OOM = "no-answer", "Out of memory"
LARGER_MB = "1024"  # as much as bpftool's guests have: the verifier needs it for 80,000 instructions


@dataclass(frozen=True, slots=True)
class ProgramOf:
    """One program's own answer, as the verdict has it."""

    name: str
    section: str
    type: str
    loaded: bool
    attach: str
    cause: str
    detail: str


@dataclass(frozen=True, slots=True)
class Ours:
    """Our answer for one pair.

    `outcome` is that of loading: `loads`, `refused`, `undeclared` (inconclusive: the kernel was not really asked),
    `dies` or `no-answer`; `cause` is the verdict's; `words` its sentence and evidence, or the trouble.  `seconds` of
    the guest.  `programs` say how attaching went, where it was asked for.
    """

    object: str
    kernel: str
    outcome: str
    cause: str
    words: str
    seconds: float
    programs: tuple[ProgramOf, ...] = ()


def session_of(root: Path, shelf: Shelf, items: Iterable[Item], voice: Voice, memory_mb: str = "") -> Session:
    """This repository's settings and kernels, with the gathered objects in place of its own.

    The kernel's selftests are loaded; everything else is attached too, after it was loaded.
    """
    memory = {"guest.memory_mb": memory_mb} if memory_mb else {}
    config = load(root, {"guest.deadline_s": DEADLINE_S, **memory})
    catalogue = {**load_catalogue([SHIPPED]), **config.kernels}
    return Session(config, {i.name: spec_of(shelf, i) for i in items}, catalogue, voice)


def spec_of(shelf: Shelf, item: Item) -> ObjectSpec:
    """An object as a project would declare it: a file, and nothing else."""
    attach = AttachMode.LOAD if item.corpora == {"selftests"} else AttachMode.ATTACH
    return ObjectSpec(item.name, prebuilt=shelf.path(item), attach=attach)


def ask_all(
    asker: Asker, names: Iterable[str], kernels: Sequence[str], workers: int | None = None, larger: Asker | None = None
) -> Iterator[Ours]:
    """Every object on every kernel, some objects after the other; a pair that is in the store boots nothing.

    What does not fit into a guest is asked again of `larger`, as our words tell everybody to do.
    """
    ordered = list(names)
    chunks = [ordered[n : n + CHUNK] for n in range(0, len(ordered), CHUNK)]
    pairs = [Pair(name, kernel) for chunk in chunks for kernel in kernels for name in chunk]

    def answer(pair: Pair) -> Ours:
        found = ask(asker, pair)
        return ask(larger, pair) if larger and found.outcome == NO_ANSWER and OOM in found.words else found

    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        yield from pool.map(answer, pairs)


def ask(asker: Asker, pair: Pair) -> Ours:
    """One pair; a trouble of ours is `no-answer` with its words."""
    try:
        programs = asker.verdict(pair).programs
        found, seconds = loading(asker, pair), asker.run_of(pair).seconds
    except BpfcompatError as error:
        return Ours(pair.object, pair.kernel, NO_ANSWER, "", error.message, 0.0)
    words = "\n".join([found.sentence, *found.evidence])
    return Ours(
        pair.object, pair.kernel, outcome_of(found), found.cause, words, seconds, tuple(map(program_of, programs))
    )


def loading(asker: Asker, pair: Pair) -> Verdict:
    """The verdict of loading alone: the object is loaded whole, in its own process, before anything is attached."""
    report, facts = asker.report(pair), facts_or_fault(asker.shop.store.read(asker.object(pair.object)))
    return classify(unattached(report), facts, AttachMode.LOAD)


def unattached(report: Report) -> Report:
    """The same report without what attaching came to."""
    programs = (
        replace(p, attach=Attach.NOT_ATTEMPTED, attach_errno=0, attach_reason="only loading counts")
        for p in report.programs
    )
    return replace(report, programs=tuple(programs))


def program_of(program: ProgramVerdict) -> ProgramOf:
    """One program's answer, in plain values."""
    return ProgramOf(program.name, program.section, program.type, program.loaded, str(program.attach), program.cause,
                     program.detail)  # fmt: skip


def outcome_of(found: Verdict) -> str:
    """A verdict in the words that two loaders share."""
    if found.answer is Answer.COMPATIBLE:
        return "loads"
    if found.answer is Answer.INCONCLUSIVE:
        return "undeclared"
    return "dies" if found.cause in DEATHS else "refused"


def from_json(value: Mapping[str, Any]) -> Ours:
    """An answer from JSON values as asdict() makes them."""
    return Ours(**{**value, "programs": tuple(ProgramOf(**p) for p in value["programs"])})
