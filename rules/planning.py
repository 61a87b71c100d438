"""Which steps are missing: all keys in one pass, one look at the store's shelves, nothing made."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from bpfcompat import plan
from bpfcompat.action import Action
from bpfcompat.config import expected_on
from bpfcompat.errors import BpfcompatError
from bpfcompat.plan import Pair
from bpfcompat.realise import NotThere
from bpfcompat.rules.session import Session
from bpfcompat.store import Entry


@dataclass(slots=True)
class Missing:
    """What the store lacks, by name; `keys` has the probe key of each pair whose key can be known already.

    `settled` stands for the whole matrix, and is there when no pair is missing; `summary` is its entry, if it has one.
    """

    kernels: set[str] = field(default_factory=set)
    guests: set[str] = field(default_factory=set)
    objects: set[str] = field(default_factory=set)
    validator: bool = False
    probes: set[Pair] = field(default_factory=set)
    verdicts: set[Pair] = field(default_factory=set)
    keys: dict[Pair, str] = field(default_factory=dict)
    settled: Action | None = None
    summary: Entry | None = None


@contextmanager
def without_gc() -> Iterator[None]:
    """Planning makes many values and no garbage; the collector would take half of its time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def survey(session: Session) -> Missing:
    """Compare every pair's key with the store; touches neither network nor guest."""
    with without_gc():
        missing = Missing()
        columns = _columns(session, missing)
        objects = _objects(session, missing)
        have = session.asker.shop.store.keys("probe")
        for pair in session.matrix.pairs:
            column, digest = columns.get(pair.kernel), objects.get(pair.object)
            if column is None or digest is None:
                missing.probes.add(pair)
                continue
            key = plan.probe_action(pair, column, digest, session.asker.probe_spec(pair)).key()
            missing.keys[pair] = key
            if key not in have:
                missing.probes.add(pair)
        settled = None if missing.probes else _summary_action(session, missing)
        missing.summary = _vouched(session, settled) if settled else None
        if missing.summary is None:
            _verdicts(session, missing)
        missing.settled = None if missing.probes or missing.verdicts else settled
        return missing


def _columns(session: Session, missing: Missing) -> dict[str, plan.Column]:
    found = {}
    try:
        session.asker.validator(make=False)
    except (NotThere, BpfcompatError):
        missing.validator = True
    for name in dict.fromkeys(p.kernel for p in session.matrix.pairs):
        if not session.asker.there(partial(session.asker.kernel, name, make=False)):
            missing.kernels.add(name)
        try:
            found[name] = session.asker.column(name, make=False)
        except (NotThere, BpfcompatError):
            missing.guests.add(name)
    return found


def _objects(session: Session, missing: Missing) -> dict[str, str]:
    found = {}
    for name in dict.fromkeys(p.object for p in session.matrix.pairs):
        try:
            found[name] = session.asker.object(name, make=False).digest
        except (NotThere, BpfcompatError):
            missing.objects.add(name)
    needs_header = any(session.matrix.objects[n].source for n in missing.objects)
    header = session.config["build.vmlinux"]
    known = needs_header and header in session.matrix.kernels
    if known and not session.asker.there(partial(session.asker.kernel, header, make=False)):
        missing.kernels.add(header)
    return found


def _verdicts(session: Session, missing: Missing) -> None:
    """Without a summary each pair is looked at."""
    asker = session.asker
    for pair in session.matrix.pairs:
        if pair in missing.probes:
            continue
        if not asker.there(partial(asker.probe, pair, make=False)):
            missing.probes.add(pair)
        elif not asker.there(partial(asker.verdict_entry, pair, make=False)):
            missing.verdicts.add(pair)


def _vouched(session: Session, settled: Action) -> Entry | None:
    """The summary of the same rows, if all that it rests on is there: it vouches for all verdicts at once."""
    store = session.asker.shop.store
    entry = store.get(settled)
    if entry is None or not set(entry.facts["verdicts"]) <= store.keys("verdict"):
        return None
    return entry if set(entry.facts["blobs"]) <= store.blobs() else None


def _summary_action(session: Session, missing: Missing) -> Action:
    """The action that stands for the whole matrix; all probe keys must be known."""
    objects = session.matrix.objects
    rows = (
        (str(p), missing.keys[p], str(expected_on(objects[p.object], p.kernel)), not objects[p.object].optional)
        for p in session.matrix.pairs
    )
    return plan.matrix_action(rows, session.asker.classifier(), session.asker.presentation())
