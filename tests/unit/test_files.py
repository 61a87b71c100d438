"""Atomic writes, locks and bounded reads, on a real file system and against what may lie on it."""

import errno
import fcntl
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bpfcompat import files
from bpfcompat.errors import ConfigError, ObjectError, StoreError
from tests.hosting import child_python, tmpfs


def test_write_and_read(tmp_path: Path) -> None:
    """What is written is read back, folders are made, and nothing else is left."""
    path = tmp_path / "a" / "b" / "c"
    files.write_atomic(path, b"x")
    files.write_atomic(path, b"yy")
    assert files.read_bounded(path, 2) == b"yy"
    assert [f.name for f in path.parent.iterdir()] == ["c"]


def test_where_a_person_said(tmp_path: Path) -> None:
    """A link that a person names stays one, and what it leads to gets the bytes, as /dev/stdout has to."""
    place, link = tmp_path / "file", tmp_path / "link"
    files.write_named(place, b"first")
    link.symlink_to(place)
    files.write_named(link, b"second")
    assert link.is_symlink() and place.read_bytes() == b"second"
    with pytest.raises(StoreError, match="cannot write"):
        files.write_named(tmp_path, b"x")


def test_mode_survives_replacing(tmp_path: Path) -> None:
    """The mode is the one asked for, and a read-only file can be written anew: the rename needs only the folder."""
    path = tmp_path / "c"
    files.write_atomic(path, b"x", mode=0o400)
    files.write_atomic(path, b"y", mode=0o400)
    assert path.stat().st_mode & 0o777 == 0o400


def test_write_does_not_follow_links(tmp_path: Path) -> None:
    """A link planted where we write is replaced; what it pointed to keeps its bytes."""
    victim, path = tmp_path / "victim", tmp_path / "link"
    victim.write_bytes(b"mine")
    path.symlink_to(victim)
    files.write_atomic(path, b"theirs")
    assert victim.read_bytes() == b"mine" and not path.is_symlink()


def test_write_over_directory(tmp_path: Path) -> None:
    """A folder in the way is said, and no temporary file is left."""
    (tmp_path / "c").mkdir()
    with pytest.raises(StoreError, match="cannot write"):
        files.write_atomic(tmp_path / "c", b"x")
    assert [f.name for f in tmp_path.iterdir()] == ["c"]


def test_parent_is_a_file(tmp_path: Path) -> None:
    """A file where a folder should be is a StoreError that names it."""
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(StoreError, match=r"cannot make the folder"):
        files.write_atomic(tmp_path / "f" / "x", b"x")


def test_full_disk(tmp_path: Path) -> None:
    """On a full file system the old bytes stay, nothing half-written is left, and the hint is to make room."""
    with tmpfs(tmp_path / "m", "size=64k") as root:
        files.write_atomic(root / "x", b"old")
        with pytest.raises(StoreError, match="free some space"):
            files.write_atomic(root / "x", bytes(1 << 20))
        assert (root / "x").read_bytes() == b"old" and [f.name for f in root.iterdir()] == ["x"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE])
def test_explained(code: int) -> None:
    """Each trouble that a user can mend has a hint."""
    error = files.explain_os(OSError(code, os.strerror(code)), "/x", "cannot write")
    assert error.hint and str(error).startswith(f"/x: cannot write: {os.strerror(code)} (hint: ")


# --- bounded reads


@contextmanager
def odd_file(kind: str, folder: Path) -> Iterator[Path]:
    """Something that is no regular file."""
    path = folder / "odd"
    if kind == "a FIFO":
        os.mkfifo(path)
    elif kind == "a directory":
        path.mkdir()
    elif kind == "a character device":
        path.symlink_to("/dev/zero")
    yield path


@pytest.mark.parametrize("kind", ["a FIFO", "a directory", "a character device"])
def test_no_regular_file(kind: str, tmp_path: Path) -> None:
    """What is no regular file neither hangs nor floods us, and is named for what it is."""
    with odd_file(kind, tmp_path) as path, pytest.raises(ObjectError, match=f"expected a regular file, got {kind}"):
        files.read_bounded(path, 10, ObjectError)


def test_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket cannot even be opened; that is our error too."""
    monkeypatch.chdir(tmp_path)  # a socket's path may be 107 bytes long, a test's folder is longer
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("odd")
        with pytest.raises(StoreError, match="expected a regular file, got a socket"):
            files.read_bounded(Path("odd"), 10)


def test_no_descriptor_is_lost(tmp_path: Path) -> None:
    """Refusals close what they opened."""
    before = os.listdir("/proc/self/fd")
    for _ in range(5):
        with pytest.raises(StoreError):
            files.read_bounded(tmp_path, 10)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_below(tmp_path: Path) -> None:
    """A file is read below a folder, which may be a link itself; what is not there is None, and lists as nothing."""
    (tmp_path / "real" / "a" / "b").mkdir(parents=True)
    (tmp_path / "real" / "a" / "b" / "x").write_bytes(b"data")
    (tmp_path / "root").symlink_to("real")
    for root in (tmp_path / "root", tmp_path / "real"):
        assert files.read_below(root, "a/b/x", 4) == b"data"
        assert files.list_below(root, "a/b") == ["x"]
        assert files.read_below(root, "a/none", 4) is files.read_below(root, "none/x", 4) is None
        assert files.list_below(root, "none") == files.list_below(root, "a/none") == []


@pytest.mark.parametrize("path", ["", "/", "/etc/passwd", "../x", "a/../../x", "a//x", "./x", "x/", "..", "."])
def test_never_above(path: str, tmp_path: Path) -> None:
    """A path that could lead out of the folder, or that is written in two ways, is refused."""
    (tmp_path / "x").write_bytes(b"outside")
    (tmp_path / "root" / "a").mkdir(parents=True)
    (tmp_path / "root" / "x").write_bytes(b"inside")
    with pytest.raises(ObjectError, match="Invalid argument"):
        files.read_below(tmp_path / "root", path, 10, ObjectError)
    with pytest.raises(ObjectError, match="Invalid argument"):
        files.list_below(tmp_path / "root", path, ObjectError)


def test_below_without_links(tmp_path: Path) -> None:
    """No link is followed below the folder, wherever it leads, and the message says which one it was."""
    (tmp_path / "root" / "real").mkdir(parents=True)
    (tmp_path / "root" / "real" / "x").write_bytes(b"data")
    (tmp_path / "root" / "way").symlink_to("real")
    (tmp_path / "root" / "real" / "link").symlink_to("x")
    (tmp_path / "root" / "file").write_bytes(b"data")
    for path, words in (
        ("way/x", "way/x: way: expected a folder, got a symbolic link"),
        ("real/link", "real/link: expected a regular file, got a symbolic link"),
        ("file/x", "file/x: file: expected a folder, got a regular file"),
        ("real", "real: expected a regular file, got a directory"),
    ):
        with pytest.raises(ObjectError, match=f"^{words}$"):
            files.read_below(tmp_path / "root", path, 10, ObjectError)
    for path, words in (("way", "got a symbolic link"), ("file", "got a regular file")):
        with pytest.raises(ObjectError, match=f"^{path}: expected a folder, {words}$"):
            files.list_below(tmp_path / "root", path, ObjectError)


def test_below_no_descriptor_is_lost(tmp_path: Path) -> None:
    """Neither reading, nor listing, nor a refusal leaves a descriptor open."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x").write_bytes(b"data")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        files.read_below(tmp_path, "a/b/x", 10)
        files.list_below(tmp_path, "a/b")
        for path in ("a/b", "a/b/x/y", "../x"):
            with pytest.raises(StoreError):
                files.read_below(tmp_path, path, 10)
    assert len(os.listdir("/proc/self/fd")) == before


def test_limit(tmp_path: Path) -> None:
    """The limit itself is allowed, one byte more is not, and the message has both numbers."""
    (tmp_path / "x").write_bytes(bytes(11))
    assert len(files.read_bounded(tmp_path / "x", 11)) == 11
    with pytest.raises(StoreError, match="11 bytes, at most 10 expected"):
        files.read_bounded(tmp_path / "x", 10)


def test_growing() -> None:
    """A file that gives more than its size said is refused: /proc says 0 and gives kilobytes."""
    with pytest.raises(StoreError, match="grew beyond 10 bytes"):
        files.read_bounded(Path("/proc/self/maps"), 10)


def test_read_fails() -> None:
    """An error while reading is ours as well: /proc/self/mem opens, and cannot be read from its start."""
    with pytest.raises(ConfigError, match="cannot read"):
        files.read_bounded(Path("/proc/self/mem"), 10, ConfigError)


def test_link_loop(tmp_path: Path) -> None:
    """A link to itself is an error of the class asked for."""
    (tmp_path / "x").symlink_to("x")
    with pytest.raises(ConfigError, match="cannot open"):
        files.read_bounded(tmp_path / "x", 10, ConfigError)


# --- locks

HOLD = """
import sys
from pathlib import Path
from bpfcompat.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(lock: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lock until its input ends."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdin=-1, stdout=-1, text=True,
                          env=child_python()) as child:  # fmt: skip
        assert child.stdin and child.stdout
        try:
            assert child.stdout.readline() == "held\n"
            yield child
        finally:
            child.kill()


def test_waits_and_tells_once(tmp_path: Path) -> None:
    """Who must wait is told once, and told for whom."""
    told: list[str] = []
    with holder(tmp_path / "l") as child:
        threading.Timer(0.2, child.kill).start()
        with files.locked(tmp_path / "l", told.append, poll_s=0.01):
            assert len(told) == 1 and told[0].startswith(f"pid {child.pid} since ")


def test_dead_holder(tmp_path: Path) -> None:
    """A lock file left by a process that was killed is no obstacle, and nobody is told."""
    with holder(tmp_path / "l") as child:
        child.kill()
        child.wait()
        assert (tmp_path / "l").read_text().startswith("pid ")
        with files.locked(tmp_path / "l", lambda who: pytest.fail(f"waited for {who}")):
            pass


def test_hostile_holder_text(tmp_path: Path) -> None:
    """What a stranger wrote into a lock file is bounded and never undecodable."""
    told: list[str] = []
    with holder(tmp_path / "l") as child:
        (tmp_path / "l").write_bytes(b"\xff" * 100_000)
        threading.Timer(0.1, child.kill).start()
        with files.locked(tmp_path / "l", told.append, poll_s=0.01):
            assert told == ["\ufffd" * 200]


def test_exclusive_between_threads(tmp_path: Path) -> None:
    """Two threads of one process exclude each other as two processes do."""
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(20):
            with files.locked(tmp_path / "l", poll_s=0.0005):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.0005)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_released_on_error(tmp_path: Path) -> None:
    """An exception inside gives the lock back."""
    with pytest.raises(KeyError), files.locked(tmp_path / "l"):
        raise KeyError
    with files.locked(tmp_path / "l", lambda who: pytest.fail(f"waited for {who}")):
        pass


def test_lock_is_replaced(tmp_path: Path) -> None:
    """Who waited for a lock file that was replaced meanwhile locks the new one: nobody is ever inside with another."""
    lock, waits, entered = tmp_path / "l", threading.Event(), threading.Event()

    def wait() -> None:
        with files.locked(lock, lambda who: waits.set(), poll_s=0.001):
            entered.set()

    with files.locked(tmp_path / "new"):
        with files.locked(lock):
            waiter = threading.Thread(target=wait)
            waiter.start()
            assert waits.wait(60)
            (tmp_path / "new").replace(lock)
        assert not entered.wait(0.1)
    waiter.join()
    assert entered.is_set()


def test_second_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock file that is dropped between opening and locking it is not taken for the lock."""
    lock, real = tmp_path / "l", fcntl.flock

    def dropping(fd: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real)
        lock.unlink()
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", dropping)
    with files.locked(lock), files.locked_now(lock) as mine:
        assert not mine


def test_locked_now(tmp_path: Path) -> None:
    """Who does not want to wait is told at once that somebody has it, or has it."""
    with holder(tmp_path / "l") as child:
        with files.locked_now(tmp_path / "l") as mine:
            assert not mine
        child.kill()
        child.wait()
        with files.locked_now(tmp_path / "l") as mine, files.locked_now(tmp_path / "l") as again:
            assert (mine, again) == (True, False)


def test_held(tmp_path: Path) -> None:
    """A folder is held as long as a process shows that it uses it, and by several at once."""
    assert not files.is_held(tmp_path)
    with files.held(tmp_path):
        with files.held(tmp_path):
            assert files.is_held(tmp_path)
        assert files.is_held(tmp_path)
    assert not files.is_held(tmp_path)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_no_locks_here(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that grants no locks is explained, with what to do."""

    def refuse(_fd: int, _how: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    for use in (files.locked(tmp_path / "l"), files.locked_now(tmp_path / "l"), files.held(tmp_path)):
        with pytest.raises(StoreError, match=r"cannot lock: .* \(hint: this file system grants no locks: point"), use:
            pass


def test_lock_is_a_link(tmp_path: Path) -> None:
    """A link where the lock should be is a StoreError, and what it names is not emptied."""
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "l").symlink_to(tmp_path / "mine")
    with pytest.raises(StoreError, match="cannot open the lock"), files.locked(tmp_path / "l"):
        pass
    assert (tmp_path / "mine").read_bytes() == b"mine"


def test_lock_is_a_directory(tmp_path: Path) -> None:
    """A folder where the lock should be is a StoreError."""
    (tmp_path / "l").mkdir()
    with pytest.raises(StoreError, match="cannot open the lock"), files.locked(tmp_path / "l"):
        pass


def test_write_all(tmp_path: Path) -> None:
    """Many files, in folders that are made, each with its bytes and mode, in place of older ones; nothing else."""
    made = {tmp_path / f"{n % 3}/{n % 7}/{n}": b"%d" % n * n for n in range(250)}
    (tmp_path / "1").mkdir()
    (tmp_path / "1/1").mkdir()
    (tmp_path / "1/1/1").write_bytes(b"old")
    files.write_all(made.items(), 0o600)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == made
    assert stat.S_IMODE((tmp_path / "1/1/1").stat().st_mode) == 0o600
    files.write_all([])


def test_write_all_names_what_fails(tmp_path: Path) -> None:
    """Where one of many cannot be written it is named, and no temporary file stays behind."""
    (tmp_path / "taken").mkdir()
    with pytest.raises(StoreError, match="taken: cannot write"):
        files.write_all([(tmp_path / "good", b"1"), (tmp_path / "taken", b"2"), (tmp_path / "later", b"3")])
    assert {p.name for p in tmp_path.iterdir()} == {"good", "taken"}


def test_read_beneath(tmp_path: Path) -> None:
    """A name in an open folder is read whole; a link, a folder, a FIFO, too much and nothing at all are told apart."""
    (tmp_path / "file").write_bytes(b"data")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert files.read_beneath(fd, "file", 4) == b"data"
        assert files.read_beneath(fd, "empty", 4) == b""
        refused = {"link": "cannot open", "folder": "a directory", "fifo": "a FIFO", "none": "is missing"}
        for name, words in refused.items():
            with pytest.raises(StoreError, match=words):
                files.read_beneath(fd, name, 4)
        with pytest.raises(ObjectError, match="4 bytes, at most 3"):
            files.read_beneath(fd, "file", 3, ObjectError)
    finally:
        os.close(fd)
