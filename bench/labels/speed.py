"""How long it takes to classify stored reports again: read, checked, parsed, classified, written as bytes."""

import time
from collections.abc import Iterator
from itertools import cycle, islice

from bpfcompat.digest import canonical
from bpfcompat.elf import ObjectFacts, facts_or_fault
from bpfcompat.errors import BpfcompatError
from bpfcompat.model import AttachMode
from bpfcompat.plan import Pair
from bpfcompat.realise import NotThere
from bpfcompat.rules.session import Session
from bpfcompat.verdict import classify, verdict_to_json
from bpfcompat.wire import report_from_bytes

COUNT = 10_000


def stored(session: Session) -> Iterator[tuple[Pair, ObjectFacts | str]]:
    """The pairs that were asked, with what is in their objects: that is read once for all kernels."""
    facts: dict[str, ObjectFacts | str] = {}
    for pair in session.matrix.pairs:
        try:
            session.asker.probe(pair, make=False)
        except (NotThere, BpfcompatError):
            continue
        if pair.object not in facts:
            facts[pair.object] = facts_or_fault(session.asker.shop.store.read(session.asker.object(pair.object)))
        yield pair, facts[pair.object]


def measure(session: Session, count: int = COUNT) -> tuple[int, float]:
    """How many different reports there are, and the seconds for `count` of them, over and over."""
    found, store = list(stored(session)), session.asker.shop.store
    began = time.monotonic()
    for pair, facts in islice(cycle(found), count):
        report = report_from_bytes(store.read(session.asker.probe(pair, make=False).outputs["report"]))
        asked = session.asker.command(pair.object) if report.command is not None else None
        verdict = classify(report, facts, AttachMode(session.matrix.objects[pair.object].attach), command=asked)
        canonical(verdict_to_json(verdict))
    return len(found), time.monotonic() - began
