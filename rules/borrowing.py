"""Before any guest is booted: the registries of [substituters] are asked, each once for the whole matrix."""

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from bpfcompat import borrowing
from bpfcompat.action import Action
from bpfcompat.errors import BpfcompatError, ConfigError
from bpfcompat.files import read_bounded
from bpfcompat.keys import MAX_KEY_BYTES, PublicKey, load_public
from bpfcompat.model import Verdict
from bpfcompat.note import NoteKey, parse_vkey
from bpfcompat.plan import Pair
from bpfcompat.policy import Policy
from bpfcompat.realise import NotThere
from bpfcompat.registry import client
from bpfcompat.registry.borrow import Lender, Loan
from bpfcompat.registry.borrow import borrow as ask
from bpfcompat.registry.state import Memory, state_folder
from bpfcompat.registry.verify import Trust
from bpfcompat.rules.session import Session
from bpfcompat.statement import question_id

_Key = TypeVar("_Key", PublicKey, NoteKey)


def borrow(session: Session, pairs: Sequence[Pair]) -> None:
    """Store what others have found out about these pairs, as far as it is believed, and say what came of it."""
    questions = _questions(session, pairs)
    if not questions:
        return
    now = int(time.time())
    policy = _policy(session)
    lenders = [Lender(url, _source(session, url), Trust(policy, now), now, partial(_memory, policy))
               for url in session.config["substituters.url"]]  # fmt: skip
    wanted = {question: str(next(iter(of))) for question, of in questions.items()}
    told = ask(lenders, wanted, session.config["substituters.needed"])
    loans = {pair: found for question, found in told.loans.items() for pair in questions[question]}
    probes = {pair: action for of in questions.values() for pair, action in of.items()}
    kept, refused = borrowing.keep(session.asker, probes, loans)
    _say(session, kept, loans)
    for line in borrowing.lines([*told.conflicts.values()], [*told.problems, *refused]):
        session.voice.say(line)
    session.voice.say(f"   borrowed: {len(kept)} of {len(pairs)} pairs")


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


def _source(session: Session, url: str) -> client.Source:
    if url.startswith(("http://", "https://")):
        return client.Web(url, session.asker.allowed)
    return client.Folder(session.config.root / Path(url).expanduser())


def _memory(policy: Policy) -> Memory:
    """What `bpfcompat verify` remembers too: a log that was seen in either way cannot be rewritten for the other."""
    return Memory(state_folder("reader"), policy.every_log)


def _policy(session: Session) -> Policy:
    """Whose signatures count: the keys in the files that the settings name."""
    keys = _each(session, "substituters.keys", lambda data, path: load_public(data, str(path)))
    logs = _each(session, "substituters.log_keys", lambda data, path: parse_vkey(data.decode("utf-8", "replace")))
    return Policy(Policy.of_keys(keys).verdict, log=tuple(logs))


def _each(session: Session, setting: str, read: Callable[[bytes, Path], _Key]) -> list[_Key]:
    return [read(read_bounded(path, MAX_KEY_BYTES, ConfigError), path) for path in session.config.paths(setting)]
