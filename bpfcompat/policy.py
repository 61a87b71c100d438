"""What a reader trusts: verdict keys with their limits, log keys, witnesses, and how many of them are needed.

Pure: times and log indexes come in, words come out.  Times are Unix seconds.  A limit begins at `not_before` and ends
just before `not_after` and `below`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bpfcompat.errors import TrustError
from bpfcompat.keys import PublicKey, fingerprint
from bpfcompat.note import NoteKey

CLOCK_SKEW_S = 300


class Uncounted(TrustError):
    """A signature holds, and its key is known, but does not count here: revoked, expired, not yet valid."""


@dataclass(frozen=True, slots=True)
class VerdictKey:
    """A key that signs verdicts and matrices, and when it may.  None is no limit, by the reader's own choice.

    `below`: only leaves of the log with a smaller index; what is not in the log is then nothing.
    """

    key: PublicKey
    not_before: int | None = None
    not_after: int | None = None
    below: int | None = None

    @property
    def id(self) -> str:
        """The fingerprint, as `ssh-keygen -lf` prints it."""
        return fingerprint(self.key)

    def refusal(self, index: int | None, witnessed: int | None, now: int) -> str | None:
        """Why this key's signature does not count, in words; None when it does.

        `index` is the leaf's place in the log, None for what is not logged.  `witnessed` is when a witness saw the
        leaf: the only time that the signer does not choose.  A recorded last index decides alone: whoever wrote it
        saw the log, and no clock is asked.  Without either, this machine's clock decides.
        """
        if self.below is not None and (index is None or index >= self.below):
            place = "not in the log" if index is None else f"log index {index}"
            return f"holds only below log index {self.below}, this is {place}"
        if self.below is not None:
            return None
        if witnessed is not None:
            return self._outside(witnessed, witnessed, "witnessed at")
        return self._outside(now + CLOCK_SKEW_S, now, "and without a witness this machine's clock counts:")

    def _outside(self, latest: int, earliest: int, what: str) -> str | None:
        if self.not_before is not None and latest < self.not_before:
            return f"not valid before {_when(self.not_before)}, {what} {_when(earliest)}"
        if self.not_after is not None and earliest >= self.not_after:
            return f"expired at {_when(self.not_after)}, {what} {_when(earliest)}"
        return None


@dataclass(frozen=True, slots=True)
class Policy:
    """Whom a reader believes.

    `log` may sign the newest checkpoint.  `former` are log keys of old: (key, below), good for checkpoints of at most
    `below` leaves that bundles of that time carry.  `needed` of the `witnesses` must have seen a checkpoint, the newest
    within `max_age_s`.  TrustError: a key twice, in two roles, or fewer witnesses than needed.
    """

    verdict: tuple[VerdictKey, ...]
    log: tuple[NoteKey, ...] = ()
    witnesses: tuple[NoteKey, ...] = ()
    needed: int = 0
    max_age_s: int | None = None
    former: tuple[tuple[NoteKey, int], ...] = ()
    _by_id: Mapping[str, VerdictKey] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_id", {known.id: known for known in self.verdict})
        notes = (*self.log, *(key for key, _below in self.former), *self.witnesses)
        raw = [key.raw for key in notes]
        if len(set(raw)) != len(raw) or len(self._by_id) != len(self.verdict):
            raise TrustError("policy: a key is listed twice", hint="a key has one role, and counts once")
        if not 0 <= self.needed <= len(self.witnesses):
            raise TrustError(f"policy: {self.needed} witnesses needed, {len(self.witnesses)} known")

    @classmethod
    def of_keys(cls, keys: Iterable[PublicKey]) -> "Policy":
        """Plain pinned verdict keys, without limits and without a log; the same key twice is one key."""
        return cls(tuple(VerdictKey(key) for key in {fingerprint(key): key for key in keys}.values()))

    @property
    def keys(self) -> tuple[PublicKey, ...]:
        """The public verdict keys, for envelope.verify; `allows` then says whether they may."""
        return tuple(known.key for known in self.verdict)

    def allows(self, keyid: str, index: int | None, witnessed: int | None, now: int) -> None:
        """Uncounted, which says why this verdict key's signature does not count; TrustError for an unknown key.

        See VerdictKey.refusal for `index`, `witnessed` and `now`.
        """
        known = self._by_id.get(keyid)
        if known is None:
            wanted = " or ".join(sorted(self._by_id)) or "nobody"
            raise TrustError(f"signed by {keyid[:80]}, trusted: {wanted}", hint="give the signer's public key")
        why = known.refusal(index, witnessed, now)
        if why is not None:
            raise Uncounted(f"key {keyid}: {why}")

    @property
    def every_log(self) -> tuple[NoteKey, ...]:
        """All log keys, those of old too: what any of them signed binds the log."""
        return (*self.log, *(key for key, _below in self.former))

    def log_for(self, size: int) -> tuple[NoteKey, ...]:
        """The log keys that may have signed a checkpoint of this size which is not the newest."""
        return (*self.log, *(key for key, below in self.former if size <= below)) if self.former else self.log


def _when(moment: int) -> str:
    try:
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{moment} s"
