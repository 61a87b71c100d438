"""How long it takes to classify stored reports again: read, checked, parsed, classified, written as bytes."""

import json
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from bpfcompat.digest import canonical
from bpfcompat.elf import ObjectFacts, facts_or_fault
from bpfcompat.errors import StoreError
from bpfcompat.model import AttachMode, Blob
from bpfcompat.store import Store
from bpfcompat.verdict import classify, verdict_to_json
from bpfcompat.wire import report_from_bytes

COUNT = 10_000
Stored = tuple[Blob, ObjectFacts | str, AttachMode]


def stored(store: Store) -> Iterator[Stored]:
    """The reports of a store that this program reads, with what is in their objects, read once for all kernels."""
    facts: dict[str, ObjectFacts | str] = {}
    for path in sorted((store.root / "actions" / "probe").glob("*/*.json")):
        entry: dict[str, Any] = json.loads(path.read_text())
        inputs, blob = entry["inputs"], Blob(**entry["outputs"]["report"])
        try:
            report = report_from_bytes(store.read(blob))
            found = store.blob_path(inputs["object"]).read_bytes()
        except (StoreError, OSError):  # of an older format, or its object was collected
            continue
        if report.command is None:
            facts.setdefault(inputs["object"], facts_or_fault(found))
            yield blob, facts[inputs["object"]], AttachMode(inputs["spec"]["attach"])


def measure(root: Path, count: int = COUNT) -> tuple[int, float, float]:
    """How many different reports there are, and the seconds of clock and processor for `count`, over and over."""
    store = Store(root / ".bpfcompat/store").open()
    found = list(stored(store))
    began, worked = time.monotonic(), time.process_time()
    for blob, facts, attach in islice(cycle(found), count):
        canonical(verdict_to_json(classify(report_from_bytes(store.read(blob)), facts, attach)))
    return len(found), time.monotonic() - began, time.process_time() - worked
