"""Debian packages made here: whole, cut, and hostile."""

import io
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfcompat.errors import KernelError
from bpfcompat.kernels import deb
from bpfcompat.kernels.deb import deb_members, matches
from bpfcompat.kernels.extract import deb_member
from tests.making import make_ar, make_deb, make_tar


def put(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "x.deb"
    path.write_bytes(data)
    return path


def with_data(tar: bytes, pack: Callable[[bytes], bytes] = lzma.compress) -> bytes:
    return make_ar({"debian-binary": b"2.0\n", "data.tar.xz": pack(tar)})


def header(name: str, **values: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in values.items():
        setattr(info, key, value)
    return info


def test_members(tmp_path: Path) -> None:
    """Matching files come back by path; the star stays within one folder."""
    path = put(tmp_path, make_deb({"usr/lib/a/bpf/x.o": b"1", "usr/lib/a/b/bpf/x.o": b"2", "usr/lib/a/bpf/y": b"3"}))
    assert deb_members(path, ["usr/lib/*/bpf/*.o"], 10) == {"usr/lib/a/bpf/x.o": b"1"}
    assert deb_members(path, ["usr/*"], 10) == {}
    assert deb_member(path, "usr/lib/*/bpf/x.o", 10) == b"1"


def test_one_member(tmp_path: Path) -> None:
    """One member means one: none and several are errors that name what was there."""
    path = put(tmp_path, make_deb({"a/x.o": b"1", "a/y.o": b"2"}))
    with pytest.raises(KernelError, match=r"expected one member 'a/\*.o', got a/x.o, a/y.o"):
        deb_member(path, "a/*.o", 10)
    with pytest.raises(KernelError, match="got none"):
        deb_member(path, "b/x.o", 10)


def test_matches() -> None:
    """Folders are matched one by one."""
    assert matches("boot/vmlinuz-6.1", "boot/vmlinuz-*")
    assert not matches("boot/vmlinuz-6.1/x", "boot/vmlinuz-*")


def test_absent(tmp_path: Path) -> None:
    """A package that is not there is a KernelError."""
    with pytest.raises(KernelError, match="cannot read"):
        deb_members(tmp_path / "none.deb", ["x"], 1)


@pytest.mark.hostile
def test_traversal(tmp_path: Path) -> None:
    """Names that climb, and links, are neither followed nor written; the folder stays as it was."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(header("boot/vmlinuz-1", type=tarfile.SYMTYPE, linkname="/etc/passwd"))
        archive.addfile(header("boot/vmlinuz-2", type=tarfile.LNKTYPE, linkname="/etc/passwd"))
        archive.addfile(header("boot/vmlinuz-3", type=tarfile.FIFOTYPE))
        archive.addfile(header("boot/../../vmlinuz-4", size=1), io.BytesIO(b"x"))
        archive.addfile(header("/boot/vmlinuz-5", size=1), io.BytesIO(b"x"))
    path = put(tmp_path, with_data(out.getvalue()))
    assert deb_members(path, ["boot/vmlinuz-*"], 10) == {}
    assert os.listdir(tmp_path) == ["x.deb"]


@pytest.mark.hostile
def test_too_big(tmp_path: Path) -> None:
    """A member beyond the limit is refused by its header."""
    path = put(tmp_path, make_deb({"x": bytes(1000)}))
    with pytest.raises(KernelError, match="1000 bytes, at most 999"):
        deb_members(path, ["x"], 999)


@pytest.mark.hostile
def test_long_header(tmp_path: Path) -> None:
    """An extended header of a megabyte is not read into memory; one of negative size is refused."""
    long = header("x", type=tarfile.GNUTYPE_LONGNAME, size=1 << 20).tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)
    negative = header("x", size=-512).tobuf(tarfile.GNU_FORMAT)
    for tar in (long, negative):
        with pytest.raises(KernelError, match="a header of size"):
            deb_members(put(tmp_path, with_data(tar)), ["x"], 10)


@pytest.mark.hostile
def test_many(tmp_path: Path) -> None:
    """More matches than a package has reason for are refused."""
    path = put(tmp_path, make_deb({f"x{n}": b"" for n in range(deb.MAX_MATCHES + 5)}))
    with pytest.raises(KernelError, match="more members"):
        deb_members(path, ["x*"], 10)


@pytest.mark.hostile
def test_nested_headers(tmp_path: Path) -> None:
    """Thousands of extended headers in a row end in an error, not in a crash."""
    one = header("x", type=tarfile.GNUTYPE_LONGNAME, size=2).tobuf(tarfile.GNU_FORMAT) + b"y\0".ljust(512, b"\0")
    with pytest.raises(KernelError):
        deb_members(put(tmp_path, with_data(one * 5000)), ["x"], 10)


@pytest.mark.hostile
def test_cut(tmp_path: Path) -> None:
    """Every cut of a package is an error, even behind the last file that we look for."""
    whole = make_deb({"boot/vmlinuz-1": b"x" * 3000})
    for size in [*range(0, 300), *range(300, len(whole) - 2, 7)]:
        with pytest.raises(KernelError):
            deb_members(put(tmp_path, whole[:size]), ["boot/vmlinuz-*"], 10_000)


@pytest.mark.hostile
@pytest.mark.parametrize(
    "data",
    [make_ar({"debian-binary": b"2.0\n"}), make_ar({f"x{n}": b"" for n in range(100)}),
     make_ar({"data.tar.xz": b"x"})[:58] + b"99999999999`\n", with_data(b"not a tar" * 100),
     with_data(make_tar([("x", b"1")]), lambda tar: tar)],
)  # fmt: skip
def test_no_package(tmp_path: Path, data: bytes) -> None:
    """No data.tar, too many parts, sizes that are none, no tar inside, no compression: refused."""
    with pytest.raises(KernelError):
        deb_members(put(tmp_path, data), ["x"], 10)
