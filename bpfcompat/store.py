"""Outputs by action key, written once: the truth that doit's database is not.

Layout: `blobs/ab/<hex>` holds bytes under their digest, read-only; `actions/<kind>/ab/<hex>.json` says which blobs an
action gave, and what went into its key; `names/<kind>/<name>.json` remembers the last key of a task name, for `why`.
An entry is believed only as far as its blobs are there with their digest: damage is dropped, said, and made again.
What is read or put again is marked as used, for `keeping`, which collects what nobody needs.
"""

import contextlib
import errno
import json
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bpfcompat.action import FORMAT, Action
from bpfcompat.digest import canonical, digest_bytes, digest_file, hex_of, is_digest
from bpfcompat.errors import StoreError
from bpfcompat.files import (
    TEMP_PREFIX,
    ensure_dir,
    explain_os,
    held,
    is_resource,
    kind_of,
    locked,
    read_bounded,
    remove,
    write_all,
    write_atomic,
)
from bpfcompat.model import Blob
from bpfcompat.mounts import TABLE, check_fit

MAX_ENTRY = 4 << 20
MAX_BLOB = 1 << 30
MAX_LEDGER = 1000  # quarantines that ended and are remembered
USE_GRAIN_S = 1800  # a use is noted when the last note is older; below the grace of `keeping`
AGAIN = "run the same command again"
_NOT_OURS = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)
_BLOB, _ENTRY = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{64}\.json")


@dataclass(frozen=True, slots=True)
class Entry:
    """What an action gave: output name → blob, small facts as JSON values, and the inputs of its key."""

    outputs: Mapping[str, Blob]
    facts: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Quarantine:
    """An action key with two different outputs: whose it is, in which way they differ, their digests, since when.

    `until` is when it was released, 0 while it stands; the outputs are then no longer kept.  Both in Unix seconds.
    """

    key: str
    name: str
    words: str
    outputs: tuple[str, ...]
    since: float
    until: float = 0


class Store:
    """A folder of outputs by key; any number of processes may share it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.damage: dict[str, str] = {}  # key → why its entry was dropped, in this process

    def open(self, mounts: Path = TABLE) -> "Store":
        """Make the folder if need be and check its format; StoreError if it cannot be used.

        `mounts` says which file systems there are.
        """
        check_fit(self.root, mounts)
        mark = self.root / "format"
        if not _is_there(mark):
            ensure_dir(self.root)
            write_atomic(mark, f"{FORMAT}\n".encode())
        found = read_bounded(mark, 64).decode("ascii", "replace").strip()
        if found != str(FORMAT):
            raise StoreError(
                f"{self.root}: store format {found[:20]!r}, expected {FORMAT}", hint="use another [paths] store"
            )
        return self

    # --- blobs

    def blob_path(self, digest: str) -> Path:
        """Where a blob lies, there or not."""
        name = hex_of(digest)
        return Path(f"{self.root}/blobs/{name[:2]}/{name}")

    def put_bytes(self, data: bytes) -> Blob:
        """Keep bytes; equal bytes are kept once."""
        blob = Blob(digest_bytes(data), len(data))
        path = self.blob_path(blob.digest)
        # one that cannot be marked as used (somebody else's) is written anew: it might be collected before its entry
        if self._fault(blob) is not None or not note_use(path):
            self._write(path, data, mode=0o444)
        return blob

    def put_file(self, path: Path) -> Blob:
        """Keep a file's bytes (read once, at most MAX_BLOB)."""
        return self.put_bytes(read_bounded(path, MAX_BLOB))

    def read(self, blob: Blob) -> bytes:
        """A blob's bytes, digest checked; a damaged one is dropped, to be made again, and StoreError raised."""
        path = self.blob_path(blob.digest)
        try:
            data = read_bounded(path, MAX_BLOB, follow=False)
        except StoreError as error:
            raise self._dropped(path, _damage(error, path)) from error
        if (found := digest_bytes(data)) != blob.digest:
            raise self._dropped(path, f"bytes do not match their name: they are {found}")
        note_use(path)
        return data

    def checked(self, blob: Blob) -> Path:
        """The path of a blob whose bytes were just checked; StoreError (and dropped) otherwise."""
        path = self.blob_path(blob.digest)
        fault = self._fault(blob)
        if fault is None:
            try:
                found = digest_file(path)
            except OSError as error:
                raise explain_os(error, path, "cannot read") from error
            fault = None if found == blob.digest else f"bytes do not match their name: they are {found}"
        if fault is not None:
            raise self._dropped(path, fault)
        note_use(path)
        return path

    def _fault(self, blob: Blob) -> str | None:
        """What is wrong with a blob as far as stat() can say, or None."""
        try:
            found = os.lstat(self.blob_path(blob.digest))
        except FileNotFoundError:
            return "missing"
        except OSError as error:
            raise explain_os(error, self.root, "cannot read the store") from error
        if not stat.S_ISREG(found.st_mode):
            return f"expected a regular file, got {kind_of(found.st_mode)}"
        return None if found.st_size == blob.size else f"expected {blob.size} bytes, got {found.st_size}"

    def _dropped(self, path: Path, fault: str) -> StoreError:
        self._discard(path)
        return StoreError(f"{path}: {fault}; dropped", hint=AGAIN)

    def _discard(self, path: Path) -> None:
        try:
            remove(path, self.root / "tmp")
        except OSError as error:
            raise explain_os(error, path, "damaged, and cannot be dropped") from error

    def _write(self, path: Path, data: bytes, mode: int = 0o644) -> None:
        if path.is_dir() and not path.is_symlink():  # the one thing that a rename does not replace
            self._discard(path)
        write_atomic(path, data, mode)

    # --- actions

    def entry_path(self, kind: str, key: str) -> Path:
        """Where the entry of an action key lies, there or not."""
        name = hex_of(key)
        return Path(f"{self.root}/actions/{kind}/{name[:2]}/{name}.json")

    def keys(self, kind: str) -> frozenset[str]:
        """All keys of a kind, in at most 257 directory reads."""
        return self._named(self.root / "actions" / kind, _ENTRY)

    def blobs(self) -> frozenset[str]:
        """Digests of all blobs, by name, in at most 257 directory reads."""
        return self._named(self.root / "blobs", _BLOB)

    def _named(self, shelves: Path, name: re.Pattern[str]) -> frozenset[str]:
        found: set[str] = set()
        try:
            for shelf in os.scandir(shelves):
                if shelf.is_dir(follow_symlinks=False):
                    found.update("sha256:" + e.name[:64] for e in os.scandir(shelf.path) if name.fullmatch(e.name))
        except FileNotFoundError:
            pass
        except OSError as error:
            raise explain_os(error, self.root, "cannot read the store") from error
        return frozenset(found)

    def get(self, action: Action) -> Entry | None:
        """What an action gave before, or None; an entry that is damaged or lost a blob counts as absent."""
        return self.get_key(action.kind, action.key())

    def get_key(self, kind: str, key: str) -> Entry | None:
        """Like `get`, for a key."""
        path = self.entry_path(kind, key)
        if not _is_there(path):
            return None
        try:
            entry = parse_entry(json.loads(read_bounded(path, MAX_ENTRY, follow=False)), key)
            fault = self._lost(entry)
        except StoreError as error:
            fault = _damage(error, path)
        except _NOT_OURS as error:
            fault = f"not an entry: {type(error).__name__}: {error}"[:200]
        if fault is not None:
            self._discard(path)  # or `keys` would still name it, and the planner believe that it is there
            self.damage[key] = fault
            return None
        note_use(path)
        return entry

    def _lost(self, entry: Entry) -> str | None:
        """The first output of an entry that is not there as the entry says, or None."""
        for name, blob in entry.outputs.items():
            fault = self._fault(blob)
            if fault is not None:
                return f"its output {name}: {self.blob_path(blob.digest)}: {fault}"
        return None

    def put(self, action: Action, outputs: Mapping[str, Blob], facts: Mapping[str, Any] | None = None) -> Entry:
        """Write an action's entry, once its blobs are in; the entry appears whole or not at all."""
        entry = Entry(dict(outputs), dict(facts or {}), dict(action.inputs))
        self._write(self.entry_path(action.kind, action.key()), _entry_bytes(action.key(), entry))
        return entry

    def put_all(self, made: Iterable[tuple[Action, Mapping[str, bytes], Mapping[str, Any]]]) -> None:
        """Keep many actions' outputs and write their entries: all blobs first, the disk asked for many at once."""
        blobs: dict[Path, bytes] = {}
        entries: dict[Path, bytes] = {}
        for action, outputs, facts in made:
            held = {name: Blob(digest_bytes(data), len(data)) for name, data in outputs.items()}
            for name, data in outputs.items():
                path = self.blob_path(held[name].digest)
                if self._fault(held[name]) is not None or not note_use(path):
                    blobs[path] = data
            key = action.key()
            entries[self.entry_path(action.kind, key)] = _entry_bytes(key, Entry(held, facts, action.inputs))
        write_all(blobs.items(), mode=0o444)
        write_all(entries.items())

    def drop(self, kind: str, key: str) -> bool:
        """Forget an action's entry; its blobs stay until they are collected.  True if there was one."""
        path = self.entry_path(kind, key)
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise explain_os(error, path, "cannot drop the entry") from error
        return True

    # --- names

    def remember(self, action: Action, entry: Entry | None = None) -> None:
        """Note this action as the last one under its name, for `why`, and what it gave."""
        outputs = {n: [b.digest, b.size] for n, b in entry.outputs.items()} if entry else {}
        body = {"key": action.key(), "inputs": dict(action.inputs), "outputs": outputs}
        self._write(self._name_path(action), canonical(body))

    def last(self, action: Action) -> tuple[str, Mapping[str, Any]] | None:
        """Key and inputs of the last action realised under this name, or None."""
        try:
            body = json.loads(read_bounded(self._name_path(action), MAX_ENTRY, follow=False))
            return str(body["key"]), dict(body["inputs"])
        except (StoreError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def last_output(self, action: Action, name: str) -> Blob | None:
        """What this very action gave when it was realised last, although its entry may be forgotten since."""
        try:
            body = json.loads(read_bounded(self._name_path(action), MAX_ENTRY))
            digest, size = body["outputs"][name]
            blob = Blob(str(digest), int(size))
            return blob if body["key"] == action.key() and is_digest(digest) and self._fault(blob) is None else None
        except (StoreError, ValueError, KeyError, TypeError, RecursionError):
            return None

    # --- quarantine

    def quarantine_path(self, key: str) -> Path:
        """Where it is written that an action key has two different outputs, if it has."""
        return self.root / "flaky" / f"{hex_of(key)}.json"

    def quarantined(self, key: str) -> bool:
        """True when an action key is known to have two different outputs."""
        return _is_there(self.quarantine_path(key))

    def quarantine(self, key: str, name: str, words: str, outputs: Sequence[Blob]) -> None:
        """Keep different outputs of one action key side by side; none of them is its entry."""
        found = {"key": key, "name": name, "words": words, "outputs": [b.digest for b in outputs]}
        self._write(self.quarantine_path(key), canonical(found))

    def quarantines(self) -> list[Quarantine]:
        """Every action key that has two different outputs, the newest last; what is not as we write it is left out."""
        found = [one for path in (self.root / "flaky").glob("*.json") if (one := self._quarantine_at(path))]
        return sorted(found, key=lambda q: (q.since, q.name))

    def released(self) -> list[Quarantine]:
        """Those that ended, the newest last; of very many the last ones."""
        with contextlib.suppress(StoreError, *_NOT_OURS):
            lines = read_bounded(self._ledger, MAX_ENTRY, follow=False).splitlines()
            return [_quarantine_of(json.loads(line)) for line in lines]
        return []

    def _quarantine_at(self, path: Path) -> Quarantine | None:
        with contextlib.suppress(StoreError, OSError, *_NOT_OURS):
            body = json.loads(read_bounded(path, MAX_ENTRY, follow=False))
            return _quarantine_of({**body, "since": os.lstat(path).st_mtime})
        return None

    def release(self, key: str) -> bool:
        """End the quarantine of an action key, which the ledger remembers; True if there was one."""
        there = self.quarantined(key)
        one = self._quarantine_at(self.quarantine_path(key)) if there else None
        if one is not None:
            with locked(self.root / "locks" / "ledger"):
                lines = [canonical(asdict(q)) for q in [*self.released(), replace(one, until=time.time())]]
                self._write(self._ledger, b"".join(line + b"\n" for line in lines[-MAX_LEDGER:]))
        self._discard(self.quarantine_path(key))
        return there

    @property
    def _ledger(self) -> Path:
        return self.root / "flaky" / "ledger"

    def _name_path(self, action: Action) -> Path:
        return self.root / "names" / action.kind / f"{action.name or '_'}.json"

    # --- shared work

    @contextlib.contextmanager
    def single_flight(self, action: Action, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
        """Only one process at a time makes this action; the others wait and are told for whom."""
        with locked(self.lock_path(action.key()), waiting):
            yield

    def lock_path(self, key: str) -> Path:
        """Where the lock of an action key lies."""
        return self.root / "locks" / hex_of(key)[:32]

    @contextlib.contextmanager
    def workdir(self) -> Iterator[Path]:
        """A private empty folder on the store's file system, gone at the end; `held`, so that nobody collects it."""
        try:
            folder = tempfile.TemporaryDirectory(dir=ensure_dir(self.root / "tmp"), prefix=TEMP_PREFIX)
        except OSError as error:
            raise explain_os(error, self.root, "cannot use the store") from error
        with folder as name, held(Path(name)):
            yield Path(name)


def _entry_bytes(key: str, entry: Entry) -> bytes:
    outputs = {n: {"digest": b.digest, "size": b.size} for n, b in entry.outputs.items()}
    return canonical({"key": key, "inputs": dict(entry.inputs), "facts": dict(entry.facts), "outputs": outputs})


def _quarantine_of(body: Mapping[str, Any]) -> Quarantine:
    key, name, words = (str(body[field]) for field in ("key", "name", "words"))
    outputs = tuple(map(str, body["outputs"]))
    return Quarantine(key, name, words, outputs, float(body["since"]), float(body.get("until", 0)))


def note_use(path: Path) -> bool:
    """Mark a file as used now, for who collects the least recently used; its bytes and mtime stay.

    False when it is not there or not ours to mark; a file system that is read-only has nobody who collects.
    """
    try:
        found = os.lstat(path)
        if time.time() - found.st_atime > USE_GRAIN_S:
            os.utime(path, ns=(time.time_ns(), found.st_mtime_ns), follow_symlinks=False)
    except OSError as error:
        return error.errno == errno.EROFS
    return True


def _damage(error: StoreError, path: Path) -> str:
    """What a failed read says of the file; StoreError with a hint where it says nothing of it."""
    cause = error.__cause__
    if isinstance(cause, OSError) and is_resource(cause):
        raise explain_os(cause, path, "cannot read") from cause
    return error.message.removeprefix(f"{path}: ")


def _is_there(path: Path) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise explain_os(error, path, "cannot read the store") from error
    return True


def parse_entry(body: Any, key: str) -> Entry:
    """An entry from its JSON; an exception of Python's for what is none, StoreError for another key's."""
    if body["key"] != key:
        raise StoreError(f"entry names key {body['key']!r}, expected {key}")
    outputs = {str(n): Blob(b["digest"], int(b["size"])) for n, b in body["outputs"].items()}
    if not all(is_digest(b.digest) for b in outputs.values()):
        raise StoreError("entry names something that is no digest")
    return Entry(outputs, dict(body["facts"]), dict(body["inputs"]))
