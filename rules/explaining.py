"""Why a task would run, or why not; reads the store, runs nothing."""

import difflib
from collections.abc import Callable, Iterator

from bpfcompat.action import Action
from bpfcompat.digest import short
from bpfcompat.errors import BpfcompatError, ConfigError
from bpfcompat.plan import Pair
from bpfcompat.realise import NotThere
from bpfcompat.rules.session import Session, sessions
from bpfcompat.rules.tasks import possible


def why(label: str) -> Iterator[str]:
    """Lines for one task name; ConfigError with the nearest names when there is no such task."""
    session = _session_of(label)
    action_of = _action_of(session, label)
    if action_of is None:
        yield f"{label}: always asked; it looks at what the other tasks left"
        return
    yield from _explain(session, label, action_of)


def skipped(label: str) -> Iterator[str]:
    """The line for a named task that had nothing to do."""
    yield f"-  {label}: nothing to do: proved before, and no input changed"


def _explain(session: Session, label: str, action_of: Callable[[], Action]) -> Iterator[str]:
    try:
        action = action_of()
    except NotThere as first:
        yield f"{label}: must run: waits for {first.label}"
        below = _action_of(session, first.label)
        if below is not None and first.label != label:
            yield from ("  " + line for line in _explain(session, first.label, below))
        return
    except BpfcompatError as error:
        yield f"{label}: cannot run: {error}"
        return
    entry = session.asker.shop.store.get(action)
    if entry is not None:
        yield f"{label}: up to date: key {short(action.key())} is in the store, no input changed"
        return
    yield f"{label}: must run: key {short(action.key())} is not in the store"
    yield from (f"  {reason}" for reason in session.asker.why(action))


def _action_of(session: Session, label: str) -> Callable[[], Action] | None:
    kind, _, name = label.partition(":")
    asker = session.asker
    if kind in ("probe", "verdict"):
        pair = Pair(*name.rsplit("@", 1))
        return lambda: (asker.probe_action if kind == "probe" else asker.verdict_action)(pair, make=False)
    makers: dict[str, Callable[[], Action]] = {
        "kernel": lambda: asker.kernel_action(name),
        "guest": lambda: asker.initramfs_action(name, make=False),
        "object": lambda: asker.object_action(name, make=False),
        "validator": asker.validator_action,
    }
    return makers.get(kind)


def _session_of(label: str) -> Session:
    names = {n: s for s in sessions() for n in possible(s)}
    if label not in names:
        near = difflib.get_close_matches(label, sorted(names), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "doit list --all"
        raise ConfigError(f"{label}: no task has this name", hint=hint)
    return names[label]
