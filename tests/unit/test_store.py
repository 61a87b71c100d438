"""Outputs by key: written once, believed only as far as the bytes are there, and the truth after any accident."""

import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat.action import FORMAT, Action
from bpfcompat.digest import canonical, digest_bytes
from bpfcompat.errors import StoreError, TrustError
from bpfcompat.model import Blob
from bpfcompat.store import Entry, Store
from tests.hosting import child_python, remount_read_only, tmpfs

REPORT = digest_bytes(b"report")
KINDS = ["folder", "full folder", "fifo", "socket", "link", "dangling link"]
ACTION = Action("probe", "a@b", {"object": digest_bytes(b"o"), "spec": {"log_kb": 1}})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store").open()


def stored(store: Store, data: bytes = b"report", action: Action = ACTION) -> Blob:
    """A store with one entry."""
    blob = store.put_bytes(data)
    store.put(action, {"report": blob}, {"seconds": 1.5})
    return blob


# --- entries


def test_round_trip(store: Store) -> None:
    """What was put is got again, by this process and by the next."""
    blob = stored(store)
    for view in (store, Store(store.root).open()):
        assert view.get(ACTION) == Entry({"report": blob}, {"seconds": 1.5}, ACTION.inputs)
        assert view.read(blob) == view.checked(blob).read_bytes() == b"report"


def test_absent(store: Store) -> None:
    """What was never put is absent, which is no error."""
    assert store.get(ACTION) is None and store.last(ACTION) is None
    assert store.keys("probe") == frozenset() and store.drop("probe", ACTION.key()) is False


def test_equal_bytes_once(store: Store) -> None:
    """Equal bytes are one file, read-only, and are not written a second time."""
    blob = stored(store)
    before = os.stat(store.blob_path(blob.digest))
    assert stored(store, action=Action("probe", "c@d", {})) == blob
    after = os.stat(store.blob_path(blob.digest))
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert after.st_mode & 0o222 == 0


def test_put_file(store: Store, tmp_path: Path) -> None:
    """A file's bytes are kept under their digest; an empty file is a blob like any other."""
    (tmp_path / "x").write_bytes(b"")
    assert store.put_file(tmp_path / "x") == Blob(digest_bytes(b""), 0)
    assert store.read(Blob(digest_bytes(b""), 0)) == b""


def test_drop(store: Store) -> None:
    """Dropping forgets the entry, once; the name is still remembered, so that `why` can say what happened."""
    stored(store)
    store.remember(ACTION)
    assert store.drop("probe", ACTION.key()) is True
    assert store.drop("probe", ACTION.key()) is False
    assert store.get(ACTION) is None
    assert store.last(ACTION) == (ACTION.key(), ACTION.inputs)


@given(st.binary(max_size=100))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Any bytes come back as they were, under their own digest."""
    store = Store(tmp_path_factory.mktemp("s")).open()
    blob = store.put_bytes(data)
    assert (blob.digest, blob.size, store.read(blob)) == (digest_bytes(data), len(data), data)


# --- damage


def damage(store: Store, blob: Blob, data: bytes) -> Path:
    """Other bytes under a blob's name."""
    path = store.blob_path(blob.digest)
    path.chmod(0o644)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("way", ["read", "checked"])
def test_flipped_bit(way: str, store: Store) -> None:
    """A blob of the right size and wrong bytes is never handed out: it is dropped, said, and made again."""
    blob = stored(store)
    path = damage(store, blob, b"rEport")
    with pytest.raises(StoreError, match=r"dropped \(hint: run the same command again\)"):
        getattr(store, way)(blob)
    assert not path.exists() and store.get(ACTION) is None
    stored(store)
    assert store.get(ACTION) is not None and store.read(blob) == b"report"


@pytest.mark.parametrize("data", [b"", b"repor", b"report+"])
def test_wrong_size(data: bytes, store: Store) -> None:
    """An entry whose blob was cut or grown counts as absent, and putting the bytes again mends it."""
    blob = stored(store)
    damage(store, blob, data)
    assert store.get(ACTION) is None
    assert store.put_bytes(b"report") == blob and store.read(blob) == b"report"


@pytest.mark.parametrize("way", ["read", "checked"])
def test_vanished_blob(way: str, store: Store) -> None:
    """An entry that lost a blob counts as absent; asking for the blob is a StoreError."""
    blob = stored(store)
    store.blob_path(blob.digest).unlink()
    assert store.get(ACTION) is None and store.keys("probe") == frozenset()
    with pytest.raises(StoreError):
        getattr(store, way)(blob)


@pytest.mark.parametrize("target", ["/etc/passwd", "/dev/zero", "self", "good"])
def test_blob_is_a_link(target: str, store: Store, tmp_path: Path) -> None:
    """A link under a blob's name is no blob, wherever it points; putting the bytes replaces it and follows nothing."""
    blob = stored(store)
    path = store.blob_path(blob.digest)
    path.unlink()
    (tmp_path / "good").write_bytes(b"report")
    path.symlink_to({"self": path, "good": tmp_path / "good"}.get(target, Path(target)))
    assert store.get(ACTION) is None
    with pytest.raises(StoreError, match="dropped"):
        store.checked(blob)
    path.symlink_to(tmp_path / "good")
    assert store.put_bytes(b"report") == blob and not path.is_symlink()
    assert (tmp_path / "good").read_bytes() == b"report"


@pytest.mark.parametrize("way", ["read", "checked"])
@pytest.mark.parametrize("kind", KINDS)
def test_blob_is_something_else(kind: str, way: str, store: Store, tmp_path: Path) -> None:
    """Whatever lies under a blob's name, it is dropped, said, and made again; nothing is followed or waited for."""
    blob = stored(store)
    replace(store.blob_path(blob.digest), kind, tmp_path)
    with pytest.raises(StoreError, match=r"expected a regular file, got a .*; dropped \(hint: run the same"):
        getattr(store, way)(blob)
    assert store.get(ACTION) is None
    stored(store)
    assert store.get(ACTION) is not None and store.read(blob) == b"report"


def replace(path: Path, kind: str, elsewhere: Path) -> None:
    """Put something else in a file's place: a folder, a FIFO, a socket, or a link to the same bytes."""
    good = elsewhere / "good"
    good.write_bytes(path.read_bytes())
    path.unlink()
    if kind.endswith("folder"):
        path.mkdir()
        if kind.startswith("full"):
            (path / "kept").write_bytes(b"somebody's")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o600)
    else:
        path.symlink_to(elsewhere / "nowhere" if kind.startswith("dangling") else good)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["blob", "entry", "name"])
def test_put_over_something_else(what: str, kind: str, store: Store, tmp_path: Path) -> None:
    """Writing puts the right thing in the place of a wrong one, and touches nothing that a link names."""
    blob = stored(store)
    store.remember(ACTION)
    entry, name = store.entry_path("probe", ACTION.key()), store.root / "names/probe/a@b.json"
    path = {"blob": store.blob_path(blob.digest), "entry": entry, "name": name}[what]
    before = path.read_bytes()
    replace(path, kind, tmp_path)
    stored(store)
    store.remember(ACTION)
    assert path.read_bytes() == before and not path.is_symlink()
    assert (tmp_path / "good").read_bytes() == before and not (tmp_path / "nowhere").exists()
    assert [p.read_bytes() for p in (store.root / "tmp").glob(".tmp-*/kept")] == [b"somebody's"] * (
        kind == "full folder"
    )


def body(**change: Any) -> dict[str, Any]:
    """The JSON of an entry, changed."""
    good = {"key": ACTION.key(), "inputs": dict(ACTION.inputs), "facts": {}, "outputs": {}}
    return {**good, **change}


def outputs(digest: Any = REPORT, size: Any = 6) -> bytes:
    """An entry with this one output."""
    return json.dumps(body(outputs={"report": {"digest": digest, "size": size}})).encode()


HOSTILE = {
    "empty": b"",
    "cut": canonical(body())[:-1],
    "not UTF-8": b"\xff\xfe",
    "binary": bytes(100),
    "a list": b"[]",
    "null": b"null",
    "a number": b"1e999",
    "deep": b"[" * 100_000,
    "many digits": b"[" + b"9" * 100_000 + b"]",
    "no key": canonical({"inputs": {}, "facts": {}, "outputs": {}}),
    "another's key": canonical(body(key=digest_bytes(b"other"))),
    "facts no object": canonical(body(facts=5)),
    "inputs no object": canonical(body(inputs="x")),
    "outputs a list": canonical(body(outputs=[])),
    "an output a string": canonical(body(outputs={"report": "x"})),
    "digest a path": outputs("../../../../etc/passwd"),
    "digest a list": outputs(["sha256"]),
    "digest null": outputs(None),
    "size infinite": outputs(size=float("inf")),
    "size no number": outputs(size=float("nan")),
    "size null": outputs(size=None),
    "size a list": outputs(size=[6]),
    "size negative": outputs(size=-1),
    "size wrong": outputs(size=7),
    "huge": b" " * (5 << 20),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_entry(what: str, store: Store) -> None:
    """An entry that is not exactly one of ours counts as absent, and the next run writes it anew."""
    stored(store)
    store.entry_path("probe", ACTION.key()).write_bytes(HOSTILE[what])
    assert store.get(ACTION) is None
    stored(store)
    assert store.get(ACTION) is not None


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_entry_is_dropped(what: str, store: Store) -> None:
    """A damaged entry does not stay among the keys: the planner would believe that there is one."""
    stored(store)
    store.entry_path("probe", ACTION.key()).write_bytes(HOSTILE[what])
    store.get(ACTION)
    assert store.keys("probe") == frozenset()


@given(st.binary(max_size=200) | st.text(max_size=50).map(lambda t: json.dumps({"key": t}).encode()))
def test_random_entry(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Whatever lies under an entry's name, the answer is an entry or none, never a traceback."""
    store = Store(tmp_path_factory.mktemp("s")).open()
    path = store.entry_path("probe", ACTION.key())
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    assert store.get(ACTION) is None


def test_entry_moved_to_another_key(store: Store) -> None:
    """A good entry under another key is nobody's: a verdict cannot be copied from one object to another."""
    stored(store)
    other = Action("probe", "a@b", {"object": digest_bytes(b"evil")})
    target = store.entry_path("probe", other.key())
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(store.entry_path("probe", ACTION.key()).read_bytes())
    assert store.get(other) is None


@pytest.mark.parametrize("kind", KINDS)
def test_entry_is_something_else(kind: str, store: Store, tmp_path: Path) -> None:
    """Whatever lies under an entry's name is absent, no key any longer, and said; no link is followed."""
    stored(store)
    replace(store.entry_path("probe", ACTION.key()), kind, tmp_path)
    assert store.get(ACTION) is None
    assert store.keys("probe") == frozenset()
    assert store.damage[ACTION.key()].startswith("expected a regular file, got a ")
    stored(store)
    assert store.get(ACTION) is not None


def test_name_is_a_link(store: Store, tmp_path: Path) -> None:
    """A link under a task's name is not followed: it is as if the task had never run."""
    store.remember(ACTION)
    replace(store.root / "names/probe/a@b.json", "link", tmp_path)
    assert store.last(ACTION) is None


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("cut", "not an entry: JSONDecodeError: "),
        ("a list", "not an entry: TypeError: "),
        ("another's key", f"entry names key '{digest_bytes(b'other')}', expected {ACTION.key()}"),
        ("size wrong", "its output report: "),
        ("huge", "5242880 bytes, at most 4194304 expected"),
    ],
)
def test_damage_is_said(what: str, said: str, store: Store) -> None:
    """Why an entry was dropped is kept for who makes it again."""
    stored(store)
    store.entry_path("probe", ACTION.key()).write_bytes(HOSTILE[what])
    store.get(ACTION)
    assert store.damage[ACTION.key()].startswith(said)


SHORT_OF_FILES = """
import os, resource, sys
from pathlib import Path
from bpfcompat.action import Action
from bpfcompat.errors import StoreError
from bpfcompat.store import Store
store = Store(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
taken = []
try:
    while True:
        taken.append(os.dup(0))
except OSError:
    pass
try:
    print(store.get_key("probe", sys.stdin.readline().strip()))
except StoreError as error:
    print(error.hint)
"""


def test_no_descriptors_left(store: Store) -> None:
    """An entry that cannot be read because this process has too many files open is not damaged: it stays."""
    stored(store)
    with child(SHORT_OF_FILES, store) as poor:
        assert poor.communicate(ACTION.key(), timeout=30)[0] == "raise the open-file limit (ulimit -n)\n"
    assert store.get(ACTION) is not None


# --- use

FOREIGN = """
import os, sys
from pathlib import Path
from bpfcompat.store import Store
os.chdir(sys.argv[1])
os.seteuid(65534)
Store(Path()).put_bytes(b"report")
print("kept")
"""


def test_use_is_noted(tmp_path: Path) -> None:
    """Reading an entry, reading, checking and putting a blob mark it as used, even where the system notes no access."""
    with tmpfs(tmp_path / "m", "size=1m,noatime") as root:
        store = Store(root / "store").open()
        blob = stored(store)
        entry, path = store.entry_path("probe", ACTION.key()), store.blob_path(blob.digest)
        uses = (
            (entry, lambda: store.get(ACTION)),
            (path, lambda: store.read(blob)),
            (path, lambda: store.checked(blob)),
            (path, lambda: store.put_bytes(b"report")),
        )
        for place, use in uses:
            os.utime(place, (1000, 2000))
            use()
            assert place.stat().st_mtime == 2000
            assert time.time() - place.stat().st_atime < 60
        assert path.read_bytes() == b"report"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_somebody_elses_blob(store: Store) -> None:
    """A blob that cannot be marked as used is written anew, or it might be collected before the entry that names it."""
    blob = store.put_bytes(b"report")
    path = store.blob_path(blob.digest)
    os.utime(path, (1000, 1000))
    for folder in (store.root, store.root / "blobs", path.parent):
        folder.chmod(0o777)
    with child(FOREIGN, store) as foreign:
        assert foreign.communicate(timeout=30)[0] == "kept\n"
    assert path.stat().st_uid == 65534 and time.time() - path.stat().st_mtime < 60


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"key": 1}', b'{"key": "x", "inputs": 5}', b"[" * 10**5, b"\xff"])
def test_damaged_name(data: bytes, store: Store) -> None:
    """A damaged memory of the last run costs the reason, nothing else."""
    store.remember(ACTION)
    (store.root / "names" / "probe" / "a@b.json").write_bytes(data)
    assert store.last(ACTION) is None


@pytest.mark.parametrize("digest", ["", "x", "../../x", "sha256:" + "g" * 64, "sha256:../../../x"])
def test_no_path_from_outside(digest: str, store: Store) -> None:
    """Only a digest becomes a path."""
    with pytest.raises(TrustError):
        store.blob_path(digest)
    with pytest.raises(TrustError):
        store.entry_path("probe", digest)


# --- keys


def test_keys(store: Store) -> None:
    """All keys of one kind, and of that kind only."""
    actions = [Action("probe", str(n), {"n": n}) for n in range(50)]
    for action in [*actions, Action("verdict", "x", {})]:
        store.put(action, {})
    assert store.keys("probe") == {a.key() for a in actions}


def test_keys_sees_whole_entries_only(store: Store) -> None:
    """Temporary files, editors' leftovers, links out of the store and strangers' folders are no keys."""
    stored(store)
    shelf = store.entry_path("probe", ACTION.key()).parent
    for name in (".tmp-0123", f"{'0' * 64}.json~", f"{'0' * 63}.json", f"{'G' * 64}.json", "0" * 64, "x"):
        (shelf / name).write_bytes(b"")
    (shelf.parent / "README").write_bytes(b"")
    (shelf.parent / "out").symlink_to(shelf)
    assert store.keys("probe") == {ACTION.key()}


# --- format


@pytest.mark.parametrize("text", [str(FORMAT + 1), "", "1\n1", "x" * 40, "\u0661", "-1", "01"])
def test_other_format(text: str, tmp_path: Path) -> None:
    """A store of another format is refused, not converted and not written to."""
    (tmp_path / "format").write_text(text)
    with pytest.raises(StoreError, match=r"store format .*, expected 1 \(hint: use another \[paths\] store\)"):
        Store(tmp_path).open()
    assert [p.name for p in tmp_path.iterdir()] == ["format"]


def test_format_is_huge(tmp_path: Path) -> None:
    """A format file of any size is not read into memory."""
    with open(tmp_path / "format", "wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(StoreError, match="at most 64 expected"):
        Store(tmp_path).open()


def test_store_is_a_file(tmp_path: Path) -> None:
    """A file where the store should be is named."""
    (tmp_path / "f").write_bytes(b"")
    for root in (tmp_path / "f", tmp_path / "f" / "store"):
        with pytest.raises(StoreError, match="cannot make the folder"):
            Store(root).open()


# --- full and read-only


def test_full_disk(tmp_path: Path) -> None:
    """A store that is full says so, keeps what it had, and has no entry for what did not fit."""
    with tmpfs(tmp_path / "m", "size=256k") as root:
        store = Store(root / "store").open()
        blob = stored(store)
        with pytest.raises(StoreError, match="free some space"):
            store.put_bytes(os.urandom(1 << 20))
        assert store.get(ACTION) is not None and store.read(blob) == b"report"
        assert [p for p in root.rglob("*") if p.name.startswith(".tmp-")] == []


def test_read_only(tmp_path: Path) -> None:
    """A read-only store can be read; every write says that it is read-only, damage included."""
    with tmpfs(tmp_path / "m", "size=1m") as root:
        store = Store(root / "store").open()
        blob = stored(store)
        store.entry_path("verdict", ACTION.key()).parent.mkdir(parents=True)
        store.entry_path("verdict", ACTION.key()).write_bytes(b"{")
        remount_read_only(root)
        assert Store(store.root).open().get(ACTION) is not None and store.read(blob) == b"report"
        for write in (
            lambda: store.put_bytes(b"new"),
            lambda: store.put(Action("probe", "x", {}), {}),
            lambda: store.remember(ACTION),
            lambda: store.drop("probe", ACTION.key()),
            lambda: store.get_key("verdict", ACTION.key()),
            lambda: store.workdir().__enter__(),
            lambda: store.single_flight(Action("probe", "new", {"n": 1})).__enter__(),
            lambda: Store(root / "other").open(),
        ):
            with pytest.raises(StoreError, match="the file system is read-only"):
                write()


STRANGER = """
import os, sys
from pathlib import Path
from bpfcompat.action import Action
from bpfcompat.errors import StoreError
from bpfcompat.store import Store
os.seteuid(65534)
store = Store(Path(sys.argv[1]))
for use in (store.open, lambda: store.get(Action("probe", "x", {})), lambda: store.keys("probe"),
            lambda: store.put_bytes(b"new"), lambda: store.single_flight(Action("probe", "x", {})).__enter__()):
    try:
        print("no error:", use())
    except StoreError as error:
        print(error.hint)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_not_ours(store: Store) -> None:
    """Somebody else's store, closed to us, is a StoreError with a hint for each thing that one may try."""
    stored(store)
    store.root.chmod(0o700)
    with child(STRANGER, store) as stranger:
        lines = stranger.communicate(timeout=30)[0].splitlines()
    assert lines == ["make it writable for this user, or choose another place in [paths]"] * 5


# --- many processes

CHILD = """
import sys
from pathlib import Path
from bpfcompat.action import Action
from bpfcompat.store import Store
store, action = Store(Path(sys.argv[1])).open(), Action("probe", "a@b", {"n": 1})
with store.single_flight(action, lambda who: print("waits for", who, flush=True)):
    found = store.get(action)
    print("found" if found else "makes", flush=True)
    if found is None:
        sys.stdin.readline()
        store.put(action, {"report": store.put_bytes(b"x")})
"""


@contextmanager
def child(script: str, store: Store) -> Iterator[subprocess.Popen[str]]:
    """Another process on the same store."""
    argv = [sys.executable, "-c", script, str(store.root)]
    with subprocess.Popen(argv, stdin=-1, stdout=-1, text=True, env=child_python()) as running:
        try:
            yield running
        finally:
            running.kill()


def said(process: subprocess.Popen[str]) -> str:
    """The next line of a process."""
    assert process.stdout
    return process.stdout.readline().strip()


def test_made_once(store: Store) -> None:
    """Two processes want the same: one makes it, the other waits, is told for whom, and finds it there."""
    with child(CHILD, store) as one:
        assert said(one) == "makes"
        with child(CHILD, store) as other:
            assert said(other).startswith(f"waits for pid {one.pid} since ")
            one.communicate("\n", timeout=30)
            assert said(other) == "found"
            assert other.wait(30) == 0


def test_maker_is_killed(store: Store) -> None:
    """The maker is killed with -9: who waited goes on and makes it."""
    with child(CHILD, store) as one:
        assert said(one) == "makes"
        with child(CHILD, store) as other:
            assert said(other).startswith("waits for pid")
            one.kill()
            assert said(other) == "makes"


CROWD = """
import sys, time
from pathlib import Path
from bpfcompat.action import Action
from bpfcompat.store import Store
store = Store(Path(sys.argv[1])).open()
sys.stdin.readline()
for n in range(40):
    action = Action("probe", str(n), {"n": n})
    seen = store.get(action)
    with store.single_flight(action):
        found = store.get(action)
        if found is None:
            assert seen is None
            print("made", n, flush=True)
            time.sleep(0.001)
            found = store.put(action, {"report": store.put_bytes(b"%d" % n * 5000)})
    assert store.read(found.outputs["report"]) == b"%d" % n * 5000
print("done", flush=True)
"""


def test_crowd(store: Store) -> None:
    """Six processes that want the same forty things make each once between them, and each sees all of them whole."""
    with ExitStack() as stack:
        crowd = [stack.enter_context(child(CROWD, store)) for _ in range(6)]
        for one in crowd:
            assert one.stdin is not None
            one.stdin.write("\n")
            one.stdin.flush()
        lines = [line for one in crowd for line in one.communicate(timeout=60)[0].splitlines()]
    assert sorted(lines) == sorted([f"made {n}" for n in range(40)] + ["done"] * 6)


def test_crowd_of_which_some_are_killed(store: Store) -> None:
    """Makers that are killed with -9 leave nothing half there: the others make what those did not finish."""
    with ExitStack() as stack:
        crowd = [stack.enter_context(child(CROWD, store)) for _ in range(4)]
        for one in crowd:
            assert one.stdin is not None
            one.stdin.write("\n")
            one.stdin.flush()
        assert said(crowd[0])
        crowd[0].kill()
        crowd[1].kill()
        ends = [one.communicate(timeout=60)[0].splitlines()[-1] for one in crowd[2:]]
    assert ends == ["done", "done"]
    assert len(store.keys("probe")) == 40


def test_different_work_does_not_wait(store: Store) -> None:
    """Another action is not held up."""
    with store.single_flight(ACTION), store.single_flight(Action("probe", "x", {}), pytest.fail):
        pass


WRITER = """
import os, sys
from pathlib import Path
from bpfcompat.action import Action
from bpfcompat.store import Store
store = Store(Path(sys.argv[1])).open()
print("ready", flush=True)
for n in range(100000):
    store.put(Action("probe", "x", {"n": n}), {"report": store.put_bytes(b"%d" % n + os.urandom(1 << 16))})
"""


@pytest.mark.parametrize("delay_s", [0.0, 0.01, 0.03, 0.07])
def test_killed_while_writing(delay_s: float, store: Store) -> None:
    """kill -9 at any moment: every entry that is there is whole, and so is every blob that it names."""
    with child(WRITER, store) as writer:
        assert said(writer) == "ready"
        time.sleep(delay_s)
    for key in store.keys("probe"):
        entry = store.get_key("probe", key)
        assert entry is not None and all(store.read(b) for b in entry.outputs.values())
    assert store.keys("probe") == {f"sha256:{p.stem}" for p in (store.root / "actions").rglob("*.json")}


def test_two_writers_of_one_key(store: Store) -> None:
    """Threads that put the same entry at once leave one whole entry and nothing else."""
    threads = [threading.Thread(target=stored, args=(store,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get(ACTION) is not None
    assert [p.name for p in store.root.rglob(".tmp-*")] == []


def test_workdir(store: Store) -> None:
    """A work folder is private, empty, on the store's file system, and gone afterwards, error or not."""
    with pytest.raises(KeyError), store.workdir() as work:
        (work / "x").mkdir()
        assert work.stat().st_dev == store.root.stat().st_dev and work.stat().st_mode & 0o077 == 0
        raise KeyError
    assert not work.exists()


def test_flake_ledger(store: Store) -> None:
    """What was answered in two ways stands until it is released, and is remembered then; damage costs memory only."""
    blob = store.put_bytes(b"one")
    for name in ("a@k", "b@k"):
        store.quarantine(digest_bytes(name.encode()), name, "differ", [blob])
    assert [q.name for q in store.quarantines()] == ["a@k", "b@k"] and store.released() == []
    assert store.release(digest_bytes(b"a@k")) and not store.release(digest_bytes(b"a@k"))
    assert [q.name for q in store.quarantines()] == ["b@k"]
    (past,) = store.released()
    assert (past.name, past.words, past.until >= past.since > 0) == ("a@k", "differ", True)
    (store.root / "flaky/ledger").write_bytes(b"[")
    assert store.released() == [] and store.release(digest_bytes(b"b@k"))
    assert [q.name for q in store.released()] == ["b@k"]
