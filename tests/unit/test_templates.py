"""Frozen guests on disk: what is believed, what is dropped, and what is never left half written."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfcompat.action import Action
from bpfcompat.errors import StoreError
from bpfcompat.templates import META, RAM, STATE, Template, Templates
from tests.hosting import child_python, remount_read_only, tmpfs

ACTION = Action("template", "k", {"n": 1})
OTHER = Action("template", "k", {"n": 2})
SIZE = 8 << 20
STATE_OF = b"devices" * 100
PAGES = {0: b"first", 1 << 20: b"middle" * 20_000, SIZE - 4096: b"last"}


@pytest.fixture
def said() -> list[str]:
    """What was said."""
    return []


@pytest.fixture
def templates(tmp_path: Path, said: list[str]) -> Templates:
    """The templates of an empty store."""
    return Templates(tmp_path, said.append)


@pytest.fixture
def kept(templates: Templates) -> Path:
    """The folder of a template that was written."""
    put(templates)
    return templates.folder(ACTION)


def ram_bytes() -> bytes:
    """What a guest's RAM holds: little, far apart."""
    whole = bytearray(SIZE)
    for at, data in PAGES.items():
        whole[at : at + len(data)] = data
    return bytes(whole)


def put(templates: Templates, action: Action = ACTION, whole: bytes | None = None) -> None:
    """Keep a frozen guest, as freezing.py does."""
    ram = os.memfd_create("ram")
    try:
        os.ftruncate(ram, SIZE)
        if whole is None:
            for at, data in PAGES.items():
                os.pwrite(ram, data, at)
        else:
            os.pwrite(ram, whole, 0)
        templates.put(action, ram, STATE_OF, 1.23456)
    finally:
        os.close(ram)


def opened(templates: Templates, action: Action = ACTION) -> Template:
    found = templates.open(action)
    assert found is not None
    return found


def overwrite(path: Path, at: int, data: bytes) -> None:
    """Change bytes in place."""
    fd = os.open(path, os.O_WRONLY)
    os.pwrite(fd, data, at)
    os.close(fd)


# --- what is whole


def test_round_trip(templates: Templates, said: list[str]) -> None:
    """What was kept comes back: every byte of RAM, the devices' state, how long the boot took."""
    put(templates)
    found = opened(templates)
    try:
        assert os.pread(found.frozen.ram, SIZE + 1, 0) == ram_bytes()
        assert (found.frozen.state, found.boot_s, found.folder) == (STATE_OF, 1.235, templates.folder(ACTION))
        assert not os.get_inheritable(found.frozen.ram)
    finally:
        found.close()
    assert said == []


def test_absent(templates: Templates, said: list[str]) -> None:
    """A template that was never kept is no damage: nothing is said, nothing made."""
    assert templates.open(ACTION) is None
    assert not templates.drop(ACTION)
    assert (said, templates.root.exists()) == ([], False)


def test_empty_ram(templates: Templates) -> None:
    """A RAM without a byte in it is kept like any other."""
    put(templates, whole=b"")
    found = opened(templates)
    assert os.fstat(found.frozen.ram).st_size == SIZE
    found.close()


def test_sparse(kept: Path) -> None:
    """Pages of zeros take no room on disk, also those that the guest once wrote to."""
    found = (kept / RAM).stat()
    assert (found.st_size, found.st_blocks * 512 <= 1 << 20) == (SIZE, True)


def test_sparse_after_zeros_were_written(templates: Templates) -> None:
    """A page that was written and is zero again is a hole on disk."""
    put(templates, whole=ram_bytes())
    assert (templates.folder(ACTION) / RAM).stat().st_blocks * 512 <= 1 << 20


def test_modes(kept: Path) -> None:
    """Nobody but us and guests may read a guest's memory."""
    assert (kept / RAM).stat().st_mode & 0o007 == 0
    assert (kept / STATE).stat().st_mode & 0o077 == 0


def test_twice(templates: Templates, said: list[str]) -> None:
    """Who keeps a second one replaces the first, whole."""
    put(templates)
    put(templates, whole=b"second")
    found = opened(templates)
    assert os.pread(found.frozen.ram, 6, 0) == b"second"
    assert os.pread(found.frozen.ram, 6, 1 << 20) == bytes(6)
    found.close()
    assert [p.name for p in templates.root.iterdir()] == [templates.folder(ACTION).name]
    assert said == []


def test_keys_are_apart(templates: Templates) -> None:
    """Another key is another template; dropping one leaves the other."""
    put(templates)
    assert templates.open(OTHER) is None
    put(templates, OTHER)
    assert templates.drop(ACTION)
    assert templates.open(ACTION) is None
    opened(templates, OTHER).close()


def test_dropped_while_open(templates: Templates) -> None:
    """A guest that runs on a template is not disturbed when it is dropped."""
    put(templates)
    found = opened(templates)
    assert templates.drop(ACTION)
    assert os.pread(found.frozen.ram, SIZE, 0) == ram_bytes()
    found.close()
    assert not templates.folder(ACTION).exists()


def test_touched(templates: Templates) -> None:
    """Reading changes nothing; one byte written to the file is seen."""
    put(templates)
    found = opened(templates)
    os.pread(found.frozen.ram, SIZE, 0)
    assert not found.touched()
    overwrite(found.folder / RAM, 4096, b"!")
    assert found.touched()
    found.close()


def test_dropped_meanwhile(templates: Templates) -> None:
    """Who drops a template that a guest still runs from has written nothing into it."""
    put(templates)
    found = opened(templates)
    assert templates.drop(ACTION)
    assert not (found.folder / RAM).exists()
    assert not found.touched()
    found.close()


def test_used(templates: Templates, kept: Path) -> None:
    """Opening one is noted, for who collects what was used longest ago."""
    os.utime(kept / META, (1, 1))
    opened(templates).close()
    assert (kept / META).stat().st_mtime > 1


def test_closed(templates: Templates) -> None:
    """Neither a good nor a bad template leaves a descriptor behind."""
    put(templates)
    before = os.listdir("/proc/self/fd")
    opened(templates).close()
    overwrite(templates.folder(ACTION) / RAM, 0, b"!")
    assert templates.open(ACTION) is None
    assert os.listdir("/proc/self/fd") == before


# --- what is not believed


def flip_state(folder: Path) -> None:
    data = bytearray((folder / STATE).read_bytes())
    data[300] ^= 1
    overwrite(folder / STATE, 0, bytes(data))


def another_file(folder: Path, name: str, make: Callable[[Path], object]) -> None:
    (folder / name).unlink()
    make(folder / name)


def link_to_copy(folder: Path, name: str) -> None:
    """The right bytes, at the end of a link."""
    (folder / name).rename(folder.parent / "elsewhere")
    (folder / name).symlink_to(folder.parent / "elsewhere")


def said_in_json(folder: Path, **changes: object) -> None:
    found = json.loads((folder / META).read_text())
    (folder / META).write_text(json.dumps({**found, **changes}))


def link_to_folder(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")


def file_for_folder(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.write_bytes(b"")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "state flipped": (flip_state, "state: expected sha256:"),
    "state truncated": (lambda f: os.truncate(f / STATE, 10), "state: expected sha256:"),
    "state gone": (lambda f: (f / STATE).unlink(), "No such file"),
    "state a link": (lambda f: link_to_copy(f, STATE), "state: is a link"),
    "state a FIFO": (lambda f: another_file(f, STATE, os.mkfifo), "FIFO"),
    "state a folder": (lambda f: another_file(f, STATE, os.mkdir), "directory"),
    "ram truncated": (lambda f: os.truncate(f / RAM, SIZE - 4096), f"ram: expected a file of {SIZE} bytes"),
    "ram longer": (lambda f: os.truncate(f / RAM, SIZE + 4096), f"ram: expected a file of {SIZE} bytes"),
    "ram changed": (lambda f: overwrite(f / RAM, 1 << 20, b"!"), "ram: expected sha256:"),
    "ram written in a hole": (lambda f: overwrite(f / RAM, 2 << 20, b"!"), "ram: expected sha256:"),
    "ram another file": (lambda f: another_file(f, RAM, lambda p: p.write_bytes(bytes(SIZE))), "ram: expected sha256:"),
    "ram gone": (lambda f: (f / RAM).unlink(), "No such file"),
    "ram a link": (lambda f: link_to_copy(f, RAM), "symbolic links"),
    "ram a FIFO": (lambda f: another_file(f, RAM, os.mkfifo), "ram: expected a file"),
    "ram a folder": (lambda f: another_file(f, RAM, os.mkdir), "directory"),
    "json a link": (lambda f: link_to_copy(f, META), "template.json: is a link"),
    "json gone": (lambda f: (f / META).unlink(), "No such file"),
    "json empty": (lambda f: (f / META).write_bytes(b""), ""),
    "json cut": (lambda f: os.truncate(f / META, 100), ""),
    "json a list": (lambda f: (f / META).write_bytes(b"[]"), ""),
    "json not text": (lambda f: (f / META).write_bytes(b"\xff\xfe"), ""),
    "json deep": (lambda f: (f / META).write_bytes(b"[" * 60_000), ""),
    "json too long": (lambda f: (f / META).write_bytes(b" " * (1 << 17)), ""),
    "json of another key": (lambda f: said_in_json(f, key=OTHER.key()), "key: expected sha256:"),
    "json key a number": (lambda f: said_in_json(f, key=1), "key: expected"),
    "json ram no digest": (lambda f: said_in_json(f, ram="sha256:x"), ""),
    "json ram no text": (lambda f: said_in_json(f, ram=[]), ""),
    "json seen short": (lambda f: said_in_json(f, seen=[1, 2]), ""),
    "json seen a number": (lambda f: said_in_json(f, seen=3), ""),
    "json seen too large": (lambda f: said_in_json(f, seen=[0, 0, SIZE + 1, 0]), "ram: expected a file"),
    "json boot no number": (lambda f: said_in_json(f, boot_s="soon"), ""),
    "json boot too large": (lambda f: said_in_json(f, boot_s=10**400), ""),
    "json boot a list": (lambda f: said_in_json(f, boot_s=[]), ""),
    "folder a link": (link_to_folder, "expected a folder"),
    "folder a file": (file_for_folder, "expected a folder"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged(name: str, templates: Templates, kept: Path, said: list[str]) -> None:
    """Whatever is not as it was written is dropped, that is said, and a new one can be kept in its place."""
    damage, words = DAMAGE[name]
    damage(kept)
    assert templates.open(ACTION) is None
    assert len(said) == 1 and said[0].startswith("   template:k: dropped: ") and words in said[0], said
    assert not os.path.lexists(kept)
    put(templates)
    opened(templates).close()


def test_a_link_is_not_followed(templates: Templates, kept: Path) -> None:
    """Dropping a link drops the link, not what it leads to."""
    link_to_folder(kept)
    assert templates.open(ACTION) is None
    assert sorted(p.name for p in kept.with_name("elsewhere").iterdir()) == [RAM, STATE, META]


def test_touched_and_the_same(templates: Templates, kept: Path, said: list[str]) -> None:
    """RAM whose file has another time is hashed again, believed, and remembered as it is now."""
    os.utime(kept / RAM, (1, 1))
    before = json.loads((kept / META).read_text())
    opened(templates).close()
    after = json.loads((kept / META).read_text())
    assert after["seen"] != before["seen"]
    assert after["seen"][0] == 10**9
    assert {**after, "seen": 0} == {**before, "seen": 0}
    opened(templates).close()
    assert json.loads((kept / META).read_text()) == after
    assert said == []


def test_copied(templates: Templates, kept: Path, tmp_path: Path, said: list[str]) -> None:
    """A copy of a store has other inodes and the same bytes: its templates are good."""
    copy = Templates(tmp_path / "copy", said.append)
    copy.folder(ACTION).mkdir(parents=True)
    for path in kept.iterdir():
        (copy.folder(ACTION) / path.name).write_bytes(path.read_bytes())
    opened(copy).close()
    assert said == []


# --- no fault of the template

FEW_FILES = """
import resource, sys
from pathlib import Path
from bpfcompat.action import Action
from bpfcompat.errors import StoreError
from bpfcompat.templates import Templates
templates = Templates(Path(sys.argv[1]), print)
action = Action("template", "k", {"n": 1})
templates.open(Action("template", "k", {"n": 2}))
taken = [open("/dev/null") for _ in range(8)]
resource.setrlimit(resource.RLIMIT_NOFILE, (taken[-1].fileno() + 1,) * 2)
try:
    templates.open(action)
except StoreError as error:
    print(error)
"""


def test_too_many_open_files(templates: Templates, kept: Path, tmp_path: Path, said: list[str]) -> None:
    """A process without a descriptor to spare says so, with what to do, and drops nothing."""
    argv = [sys.executable, "-c", FEW_FILES, str(tmp_path)]
    done = subprocess.run(argv, env=child_python(), capture_output=True, text=True, timeout=60)
    assert "Too many open files (hint: raise the open-file limit" in done.stdout, done
    assert "dropped" not in done.stdout
    opened(templates).close()
    assert said == []


def test_read_only(tmp_path: Path, said: list[str]) -> None:
    """A file system that is read-only is named, and no template called damaged for it."""
    place = tmp_path / "small"
    with tmpfs(place, "size=4m"):
        templates = Templates(place, said.append)
        put(templates)
        remount_read_only(place)
        for call in (templates.open, templates.drop, lambda a: put(templates, a)):
            with pytest.raises(StoreError, match="Read-only file system"):
                call(ACTION)
    assert said == []


# --- no room


@pytest.mark.parametrize("room", ["4k", "64k", "128k", "256k"])
def test_full_disk(room: str, tmp_path: Path, said: list[str]) -> None:
    """On a full disk the error is clear, nothing half written is there, and the one before is as it was."""
    place = tmp_path / "small"
    with tmpfs(place, "size=2m"):
        templates = Templates(place, said.append)
        put(templates)
        left = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
        keep = int(room[:-1]) << 10
        (place / "filler").write_bytes(bytes(left - keep))
        with pytest.raises(StoreError, match="No space left on device"):
            put(templates, OTHER, ram_bytes()[: 1 << 20] + os.urandom(1 << 20))
        assert [p.name for p in templates.root.iterdir()] == [templates.folder(ACTION).name]
        assert templates.open(OTHER) is None
        opened(templates).close()
        (place / "filler").unlink()
        put(templates, OTHER)
        opened(templates, OTHER).close()
    assert said == []
