"""What lies in a store, by kind: a list of values, for who collects and for who checks.

It only looks: entries are read without marking them as used, links are seen and not followed, and what vanishes
meanwhile is not there.
"""

import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpfcompat.errors import StoreError
from bpfcompat.files import TEMP_PREFIX, explain_os, read_bounded
from bpfcompat.store import MAX_ENTRY, Store, parse_entry

HEX = re.compile(r"[0-9a-f]{64}")
KINDS = ("temporary", "template", "blob", "download", "entry", "flaky", "name", "lock")
KEEPER = "keeping"  # the lock of who collects or checks a whole store
_DOWNLOAD = re.compile(r"([0-9a-f]{64})(\.part)?(\.lock)?")


@dataclass(frozen=True, slots=True)
class Item:
    """One thing of a store: bytes that it takes on disk, when it was last used, and who holds it when held.

    `name` is a digest where there is one.  `blobs` and `keys` are what an entry reaches, `about` the keys of which it
    says that they are settled.
    """

    kind: str
    name: str
    path: Path
    size: int
    used: float
    lock: Path | None = None
    blobs: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    about: frozenset[str] = frozenset()


def inventory(store: Store) -> list[Item]:
    """Everything in a store that may be collected; StoreError when it cannot be read."""
    try:
        return [
            *_temporaries(store.root),
            *_templates(store),
            *_blobs(store.root),
            *_downloads(store.root),
            *_entries(store),
            *_flaky(store.root),
            *_names(store.root),
            *_locks(store.root),
        ]
    except OSError as error:
        raise explain_os(error, store.root, "cannot read the store") from error


def usage(path: Path) -> int:
    """Bytes on disk of a file or a whole folder: holes of a sparse file take none."""
    found = _stat(path)
    if found is None:
        return 0
    inside = below(path) if stat.S_ISDIR(found.st_mode) else ()
    return found.st_blocks * 512 + sum(usage(p) for p in inside)


def last_use(kind: str, path: Path) -> float:
    """When this was last written or marked as used; 0 when it is gone.  A template's mark is its template.json."""
    if kind == "template" and (marked := last_use("file", path / "template.json")):
        return marked
    found = _stat(path)
    if found is None:
        return 0.0
    if stat.S_ISDIR(found.st_mode):  # looking into a folder is no use of it
        return max([found.st_mtime, *(last_use("file", p) for p in below(path))])
    return max(found.st_mtime, found.st_atime)


def is_temporary(name: str) -> bool:
    """True for the names under which things are written before they are renamed."""
    return name.startswith(TEMP_PREFIX)


def _item(kind: str, name: str, path: Path, lock: Path | None = None, **reach: frozenset[str]) -> Item:
    return Item(kind, name, path, usage(path), last_use(kind, path), lock, **reach)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def below(folder: Path) -> list[Path]:
    """What lies in a folder, by name; nothing when it is gone or is none."""
    try:
        with os.scandir(folder) as found:
            return sorted(Path(e.path) for e in found)
    except (FileNotFoundError, NotADirectoryError):
        return []


def shelves(folder: Path) -> Iterator[Path]:
    """What lies in the folders below a folder, links not followed."""
    for shelf in below(folder):
        if shelf.is_dir() and not shelf.is_symlink():
            yield from below(shelf)


def _temporaries(root: Path) -> Iterator[Item]:
    """In tmp/ anything; elsewhere what has a temporary name."""
    yield from (_item("temporary", p.name, p) for p in below(root / "tmp"))
    others = [root, root / "host", root / "templates", root / "downloads"]
    kinds = below(root / "actions")
    places = [*others, *below(root / "blobs"), *below(root / "names"), *(s for k in kinds for s in below(k))]
    for place in places:
        yield from (_item("temporary", p.name, p) for p in below(place) if is_temporary(p.name))


def _templates(store: Store) -> Iterator[Item]:
    for path in below(store.root / "templates"):
        if HEX.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            key = f"sha256:{path.name}"
            yield _item("template", key, path, store.lock_path(key))


def _blobs(root: Path) -> Iterator[Item]:
    for path in shelves(root / "blobs"):
        if HEX.fullmatch(path.name):
            yield _item("blob", f"sha256:{path.name}", path)


def _downloads(root: Path) -> Iterator[Item]:
    """A download, what there is of one that was broken off, and the lock of both."""
    for path in below(root / "downloads"):
        match = _DOWNLOAD.fullmatch(path.name)
        if match:
            lock = path.with_name(f"{match[1]}.part.lock")
            yield _item("download", f"sha256:{match[1]}", path, lock)


def _entries(store: Store) -> Iterator[Item]:
    for kind in below(store.root / "actions"):
        for path in shelves(kind):
            if HEX.fullmatch(path.stem) and path.suffix == ".json":
                key = f"sha256:{path.stem}"
                yield _item("entry", key, path, store.lock_path(key), **_reach(path, key))


def _reach(path: Path, key: str) -> dict[str, frozenset[str]]:
    """What an entry reaches; a damaged one reaches nothing."""
    try:
        body = json.loads(read_bounded(path, MAX_ENTRY, follow=False, use=False))
        entry = parse_entry(body, key)
        blobs = [b.digest for b in entry.outputs.values()]
        about = entry.inputs.get("matrix")
        return {"blobs": _texts(blobs), "about": _texts([about])}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError, IndexError, StoreError):
        return {}


def _flaky(root: Path) -> Iterator[Item]:
    """Answers that contradict each other: evidence, kept until someone forgets the pair."""
    for path in below(root / "flaky"):
        if HEX.fullmatch(path.stem) and path.suffix == ".json":
            try:
                outputs = json.loads(read_bounded(path, MAX_ENTRY, follow=False, use=False))["outputs"]
                blobs = _texts(list(outputs))
            except (ValueError, KeyError, TypeError, RecursionError, StoreError):
                blobs = frozenset()
            yield _item("flaky", f"sha256:{path.stem}", path, blobs=blobs)


def _texts(values: list[Any]) -> frozenset[str]:
    return frozenset(v for v in values if isinstance(v, str))


def _names(root: Path) -> Iterator[Item]:
    for kind in below(root / "names"):
        for path in below(kind):
            if path.suffix == ".json" and not is_temporary(path.name):
                yield _item("name", f"{kind.name}:{path.stem}", path, keys=_last_key(path))


def _last_key(path: Path) -> frozenset[str]:
    try:
        return _texts([json.loads(read_bounded(path, MAX_ENTRY, follow=False, use=False))["key"]])
    except (ValueError, KeyError, TypeError, RecursionError, StoreError):
        return frozenset()


def _locks(root: Path) -> Iterator[Item]:
    for path in below(root / "locks"):
        if path.name != KEEPER and path.is_file() and not path.is_symlink():
            yield _item("lock", path.name, path, path)
