"""What bpfcompat says of each object on each kernel, by its own steps: store, thawed guests, verdict."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.corpora.index import Item, Shelf
from bpfcompat.asking import Asker
from bpfcompat.config import load
from bpfcompat.errors import BpfcompatError
from bpfcompat.kernels.catalogue import SHIPPED, load_catalogue
from bpfcompat.model import Answer, AttachMode, ObjectSpec, Verdict
from bpfcompat.plan import Pair
from bpfcompat.rules.session import Session
from bpfcompat.voice import Voice

KERNELS = ("debian-11", "debian-12", "debian-13", "debian-13-backports")
DEATHS = ("kernel-crash", "kernel-hang")

Told = Callable[["Ours"], None]


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

    `outcome` is `loads`, `refused`, `undeclared` (inconclusive: the kernel was not really asked), `dies` or
    `no-answer`; `cause` is the verdict's; `words` its sentence and evidence, or the trouble.  `seconds` of the guest.
    """

    object: str
    kernel: str
    outcome: str
    cause: str
    words: str
    seconds: float
    programs: tuple[ProgramOf, ...] = ()


def session_of(root: Path, shelf: Shelf, items: Iterable[Item], attach: AttachMode, voice: Voice) -> Session:
    """This repository's settings and kernels, with the gathered objects in place of its own."""
    config = load(root)
    objects = {i.name: ObjectSpec(i.name, prebuilt=shelf.path(i), attach=attach) for i in items}
    catalogue = {**load_catalogue([SHIPPED]), **config.kernels}
    return Session(config, objects, catalogue, voice)


def ask_all(asker: Asker, names: Iterable[str], kernels: Iterable[str], workers: int | None = None) -> Iterator[Ours]:
    """Every object on every kernel, those of one kernel together; a pair that is in the store boots nothing."""
    pairs = [Pair(name, kernel) for kernel in kernels for name in names]
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        yield from pool.map(lambda pair: ask(asker, pair), pairs)


def ask(asker: Asker, pair: Pair) -> Ours:
    """One pair; a trouble of ours is `no-answer` with its words."""
    try:
        found = asker.verdict(pair)
        seconds = asker.run_of(pair).seconds
    except BpfcompatError as error:
        return Ours(pair.object, pair.kernel, "no-answer", "", error.message, 0.0)
    words = "\n".join([found.sentence, *found.evidence])
    programs = tuple(
        ProgramOf(p.name, p.section, p.type, p.loaded, str(p.attach), p.cause, p.detail) for p in found.programs
    )
    return Ours(pair.object, pair.kernel, outcome_of(found), found.cause, words, seconds, programs)


def outcome_of(found: Verdict) -> str:
    """A verdict in the words that two loaders share."""
    if found.answer is Answer.COMPATIBLE:
        return "loads"
    if found.answer is Answer.INCONCLUSIVE:
        return "undeclared"
    return "dies" if found.cause in DEATHS else "refused"


def to_json(answer: Ours) -> dict[str, Any]:
    """As JSON values; from_json() gives an equal one back."""
    return asdict(answer)


def from_json(value: Mapping[str, Any]) -> Ours:
    """The other way."""
    return Ours(**{**value, "programs": tuple(ProgramOf(**p) for p in value["programs"])})
