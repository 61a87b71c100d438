"""Witnesses: they see a log grow and say when.  With k of n of them, nobody can be shown a log that others do not see.

A witness keeps its own memory of a log (state.py), and writes it down before it signs.  A reader counts cosignatures by
its policy; what is said of a line that does not count is said in the error.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bpfcompat.errors import StoreError, TrustError
from bpfcompat.files import locked, read_bounded, write_atomic
from bpfcompat.keys import LogPrivateKey
from bpfcompat.note import MAX_NOTE_BYTES, Kind, Note, NoteKey, Signer, cosign, put_line, verify_note
from bpfcompat.policy import CLOCK_SKEW_S, Policy
from bpfcompat.registry import layout
from bpfcompat.registry.client import Source
from bpfcompat.registry.state import Memory
from bpfcompat.registry.text import when
from bpfcompat.tlog import MAX_ENTRIES_BYTES, Checkpoint, open_checkpoint, parse_checkpoint


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A witness's word: what it saw, what it had seen before, and its line for the note."""

    checkpoint: Checkpoint
    before: Checkpoint | None
    line: bytes


def witness(source: Source, policy: Policy, name: str, key: LogPrivateKey, state: Path, now: int) -> Cosigned:
    """Look at a log that a log key of the policy signs, remember it, and cosign it; `now` in Unix seconds.

    TrustError (and its Contradiction): none of these keys signed, or the log did not grow from what was seen.  Nothing
    is signed then.
    """
    memory = Memory(state, policy.every_log)
    data = source.read(layout.CHECKPOINT, MAX_NOTE_BYTES)
    if data is None:
        raise TrustError(f"{layout.CHECKPOINT}: is missing", hint="is this a registry with a log?")
    served, _ = open_checkpoint(data, policy.log)  # a key of old binds the log, and signs nothing new
    before = memory.last(served.origin)
    found = memory.meet(data, lambda path: source.read(path, MAX_ENTRIES_BYTES))
    return Cosigned(found, before, cosign(found.text(), name, key, now))


def add_line(registry: Path, line: bytes, key: NoteKey, waiting: Callable[[str], None] | None = None) -> Checkpoint:
    """Put a witness's line below the checkpoint of a registry, in place of its older one.

    TrustError when it does not hold there: the log has grown, or it is of another witness.
    """
    path = registry / layout.CHECKPOINT
    if not path.is_file():
        raise StoreError(f"{path}: is missing", hint="is this a registry with a log?")
    with locked(registry / layout.LOCK_FILE, waiting):
        data = read_bounded(path, MAX_NOTE_BYTES, StoreError, follow=False)
        added = put_line(data, line)
        try:
            note = verify_note(added, [key])
        except TrustError as error:
            hint = "has the log grown since?  then ask the witness to look again"
            raise TrustError(f"{path}: this line does not go here: {error.message}", hint=hint) from None
        if added != data:
            write_atomic(path, added)
    return parse_checkpoint(note.text)


def check_witnesses(policy: Policy, note: Note, now: int, claimed: int) -> tuple[Signer, ...]:
    """The witnesses that count for a checkpoint, by a policy that may ask for some, and for fresh ones.

    `claimed` is the time that the signer itself gives for what it published; it is asked only where the policy knows no
    witnesses.  TrustError: too few count, or the newest time is older than the policy's `max_age_s`.
    """
    listed = [signer for signer in note.signers if signer.key.kind is Kind.WITNESS and signer.key in policy.witnesses]
    if not policy.needed and policy.max_age_s is None:
        return tuple(listed)
    good = tuple(signer for signer in listed if _seen_at(signer) <= now + CLOCK_SKEW_S)
    late = [f"{s.key.name} says {_when(_seen_at(s))}, which is to come" for s in listed if s not in good]
    if len(good) < policy.needed:
        missing = [key.name for key in policy.witnesses if key not in [s.key for s in listed]]
        why = "; ".join([*late, *(f"{name} did not sign" for name in missing)])
        raise TrustError(
            f"checkpoint: {policy.needed} witnesses needed, {len(good)} count: {why}",
            hint="ask the publisher for a witnessed checkpoint, or look at your clock",
        )
    _check_age(policy, max(map(_seen_at, good), default=None), now, claimed)
    return good


def _check_age(policy: Policy, newest: int | None, now: int, claimed: int) -> None:
    if policy.max_age_s is None:
        return
    if newest is None and policy.witnesses:
        raise TrustError("checkpoint: no witness says when it was seen, and there is a greatest age")
    seen = claimed if newest is None else newest
    if seen < now - policy.max_age_s:
        who = "by its signer" if newest is None else "by the newest witness"
        raise TrustError(
            f"checkpoint: of {_when(seen)} {who}, older than {policy.max_age_s} s: frozen?",
            hint="a mirror may hold back what is new: ask another one",
        )


def _seen_at(signer: Signer) -> int:
    return signer.time or 0


def _when(moment: int) -> str:
    try:
        return when(moment)
    except (ValueError, OverflowError, OSError):
        return f"{moment} s"
