"""Files beside the object: what the host packs, and what the guest's unpacker makes of it or refuses."""

import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfcompat.errors import ConfigError
from bpfcompat.guestfiles import GuestFile, archive, check_room, link_stays, memory_needed, pack_checked
from bpfcompat.initramfs import Entry, _member, pack
from tests.harness import CC, built

REG, DIR, LINK = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777

HARNESS = r"""
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "dma.h"
#include "env.h"
#include "files.h"
#include "fwcfg.h"

static char data[8 << 20], room[DMA_ROOM];
static size_t size, at;
static int fast;

void env_pulse(void) { }
int dma_open(void) { at = 1; return fast ? 0 : -ENODEV; }
void dma_close(void) { }
const char *dma_take(size_t len) { fwcfg_take(room, len); return room; }
void fwcfg_take(void *into, size_t len) { memcpy(into, data + at, len); at += len; }
long fwcfg_start(const char *name, size_t max)
{
	at = 0;
	return strcmp(name, "opt/bpfcompat/files") ? -ENOENT : size > max ? -EFBIG : (long)size;
}
int fake_mount(const char *a, const char *b, const char *c, unsigned long d, const void *e)
{
	return !(a && b && c && d && e);
}

int main(int argc, char **argv)
{
	const char *why;

	fast = argc > 2;
	size = fread(data, 1, sizeof(data), stdin);
	why = files_unpack(argv[1]);
	puts(why ? why : "");
	return why != NULL;
}
"""

Unpack = Callable[..., str]


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guest's unpacker, compiled for this host with sanitizers; the device is its standard input."""
    if CC is None:
        pytest.skip("no C compiler")
    return built(tmp_path_factory.mktemp("files"), HARNESS, "files.c", more=("-Dmount=fake_mount",))


@pytest.fixture
def unpack(harness: Path, tmp_path: Path) -> Unpack:
    """Unpack an archive below tmp_path/root; why not, in words, or ""."""

    def run(data: bytes, *options: str) -> str:
        argv = [str(harness), str(tmp_path / "root"), *options]
        done = subprocess.run(argv, input=data, capture_output=True, timeout=60)
        assert done.stderr == b""
        assert done.returncode == bool(done.stdout.strip())
        return done.stdout.decode().strip()

    return run


@pytest.mark.parametrize("options", [(), ("dma",)])
def test_arrives(unpack: Unpack, tmp_path: Path, options: tuple[str, ...]) -> None:
    """Files, folders, links and modes are in the guest what they were here, however large."""
    large = bytes(n * 7 % 251 for n in range(300_001))
    entries = [
        *(Entry("a", DIR), Entry("a/b", stat.S_IFDIR | 0o700), Entry("a/b/large", stat.S_IFREG | 0o755, large)),
        *(Entry("a/empty", stat.S_IFREG | 0o400), Entry("a/link", LINK, b"b/../b/large"), Entry("tmp", DIR | 0o1777)),
        Entry("z", REG, b"last"),
    ]
    assert unpack(pack_checked(entries, "test"), *options) == ""
    root = tmp_path / "root"
    assert (root / "a/link").read_bytes() == large
    assert (root / "a/link").readlink() == Path("b/../b/large")
    assert (root / "z").read_bytes() == b"last"
    modes = {str(p.relative_to(root)): stat.S_IMODE(p.lstat().st_mode) for p in root.rglob("*") if not p.is_symlink()}
    assert modes == {"a": 0o755, "a/b": 0o700, "a/b/large": 0o755, "a/empty": 0o400, "tmp": 0o1777, "z": 0o644}


def test_made_of_paths(unpack: Unpack, tmp_path: Path) -> None:
    """An archive made of paths brings the folders that they need, and is the same bytes in any order."""
    files = {"x/y/z": GuestFile(b"1", 0o755), "x/a": GuestFile(b"2"), "top": GuestFile(b"3")}
    made = archive(files)
    assert made == archive(dict(reversed(files.items())))
    assert unpack(made) == ""
    assert (tmp_path / "root/x/y/z").read_bytes() == b"1"


def test_fuzzed_sizes(unpack: Unpack, tmp_path: Path) -> None:
    """Every length on both sides of padding and of the reader's room arrives whole."""
    sizes = [0, 1, 2, 3, 4, 5, 511, 512, 513, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, 200_000]
    assert unpack(archive({f"f{size}": GuestFile(b"x" * size) for size in sizes}), "dma") == ""
    assert sorted(p.stat().st_size for p in (tmp_path / "root").iterdir()) == sizes


def raw(*entries: Entry, trailer: bool = True, end: bytes = b"") -> bytes:
    """An archive that our packer would not make: members as they are, in this order."""
    members = [_member(n, e) for n, e in enumerate(entries, 1)]
    data = b"".join([*members, *([_member(0, Entry("TRAILER!!!", 0))] if trailer else [])])
    return data + bytes(-len(data) % 512) + end


def edited(field: int, value: bytes) -> bytes:
    """One file's archive with another value in one field of its header."""
    data = raw(Entry("file", REG, b"content"))
    at = 6 + 8 * field
    return data[:at] + value + data[at + 8 :]


HOSTILE = {
    "empty": (b"", "ends after 0 bytes"),
    "no archive": (b"x" * 600, "expected a newc header"),
    "other magic": (b"070702" + raw(Entry("file", REG))[6:], "expected a newc header"),
    "not hex": (edited(0, b"0000000g"), "upper-case hex"),
    "lower-case hex": (edited(0, b"0000000a"), "upper-case hex"),
    "NUL in a field": (edited(0, b"0000000\0"), "upper-case hex"),
    "an owner": (edited(2, b"00000001"), "no owner, time or device"),
    "a time": (edited(5, b"00000001"), "no owner, time or device"),
    "hard links": (edited(4, b"00000002"), "no hard links"),
    "longer than all": (edited(6, b"FFFFFFFF"), "longer than its archive"),
    "a name of nothing": (edited(11, b"00000001"), "a name of 1 bytes"),
    "a name of 4 GiB": (edited(11, b"FFFFFFFF"), "a name of 4294967295 bytes"),
    "another length": (edited(11, b"00000003"), "a name of another length"),
    "absolute": (raw(Entry("/etc", REG)), "expected a relative path"),
    "climbs": (raw(Entry("a", DIR), Entry("a/../../x", REG)), "expected a relative path"),
    "dot": (raw(Entry(".", DIR)), "expected a relative path"),
    "empty part": (raw(Entry("a", DIR), Entry("a//b", REG)), "expected a relative path"),
    "no folder": (raw(Entry("a/b", REG)), "its folder: No such file"),
    "below a file": (raw(Entry("a", REG), Entry("a/b", REG)), "its folder: Not a directory"),
    "below a link": (raw(Entry("a", DIR), Entry("l", LINK, b"a"), Entry("l/b", REG)), "its folder: "),
    "twice": (raw(Entry("a", REG), Entry("a", REG)), "File exists"),
    "over a link": (raw(Entry("a", LINK, b"b"), Entry("a", REG, b"x")), "File exists"),
    "folder twice": (raw(Entry("a", DIR), Entry("a", DIR)), "File exists"),
    "set-uid": (raw(Entry("a", stat.S_IFREG | 0o4755)), "neither set-uid nor set-gid"),
    "set-gid folder": (raw(Entry("a", stat.S_IFDIR | 0o2755)), "neither set-uid nor set-gid"),
    "sticky file": (raw(Entry("a", stat.S_IFREG | 0o1755)), "neither set-uid nor set-gid"),
    "device": (raw(Entry("a", stat.S_IFCHR | 0o600, device=(1, 3))), "no owner, time or device"),
    "device 0": (raw(Entry("a", stat.S_IFBLK | 0o600)), "expected a file, a folder or a link"),
    "fifo": (raw(Entry("a", stat.S_IFIFO | 0o600)), "expected a file, a folder or a link"),
    "no type": (raw(Entry("a", 0o644)), "expected a file, a folder or a link"),
    "folder with content": (raw(Entry("a", DIR, b"x")), "a folder with content"),
    "absolute link": (raw(Entry("a", LINK, b"/etc/passwd")), "a link that leaves"),
    "climbing link": (raw(Entry("d", DIR), Entry("d/a", LINK, b"x/../../../y")), "a link that leaves"),
    "link with NUL": (raw(Entry("a", LINK, b"b\0c")), "a link that leaves"),
    "link to nothing": (raw(Entry("a", LINK, b"")), "a link of 0 bytes"),
    "long link": (raw(Entry("a", LINK, b"x" * 1025)), "a link of 1025 bytes"),
    "long part": (raw(Entry("a" * 256, REG)), "expected a relative path"),
    "no trailer": (raw(Entry("a", REG), trailer=False), "expected a newc header"),
    "goes on": (raw(Entry("a", REG), end=bytes(512)), "goes on after its end"),
    "dirty padding": (raw(Entry("a", REG))[:-1] + b"x", "expected zeros"),
    "cut in a header": (raw(Entry("a", REG))[:50], "in the middle"),
    "cut in a name": (raw(Entry("abcdefgh", REG))[:114], "in the middle"),
    "cut in a file": (raw(Entry("a", REG, b"x" * 1000))[:600], "longer than its archive"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_refused(unpack: Unpack, tmp_path: Path, name: str) -> None:
    """What our packer would not write is refused in words, and nothing appears outside the folder."""
    data, words = HOSTILE[name]
    assert words in unpack(data)
    assert {p.name for p in tmp_path.iterdir()} <= {"root"}


def test_every_cut_is_refused(unpack: Unpack, tmp_path: Path) -> None:
    """An archive that ends early is refused wherever it ends."""
    whole = pack([Entry("a", DIR), Entry("a/f", REG, b"content"), Entry("l", LINK, b"a/f")])
    for length in range(0, len(whole), 37):
        assert unpack(whole[:length])
        shutil.rmtree(tmp_path / "root", ignore_errors=True)


@pytest.mark.parametrize(
    ("path", "mode", "words"),
    [("/etc", 0o644, "relative path"), ("a/../b", 0o644, "relative path"), ("", 0o644, "relative path"),
     ("a\nb", 0o644, "printed"), ("a" * 256, 0o644, "at most"), ("a", 0o4755, "set-uid")],
)  # fmt: skip
def test_refused_here(path: str, mode: int, words: str) -> None:
    """What the guest would refuse never leaves this host."""
    with pytest.raises(ConfigError, match=words):
        archive({path: GuestFile(b"", mode)})


def test_file_and_folder() -> None:
    """One path cannot be both a file and a folder."""
    with pytest.raises(ConfigError, match="a: a file and a folder"):
        archive({"a": GuestFile(b""), "a/b": GuestFile(b"")})


@pytest.mark.parametrize(
    ("path", "target", "inside"),
    [("l", "a", True), ("l", "..", False), ("a/l", "..", True), ("a/l", "../..", False), ("a/b/l", "../../x", True),
     ("l", "/a", False), ("l", "", False), ("l", "a/../..", False), ("l", "./a//b/.", True)],
)  # fmt: skip
def test_links(path: str, target: str, inside: bool) -> None:
    """A link counts as inside when its text never climbs above the top folder."""
    assert link_stays(path, target) is inside


def test_room() -> None:
    """A guest that cannot hold its files is refused before it starts, with the size that could."""
    check_room(memory_needed([100 << 20]), 256, "x")
    with pytest.raises(ConfigError, match="200 MiB of files do not fit into a guest of 256 MiB") as error:
        check_room(memory_needed([200 << 20]), 256, "x")
    assert error.value.hint == "set [guest] memory_mb to 384 or more"
