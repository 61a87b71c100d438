"""Which steps are missing: all keys in one pass, one look at what the store's shelves say, nothing made."""

import gc
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bpfcompat import borrowing, plan
from bpfcompat.action import Action
from bpfcompat.control import Controller
from bpfcompat.digest import canonical, digest_bytes, digest_json
from bpfcompat.errors import BpfcompatError
from bpfcompat.expected import whole
from bpfcompat.index import Index, Proof, raw, seen
from bpfcompat.plan import AskedRow, Pair
from bpfcompat.realise import NotThere
from bpfcompat.rules.session import Session
from bpfcompat.store import Entry


@dataclass(slots=True)
class Missing:
    """What the store lacks, by name; `validators` by their loaders, "" is the project's own.

    `settled` stands for the whole matrix, and is there when no pair is missing; `summary` is its entry, if it has one.
    """

    kernels: set[str] = field(default_factory=set)
    guests: set[str] = field(default_factory=set)
    objects: set[str] = field(default_factory=set)
    validators: set[str] = field(default_factory=set)
    probes: set[Pair] = field(default_factory=set)
    verdicts: set[Pair] = field(default_factory=set)
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


def survey(session: Session, fresh: bool = False) -> Missing:
    """Compare every pair with the store; touches neither network nor guest.

    `fresh`: this run has looked at nothing yet, so that what is found may be remembered as the store's state.
    """
    with without_gc():
        missing, asker = Missing(), session.asker
        index = Index(asker.shop.store.root, digest_bytes(os.fsencode(session.config.root))[7:23])
        if fresh:
            asker.recall(index.entries())
        matrix = session.matrix
        columns, objects = _columns(session, matrix, missing), _objects(session, matrix, missing)
        shared = asker.recalled() if fresh else {}
        settled = _settled(session, columns, objects)
        if settled is not None and index.settled == settled.key():
            missing.summary = asker.shop.store.get(settled)
        if missing.summary is None:
            pairs = _Pairs(session, missing, index)
            pairs.look(columns, objects)
            if not missing.probes and not missing.verdicts and settled is not None:
                missing.summary = asker.shop.store.get(settled)
            elif settled is not None:
                settled = None
            pairs.remember(settled.key() if settled else None, shared, fresh)
        missing.settled = settled
        return missing


def look_at(session: Session, pairs: Iterable[Pair]) -> Missing:
    """The same for the few pairs that were named: nothing else is looked at, and nothing is remembered."""
    with without_gc():
        missing, asker, matrix = Missing(), session.asker, session.matrix.only(pairs)
        columns, objects = _columns(session, matrix, missing), _objects(session, matrix, missing)
        for pair in matrix.pairs:
            _look(asker, missing, pair, pair.kernel in columns and pair.object in objects)
        return missing


def _look(asker: Controller, missing: Missing, pair: Pair, known: bool) -> bool:
    """True when a pair's report and verdict are there; what is not goes to `missing`.  `known`: it may have a key."""
    if not known or not asker.there(partial(asker.probe, pair, make=False)):
        missing.probes.add(pair)
    elif not asker.there(partial(asker.verdict_entry, pair, make=False)):
        missing.verdicts.add(pair)
    else:
        return True
    return False


def _columns(session: Session, matrix: plan.Matrix, missing: Missing) -> dict[str, plan.Column]:
    found = {}
    for loader in ("", *matrix.loaders):
        if not session.asker.there(partial(session.asker.validator, False, loader)):
            missing.validators.add(loader)
    for name in matrix.columns:
        if not session.asker.there(partial(session.asker.kernel, name, make=False)):
            missing.kernels.add(name)
        try:
            found[name] = session.asker.column(name, make=False)
        except (NotThere, BpfcompatError):
            missing.guests.add(name)
    return found


def _objects(session: Session, matrix: plan.Matrix, missing: Missing) -> dict[str, str]:
    found = {}
    for name in matrix.rows:
        try:
            session.asker.files(name, make=False)
            found[name] = session.asker.object(name, make=False).digest
        except (NotThere, BpfcompatError):
            missing.objects.add(name)
    needs_header = any(matrix.objects[n].source for n in missing.objects)
    header = session.config["build.vmlinux"]
    known = needs_header and header in matrix.kernels
    if known and not session.asker.there(partial(session.asker.kernel, header, make=False)):
        missing.kernels.add(header)
    return found


def _settled(session: Session, columns: dict[str, plan.Column], objects: dict[str, str]) -> Action | None:
    """The action that stands for the whole matrix; everything below the pairs must be known."""
    matrix, asker = session.matrix, session.asker
    if len(columns) != len(matrix.columns) or len(objects) != len(matrix.rows):
        return None
    every = len(columns)
    rows = [
        AskedRow(
            name=name,
            object=digest,
            spec=asker.recipe(Pair(name, matrix.columns[0])),
            expect={pattern: str(wanted) for pattern, wanted in whole(matrix.objects[name]).items()},
            required=list(matrix.objects[name].optional_on) or not matrix.objects[name].optional,
            kernels=() if len(matrix.rows[name]) == every else tuple(sorted(matrix.rows[name])),
        )
        for name, digest in objects.items()
    ]
    return plan.matrix_action(rows, columns.items(), asker.classifier(), asker.presentation(), _borrowed(session))


def _borrowed(session: Session) -> dict[str, str]:
    """From whom answers are borrowed, and which loans the store has; nothing where none are."""
    asker = session.asker
    if not asker.trust:
        return {}
    return {"trust": asker.trust, "loans": digest_json(sorted(asker.shop.store.keys(borrowing.KIND)))}


def _spec(session: Session, name: str) -> dict[str, object]:
    """What is asked about an object; the same on every kernel."""
    return session.asker.probe_spec(Pair(name, session.matrix.columns[0]))


class _Pairs:
    """All pairs against the index; those that it does not know are looked at one by one."""

    def __init__(self, session: Session, missing: Missing, index: Index) -> None:
        self.session, self.missing, self.index = session, missing, index
        self.trust = session.asker.trust
        self.believed = digest_json([session.asker.classifier(), self.trust])
        self.proved = index.proved(self.believed)
        self.loan_keys = borrowing.LoanKeys()
        self.judged = {name for name in session.matrix.rows if session.matrix.objects[name].tests}
        self.kept: list[bytes] = []
        self.new: list[Proof] = []

    def look(self, columns: dict[str, plan.Column], objects: dict[str, str]) -> None:
        """Fill `missing` with the pairs whose report or verdict is not there."""
        rows = self.session.matrix.rows
        known = [
            (name, rows[name], canonical(digest), canonical(_spec(self.session, name)))
            for name, digest in objects.items()
        ]
        for kernel in self.session.matrix.columns:
            column = columns.get(kernel)
            absent = rows if column is None else self.missing.objects
            self.missing.probes.update(Pair(name, kernel) for name in absent if kernel in rows[name])
            if column is not None:
                self._column(kernel, plan.Template(column), known)

    def _column(
        self, kernel: str, template: plan.Template, known: list[tuple[str, frozenset[str], bytes, bytes]]
    ) -> None:
        key, proved, keep = template.raw_key, self.proved, self.kept.append
        for name, asked, digest, spec in known:
            if kernel in asked:
                probe = key(digest, spec)
                # a proof tells of a verdict by this classifier, and not by these expectations
                proof = None if name in self.judged else proved.get(probe)
                if proof is None and self.trust and name not in self.judged:
                    proof = proved.get(self.loan_keys.raw_key(probe))
                if proof is None:
                    self._pair(Pair(name, kernel), probe)
                else:
                    keep(proof)

    def _pair(self, pair: Pair, probe: bytes) -> None:
        asker = self.session.asker
        place, key = self._place(probe)
        if _look(asker, self.missing, pair, os.path.exists(place)):
            report, verdict = asker.probe(pair, make=False), asker.verdict_entry(pair, make=False)
            blobs = tuple(raw(b.digest) for e in (report, verdict) for b in e.outputs.values())
            judged = raw(asker.verdict_action(pair, make=False).key())
            try:
                self.new.append(Proof(key, seen(place), judged, blobs))
            except OSError:  # another process dropped it a moment ago: the next run will see
                return

    def _place(self, probe: bytes) -> tuple[Path, bytes]:
        """The entry that may answer a pair, and its key: what was asked here, else a loan."""
        store = self.session.asker.shop.store
        place = store.entry_path("probe", f"sha256:{probe.hex()}")
        if not self.trust or os.path.exists(place):
            return place, probe
        loan = self.loan_keys.raw_key(probe)
        return store.entry_path(borrowing.KIND, f"sha256:{loan.hex()}"), loan

    def remember(self, settled: str | None, shared: dict[str, Entry], fresh: bool) -> None:
        """Save what was learned, if anything was."""
        known = self.index.current and settled in (None, self.index.settled)
        if self.new or (fresh and not known):
            self.index.save(settled, self.believed, shared, self.kept, self.new, fresh)
