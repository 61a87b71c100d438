"""Writes docs/causes.md anew: `doit causes_page`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bpfcompat.causespage import current, goldens_of
from bpfcompat.elf import facts_from_json
from bpfcompat.files import read_bounded
from bpfcompat.model import AttachMode
from bpfcompat.verdict import refusal_of
from bpfcompat.wire import report_from_json

PAGE = Path("docs/causes.md")
GOLDENS = Path("tests/golden/verdicts")
LABELLED = Path("tests/golden/labels")
MAX_PAGE, MAX_LABELLED = 1 << 20, 64 << 20


def written(root: Path) -> str:
    """The page of the project at `root` as it must be."""
    texts = {p.stem: read_bounded(p, MAX_PAGE).decode() for p in sorted((root / GOLDENS).glob("*.json"))}
    goldens = goldens_of(texts)
    whole = {kept["expect"]["cause"] for kept in goldens.values()}
    parts = {f"{n}": case for n, case in enumerate(_labelled(root)) if case["expect"]["cause"] not in whole}
    return current(read_bounded(root / PAGE, MAX_PAGE).decode(), {**goldens, **parts})


def _labelled(root: Path) -> Iterator[dict[str, Any]]:
    """The excerpts that have a label, as golden files are; for causes of which no whole report is kept."""
    for path in sorted((root / LABELLED).glob("*.json")):
        kept = json.loads(read_bounded(path, MAX_LABELLED))
        for case in kept["cases"]:
            told = report_from_json({**case["report"], "guest": kept["guest"]})
            facts = case["fault"] if "fault" in case else facts_from_json(kept["objects"][case["object"]])
            refusal = refusal_of(told, facts, AttachMode.ATTACH, {}, case["program"])
            if refusal is not None and refusal.cause.slug == case["cause"]:
                yield {
                    "object": case["object"],
                    "kernel": kept["kernel"],
                    "expect": {"cause": case["cause"]},
                    "report": {"guest": kept["guest"]},
                    "sentence": refusal.finding.sentence,
                    "evidence": list(refusal.finding.evidence),
                }


def write(root: Path) -> None:
    """Write the page."""
    text = written(root)
    (root / PAGE).write_text(text)
