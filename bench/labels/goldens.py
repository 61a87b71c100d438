"""Keep real reports of this project's matrix for the tests: one of each cause and kernel that none is kept of.

What a golden file expects is what bpfcompat.toml expects of the pair, which a person wrote; the classifier only says
the sentence and the evidence that a person then looks at.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.labels.score import EXAMPLES
from bpfcompat.elf import facts_or_fault
from bpfcompat.errors import BpfcompatError
from bpfcompat.expected import expected_on
from bpfcompat.model import AttachMode
from bpfcompat.plan import Pair
from bpfcompat.realise import NotThere
from bpfcompat.rules.roots import sessions_of
from bpfcompat.rules.session import Session
from bpfcompat.verdict import classify
from bpfcompat.wire import report_to_json

MAX_REPORT = 40_000  # bytes; of larger ones an example is enough elsewhere


def keep(root: Path, say: Callable[[str], None]) -> None:
    """Write what is missing, and say it."""
    (session,) = sessions_of(root)
    have = {(k["expect"]["cause"], k["kernel"]) for k in (json.loads(p.read_text()) for p in EXAMPLES.glob("*.json"))}
    for pair, kept in _candidates(session):
        mark = kept["expect"]["cause"], pair.kernel
        if mark[0] and mark not in have:
            have.add(mark)
            (EXAMPLES / f"{pair}.json").write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
            say(f"kept: {pair}: {mark[0]}")


def _candidates(session: Session) -> Iterator[tuple[Pair, dict[str, Any]]]:
    asker = session.asker
    for pair in session.matrix.pairs:
        spec = session.matrix.objects[pair.object]
        wanted = expected_on(spec, pair.kernel)
        if wanted.answer is None or wanted.cause is None or spec.attach is not AttachMode.ATTACH or spec.command:
            continue
        if spec.declared or spec.tests:
            continue
        try:
            asker.probe(pair, make=False)
        except (NotThere, BpfcompatError):
            continue
        yield pair, _kept(session, pair, str(wanted.answer), wanted.cause)


def _kept(session: Session, pair: Pair, answer: str, cause: str) -> dict[str, Any]:
    asker = session.asker
    report, facts = asker.report(pair), facts_or_fault(asker.shop.store.read(asker.object(pair.object)))
    found, told = classify(report, facts, AttachMode.ATTACH), report_to_json(report)
    if len(json.dumps(told)) > MAX_REPORT:
        cause = ""
    plain: Any = facts if isinstance(facts, str) else {**asdict(facts), "variables": []}
    return {
        "object": pair.object,
        "kernel": pair.kernel,
        "expect": {"answer": answer, "cause": cause},
        "sentence": found.sentence,
        "evidence": list(found.evidence),
        "facts": plain,
        "report": told,
    }
