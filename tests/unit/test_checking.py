"""A whole store, read again: what holds stays, what does not is named and dropped, and the next run makes it."""

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfcompat.action import Action
from bpfcompat.checking import check
from bpfcompat.digest import canonical, digest_bytes
from bpfcompat.errors import StoreError
from bpfcompat.files import locked
from bpfcompat.store import Store
from tests.hosting import remount_read_only, tmpfs

ACTION = Action("probe", "a@b", {"object": "sha256:" + "0" * 64, "seconds": 0.1, "text": "é"})
REPORT = digest_bytes(b"report")
TEMPLATE = "a" * 64
DOWNLOAD = digest_bytes(b"package")[7:]


class Lines:
    """A voice that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        """Remember it."""
        self.said.append(text)

    def progress(self, label: str, done: int, total: int | None) -> None:
        """Nothing."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with one of everything."""
    found = Store(tmp_path / "store").open()
    with found.single_flight(ACTION):
        found.put(ACTION, {"report": found.put_bytes(b"report"), "console": found.put_bytes(b"console")})
        found.remember(ACTION)
    (found.root / "downloads").mkdir()
    for name in (DOWNLOAD, "0" * 64 + ".part", DOWNLOAD + ".part.lock"):
        (found.root / "downloads" / name).write_bytes(b"package")
    folder = found.root / "templates" / TEMPLATE
    folder.mkdir(parents=True)
    for name in ("ram", "state"):
        (folder / name).write_bytes(name.encode())
    recorded = {"ram": digest_bytes(b"ram"), "state": digest_bytes(b"state"), "qemu": "10.0", "seconds": 3}
    (folder / "template.json").write_bytes(canonical(recorded))
    (found.root / "host").mkdir()
    (found.root / "memo.json").write_bytes(b"{}")
    return found


def blob(store: Store) -> Path:
    """The blob of the report."""
    return store.blob_path(digest_bytes(b"report"))


def entry(store: Store) -> Path:
    """The entry."""
    return store.entry_path("probe", ACTION.key())


def name(store: Store) -> Path:
    """The memory of the last run."""
    return store.root / "names/probe/a@b.json"


def template(store: Store) -> Path:
    """The template."""
    return store.root / "templates" / TEMPLATE


def looked(store: Store, dry_run: bool = False) -> tuple[bool, list[str]]:
    """Whether everything held, and the faults that were said."""
    voice = Lines()
    sound = check(store, voice, dry_run=dry_run)
    return sound, [line.removeprefix("!! ") for line in voice.said if line.startswith("!!")]


def test_sound(store: Store) -> None:
    """A store of ours holds, and it is said what was looked at; nothing is changed or counted as used."""
    before = {p: os.lstat(p)[7:9] for p in store.root.rglob("*") if p.is_file()}
    for path in before:
        os.utime(path, (1000, 2000))
    voice = Lines()
    assert check(store, voice)
    assert voice.said == [
        "   looked at 2 blobs, 1 entries, 1 names, 1 downloads, 1 templates; 0.0 MB hashed; everything holds"
    ]
    times = {(found.st_atime, found.st_mtime) for found in map(os.lstat, before)}
    assert times == {(1000, 2000)}


def flip(path: Path) -> None:
    """Change one bit and nothing that stat() shows."""
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    mode = path.stat().st_mode
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(mode)


def other_inputs(store: Store) -> None:
    """An entry under a key that its inputs do not have."""
    body = json.loads(entry(store).read_bytes())
    entry(store).write_bytes(canonical({**body, "inputs": {}}))


def other_kind(store: Store) -> None:
    """A good entry among those of another kind."""
    there = store.root / "actions/verdict" / entry(store).parent.name
    there.mkdir(parents=True)
    entry(store).rename(there / entry(store).name)


def other_shelf(path: Path) -> Path:
    """A good file on another shelf."""
    shelf = path.parent.with_name("zz")
    shelf.mkdir()
    return path.rename(shelf / path.name)


def link(path: Path) -> None:
    """The same bytes by way of a link."""
    elsewhere = path.with_name(".tmp-elsewhere")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def folder(path: Path) -> None:
    """A folder with something in it."""
    path.unlink()
    path.mkdir()
    (path / "x").write_bytes(b"")


def fifo(path: Path) -> None:
    """A FIFO that nobody writes to."""
    path.unlink()
    os.mkfifo(path)


DAMAGE: dict[str, tuple[Callable[[Store], object], list[str]]] = {
    "bit of a blob": (lambda s: flip(blob(s)), [f"expected {REPORT}, got sha256:", "its output report"]),
    "blob cut": (lambda s: (blob(s).chmod(0o644), os.truncate(blob(s), 2)), ["expected sha256:", "its output report"]),
    "blob lost": (lambda s: blob(s).unlink(), [f"its output report: {REPORT} is missing"]),
    "blob a link": (lambda s: link(blob(s)), ["expected a regular file, got a symbolic link", "its output report"]),
    "blob a folder": (lambda s: folder(blob(s)), ["expected a regular file, got a directory", "its output report"]),
    "blob a FIFO": (lambda s: fifo(blob(s)), ["expected a regular file, got a FIFO", "its output report"]),
    "blob misplaced": (lambda s: other_shelf(blob(s)), ["expected it in 84/, got it in zz/", "its output report"]),
    "stray blob": (lambda s: blob(s).with_name("x").write_bytes(b""), ["expected 64 hex digits for a name"]),
    "shelf a link": (lambda s: (s.root / "blobs/zz").symlink_to("/etc"), ["expected a directory, got a symbolic link"]),
    "entry cut": (lambda s: os.truncate(entry(s), 20), ["not an entry: JSONDecodeError"]),
    "entry deep": (lambda s: entry(s).write_bytes(b"[" * 99999), ["not an entry: RecursionError"]),
    "entry no object": (lambda s: entry(s).write_bytes(b"[]"), ["not an entry: TypeError"]),
    "entry huge": (lambda s: os.truncate(entry(s), 1 << 30), ["at most 4194304 expected"]),
    "entry a link": (lambda s: link(entry(s)), ["expected a regular file, got a symbolic link"]),
    "entry a folder": (lambda s: folder(entry(s)), ["expected a regular file, got a directory"]),
    "entry a FIFO": (lambda s: fifo(entry(s)), ["expected a regular file, got a FIFO"]),
    "entry's inputs": (other_inputs, [f"expected inputs whose key is {ACTION.key()}, got those of sha256:"]),
    "entry's kind": (other_kind, [f"expected inputs whose key is {ACTION.key()}, got those of sha256:"]),
    "entry misplaced": (lambda s: other_shelf(entry(s)), ["got it in zz/"]),
    "stray entry": (lambda s: entry(s).with_suffix(".json~").write_bytes(b""), ["expected 64 hex digits and .json"]),
    "kind a file": (lambda s: (s.root / "actions/x").write_bytes(b""), ["expected a directory, got a regular file"]),
    "memory cut": (lambda s: os.truncate(name(s), 9), ["not the memory of a task: JSONDecodeError"]),
    "memory's key": (lambda s: name(s).write_bytes(canonical({"key": "x", "inputs": {}})), ["whose key is 'x', got"]),
    "memory a FIFO": (lambda s: fifo(name(s)), ["expected a regular file, got a FIFO"]),
    "bit of a download": (lambda s: flip(s.root / "downloads" / DOWNLOAD), [f"expected sha256:{DOWNLOAD}, got"]),
    "bit of a RAM file": (lambda s: flip(template(s) / "ram"), ["ram: expected sha256:"]),
    "RAM file cut": (lambda s: os.truncate(template(s) / "ram", 1), ["ram: expected sha256:"]),
    "bit of a state": (lambda s: flip(template(s) / "state"), ["state: expected sha256:"]),
    "state lost": (lambda s: (template(s) / "state").unlink(), ["state: missing"]),
    "state a FIFO": (lambda s: fifo(template(s) / "state"), ["state: expected a regular file, got a FIFO"]),
    "template.json cut": (lambda s: os.truncate(template(s) / "template.json", 5), ["template.json: JSONDecodeError"]),
    "template.json lost": (lambda s: (template(s) / "template.json").unlink(), ["template.json: missing"]),
    "template.json a list": (lambda s: (template(s) / "template.json").write_bytes(b"[]"), ["template.json: Attr"]),
    "template's name": (lambda s: template(s).rename(s.root / "templates/x"), ["expected the name of a template"]),
    "template a link": (lambda s: link(template(s)), ["expected a directory, got a symbolic link"]),
    "lock a folder": (lambda s: folder(s.lock_path(ACTION.key())), ["expected a regular file, got a directory"]),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
def test_damage(what: str, store: Store) -> None:
    """Damage is said, with what was expected and what came; dropped; and the second look finds nothing."""
    damage, expected = DAMAGE[what]
    damage(store)
    for dry_run, ending in ((True, "; would be dropped"), (False, "; dropped")):
        sound, said = looked(store, dry_run)
        assert not sound and len(said) == len(expected), said
        assert all(e in line for e, line in zip(expected, said, strict=True)), said
        assert all(line.endswith(ending) for line in said)
    assert looked(store) == (True, [])
    with store.single_flight(ACTION):
        store.put(ACTION, {"report": store.put_bytes(b"report"), "console": store.put_bytes(b"console")})
        store.remember(ACTION)
    assert looked(store) == (True, []) and store.get(ACTION) is not None


MODES = {
    "blob writable": (blob, 0o644, 0o444),
    "blob setuid": (blob, 0o4555, 0o444),
    "blob unreadable": (blob, 0o000, 0o400),
    "entry for all": (entry, 0o666, 0o644),
    "entry executable": (entry, 0o755, 0o644),
    "memory for all": (name, 0o666, 0o644),
}


@pytest.mark.parametrize("what", MODES)
def test_mode(what: str, store: Store) -> None:
    """A wrong mode is set right: the bytes hold, so nothing is dropped."""
    of, wrong, right = MODES[what]
    of(store).chmod(wrong)
    assert looked(store, dry_run=True)[1][0].endswith("would be set right")
    assert stat.S_IMODE(of(store).stat().st_mode) == wrong
    _, said = looked(store)
    assert [line.rpartition("/")[2].partition(": ")[2] for line in said] == [
        f"expected at most mode {0o444 if of is blob else 0o644:04o}, got {wrong:04o}; set right"
    ]
    assert stat.S_IMODE(of(store).stat().st_mode) == right
    assert looked(store) == (True, []) and store.get(ACTION) is not None


def test_narrow_modes(store: Store) -> None:
    """A store for one person only, made under a strict umask, holds."""
    for path, mode in ((blob(store), 0o400), (entry(store), 0o600), (name(store), 0o600)):
        path.chmod(mode)
    assert looked(store) == (True, [])


def test_tolerated(store: Store) -> None:
    """Half-written temporary files, an orphan blob, a template without digests and unknown names do not count."""
    for place in (store.root, blob(store).parent, entry(store).parent, name(store).parent, template(store).parent):
        (place / ".tmp-1").write_bytes(b"half")
    (template(store).parent / ".tmp-2").mkdir()
    store.put_bytes(b"orphan")
    (template(store) / "template.json").write_bytes(b'{"ram": 5, "more": []}')
    (template(store) / "console").write_bytes(b"")
    assert looked(store) == (True, [])


def test_strangers_are_left(store: Store) -> None:
    """What lies beside our folders is said, left alone, and no fault."""
    (store.root / "README").write_bytes(b"mine")
    voice = Lines()
    assert check(store, voice)
    assert "   README: not ours; left alone" in voice.said
    assert (store.root / "README").read_bytes() == b"mine"


def test_folder_is_moved_not_deleted(store: Store) -> None:
    """A folder in the place of a file goes to tmp/ with what is in it."""
    folder(blob(store))
    looked(store)
    assert [p.name for p in (store.root / "tmp").glob(".tmp-*/*")] == ["x"]


def test_empty(tmp_path: Path) -> None:
    """A new store holds."""
    voice = Lines()
    assert check(Store(tmp_path / "s").open(), voice)
    assert voice.said == ["   looked at nothing; 0.0 MB hashed; everything holds"]


def test_waits(store: Store) -> None:
    """One process at a time collects or checks a store; a dry run does not wait."""
    with locked(store.root / "locks/keeping"):
        assert looked(store, dry_run=True) == (True, [])
        with pytest.raises(InterruptedError):
            check(store, Lines(), _interrupt)


def _interrupt(who: str) -> None:
    assert who.startswith(f"pid {os.getpid()} since ")
    raise InterruptedError


def test_read_only(store: Store, tmp_path: Path) -> None:
    """A read-only store can be looked at; dropping from it is an error that says so."""
    with tmpfs(tmp_path / "m", "size=1m") as root:
        shutil.copytree(store.root, root / "store")
        there = Store(root / "store")
        flip(blob(there))
        remount_read_only(root)
        sound, said = looked(there, dry_run=True)
        assert not sound and len(said) == 2
        with pytest.raises(StoreError, match="the file system is read-only"):
            looked(there)
