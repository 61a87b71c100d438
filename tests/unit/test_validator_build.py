"""Building the validator: what it takes from an archive, and what it says when something is missing."""

import io
import tarfile
from pathlib import Path

import pytest

from bpfcompat.errors import BuildError
from bpfcompat.validator import SOURCES
from bpfcompat.validator.build import compiler_identity, libbpf_version, unpack

MAKEFILE = b"LIBBPF_MAJOR_VERSION := %d\nLIBBPF_MINOR_VERSION := %d\nLIBBPF_PATCH_VERSION := 0\n"


def archive(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as made:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            made.addfile(member, io.BytesIO(data))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            made.addfile(member)
    return path


def test_only_sources_leave_the_archive(tmp_path: Path) -> None:
    """Names that climb, links and anything that is not source stay inside."""
    tarball = archive(
        tmp_path / "a.tar.gz",
        {"l/src/a.c": b"1", "l/include/uapi/linux/bpf.h": b"2", "l/README.md": b"3", "l/src/../../../b.c": b"4",
         "/l/src/c.c": b"5", "l/src/.h": b"6", "l/ci/x.c": b"7"},
        {"l/src/d.c": "/etc/passwd"},
    )  # fmt: skip
    unpack(tarball, tmp_path / "out")
    found = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if not p.is_dir())
    assert found == ["include/uapi/linux/bpf.h", "src/a.c"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar.gz", "out"]


def test_too_many_files(tmp_path: Path) -> None:
    """An archive is bounded before it is unpacked."""
    with pytest.raises(BuildError, match="more than"):
        unpack(archive(tmp_path / "a.tar", {f"l/{n}": b"" for n in range(10_001)}), tmp_path / "out")


def test_a_bomb(tmp_path: Path) -> None:
    """A member that says it is huge ends the reading before it is read."""
    member = tarfile.TarInfo("l/src/a.c")
    member.size = 1 << 40
    (tmp_path / "a.tar").write_bytes(member.tobuf())
    with pytest.raises(BuildError, match="more than"):
        unpack(tmp_path / "a.tar", tmp_path / "out")


def test_not_an_archive(tmp_path: Path) -> None:
    """Other bytes are named for what they are."""
    (tmp_path / "a.tar").write_bytes(b"<html>")
    with pytest.raises(BuildError, match="not a readable tar archive"):
        unpack(tmp_path / "a.tar", tmp_path / "out")


def test_version(tmp_path: Path) -> None:
    """The version is what the source says; below 1.5 the API that we use is not there."""
    assert libbpf_version(archive(tmp_path / "a.tar", {"l/src/Makefile": MAKEFILE % (1, 7)})) == "1.7.0"
    with pytest.raises(BuildError, match=r"libbpf 1\.4\.0, at least 1\.5"):
        libbpf_version(archive(tmp_path / "b.tar", {"l/src/Makefile": MAKEFILE % (1, 4)}))
    with pytest.raises(BuildError, match="no libbpf version"):
        libbpf_version(archive(tmp_path / "c.tar", {"l/src/a.c": b""}))


def test_no_compiler() -> None:
    """A compiler that is not there is named, with the package to install."""
    with pytest.raises(BuildError, match=r"no-such-cc.*gcc"):
        compiler_identity("no-such-cc")


def test_no_static_library(tmp_path: Path) -> None:
    """A static library that the compiler does not find is named with its Debian package."""
    fake = tmp_path / "cc"
    fake.write_text('#!/bin/sh\ncase "$1" in -print-file-name=*) echo "${1#*=}";; *) echo cc 1;; esac\n')
    fake.chmod(0o755)
    with pytest.raises(BuildError, match=r"libelf\.a.*libelf-dev"):
        compiler_identity(str(fake))


def test_sources_are_all_there() -> None:
    """Each C file and the build itself are part of the action key."""
    names = {path.name for path in SOURCES}
    assert {"main.c", "load.c", "attach.c", "said.c", "report.c", "sha256.c", "env.c", "fwcfg.c", "build.py"} <= names
    assert all(path.is_file() for path in SOURCES)
