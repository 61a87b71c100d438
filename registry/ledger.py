"""A registry's log as a reader sees it: the served checkpoint, what must be below it, and every leaf's bundle.

Nothing is believed but what a log key of the policy signed; tiles are read as far as a question needs them.
"""

from collections.abc import Iterator

from bpfcompat.errors import TrustError
from bpfcompat.logentry import digest_in
from bpfcompat.note import MAX_NOTE_BYTES, Note, Signer
from bpfcompat.policy import Policy
from bpfcompat.registry import layout
from bpfcompat.registry.client import Source
from bpfcompat.registry.state import Frozen, Memory
from bpfcompat.registry.witness import check_witnesses
from bpfcompat.tlog import (
    MAX_ENTRIES_BYTES,
    WIDTH,
    Checkpoint,
    Tree,
    check_consistency,
    consistency_proof,
    open_checkpoint,
)

HINT = "a registry of format 1 has no log: publish to it with this version, or leave the log's key out"


class Ledger:
    """The log that a source serves.

    TrustError when there is none that the policy believes at `now` (Unix seconds), or when it does not go on from what
    `memory` holds.  `claimed` is when the signer says that it published: see check_witnesses.
    """

    def __init__(
        self, source: Source, policy: Policy, memory: Memory | None = None, now: int = 0, claimed: int = 0
    ) -> None:
        self._source = source
        self._policy = policy
        self._memory = memory
        self._times = now, claimed
        self.checkpoint, self.note = self._served()
        self.tree = Tree(self.checkpoint.size, self._tile)
        self._covered: set[tuple[int, bytes]] = set()

    def __str__(self) -> str:
        signers = ", ".join(signer.key.name for signer in self.note.signers)
        return f"log {self.checkpoint.origin}: {self.checkpoint.size} leaves, signed by {signers}"

    @property
    def witnessed(self) -> int | None:
        """When as many witnesses as the policy needs, or one, had seen this checkpoint; None when they have not."""
        times = sorted(signer.time for signer in self._counted(self.note) if signer.time is not None)
        needed = max(self._policy.needed, 1)
        return times[needed - 1] if len(times) >= needed else None

    def cover(self, found: Checkpoint) -> None:
        """TrustError unless the served log begins with this one; a source that grew meanwhile is asked once more."""
        if found.origin != self.checkpoint.origin:
            raise TrustError(f"is of log {found.origin}, this registry's is {self.checkpoint.origin}")
        if (found.size, found.root) in self._covered:
            return
        if found.size > self.checkpoint.size:
            self._grow()
        proof = () if found.size > self.checkpoint.size else consistency_proof(self.tree, found.size)
        check_consistency(found, self.checkpoint, proof)
        self._covered.add((found.size, found.root))

    def digests(self, start: int = 0) -> Iterator[tuple[int, str]]:
        """Index and bundle digest of each leaf from `start` on, by leaves that the checkpoint's root holds."""
        for tile in range(start // WIDTH, -(-self.checkpoint.size // WIDTH)):
            leaves = self.tree.proved_leaves(tile, self.checkpoint.root)
            yield from (
                (tile * WIDTH + i, digest_in(leaf)) for i, leaf in enumerate(leaves) if tile * WIDTH + i >= start
            )

    def _served(self) -> tuple[Checkpoint, Note]:
        data = self._source.read(layout.CHECKPOINT, MAX_NOTE_BYTES)
        if data is None:
            raise TrustError(f"{layout.CHECKPOINT}: is missing", hint=HINT)
        found, note = open_checkpoint(data, (*self._policy.log, *self._policy.witnesses))
        # first what contradicts, with both notes for evidence, whoever has seen this one
        met = self._memory.compare(data, self._tile) if self._memory is not None else None
        try:
            self._counted(note)  # of a log that grew meanwhile too: its end could be another for everybody else
        except TrustError as error:
            seen = self._memory.last_seen(found.origin) if self._memory is not None else None
            raise Frozen(error, seen.note if seen else None, data) from None
        if self._memory is not None and met is not None:
            self._memory.keep(*met, self._tile)
            self._key = met[0]
        return found, note

    def remembered(self) -> bytes:
        """What this reader wrote down of the first leaves, b"" when nothing; see leaves.py."""
        return self._memory.leaves(self._key) if self._memory is not None else b""

    def remember(self, records: bytes) -> None:
        """Write down what the first leaves say."""
        if self._memory is not None:
            self._memory.keep_leaves(self._key, records)

    def _counted(self, note: Note) -> tuple[Signer, ...]:
        return check_witnesses(self._policy, note, *self._times)

    def _grow(self) -> None:
        before = self.checkpoint
        self.checkpoint, self.note = self._served()
        self.tree = Tree(self.checkpoint.size, self._tile)
        self._covered.clear()
        proof = consistency_proof(self.tree, before.size) if before.size <= self.checkpoint.size else ()
        check_consistency(before, self.checkpoint, proof)

    def _tile(self, path: str) -> bytes | None:
        return self._source.read(path, MAX_ENTRIES_BYTES)
