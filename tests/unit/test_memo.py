"""Digests remembered by file state: never a wrong one."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bpfcompat.digest import digest_bytes
from bpfcompat.errors import BuildError, ConfigError
from bpfcompat.memo import YOUNG_NS, Memo


class Counter:
    """Computes a string, and counts how often it was asked."""

    def __init__(self, value: str = "v") -> None:
        self.value = value
        self.calls = 0

    def __call__(self, *_: Any) -> str:
        self.calls += 1
        return self.value


def old_file() -> Path:
    """A file whose change time is long past; only the kernel can set that, so it is one of the system's own."""
    path = Path(os.path.realpath(sys.executable))
    if time.time_ns() - path.stat().st_ctime_ns < YOUNG_NS:
        pytest.skip("Python was installed two seconds ago")
    return path


def test_remembers(tmp_path: Path) -> None:
    """An old file is computed once, by this memo and by the next that reads what it saved."""
    memo, count = Memo(tmp_path / "memo"), Counter()
    assert [memo.recall("x", old_file(), count) for _ in range(3)] == ["v"] * 3
    memo.save()
    assert Memo(tmp_path / "memo").recall("x", old_file(), count) == "v"
    assert count.calls == 1


def test_kinds_are_apart(tmp_path: Path) -> None:
    """What a tool said of itself is never taken for its digest."""
    memo = Memo(tmp_path / "memo")
    memo.recall("tool", old_file(), Counter("gcc 12"))
    assert memo.recall("digest", old_file(), Counter("other")) == "other"


def test_young_file_is_not_remembered(tmp_path: Path) -> None:
    """A file written just now may change again within the clock's grain: it is read every time."""
    memo, path = Memo(tmp_path / "memo"), tmp_path / "x"
    path.write_bytes(b"one")
    assert memo.digest(path) == digest_bytes(b"one")
    path.write_bytes(b"two")
    assert memo.digest(path) == digest_bytes(b"two")
    memo.save()
    assert not (tmp_path / "memo").exists()


def test_backdated_file_is_still_young(tmp_path: Path) -> None:
    """A modification time of long ago does not make a new file old: its change time cannot be set."""
    memo, path, count = Memo(tmp_path / "memo"), tmp_path / "x", Counter()
    path.write_bytes(b"one")
    os.utime(path, ns=(10**18, 10**18))
    memo.recall("x", path, count)
    memo.recall("x", path, count)
    assert count.calls == 2


def known(path: Path, value: str = "stale") -> dict[str, Any]:
    """A memo that knows the present state of a file."""
    found = path.stat()
    return {f"x {path}": [found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, value]}


def read(tmp_path: Path, content: Any) -> Memo:
    """The memo that this content is."""
    (tmp_path / "memo").write_text(content if isinstance(content, str) else json.dumps(content))
    return Memo(tmp_path / "memo")


def test_same_size_and_mtime(tmp_path: Path) -> None:
    """A change that restores size and modification time is seen, by the change time or the inode."""
    path = tmp_path / "x"
    path.write_bytes(b"one")
    state, before = known(path), path.stat()
    assert read(tmp_path, state).recall("x", path, Counter()) == "stale"  # the control: unchanged is remembered
    time.sleep(0.02)  # the clock's grain is four or ten milliseconds
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size and path.stat().st_mtime_ns == before.st_mtime_ns
    assert read(tmp_path, state).recall("x", path, Counter("new")) == "new"


def test_replaced_file(tmp_path: Path) -> None:
    """Another file under the same name, of the same size and times, has another inode."""
    path = tmp_path / "x"
    path.write_bytes(b"one")
    state = known(path)
    state[f"x {path}"][3] += 1
    assert read(tmp_path, state).recall("x", path, Counter("new")) == "new"


DAMAGED = ["", "{", "[]", "null", "[" * 100_000, '{"x": 1}', '{"x": []}', '{"x": [1, 2, 3, 4]}', "\udcff", "NaN"]


@pytest.mark.parametrize("text", DAMAGED)
def test_damaged_memo(text: str, tmp_path: Path) -> None:
    """A memo that cannot be read is an empty memo, and is written anew."""
    (tmp_path / "memo").write_bytes(text.encode("utf-8", "surrogateescape"))
    memo = Memo(tmp_path / "memo")
    assert memo.recall("x", old_file(), Counter()) == "v"
    memo.save()
    assert len(json.loads((tmp_path / "memo").read_bytes())) == 1


@pytest.mark.parametrize("value", [None, 5, ["sha256:x"], {}, True])
def test_memo_of_no_string(value: Any, tmp_path: Path) -> None:
    """A remembered value that is no string is damage, never a digest that reads `None`."""
    state = known(old_file())
    state[f"x {old_file()}"][4] = value
    assert read(tmp_path, state).recall("x", old_file(), Counter("new")) == "new"


def test_memo_is_a_directory(tmp_path: Path) -> None:
    """A folder where the memo should be costs the memory and nothing else."""
    (tmp_path / "memo").mkdir()
    memo = Memo(tmp_path / "memo")
    assert memo.recall("x", old_file(), Counter()) == "v"
    memo.save()


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is a ConfigError that names it."""
    with pytest.raises(ConfigError, match="gone: cannot read: No such file"):
        Memo(tmp_path / "memo").digest(tmp_path / "gone")


def test_no_regular_file(tmp_path: Path) -> None:
    """A FIFO would hang and a device never end: neither is opened."""
    os.mkfifo(tmp_path / "fifo")
    for path, kind in [(tmp_path / "fifo", "a FIFO"), (Path("/dev/zero"), "a character device"), (tmp_path, "a dir")]:
        with pytest.raises(ConfigError, match=f"expected a regular file, got {kind}"):
            Memo(tmp_path / "memo").digest(path)


def test_undecodable_path(tmp_path: Path) -> None:
    """A folder whose name is not UTF-8 does not break the memo."""
    state = tmp_path / os.fsdecode(b"\xff")
    state.symlink_to(old_file())
    memo = Memo(tmp_path / "memo")
    memo.recall("x", state, Counter())
    memo.save()
    assert Memo(tmp_path / "memo").recall("x", state, Counter("new")) == "v"


def test_two_writers(tmp_path: Path) -> None:
    """Of two processes that learn at the same time, neither makes the other's knowledge go."""
    first, second = Memo(tmp_path / "memo"), Memo(tmp_path / "memo")
    for memo, what in ((first, "a"), (second, "b")):
        memo.recall(what, old_file(), Counter())
        memo.save()
    later = Memo(tmp_path / "memo")
    assert [later.recall(what, old_file(), Counter("new")) for what in ("a", "b")] == ["v", "v"]


def test_tool_is_asked_once(tmp_path: Path) -> None:
    """A program's own words are asked for once for the file that it really is."""
    memo, count = Memo(tmp_path / "memo"), Counter("sh 1")
    assert [memo.tool("sh", "dash", count) for _ in range(2)] == ["sh 1"] * 2
    assert count.calls == 1


def test_missing_tool(tmp_path: Path) -> None:
    """A tool that is absent is named with its package."""
    with pytest.raises(BuildError, match=r"no-such-tool: program not found \(hint: apt-get install no-such-package"):
        Memo(tmp_path / "memo").tool("no-such-tool", "no-such-package", Counter())
