"""What another registry's guest said of a pair, kept apart from what a guest here said.

A loan lies under a kind of its own, with whom it was believed from.  It counts where nothing was asked here, and only
as long as the project trusts just the same registries and keys; the first answer of a guest here drops it.  What is
kept is the report; the verdict is made here, by our own classifier, and must be the one that was signed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfcompat.action import Action
from bpfcompat.digest import canonical, digest_json, raw_digest
from bpfcompat.errors import BpfcompatError, ConfigError, StoreError, TrustError
from bpfcompat.files import read_bounded
from bpfcompat.plan import Pair
from bpfcompat.realise import Steps
from bpfcompat.store import Entry

if TYPE_CHECKING:  # only who borrows needs them
    from bpfcompat.asking import Asker
    from bpfcompat.model import Verdict
    from bpfcompat.registry.borrow import Loan

KIND = "borrowed"
VERDICTS = "verdicts"
SHOWN = 10  # problems that are told
_PLACE = "\0probe"
Kept = tuple[Action, Mapping[str, bytes], Mapping[str, Any]]


def trust_of(steps: Steps) -> str:
    """Digest of whom this project borrows verdicts from and whose keys it believes; "" where it borrows none."""
    config, digest = steps.shop.config, steps.shop.memo.digest
    if not config["substituters.url"] or VERDICTS not in config["substituters.borrow"]:
        return ""
    told = {name: config[f"substituters.{name}"] for name in ("url", "needed", "witnessed", "max_age_hours")}
    files = {
        name: [digest(path) for path in config.paths(f"substituters.{name}")]
        for name in ("keys", "log_keys", "root", "witnesses")
    }
    followed = [_followed(steps, path) for path in config.paths("substituters.root")]
    return digest_json({**told, **files, **({"followed": followed} if followed else {})})


def _followed(steps: Steps, pin: Path) -> str:
    """Whose verdicts count by the newest version of a pinned root document that this user has seen, "" when by none.

    So a key that was revoked since, or whose last index was set, takes with it what was borrowed by its word.
    """
    from bpfcompat.registry.rootmemory import RootMemory
    from bpfcompat.registry.state import state_folder
    from bpfcompat.rootchain import pinned
    from bpfcompat.rootdoc import MAX_BYTES

    recall = steps.shop.memo.recall
    try:
        name = recall("root name", pin, lambda: pinned(read_bounded(pin, MAX_BYTES, ConfigError), str(pin)).root.name)
        memory = RootMemory(state_folder("reader"))
        seen = memory.path(name)
        return recall("root keys", seen, lambda: memory.verdict_keys(name)) if seen.exists() else ""
    except (TrustError, StoreError):
        return ""  # who asks its registry says what is wrong with it


def loan_action(probe: Action) -> Action:
    """What stands for a borrowed answer to the question of this probe."""
    return Action(KIND, probe.name, {"probe": probe.key()})


class LoanKeys:
    """The keys of loans from those of probes, quickly: 32 bytes to 32 bytes."""

    def __init__(self) -> None:
        whole = Action(KIND, "", {"probe": _PLACE}).preimage()
        self._head, self._tail = whole.split(canonical(_PLACE))

    def raw_key(self, probe: bytes) -> bytes:
        """Equal to `loan_action(…).key()`, byte for byte."""
        return raw_digest(b'%b"sha256:%b"%b' % (self._head, probe.hex().encode(), self._tail))


def lent(asker: Asker, probe: Action) -> Entry | None:
    """The loan that answers a probe's question, if there is one from whom the project trusts today."""
    # not asker.known(), which would go on believing an older loan after a newer one was stored
    found = asker.shop.store.get(loan_action(probe)) if asker.trust else None
    return found if found is not None and found.facts.get("trust") == asker.trust else None


def keep(
    asker: Asker, probes: Mapping[Pair, Action], found: Mapping[Pair, Sequence[Loan]]
) -> tuple[dict[Pair, Verdict], list[str]]:
    """Store loans and the verdicts that follow from their reports; pair → verdict, and why others were not kept."""
    kept: dict[Pair, Verdict] = {}
    refused: list[str] = []
    entries: list[Kept] = []
    for pair, loans in found.items():
        try:
            verdict, made = _judged(asker, pair, probes[pair], loans)
        except BpfcompatError as error:
            refused.append(f"{loans[0].url}: {pair}: {error}")
            continue
        kept[pair] = verdict
        entries += made
    asker.shop.store.put_all(entries)
    return kept, refused


def _judged(asker: Asker, pair: Pair, probe: Action, loans: Sequence[Loan]) -> tuple[Verdict, list[Kept]]:
    """The verdict on a borrowed report, and what is to be stored; TrustError when it is not the one that was signed."""
    from bpfcompat.verdict import verdict_to_json
    from bpfcompat.wire import report_from_bytes

    first = loans[0]
    verdict = asker.classify(pair, report_from_bytes(first.report))
    outcome = (verdict.answer, verdict.cause)
    if outcome != first.outcome:
        signed, found = (f"{answer}{cause and ': ' + cause}" for answer, cause in (first.outcome, outcome))
        raise TrustError(f"signed as {signed}, but by its report it is {found} here")
    facts = {
        "trust": asker.trust,
        "run": {"accelerator": "", "qemu": "", "start": "borrowed", "seconds": 0, "attempts": 0, "lender": first.url},
        "loans": [{"url": loan.url, "signer": loan.signer, "bundle": loan.bundle} for loan in loans],
    }
    loan = (loan_action(probe), {"report": first.report}, facts)
    told = {"answer": str(verdict.answer), "cause": verdict.cause}
    judged = asker.judging_action(pair, first.claim.report)
    return verdict, [loan, (judged, {"verdict": canonical(verdict_to_json(verdict))}, told)]


def lines(conflicts: Sequence[str], problems: Sequence[str]) -> Iterator[str]:
    """What is to be said of a round of borrowing beside what was borrowed: every conflict, and of problems some."""
    yield from (f"!! borrow: conflict: {words}; asked here" for words in conflicts)
    yield from (f"!! borrow: {words}" for words in problems[:SHOWN])
    if len(problems) > SHOWN:
        yield f"!! borrow: and {len(problems) - SHOWN} more problems"
