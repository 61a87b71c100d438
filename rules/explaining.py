"""Why a task would run, or why not; reads the store, runs nothing."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

from bpfcompat import borrowing, libbpfs
from bpfcompat.action import Action
from bpfcompat.digest import short
from bpfcompat.errors import BpfcompatError, ConfigError, did_you_mean
from bpfcompat.plan import Pair
from bpfcompat.realise import NotThere
from bpfcompat.rules.planning import Missing
from bpfcompat.rules.session import Session, sessions
from bpfcompat.rules.tasks import possible, validator_label
from bpfcompat.store import Entry


def why(label: str) -> Iterator[str]:
    """Lines for one task name; ConfigError with the nearest names when there is no such task."""
    session = _session_of(label)
    action_of = _action_of(session, label)
    if action_of is None:
        yield f"{label}: always asked; it looks at what the other tasks left"
        return
    yield from _explain(session, label, action_of)


def skipped(label: str) -> Iterator[str]:
    """The line for a named task that had nothing to do; for a pair that was borrowed just now it was said already."""
    if any(label == f"probe:{pair}" for one in sessions() for pair in one.lent):
        return
    yield f"-  {label}: nothing to do: proved before, and no input changed"


LOOKED_AT = 500  # pairs whose own reason is read from the store; one that an object or a kernel gives is free


def plan(session: Session, missing: Missing) -> Iterator[str]:
    """How many pairs are proved, how many must be asked or classified, and why, in groups."""
    count, ask, again = session.matrix.count, len(missing.probes), len(missing.verdicts)
    more = f", {again} to classify again" if again else ""
    yield f"{count} pairs: {count - ask - again} proved, {ask} to ask{more}"
    if ask and session.asker.trust:
        from bpfcompat.origins import name_of  # a run that has nothing to ask does not need it

        yield f"  before any boot: {', '.join(map(name_of, session.config['substituters.url']))}"
    reasons = Counter(_reasons(session, missing))
    for reason, pairs in reasons.most_common():
        yield f"  {reason}: {pairs} pair{'s' if pairs > 1 else ''}"


def _reasons(session: Session, missing: Missing) -> Iterator[str]:
    asker, own = session.asker, []
    said: dict[str, str] = {}
    for pair in session.matrix.ordered(missing.probes):
        label = _below(session, pair, missing)
        if label is None:
            own.append(partial(asker.probe_action, pair, make=False))
        else:
            if label not in said:
                said[label] = f"{label}: {_reason(session, _action_of(session, label) or asker.validator_action)}"
            yield said[label]
    own += [partial(asker.verdict_action, p, make=False) for p in session.matrix.ordered(missing.verdicts)]
    yield from (_reason(session, action_of) for action_of in own[:LOOKED_AT])
    yield from ["not looked at one by one"] * len(own[LOOKED_AT:])


def _below(session: Session, pair: Pair, missing: Missing) -> str | None:
    """The step that a pair waits for, and that gives the reason of all pairs above it."""
    if pair.object in missing.objects:
        itself = session.asker.there(partial(session.asker.object, pair.object, make=False))
        return f"{'files' if itself else 'object'}:{pair.object}"
    if pair.kernel in missing.kernels:
        return f"kernel:{pair.kernel}"
    if pair.kernel in missing.guests:
        loader = session.matrix.kernels[pair.kernel].libbpf
        return validator_label(session, loader) if loader in missing.validators else f"guest:{pair.kernel}"
    return None


def _reason(session: Session, action_of: Callable[[], Action]) -> str:
    try:
        return "; ".join(session.asker.why(action_of()))
    except NotThere as first:
        return f"waits for {first.label}"
    except BpfcompatError as error:
        return str(error)


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
    asker = session.asker
    entry = asker.shop.store.get(action)
    if entry is None and action.kind == "probe" and (loan := borrowing.lent(asker, action)) is not None:
        yield f"{label}: up to date: no guest was asked here; borrowed from {_lenders(loan)}"
        return
    if entry is not None:
        yield f"{label}: up to date: key {short(action.key())} is in the store, no input changed"
        return
    yield f"{label}: must run: key {short(action.key())} is not in the store"
    yield from (f"  {reason}" for reason in session.asker.why(action))


def _lenders(loan: Entry) -> str:
    return " and ".join(
        f"{one['url']}, bundle {short(one['bundle'])}, signed by {one['signer']}" for one in loan.facts["loans"]
    )


def _action_of(session: Session, label: str) -> Callable[[], Action] | None:
    kind, _, name = label.partition(":")
    asker = session.asker
    of_pairs = {"probe": asker.probe_action, "verdict": asker.verdict_action, "control": asker.control_action}
    if kind in of_pairs:
        pair = Pair(*name.rsplit("@", 1))
        return lambda: of_pairs[kind](pair, make=False)
    makers: dict[str, Callable[[], Action]] = {
        "kernel": lambda: asker.kernel_action(name),
        "guest": lambda: asker.initramfs_action(name, make=False),
        "object": lambda: asker.object_action(name, make=False),
        "validator": lambda: asker.validator_action("" if name == libbpfs.OWN else name),
        "files": lambda: asker.packing_action(name, make=False),
    }
    return makers.get(kind)


def _session_of(label: str) -> Session:
    names = {n: s for s in sessions() for n in possible(s)}
    if label not in names:
        hint = did_you_mean(label, sorted(names), "doit list --all", likeness=0.5)
        raise ConfigError(f"{label}: no task has this name", hint=hint)
    return names[label]
