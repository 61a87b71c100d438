"""Kernels out of packages: which files, which release, which BTF; and vmlinuz files that lie."""

import gzip
import struct
from pathlib import Path

import pytest

from bpfcompat.errors import KernelError
from bpfcompat.kernels.bzimage import has_pvh_entry, release_of, vmlinux_of
from bpfcompat.kernels.extract import kernel_files, kernel_parts
from tests.making import RELEASE, make_btf, make_deb, make_elf, make_kernel, make_vmlinuz


def debs(tmp_path: Path, *packages: dict[str, bytes]) -> list[Path]:
    paths = []
    for number, members in enumerate(packages):
        paths.append(tmp_path / f"{number}.deb")
        paths[-1].write_bytes(make_deb(members))
    return paths


def test_old_layout(tmp_path: Path) -> None:
    """Up to 6.18 one package carries boot/vmlinuz-* and boot/config-*."""
    members = {f"boot/vmlinuz-{RELEASE}": make_kernel(), f"boot/config-{RELEASE}": b"CONFIG_BPF=y\n"}
    parts = kernel_files(debs(tmp_path, {**members, "boot/System.map-x": b""}))
    assert parts.release == RELEASE and parts.config == b"CONFIG_BPF=y\n"
    assert parts.btf == make_btf() and parts.vmlinuz == make_kernel()


def test_new_layout(tmp_path: Path) -> None:
    """From 6.19 on the vmlinuz and the config are in two packages, below usr/lib/modules."""
    binary = {f"usr/lib/modules/{RELEASE}/vmlinuz": make_kernel()}
    base = {f"usr/lib/modules/{RELEASE}/config": b"C"}
    assert kernel_files(debs(tmp_path, binary, base)).config == b"C"
    assert kernel_files(debs(tmp_path, binary)).config is None


def test_other_config(tmp_path: Path) -> None:
    """A config of another release is not this kernel's."""
    members = {f"boot/vmlinuz-{RELEASE}": make_kernel(), "boot/config-9.9": b"C"}
    assert kernel_files(debs(tmp_path, members)).config is None


def test_not_one(tmp_path: Path) -> None:
    """No vmlinuz, or two, is no kernel."""
    for members in ({}, {"boot/vmlinuz-1": b"", "boot/vmlinuz-2": b""}):
        with pytest.raises(KernelError, match="expected one vmlinuz"):
            kernel_files(debs(tmp_path, members))


def test_other_release(tmp_path: Path) -> None:
    """A kernel under another's name is refused."""
    with pytest.raises(KernelError, match=f"expected release '6.2.0', its header says '{RELEASE}'"):
        kernel_files(debs(tmp_path, {"boot/vmlinuz-6.2.0": make_kernel()}))


def test_no_btf() -> None:
    """A kernel that was built without BTF is a kernel."""
    assert kernel_parts(make_vmlinuz(make_elf({".text": b"x"})), None).btf is None


def test_big_config() -> None:
    """A config of more than a mebibyte is refused."""
    with pytest.raises(KernelError, match="config: "):
        kernel_parts(make_kernel(), bytes((1 << 20) + 1))


@pytest.mark.hostile
@pytest.mark.parametrize("release", ["../../etc", "", "a/b", "a\0", "x" * 127 + "y"])
def test_bad_release(release: str) -> None:
    """A release that could not be a file's name is refused."""
    vmlinuz = bytearray(make_kernel("R" * 100))
    vmlinuz[0x300:0x400] = release.encode().ljust(256, b"\0") if release else bytes(256)
    if release == "a\0":
        assert release_of(bytes(vmlinuz)) == "a"  # the string ends at its zero byte
    else:
        with pytest.raises(KernelError, match="release string"):
            release_of(bytes(vmlinuz))


@pytest.mark.hostile
def test_wrong_size() -> None:
    """A payload that expands to another size than it says is damaged or made to mislead."""
    data = gzip.compress(b"x" * 100)
    vmlinuz = make_vmlinuz(b"x" * 100, pack=lambda _: data)
    assert vmlinux_of(vmlinuz) == b"x" * 100
    with pytest.raises(KernelError, match="expected 101 expanded bytes, got 100"):
        vmlinux_of(vmlinuz[:-4] + struct.pack("<I", 101))


@pytest.mark.hostile
@pytest.mark.parametrize("offset", [0x1F1, 0x1FE, 0x202, 0x20F, 0x24B, 0x24C, 0x24F])
def test_changed_header(offset: int) -> None:
    """A changed byte of the header never makes another kernel of it."""
    vmlinuz = bytearray(make_kernel())
    vmlinuz[offset] ^= 0xFF
    with pytest.raises(KernelError):
        kernel_parts(bytes(vmlinuz), None)


@pytest.mark.hostile
def test_cut() -> None:
    """Every cut of a vmlinuz is an error."""
    vmlinuz = make_kernel()
    for size in range(0, len(vmlinuz), 5):
        with pytest.raises(KernelError):
            kernel_parts(vmlinuz[:size], None)


def test_no_bzimage() -> None:
    """Something else, or a boot protocol before payload offsets, is refused in words."""
    with pytest.raises(KernelError, match="expected an x86 bzImage"):
        release_of(bytes(4096))
    old = bytearray(make_kernel())
    struct.pack_into("<H", old, 0x206, 0x207)
    with pytest.raises(KernelError, match=r"2\.08 or later, got 2\.07"):
        release_of(bytes(old))


def with_notes(notes: bytes, kind: int = 4, size: int | None = None) -> bytes:
    """An ELF file of one segment, which is these notes."""
    head = bytearray(make_elf({})[:64])
    struct.pack_into("<Q", head, 0x20, 64)
    struct.pack_into("<HHHHH", head, 0x36, 56, 1, 64, 0, 0)
    length = len(notes) if size is None else size
    return bytes(head) + struct.pack("<IIQQQQQQ", kind, 4, 120, 0, 0, length, length, 4) + notes


def note(name: bytes, kind: int, content: bytes) -> bytes:
    padded = [part + bytes(-len(part) % 4) for part in (name, content)]
    return struct.pack("<III", len(name), len(content), kind) + b"".join(padded)


OTHER, ENTRY = note(b"GNU\0", 3, b"build-id"), note(b"Xen\0", 18, bytes(8))


def test_pvh_entry() -> None:
    """A vmlinux is kept where one of its notes tells a PVH entry, whatever notes come before."""
    vmlinux = with_notes(OTHER + note(b"Linux\0", 257, b"odd") + ENTRY)
    assert has_pvh_entry(vmlinux) and kernel_parts(make_vmlinuz(vmlinux), None).vmlinux == vmlinux


@pytest.mark.parametrize(
    "vmlinux",
    [
        make_elf({".text": b"x"}),
        with_notes(OTHER),
        with_notes(ENTRY, kind=1),
        with_notes(note(b"Xen\0", 17, bytes(8)) + note(b"Not\0", 18, bytes(8))),
        with_notes(OTHER + ENTRY, size=20),
        with_notes(struct.pack("<III", 0xFFFFFFFF, 0xFFFFFFFF, 18), size=1 << 62),
        with_notes(bytes(12 << 20)),
        with_notes(b"")[:100],
        b"\x7fELF",
    ],
    ids=["none", "other", "no note", "one of Xen's", "cut", "lengths", "zeros", "table", "head"],
)
def test_no_pvh_entry(vmlinux: bytes) -> None:
    """Without that note, or with notes that lie, the vmlinuz is booted."""
    assert not has_pvh_entry(vmlinux)
