"""A registry's transparency log as its publisher writes it: leaves in, tiles and a signed checkpoint out.

The order is tiles, the record of what is signed (outside the registry, beside the log's key), the checkpoint.  A
checkpoint that does not extend the recorded one is never signed: whoever puts an old copy of a registry back cannot
make its log fork unseen.  All of it happens under the registry's lock, and under one of the record.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bpfcompat import tlog
from bpfcompat.errors import ConfigError, StoreError, TrustError
from bpfcompat.files import locked, read_bounded, write_all, write_atomic
from bpfcompat.keys import LogPrivateKey
from bpfcompat.logentry import LogEntry, digest_in, log_id, trusted_root
from bpfcompat.note import MAX_NOTE_BYTES, NoteKey, parse_vkey, sign_note, split_note
from bpfcompat.registry import layout
from bpfcompat.tlog import EMPTY_ROOT, MAX_ENTRIES_BYTES, WIDTH, Checkpoint, Tree


@dataclass(frozen=True, slots=True)
class LogSigner:
    """Who signs checkpoints: the key, and the folder outside every registry that records what it signed last.

    `origin` names the log, "" leaves that to the registry; a new one then gets a name that no other has.
    """

    key: LogPrivateKey
    records: Path
    origin: str = ""


class Log:
    """The log of one registry, open for its publisher.  `last` is what was signed last, `note` as whole note."""

    def __init__(self, registry: Path, key: NoteKey, signer: LogSigner) -> None:
        self.key = key
        self._registry = registry
        self._private = signer.key
        self._record = record_of(signer, key.name)
        self.last, self.note = self._settled()

    def append(self, leaves: Sequence[bytes]) -> None:
        """Put leaves behind the others and sign the new checkpoint; readers see the old log or the new one."""
        grown = tlog.append(self.last.size, self.last.root, self._read, leaves)
        write_all((self._registry / path, data) for path, data in grown.tiles)
        if leaves or not self.note:
            self._sign(Checkpoint(self.key.name, grown.size, grown.root))

    def entries(self, indexes: Sequence[int]) -> list[LogEntry]:
        """What the log says of these leaves, with proofs that lead to the newest checkpoint."""
        tree, log = Tree(self.last.size, self._read), log_id(self.key)
        tiles = {index // WIDTH for index in indexes}
        leaves = {tile * WIDTH + i: leaf for tile in tiles for i, leaf in enumerate(tree.leaves(tile))}
        return [
            LogEntry(leaves[i], i, self.last.size, self.last.root, tlog.inclusion_proof(tree, i), self.note, log)
            for i in indexes
        ]

    def find(self, leaves: Mapping[str, bytes]) -> dict[str, int]:
        """Where the leaves of these bundles are, as far as they are in the log; the newest are looked at first.

        A bundle that was signed anew has leaves of older signatures too: these are not meant.
        """
        tree, found = Tree(self.last.size, self._read), dict[str, int]()
        for tile in range((self.last.size - 1) // WIDTH, -1, -1):
            for i, leaf in enumerate(tree.leaves(tile)):
                if leaves.get(digest := digest_in(leaf)) == leaf:
                    found.setdefault(digest, tile * WIDTH + i)
            if len(found) == len(leaves):
                break
        return found

    def _sign(self, checkpoint: Checkpoint) -> None:
        note = sign_note(checkpoint.text(), self.key.name, self._private)
        write_atomic(self._record, note)
        write_atomic(self._registry / layout.CHECKPOINT, note)
        self.last, self.note = checkpoint, note

    def _settled(self) -> tuple[Checkpoint, bytes]:
        """The checkpoint to go on from; the registry's own and the recorded one are brought together, or refused."""
        here, recorded = _note(self._registry / layout.CHECKPOINT), _note(self._record)
        if recorded is None:
            return self._first_seen(here)
        last = tlog.parse_checkpoint(split_note(recorded)[0])
        if here is None or split_note(here)[0] != last.text():
            last = self._joined(last, self._own(here) if here else Checkpoint(self.key.name, 0, EMPTY_ROOT))
        signed = tlog.open_checkpoint(recorded, [self.key])[0] if self._by_our_key(recorded) else None
        if here is None or signed != last or split_note(here)[0] != last.text():
            self._sign(last)
            return self.last, self.note
        return last, recorded

    def _first_seen(self, here: bytes | None) -> tuple[Checkpoint, bytes]:
        """This machine has no record: what our key signed is where we go on."""
        if here is None:
            return Checkpoint(self.key.name, 0, EMPTY_ROOT), b""
        found = self._own(here)
        self._sign(found)
        return found, self.note

    def _joined(self, recorded: Checkpoint, here: Checkpoint) -> Checkpoint:
        """The larger of both, when the other is its beginning and the tiles are there."""
        older, newer = sorted((recorded, here), key=lambda found: found.size)
        try:
            tree = Tree(newer.size, self._read)
            if tree.root() != newer.root:
                raise TrustError(f"the tiles do not lead to the root of {newer.size} leaves")
            tlog.check_consistency(older, newer, tlog.consistency_proof(tree, older.size))
        except TrustError as error:
            raise TrustError(
                f"{self._registry}: log {self.key.name}: {here.size} leaves here do not go together with the "
                f"{recorded.size} that were signed last ({self._record}): {error.message}",
                hint="was an old copy put back?  restore the newest one; a log is never signed backwards",
            ) from None
        return newer

    def _own(self, here: bytes) -> Checkpoint:
        try:
            return tlog.open_checkpoint(here, [self.key])[0]
        except TrustError as error:
            raise TrustError(
                f"{self._registry / layout.CHECKPOINT}: {error.message}",
                hint="publish with the log key that signed it; if that is lost, start a new registry and keep this one",
            ) from None

    def _by_our_key(self, note: bytes) -> bool:
        return any((line.name, line.id) == (self.key.name, self.key.id) for line in split_note(note)[1])

    def _read(self, path: str) -> bytes | None:
        place = self._registry / path
        return read_bounded(place, MAX_ENTRIES_BYTES, StoreError, follow=False) if place.exists() else None


@contextmanager
def opened(registry: Path, signer: LogSigner, waiting: Callable[[str], None] | None = None) -> Iterator[Log]:
    """The log of a registry whose lock is held; registry.json is written when it is new or of format 1.

    Beside the record of what was signed lie the log's public key for readers (`.vkey`) and for Sigstore's clients.

    ConfigError: another origin than the registry's.  TrustError: what lies there does not extend what was signed.
    """
    known = named(registry)
    if known is not None and signer.origin not in ("", known.name):
        raise ConfigError(
            f"[signing] origin: this registry's log is {known.name!r}, got {signer.origin[:80]!r}",
            hint="a log keeps its name: leave origin empty, or start a new registry",
        )
    origin = known.name if known else signer.origin or f"{os.urandom(8).hex()}.bpfcompat.invalid"
    tlog.check_origin(origin)
    key = NoteKey(origin, signer.key.public_key())
    beside = record_of(signer, origin)
    with locked(beside.with_suffix(".lock"), waiting):
        log = Log(registry, key, signer)
        if known != key:
            write_atomic(beside.with_suffix(".vkey"), f"{key.vkey}\n".encode())
            write_atomic(beside.with_suffix(".trusted_root.json"), trusted_root(key))
            write_atomic(registry / layout.FORMAT_FILE, layout.format_bytes(key.vkey))
        yield log


def record_of(signer: LogSigner, origin: str) -> Path:
    """Where the checkpoint of a log that was signed last is recorded."""
    return signer.records / f"{origin}.checkpoint"


def named(registry: Path) -> NoteKey | None:
    """The log that a registry says is its own; None when it has none yet."""
    place = registry / layout.FORMAT_FILE
    vkey = layout.parse_format(read_bounded(place, layout.MAX_SMALL_BYTES)) if place.exists() else None
    try:
        return parse_vkey(vkey) if vkey is not None else None
    except TrustError as error:
        raise StoreError(f"{place}: log: {error.message}") from None


def _note(place: Path) -> bytes | None:
    return read_bounded(place, MAX_NOTE_BYTES) if place.exists() else None
