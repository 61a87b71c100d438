"""Frozen guests on disk: believed only as far as they are what was written."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bpfcompat.action import Action
from bpfcompat.errors import StoreError
from bpfcompat.templates import META, RAM, STATE, Templates
from tests.hosting import tmpfs

ACTION = Action("template", "k", {"qemu": "7.2"})
SIZE = 8 << 20
HEAD, TAIL = b"head" * 1000, b"tail"
DEVICES = b"devices' state"


@pytest.fixture
def ram() -> Iterator[int]:
    """A guest's RAM: something at both ends, and nothing between."""
    fd = os.memfd_create("ram")
    os.ftruncate(fd, SIZE)
    os.pwrite(fd, HEAD, 0)
    os.pwrite(fd, TAIL, SIZE - len(TAIL))
    yield fd
    os.close(fd)


class Said(list[str]):
    """What was said."""


@pytest.fixture
def said() -> Said:
    """Collects what is said."""
    return Said()


@pytest.fixture
def templates(tmp_path: Path, said: Said) -> Templates:
    """The templates of an empty store."""
    return Templates(tmp_path, said.append)


@pytest.fixture
def kept(templates: Templates, ram: int) -> Templates:
    """A store with one template."""
    templates.put(ACTION, ram, DEVICES, 2.5)
    return templates


def test_round_trip(kept: Templates, said: Said) -> None:
    """What was frozen comes back: the RAM with its holes, the state, and how long the boot took."""
    found = kept.open(ACTION)
    assert found is not None
    assert os.pread(found.frozen.ram, SIZE, 0) == HEAD + bytes(SIZE - len(HEAD) - len(TAIL)) + TAIL
    assert (found.frozen.state, found.boot_s, said) == (DEVICES, 2.5, [])
    assert os.stat(kept.folder(ACTION) / RAM).st_blocks * 512 < SIZE // 4
    assert os.listdir(kept.root) == [kept.folder(ACTION).name]
    found.close()


def test_none(templates: Templates, said: Said) -> None:
    """What was never frozen, or by another QEMU, is not there."""
    assert templates.open(ACTION) is None
    assert not templates.drop(ACTION)
    assert said == []


def test_another_key(kept: Templates) -> None:
    """A template under another key's name is not believed."""
    other = Action("template", "k", {"qemu": "9.9"})
    kept.folder(ACTION).rename(kept.folder(other))
    assert kept.open(other) is None
    assert not kept.folder(other).exists()


def flip(path: Path, at: int = 3) -> None:
    """One flipped bit."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def link(path: Path) -> None:
    """A link to the very bytes."""
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def fifo(path: Path) -> None:
    """Something that would be read for ever."""
    path.unlink()
    os.mkfifo(path)


def short(path: Path) -> None:
    """The same file without its last byte."""
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize("damage", [flip, link, fifo, short, Path.unlink])
@pytest.mark.parametrize("name", [RAM, STATE, META])
def test_damaged(name: str, damage: Callable[[Path], None], kept: Templates, said: Said, ram: int) -> None:
    """Whatever becomes of its files, a template is noticed, dropped and said, and can be made again."""
    damage(kept.folder(ACTION) / name)
    assert kept.open(ACTION) is None
    assert not kept.folder(ACTION).exists()
    assert len(said) == 1 and said[0].startswith("   template:k: dropped: ")
    kept.put(ACTION, ram, DEVICES, 2.5)
    found = kept.open(ACTION)
    assert found is not None
    found.close()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"key": 1}', "\xff", "[" * 100_000])
def test_damaged_words(text: str, kept: Templates) -> None:
    """A template.json that says nothing, or nonsense, is no traceback."""
    (kept.folder(ACTION) / META).write_text(text)
    assert kept.open(ACTION) is None


def test_swapped_folder(kept: Templates, tmp_path: Path) -> None:
    """A link in a template's place is dropped, and what it leads to is left alone."""
    elsewhere = tmp_path / "elsewhere"
    kept.folder(ACTION).rename(elsewhere)
    kept.folder(ACTION).symlink_to(elsewhere)
    assert kept.open(ACTION) is None
    assert not kept.folder(ACTION).is_symlink()
    assert (elsewhere / RAM).exists()


def test_same_bytes(kept: Templates, said: Said) -> None:
    """A RAM file that is another one, with the same bytes, is hashed once and believed from then on."""
    path, meta = kept.folder(ACTION) / RAM, kept.folder(ACTION) / META
    before = json.loads(meta.read_bytes())["seen"]
    shutil.copy2(path, path.with_name("copy"))
    path.with_name("copy").rename(path)
    found = kept.open(ACTION)
    assert found is not None and said == []
    assert json.loads(meta.read_bytes())["seen"] == list(found.seen) != before
    found.close()


def test_changed_with_its_times(kept: Templates) -> None:
    """Other bytes under the old modification time are noticed: the change time cannot be set."""
    path = kept.folder(ACTION) / RAM
    times = path.stat()
    with path.open("r+b") as stream:
        stream.write(b"evil")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert kept.open(ACTION) is None


def test_touched(kept: Templates) -> None:
    """A guest that wrote into the RAM's file is found out."""
    found = kept.open(ACTION)
    assert found is not None and not found.touched()
    os.pwrite(found.frozen.ram, b"evil", 0)
    assert found.touched()
    found.close()


def test_dropped_in_use(kept: Templates) -> None:
    """Who has a template open keeps it when it is dropped."""
    found = kept.open(ACTION)
    assert found is not None and kept.drop(ACTION)
    assert os.pread(found.frozen.ram, len(HEAD), 0) == HEAD
    found.close()


def test_put_twice(kept: Templates, ram: int) -> None:
    """A template takes another's place whole."""
    kept.put(ACTION, ram, b"newer", 1.0)
    found = kept.open(ACTION)
    assert found is not None and found.frozen.state == b"newer"
    found.close()


def test_full_disk(tmp_path: Path, said: Said) -> None:
    """A template for which there is no room is one clear error, and nothing of it is left."""
    fd = os.memfd_create("ram")
    os.ftruncate(fd, 4 << 20)
    os.pwrite(fd, os.urandom(4 << 20), 0)
    with tmpfs(tmp_path / "small", "size=2m") as place:
        templates = Templates(place, said.append)
        with pytest.raises(StoreError, match="No space left"):
            templates.put(ACTION, fd, DEVICES, 1.0)
        assert templates.open(ACTION) is None
        assert list(templates.root.iterdir()) == []
    os.close(fd)
