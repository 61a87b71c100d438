"""Root file systems: what of a folder, a tar archive or a package gets into a guest, and what is turned away."""

import gzip
import io
import lzma
import os
import re
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfcompat.errors import ConfigError
from bpfcompat.guestfiles import pack_whole
from bpfcompat.initramfs import Entry
from bpfcompat.rootfs import (
    Tree,
    add_binary,
    add_deb,
    add_folder,
    add_layer,
    add_tar_file,
    folder_key,
    told,
)
from tests.making import make_deb

Member = tuple[str, bytes | str | None, int]  # path; content, None for a folder, text for a link; mode


def tarred(*members: Member | tarfile.TarInfo) -> bytes:
    """A tar archive of these members, as they are."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            path, content, mode = member
            header = tarfile.TarInfo(path)
            header.mode, data = mode, content if isinstance(content, bytes) else b""
            header.type = tarfile.DIRTYPE if content is None else tarfile.SYMTYPE if isinstance(content, str) else b"0"
            header.linkname, header.size = content if isinstance(content, str) else "", len(data)
            archive.addfile(header, io.BytesIO(data))
    return out.getvalue()


def special(path: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    """A member that is no file, folder or symbolic link."""
    header = tarfile.TarInfo(path)
    header.type, header.linkname = kind, link
    return header


def tree_of(data: bytes, tmp_path: Path) -> Tree:
    """The tree of a tar archive."""
    (tmp_path / "root.tar").write_bytes(data)
    tree = Tree("x")
    add_tar_file(tree, tmp_path / "root.tar")
    return tree


def found(tree: Tree) -> dict[str, Entry]:
    """What would go into the guest, by path below the root; it must be a whole archive."""
    entries = tree.entries()
    pack_whole(entries, "x")
    return {e.path.removeprefix("root").removeprefix("/"): e for e in entries}


def refused(data: bytes, tmp_path: Path, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        tree_of(data, tmp_path).entries()


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress], ids=["plain", "gzip", "xz"])
def test_tar(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """Files, folders, links and modes arrive; the folders that a system needs are made."""
    data = tarred(("./bin", None, 0o755), ("./bin/a", b"1", 0o755), ("./bin/b", "a", 0o777), ("c/d", b"2", 0o600),
                  ("tmp", None, 0o1777), special("bin/h", tarfile.LNKTYPE, "bin/a"))  # fmt: skip
    inside = found(tree_of(pack(data), tmp_path))
    assert {n: (stat.S_IMODE(e.mode), e.data) for n, e in inside.items() if n.startswith(("bin", "c", "tmp"))} == {
        "bin": (0o755, b""), "bin/a": (0o755, b"1"), "bin/b": (0o777, b"a"), "bin/h": (0o755, b"1"), "c": (0o755, b""),
        "c/d": (0o600, b"2"), "tmp": (0o1777, b""),
    }  # fmt: skip
    assert {"proc", "sys", "dev", "boot", "files", "run"} <= inside.keys()


@pytest.mark.parametrize(
    ("path", "target", "becomes"),
    [("a", "b", "b"), ("a", "/x/y", "x/y"), ("d/e/a", "/x", "../../x"), ("d/a", "/", "../"), ("d/a", "../b", "../b"),
     ("a", "../../x", "x"), ("d/a", "../../../x", "../x"), ("a", "/../x", "x"),
     ("d/a", "b/../../../../x/../y", "../y")],
)  # fmt: skip
def test_links(tmp_path: Path, path: str, target: str, becomes: str) -> None:
    """A link means in the guest what it means in a root: absolute from it, and never above it."""
    assert found(tree_of(tarred((path, target, 0o777)), tmp_path))[path].data.decode() == becomes


def test_through_links(tmp_path: Path) -> None:
    """What is packed below a link lands where the link leads, within the root."""
    inside = found(tree_of(tarred(("usr/lib", None, 0o755), ("lib", "/usr/../../usr/lib", 0), ("lib/x", b"1", 0o644),
                                  ("lib", None, 0o755)), tmp_path))  # fmt: skip
    assert inside["usr/lib/x"].data == b"1"
    assert stat.S_ISLNK(inside["lib"].mode)


def test_left_out(tmp_path: Path) -> None:
    """Device nodes and FIFOs are left out, set-uid bits taken off, links turned back; all of it is counted."""
    tree = tree_of(tarred(("su", b"x", 0o4755), ("sg", b"x", 0o2755), ("sd", None, 0o2755), ("l", "../x", 0),
                          special("dev/sda", tarfile.BLKTYPE), special("dev/null", tarfile.CHRTYPE),
                          special("p", tarfile.FIFOTYPE)), tmp_path)  # fmt: skip
    inside = found(tree)
    assert stat.S_IMODE(inside["su"].mode) == stat.S_IMODE(inside["sg"].mode) == 0o755
    assert not {"dev/sda", "dev/null", "p"} & inside.keys()
    words = told(tree.left_out)
    assert words == "1 FIFOs, 2 device nodes, 1 links turned back at the root, 2 set-uid or set-gid bits"


HOSTILE: dict[str, tuple[bytes, str]] = {
    "absolute": (tarred(("/etc/x", b"", 0o644)), "an absolute path"),
    "climbs": (tarred(("a/../../x", b"", 0o644)), "a path that climbs"),
    "twice": (tarred(("a", b"1", 0o644), ("./a", b"2", 0o644)), "'./a': occurs twice"),
    "twice through a link": (tarred(("b", None, 0), ("a", "b", 0), ("b/x", b"1", 0), ("a/x", b"2", 0)), "occurs twice"),
    "folder over file": (tarred(("a", b"1", 0o644), ("a", None, 0o755)), "occurs twice"),
    "file over folder": (tarred(("a/b/c", b"1", 0o644), ("a", b"", 0o755)), "occurs twice"),
    "below a file": (tarred(("a", b"1", 0o644), ("a/b", b"2", 0o644)), "expected a folder"),
    "round and round": (tarred(("a", "b", 0), ("b", "a", 0), ("a/x", b"1", 0)), "links that go round"),
    "link to itself": (tarred(("a", "a/b", 0), ("a/x", b"1", 0)), "links that go round"),
    "hard link out": (tarred(special("a", tarfile.LNKTYPE, "/etc/shadow")), "an absolute path"),
    "hard link to later": (tarred(special("a", tarfile.LNKTYPE, "b"), ("b", b"1", 0)), "which is no file before it"),
    "newline": (tarred(("a\nb", b"", 0o644)), "can be printed"),
    "long": (tarred(("x" * 300, b"", 0o644)), "at most 1024 bytes"),
    "no tar": (b"no tar at all" * 100, "not a whole tar archive"),
    "empty": (b"", "not a whole tar archive"),
    "cut": (tarred(("a", b"x" * 5000, 0o644))[:3000], "not a whole tar archive"),
    "cut gzip": (gzip.compress(tarred(("a", os.urandom(5000), 0o644)))[:-2000], "damaged after"),
    "proc is a file": (tarred(("proc", b"", 0o644)), "something is mounted there"),
    "dev is a link": (tarred(("dev", "/tmp", 0)), "something is mounted there"),
    "object's place": (tarred(("files/object.bpf.o", b"", 0o644)), "place is taken"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_refused(tmp_path: Path, name: str) -> None:
    """What climbs, contradicts itself or is not whole is refused, with its path."""
    refused(HOSTILE[name][0], tmp_path, HOSTILE[name][1])


def test_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that expands without end, or has members without end, is refused at a bound."""
    monkeypatch.setattr("bpfcompat.rootfs.MAX_EXPANDED", 8 << 20)
    monkeypatch.setattr("bpfcompat.rootfs.MAX_FILES", 100)
    refused(gzip.compress(bytes(64 << 20)), tmp_path, "expands to more than")
    refused(gzip.compress(tarred(("a", bytes(32 << 20), 0o644))), tmp_path, "expands to more than")
    refused(tarred(*((f"f{n}", b"", 0o644) for n in range(200))), tmp_path, "more than 100")
    monkeypatch.setattr("bpfcompat.rootfs.MAX_BYTES", 1000)
    refused(tarred(("a", bytes(600), 0o644), ("b", bytes(600), 0o644)), tmp_path, "or 1000 bytes before it")


def test_folder(tmp_path: Path) -> None:
    """A folder of this host arrives as it is; no link is followed, and sockets stay."""
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin/sh").write_bytes(b"#!")
    (root / "bin/sh").chmod(0o4755)
    (root / "out").symlink_to("/etc")
    (root / "dangling").symlink_to("../nowhere")
    os.mkfifo(root / "fifo")
    tree = Tree("x")
    add_folder(tree, root)
    inside = found(tree)
    assert (inside["bin/sh"].data, stat.S_IMODE(inside["bin/sh"].mode)) == (b"#!", 0o755)
    assert inside["out"].data == b"etc"
    assert not any(name.startswith("etc") for name in inside)
    assert "1 FIFOs" in told(tree.left_out)


def test_folder_key(tmp_path: Path) -> None:
    """The key of a folder changes with a name, a mode, a byte or a link's target, and with nothing else."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").write_bytes(b"1")
    (root / "l").symlink_to("a")

    def key() -> list[list[object]]:
        return folder_key(root, "x", lambda path: path.read_text())

    keys = [key()]
    os.utime(root / "a", (1, 1))
    assert key() == keys[0]
    for change in (
        lambda: (root / "a").write_bytes(b"2"),
        lambda: (root / "a").chmod(0o600),
        (root / "b").mkdir,
        lambda: (root / "l").unlink() or (root / "l").symlink_to("b"),
    ):
        change()
        keys.append(key())
    assert len({repr(k) for k in keys}) == 5


def test_folder_gone(tmp_path: Path) -> None:
    """A folder that is not there is said by its path."""
    with pytest.raises(ConfigError, match="nowhere: cannot read: No such file"):
        add_folder(Tree("x"), tmp_path / "nowhere")


def test_packages(tmp_path: Path) -> None:
    """Packages lie one over another; a file that two of them have is refused, as dpkg does."""
    for name, members in (("a", {"usr/bin/x": b"1"}), ("b", {"usr/lib/y": b"2"}), ("c", {"usr/bin/x": b"3"})):
        (tmp_path / name).write_bytes(make_deb(members))
    tree = Tree("x")
    add_deb(tree, tmp_path / "a", "a")
    add_deb(tree, tmp_path / "b", "b")
    assert {"usr/bin/x", "usr/lib/y"} <= found(tree).keys()
    with pytest.raises(ConfigError, match=r"x: c: .*occurs twice"):
        add_deb(tree, tmp_path / "c", "c")


def test_binary(tmp_path: Path) -> None:
    """A static program lies beside the object, whatever its mode was here."""
    (tmp_path / "loader").write_bytes(b"\x7fELF")
    tree = Tree("x")
    add_binary(tree, tmp_path / "loader")
    assert stat.S_IMODE(found(tree)["files/loader"].mode) == 0o755


def test_layers() -> None:
    """A layer replaces files, and its marks take away what was below, never what it brings itself."""
    tree = Tree("x")
    add_layer(tree, tarred(("a", b"1", 0o644), ("b/c", b"1", 0o644), ("d/e/f", b"1", 0o644), ("g", None, 0)))
    add_layer(tree, tarred(("a", b"2", 0o644), ("b/.wh.c", b"", 0), ("d/e/new", b"2", 0), ("d/.wh..wh..opq", b"", 0),
                           ("g", b"2", 0o644), (".wh.nothing", b"", 0), ("z", b"2", 0)))  # fmt: skip
    inside = found(tree)
    assert {n: e.data for n, e in inside.items() if stat.S_ISREG(e.mode)} == {
        "a": b"2", "d/e/new": b"2", "g": b"2", "z": b"2",
    }  # fmt: skip
    with pytest.raises(ConfigError, match="climbs"):
        add_layer(tree, tarred(("../.wh.x", b"", 0)))
