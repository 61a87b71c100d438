"""The initramfs: the same bytes everywhere, and bytes that cpio takes."""

import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat.digest import digest_bytes
from bpfcompat.errors import KernelError
from bpfcompat.initramfs import Entry, guest_initramfs, pack

FOLDER = Entry("etc", stat.S_IFDIR | 0o755)
FILE = Entry("etc/name", stat.S_IFREG | 0o644, b"guest\n")
NODE = Entry("tty", stat.S_IFCHR | 0o600, device=(5, 1))
GOLDEN = (
    b"070701" b"00000001" b"000041ED" b"00000000" b"00000000" b"00000002" b"00000000" b"00000000"
    b"00000000" b"00000000" b"00000000" b"00000000" b"00000004" b"00000000" b"etc\0\0\0"
    b"070701" b"00000002" b"000081A4" b"00000000" b"00000000" b"00000001" b"00000000" b"00000006"
    b"00000000" b"00000000" b"00000000" b"00000000" b"00000009" b"00000000" b"etc/name\0\0" b"guest\n\0\0"
    b"070701" b"00000003" b"00002180" b"00000000" b"00000000" b"00000001" b"00000000" b"00000000"
    b"00000000" b"00000000" b"00000005" b"00000001" b"00000004" b"00000000" b"tty\0\0\0"
    b"070701" b"00000000" b"00000000" b"00000000" b"00000000" b"00000001" b"00000000" b"00000000"
    b"00000000" b"00000000" b"00000000" b"00000000" b"0000000B" b"00000000" b"TRAILER!!!\0\0\0\0"
)  # fmt: skip


def test_golden() -> None:
    """These are the bytes; a change of them changes the action key of every probe."""
    archive = pack([FOLDER, FILE, NODE])
    assert archive == GOLDEN + bytes(-len(GOLDEN) % 512)


def test_guest_golden() -> None:
    """The guest's root is the same bytes on every machine."""
    archive = guest_initramfs(b"#!validator", "6.1.0-50-cloud-amd64", b"CONFIG_BPF=y\n")
    assert digest_bytes(archive) == "sha256:efdc0fec5e9ee307c3c3221a1fb482292ea4c767d15e2d2ec7ca3cf5f9511ec8"


@given(st.permutations([FOLDER, FILE, NODE]))
def test_order(entries: list[Entry]) -> None:
    """The order in which entries are given does not matter."""
    assert pack(entries) == pack([FOLDER, FILE, NODE])


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_other_bytes(one: bytes, other: bytes) -> None:
    """Other content gives another archive, and every archive ends on a block's border."""
    archives = [pack([Entry("init", stat.S_IFREG | 0o755, data)]) for data in (one, other)]
    assert (archives[0] == archives[1]) == (one == other)
    assert {len(a) % 512 for a in archives} == {0}


@pytest.mark.parametrize("path", ["", "/init", "a/../b", "a//b", "./a", "a\0b", "TRAILER!!!"])
def test_bad_path(path: str) -> None:
    """A path that could leave the root, or end the archive early, is refused."""
    with pytest.raises(ValueError, match="relative path"):
        pack([Entry(path, stat.S_IFREG)])


def test_twice() -> None:
    """A path is there once: which of two a kernel keeps is not for us to guess."""
    with pytest.raises(ValueError, match="twice"):
        pack([FILE, FILE])


@pytest.mark.parametrize("release", ["", "../../init", "a/b", "6.1 x", "6.1\n", "x" * 65])
def test_bad_release(release: str) -> None:
    """A release string comes from a downloaded package: it becomes a file name only if it looks like one."""
    with pytest.raises(KernelError, match="release"):
        guest_initramfs(b"", release, b"")


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")
@pytest.mark.parametrize("config", [b"CONFIG_BPF=y\n", None])
def test_cpio_takes_it(config: bytes | None, tmp_path: Path) -> None:
    """cpio lists what was packed, in order, and unpacks the validator as it was."""
    archive = guest_initramfs(b"#!validator", "6.1.0", config)
    listed = subprocess.run(["cpio", "-t", "--quiet"], input=archive, capture_output=True, check=True)
    folders = ["boot", *(["boot/config-6.1.0"] if config else []), "dev", "dev/console", "init", "proc", "sys", "tmp"]
    assert (listed.stdout.decode().split(), listed.stderr) == (folders, b"")
    subprocess.run(["cpio", "-id", "--quiet", "init"], input=archive, cwd=tmp_path, check=True)
    assert (tmp_path / "init").read_bytes() == b"#!validator"
