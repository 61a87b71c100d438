"""What a reader remembers of logs: the last checkpoint of each, so that a log that was rewritten is caught.

One file per log and key, `ORIGIN+KEYID.note`: the signed note as it came, which any signed-note tool can check; beside
it `ORIGIN+KEYID.leaves`, what its leaves answer (leaves.py).  A
served checkpoint must not be smaller than the remembered one, must have its root at the same size, and must be shown by
the log's tiles to begin with it.  Otherwise both notes are the evidence: the log signed both.
"""

import base64
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bpfcompat.digest import digest_bytes, hex_of
from bpfcompat.errors import ConfigError, StoreError, TrustError
from bpfcompat.files import ensure_dir, locked, read_bounded, write_atomic
from bpfcompat.note import MAX_NOTE_BYTES, Kind, NoteKey
from bpfcompat.registry.text import plain
from bpfcompat.tlog import Checkpoint, Reader, Tree, check_consistency, consistency_proof, open_checkpoint

LOCK = ".lock"
MAX_LEAVES_BYTES = 256 << 20  # some four million leaves
_TRIES = 8
_ELSEWHERE = "name a folder to remember logs in: --state DIR"


def state_folder(who: str) -> Path:
    """Where a `reader` or a `witness` of this user remembers, by the XDG base directory rules."""
    base = os.environ.get("XDG_STATE_HOME", "")
    if not base.startswith("/"):  # the rules say: a relative path is as none
        try:
            base = f"{Path.home()}/.local/state"
        except RuntimeError:
            raise ConfigError("state: this user has no home folder", hint=_ELSEWHERE) from None
    return Path(base) / "bpfcompat" / who


@dataclass(frozen=True, slots=True)
class Seen:
    """A checkpoint, and the whole note that says so."""

    checkpoint: Checkpoint
    note: bytes


class Contradiction(TrustError):
    """A log said two things that cannot both be so.  `before` and `after` are the notes, `folder` is where they lie."""

    def __init__(self, message: str, before: bytes, after: bytes, folder: Path) -> None:
        super().__init__(message, hint=f"do not use it; show others the evidence in {folder}")
        self.before = before
        self.after = after
        self.folder = folder

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *self.notes()])

    def notes(self) -> tuple[str, ...]:
        """Both notes in full, line by line, safe to print."""
        return _printed({"seen before": self.before, "served now": self.after})


class Frozen(TrustError):
    """What is served was last witnessed too long ago; with the note that was seen before, where there is one."""

    def __init__(self, why: TrustError, before: bytes | None, after: bytes) -> None:
        super().__init__(why.message, why.hint)
        self._notes = {**({"seen before": before} if before is not None else {}), "served now": after}

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *_printed(self._notes)])


def _printed(notes: Mapping[str, bytes]) -> tuple[str, ...]:
    rows = [(name, note.decode("utf-8", "replace").splitlines()) for name, note in notes.items()]
    return tuple(line for name, text in rows for line in (f"{name}:", *(f"  {plain(row)}" for row in text)))


class Memory:
    """What is remembered of the logs that these keys sign; read when it is made, before anything is fetched.

    `keys` may be log keys of old too: what an older key signed of a log still binds it.  StoreError: a remembered note
    cannot be read.
    """

    def __init__(self, folder: Path, keys: Iterable[NoteKey], waiting: Callable[[str], None] | None = None) -> None:
        self._folder = folder
        self._keys = tuple(key for key in keys if key.kind is Kind.LOG)
        self._waiting = waiting
        self._seen = {key: seen for key in self._keys if (seen := self._load(key)) is not None}

    def last(self, origin: str) -> Checkpoint | None:
        """The largest checkpoint that was seen of a log."""
        seen = self.last_seen(origin)
        return seen.checkpoint if seen is not None else None

    def last_seen(self, origin: str) -> Seen | None:
        """The same, with its note."""
        found = [seen for seen in self._seen.values() if seen.checkpoint.origin == origin]
        return max(found, key=lambda seen: seen.checkpoint.size, default=None)

    def meet(self, data: bytes, read: Reader) -> Checkpoint:
        """The checkpoint in a served note, remembered from now on: compare() and keep()."""
        key, found = self.compare(data, read)
        self.keep(key, found, read)
        return found.checkpoint

    def compare(self, data: bytes, read: Reader) -> tuple[NoteKey, Seen]:
        """What a served note says, and which log key signed it; `read` reads the tiles of that log.

        Contradiction when it does not go together with what was seen, TrustError when nobody of the keys signed it.
        """
        checkpoint, note = open_checkpoint(data, self._keys)
        found = Seen(checkpoint, data)
        for seen in self._seen.values():
            if seen.checkpoint.origin == checkpoint.origin:
                self._follows(seen, found, read)
        return next(signer.key for signer in note.signers if signer.key.name == checkpoint.origin), found

    def keep(self, key: NoteKey, found: Seen, read: Reader) -> None:
        """Write it down, unless another process has met a larger one since we began, which then must go with ours."""
        try:
            ensure_dir(self._folder)
        except StoreError as error:
            raise StoreError(error.message, hint=_ELSEWHERE) from None
        for _ in range(_TRIES):
            current = self._kept_unless_changed(key, found)
            if current is None:
                return
            older, newer = sorted((current, found), key=lambda seen: seen.checkpoint.size)
            self._follows(older, newer, read)
            self._seen[key] = current
            if newer is current:
                return
        raise StoreError(f"{self._path(key)}: changes all the time", hint="do other programs of yours write it?")

    def _kept_unless_changed(self, key: NoteKey, found: Seen) -> Seen | None:
        """None when it is written down; what is there instead of what we knew, when that is something else."""
        with locked(self._folder / LOCK, self._waiting):
            current = self._load(key)
            if current is not None and current != self._seen.get(key):
                return current
            write_atomic(self._path(key), found.note, 0o600)
        self._seen[key] = found
        return None

    def leaves(self, key: NoteKey) -> bytes:
        """What was written down of the first leaves of the log that this key signs (leaves.py), b"" when nothing."""
        path = self._leaves_path(key)
        return read_bounded(path, MAX_LEAVES_BYTES) if path.exists() else b""

    def keep_leaves(self, key: NoteKey, records: bytes) -> None:
        """Write it down, unless another process has looked further since."""
        ensure_dir(self._folder)
        path = self._leaves_path(key)
        with locked(self._folder / LOCK, self._waiting):
            if not path.exists() or len(records) > path.stat().st_size:
                write_atomic(path, records, 0o600)

    def _follows(self, before: Seen, after: Seen, read: Reader) -> None:
        """Contradiction unless the second is the first, grown."""
        old, new = before.checkpoint, after.checkpoint
        if new.size < old.size:
            what = f"rollback: {new.size} leaves now, {old.size} when it was last seen"
            raise self._contradiction(what, before, after)
        if new.size == old.size and new.root != old.root:
            raise self._contradiction(f"fork: two roots for {new.size} leaves", before, after)
        if new.size == old.size or old.size == 0:
            return
        try:
            proof, then = _begins_with(new, old.size, read)
        except TrustError as error:
            what = f"fork or damage: {new.size} leaves are not shown to begin with the {old.size} that were seen: "
            raise self._contradiction(what + error.message, before, after) from None
        if then.root != old.root:
            what = f"fork: the tree of {new.size} leaves does not begin with the {old.size} that were seen"
            raise self._contradiction(what, before, after, proof, then)

    def _contradiction(
        self, what: str, before: Seen, after: Seen, proof: tuple[bytes, ...] = (), then: Checkpoint | None = None
    ) -> Contradiction:
        """The error, with its evidence on disk; a disk that takes no evidence does not hide the error."""
        message = f"log {after.checkpoint.origin}: {what}"
        name = hex_of(digest_bytes(before.note + after.note))[:16]
        folder = self._folder / "evidence" / f"{after.checkpoint.origin}-{name}"
        files = {"before.note": before.note, "after.note": after.note, "why.txt": f"{message}\n".encode()}
        if then is not None:
            hashes = "".join(f"{base64.b64encode(found).decode()}\n" for found in proof)
            files["proof.txt"] = then.text() + b"\n" + hashes.encode()
        try:
            for name, data in files.items():
                write_atomic(folder / name, data)
        except StoreError as error:
            message += f" (the evidence could not be kept: {error.message})"
        return Contradiction(message, before.note, after.note, folder)

    def _load(self, key: NoteKey) -> Seen | None:
        path = self._path(key)
        if not path.exists():
            return None
        data = read_bounded(path, MAX_NOTE_BYTES)
        try:
            return Seen(open_checkpoint(data, [key])[0], data)
        except TrustError as error:
            hint = "it is damaged: if you move it away, the next checkpoint is believed at first sight"
            raise StoreError(f"{path}: {error.message}", hint=hint) from None

    def _path(self, key: NoteKey) -> Path:
        return self._folder / f"{key.name}+{key.id.hex()}.note"

    def _leaves_path(self, key: NoteKey) -> Path:
        return self._folder / f"{key.name}+{key.id.hex()}.leaves"


def _begins_with(new: Checkpoint, size: int, read: Reader) -> tuple[tuple[bytes, ...], Checkpoint]:
    """The proof from the log's tiles and the checkpoint that its first `size` leaves are, shown to be in `new`.

    TrustError: the tiles do not lead to the signed root, which says nothing of older leaves.
    """
    tree = Tree(new.size, read)
    proof = consistency_proof(tree, size)
    then = Checkpoint(new.origin, size, tree.range(0, size))
    check_consistency(then, new, proof)
    return proof, then
