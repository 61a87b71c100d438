"""Before any guest is booted: the registries of [substituters] are asked, each once for the whole matrix."""

import itertools
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from bpfcompat import borrowing, trailing
from bpfcompat.action import Action
from bpfcompat.errors import BpfcompatError, ConfigError, KernelError, StoreError, TrustError
from bpfcompat.files import read_bounded
from bpfcompat.keys import MAX_KEY_BYTES, load_public
from bpfcompat.lending import source_of
from bpfcompat.model import Verdict
from bpfcompat.note import load_vkey
from bpfcompat.origins import name_of
from bpfcompat.plan import Pair
from bpfcompat.policy import Policy
from bpfcompat.realise import NotThere
from bpfcompat.registry import client
from bpfcompat.registry.borrow import Lender, Loan
from bpfcompat.registry.borrow import borrow as ask
from bpfcompat.registry.rootmemory import RootMemory, reader_policy
from bpfcompat.registry.state import Memory, state_folder
from bpfcompat.registry.text import plain
from bpfcompat.registry.verify import Trust
from bpfcompat.rootchain import pinned
from bpfcompat.rootdoc import MAX_BYTES
from bpfcompat.rules.planning import without_gc
from bpfcompat.rules.session import Session
from bpfcompat.statement import question_id

HOUR_S = 3600


def borrow(session: Session, pairs: Sequence[Pair]) -> None:
    """Store what others have found out about these pairs, as far as it is believed, and say what came of it."""
    with without_gc():  # thousands of claims are made, and none is garbage
        _borrow(session, pairs)


def _borrow(session: Session, pairs: Sequence[Pair]) -> None:
    questions = _questions(session, pairs)
    if not questions:
        return
    trailing.settings(session.config, session.asker.trust)
    lenders, strangers = _lenders(session, int(time.time()))
    if session.asker.trust_anew():  # a root document went on
        strangers.append("the keys that count have changed: the next run asks anew what was borrowed by their word")
    wanted = {question: str(next(iter(of))) for question, of in questions.items()}
    told = ask(lenders, wanted, session.config["substituters.needed"])
    loans = {pair: found for question, found in told.loans.items() for pair in questions[question]}
    probes = {pair: action for of in questions.values() for pair, action in of.items()}
    kept, refused = borrowing.keep(session.asker, probes, loans)
    _say(session, kept, loans)
    conflicts, problems = [*told.conflicts.values()], [*strangers, *told.problems, *refused]
    for line in borrowing.lines(conflicts, problems):
        session.voice.say(line)
    trailing.refused(session.config, "borrow", *map(TrustError, [*conflicts, *problems]), say=session.voice.say)
    blind = "" if all(lender.logged for lender in lenders) else "; a log was not checked: [substituters] log_keys"
    session.voice.say(f"   borrowed: {len(kept)} of {len(pairs)} pairs{blind}")


def _say(session: Session, kept: dict[Pair, Verdict], loans: dict[Pair, tuple[Loan, ...]]) -> None:
    for pair, verdict in kept.items():
        session.borrowed(pair, verdict, " and ".join(loan.url for loan in loans[pair]))


def _questions(session: Session, pairs: Iterable[Pair]) -> dict[str, dict[Pair, Action]]:
    """Pair id → the pairs that ask it, and their probes, by what lies here; without what is not to be had.

    One that guests here have answered in two ways is left out too: nobody else's answer settles that.
    """
    asker, found = session.asker, dict[str, dict[Pair, Action]]()
    for pair in pairs:
        try:
            action = asker.probe_action(pair)
            if asker.shop.store.quarantined(action.key()):
                continue
            shared, digest = asker.column(pair.kernel).inputs, action.inputs["object"]
            question = question_id({**shared, "object": digest, "spec": asker.recipe(pair)})
            found.setdefault(question, {})[pair] = action
        except (NotThere, BpfcompatError):
            continue  # whoever asks it here will say why
    return found


def _memory(policy: Policy) -> Memory:
    """What `bpfcompat verify` remembers too: a log that was seen in either way cannot be rewritten for the other."""
    return Memory(state_folder("reader"), policy.every_log)


def _lenders(session: Session, now: int) -> tuple[list[Lender], list[str]]:
    """The registries, each with whom it is believed by; and those of whom that could not be found out, in words."""
    lenders, strangers = [], []
    urls, roots = session.config["substituters.url"], session.config.paths("substituters.root")
    age = session.config["substituters.max_age_hours"] * HOUR_S or None
    for url, pin in itertools.zip_longest(urls, roots):  # as many, or none
        source = source_of(session.asker, url)
        try:
            policy = _rooted(pin, source, now, age) if pin else _policy(session, age)
        except (TrustError, StoreError, KernelError) as error:
            strangers.append(plain(f"{name_of(url)}: {error}", 400))
            continue
        lenders.append(Lender(name_of(url), source, Trust(policy, now), now, partial(_memory, policy)))
    return lenders, strangers


def _rooted(pin: Path, source: client.Source, now: int, max_age_s: int | None) -> Policy:
    """Whom a pinned root document trusts, by the newest version that the registry has."""
    first = pinned(read_bounded(pin, MAX_BYTES, ConfigError), str(pin))
    return reader_policy(first, source, RootMemory(state_folder("reader")), now=now, max_age_s=max_age_s)[1]


def _policy(session: Session, max_age_s: int | None) -> Policy:
    """Whose signatures count: the keys in the files that the settings name."""
    paths, needed = session.config.paths, session.config["substituters.witnessed"]
    keys = [load_public(read_bounded(p, MAX_KEY_BYTES, ConfigError), str(p)) for p in paths("substituters.keys")]
    logs, witnesses = (tuple(map(load_vkey, paths(f"substituters.{name}"))) for name in ("log_keys", "witnesses"))
    return Policy(Policy.of_keys(keys).verdict, logs, witnesses, needed, max_age_s)
