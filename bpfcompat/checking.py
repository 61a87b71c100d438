"""A whole store, read again: every blob hashed, every entry parsed and its key computed, every template's digests.

What does not hold is dropped, so that the next run makes it again; a wrong mode is set right.  Folders that nobody
here knows are left alone, and said.
"""

import contextlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bpfcompat.action import Action
from bpfcompat.digest import digest_stream, is_digest
from bpfcompat.errors import StoreError
from bpfcompat.files import explain_os, is_resource, kind_of, locked, open_to_read, read_bounded, remove
from bpfcompat.inventory import HEX, KEEPER, below, is_temporary
from bpfcompat.model import Blob
from bpfcompat.store import MAX_ENTRY, Store, parse_entry
from bpfcompat.voice import Voice

KNOWN = {
    "blobs",
    "actions",
    "names",
    "downloads",
    "templates",
    "flaky",
    "index",
    "locks",
    "tmp",
    "host",
    "format",
    "memo.json",
}
BLOB_MODE, FILE_MODE = 0o444, 0o644
_NOT_OURS = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)


@dataclass(frozen=True, slots=True)
class Fault:
    """What does not hold: where, and expected and got in words.  `mend` sets it right; without one it is dropped."""

    path: Path
    what: str
    mend: Callable[[], None] | None = None


@dataclass(slots=True)
class Counts:
    """How many things were looked at, by kind, how many bytes were hashed, and which blobs do not hold."""

    looked: dict[str, int] = field(default_factory=dict)
    hashed: int = 0
    bad: set[Path] = field(default_factory=set)

    def add(self, kind: str) -> None:
        """One more of a kind."""
        self.looked[kind] = self.looked.get(kind, 0) + 1


def check(store: Store, voice: Voice, waiting: Callable[[str], None] | None = None, dry_run: bool = False) -> bool:
    """Look at everything, say what does not hold and, unless it is a dry run, drop it; True when everything held."""
    # a dry run takes no lock: it must work on a store that cannot be written
    lock = contextlib.nullcontext() if dry_run else locked(store.root / "locks" / KEEPER, waiting)
    counts, bad = Counts(), 0
    with lock:
        try:
            for fault in faults(store, voice, counts):
                bad += 1
                where = fault.path.relative_to(store.root)
                voice.say(f"!! {where}: {fault.what}; {_deal_with(store, fault, dry_run)}")
        except OSError as error:
            raise explain_os(error, error.filename or store.root, "cannot check the store") from error
        for path in below(store.root):
            if path.name not in KNOWN and not is_temporary(path.name):
                voice.say(f"   {path.name}: not ours; left alone")
    looked = ", ".join(f"{n} {kind}" for kind, n in counts.looked.items()) or "nothing"
    verdict = "everything holds" if not bad else f"{bad} did not hold"
    voice.say(f"   looked at {looked}; {counts.hashed / 1e6:.1f} MB hashed; {verdict}")
    return not bad


def faults(store: Store, voice: Voice, counts: Counts) -> Iterator[Fault]:
    """Everything that does not hold, in an order in which each may be dropped at once: blobs before their entries."""
    yield from _blobs(store, voice, counts)
    yield from _entries(store, counts)
    yield from _names(store, counts)
    yield from _downloads(store, voice, counts)
    yield from _templates(store, voice, counts)
    yield from (f for p in below(store.root / "locks") if (f := _not_regular(p)))


def _deal_with(store: Store, fault: Fault, dry_run: bool) -> str:
    if dry_run:
        return "would be set right" if fault.mend else "would be dropped"
    if fault.mend:
        fault.mend()
        return "set right"
    remove(fault.path, store.root / "tmp")
    return "dropped"


# --- the kinds


def _blobs(store: Store, voice: Voice, counts: Counts) -> Iterator[Fault]:
    places = list(_shelved(store.root / "blobs"))
    total, done = sum(_size(p) for _, p in places), 0
    for shelf, path in places:
        fault = _misplaced(shelf, path, path.name) or _not_regular(path)
        if fault is None:
            done += _size(path)
            fault = _wrong_bytes(path, path.name, counts) or _wrong_mode(path, BLOB_MODE)
            voice.progress("blobs", done, total)
            counts.add("blobs")
        if fault is not None:
            if fault.mend is None:
                counts.bad.add(path)
            yield fault


def _entries(store: Store, counts: Counts) -> Iterator[Fault]:
    for kind in below(store.root / "actions"):
        if fault := _not_folder(kind):
            yield fault
            continue
        for shelf, path in _shelved(kind):
            fault = _misplaced(shelf, path, path.stem, ".json") or _not_regular(path)
            if fault is None:
                fault = _wrong_entry(store, kind.name, path, counts.bad) or _wrong_mode(path, FILE_MODE)
                counts.add("entries")
            if fault is not None:
                yield fault


def _wrong_entry(store: Store, kind: str, path: Path, bad: set[Path]) -> Fault | None:
    key = f"sha256:{path.stem}"
    try:
        entry = parse_entry(json.loads(read_bounded(path, MAX_ENTRY, follow=False, use=False)), key)
        computed = Action(kind, "", entry.inputs).key()
        lost = next(
            (
                f"its output {n}: {w}"
                for n, b in entry.outputs.items()
                if (w := _lost(store.blob_path(b.digest), b, bad))
            ),
            None,
        )
    except _NOT_OURS as error:
        return Fault(path, f"not an entry: {type(error).__name__}: {error}"[:200])
    except StoreError as error:
        return _unreadable(path, error)
    if computed != key:
        return Fault(path, f"expected inputs whose key is {key}, got those of {computed}")
    return Fault(path, lost) if lost else None


def _lost(path: Path, blob: Blob, bad: set[Path]) -> str | None:
    mode = _mode(path)
    if mode is None or path in bad:
        return f"{blob.digest} is {'missing' if mode is None else 'damaged'}"
    size = _size(path)
    return None if size == blob.size else f"{blob.digest}: expected {blob.size} bytes, got {size}"


def _names(store: Store, counts: Counts) -> Iterator[Fault]:
    for kind in below(store.root / "names"):
        if fault := _not_folder(kind):
            yield fault
            continue
        for path in below(kind):
            if is_temporary(path.name):
                continue
            fault = _not_regular(path) or _wrong_name(kind.name, path) or _wrong_mode(path, FILE_MODE)
            counts.add("names")
            if fault is not None:
                yield fault


def _wrong_name(kind: str, path: Path) -> Fault | None:
    try:
        body: Any = json.loads(read_bounded(path, MAX_ENTRY, follow=False, use=False))
        key, computed = body["key"], Action(kind, "", dict(body["inputs"])).key()
    except _NOT_OURS as error:
        return Fault(path, f"not the memory of a task: {type(error).__name__}: {error}"[:200])
    except StoreError as error:
        return _unreadable(path, error)
    return None if key == computed else Fault(path, f"expected inputs whose key is {key!r}, got those of {computed}")


def _downloads(store: Store, voice: Voice, counts: Counts) -> Iterator[Fault]:
    """A download that is whole has its digest for a name; others are being made, or are a lock."""
    for path in below(store.root / "downloads"):
        fault = _not_regular(path)
        if fault is None and HEX.fullmatch(path.name):
            fault = _wrong_bytes(path, path.name, counts)
            counts.add("downloads")
            voice.progress("downloads", _size(path), _size(path))
        if fault is not None:
            yield fault


def _templates(store: Store, voice: Voice, counts: Counts) -> Iterator[Fault]:
    for folder in below(store.root / "templates"):
        if is_temporary(folder.name):
            continue
        fault = _wrong_template(folder, counts)
        counts.add("templates")
        voice.progress("templates", counts.looked["templates"], None)
        if fault is not None:
            yield fault


def _wrong_template(folder: Path, counts: Counts) -> Fault | None:
    """A template goes as a whole: half of one is of no use."""
    if not HEX.fullmatch(folder.name):
        return Fault(folder, "expected the name of a template, 64 hex digits")
    if fault := _not_folder(folder):
        return fault
    try:
        body = json.loads(read_bounded(folder / "template.json", MAX_ENTRY, follow=False, use=False))
        recorded = {n: d for n, d in body.items() if n in ("ram", "state") and is_digest(d)}
    except _NOT_OURS as error:
        return Fault(folder, f"template.json: {type(error).__name__}: {error}"[:200])
    except StoreError as error:
        found = _unreadable(folder / "template.json", error)
        return Fault(folder, f"template.json: {found.what if found else 'missing'}")
    for name in ("ram", "state"):
        path = folder / name
        wrong = _not_regular(path) or (_wrong_bytes(path, recorded[name][7:], counts) if name in recorded else None)
        if wrong is not None or not os.path.lexists(path):
            return Fault(folder, f"{name}: {wrong.what if wrong else 'missing'}")
    return None


# --- the faults


def _shelved(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Shelf and path of everything on the shelves of a folder; what is no shelf stands for itself."""
    for shelf in below(folder):
        if is_temporary(shelf.name):
            continue
        if _not_folder(shelf):
            yield shelf, shelf
        else:
            yield from ((shelf, p) for p in below(shelf) if not is_temporary(p.name))


def _misplaced(shelf: Path, path: Path, digits: str, suffix: str = "") -> Fault | None:
    if path == shelf:
        return _not_folder(shelf)
    if not HEX.fullmatch(digits) or path.name != digits + suffix:
        return Fault(path, f"expected 64 hex digits{suffix and ' and ' + suffix} for a name")
    return None if digits[:2] == shelf.name else Fault(path, f"expected it in {digits[:2]}/, got it in {shelf.name}/")


def _mode(path: Path) -> int | None:
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return None


def _size(path: Path) -> int:
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:
        return 0


def _not_regular(path: Path) -> Fault | None:
    mode = _mode(path)
    if mode is None or stat.S_ISREG(mode):
        return None
    return Fault(path, f"expected a regular file, got {kind_of(mode)}")


def _not_folder(path: Path) -> Fault | None:
    mode = _mode(path)
    if mode is None or stat.S_ISDIR(mode):
        return None
    return Fault(path, f"expected a directory, got {kind_of(mode)}")


def _wrong_mode(path: Path, allowed: int) -> Fault | None:
    found = _mode(path)
    if found is None:
        return None
    mode = stat.S_IMODE(found)
    right = mode & allowed | stat.S_IRUSR
    if mode == right:
        return None
    return Fault(path, f"expected at most mode {allowed:04o}, got {mode:04o}", lambda: path.chmod(right))


def _wrong_bytes(path: Path, digits: str, counts: Counts) -> Fault | None:
    try:
        with open(open_to_read(path, follow=False, use=False), "rb") as stream:
            found = digest_stream(stream)
            counts.hashed += stream.tell()
    except FileNotFoundError:
        return None
    except OSError as error:
        if is_resource(error):
            raise
        return Fault(path, f"cannot be read: {error.strerror}")
    return None if found == f"sha256:{digits}" else Fault(path, f"expected sha256:{digits}, got {found}")


def _unreadable(path: Path, error: StoreError) -> Fault | None:
    """A failed read as a fault; nothing when it vanished meanwhile, and an error when it is not the file's fault."""
    cause = error.__cause__
    if isinstance(cause, FileNotFoundError):
        return None
    if isinstance(cause, OSError) and is_resource(cause):
        raise cause
    return Fault(path, error.message.removeprefix(f"{path}: "))
