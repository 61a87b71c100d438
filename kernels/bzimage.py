"""A vmlinuz of x86 (bzImage): its release string, and the vmlinux inside.  Bytes in, values out.

Offsets are those of Documentation/arch/x86/boot.rst and elf(5); the PVH note is that of xen/interface/elfnote.h.
"""

import re
import struct

from bpfcompat.errors import KernelError
from bpfcompat.kernels.expand import expanded

MAX_VMLINUX = 256 << 20
MAX_SEGMENTS, MAX_NOTES = 64, 64 << 10  # of which a kernel has five, and some hundred bytes
RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~_-]{0,126}")

_SETUP_SECTS, _BOOT_FLAG, _VERSION, _KERNEL_VERSION, _PAYLOAD = 0x1F1, 0x1FE, 0x206, 0x20E, 0x248
_HEADER_END = 0x250
_SEGMENT = struct.Struct("<IIQQQQQQ")
_PT_NOTE, _PHYS32_ENTRY = 4, 18


def release_of(vmlinuz: bytes) -> str:
    """What `uname -r` will say: the first word of the header's version string."""
    _check_header(vmlinuz)
    start = 0x200 + struct.unpack_from("<H", vmlinuz, _KERNEL_VERSION)[0]
    text = vmlinuz[start : start + 128].split(b"\0")[0].split(b" ")[0].decode("ascii", "replace")
    if not RELEASE.fullmatch(text):
        raise KernelError(f"vmlinuz: header: expected a release string, got {text!r}")
    return text


def vmlinux_of(vmlinuz: bytes) -> bytes:
    """The expanded payload.  The build leaves the plain size in the payload's last four bytes, and it must hold."""
    _check_header(vmlinuz)
    sectors = vmlinuz[_SETUP_SECTS] or 4
    offset, length = struct.unpack_from("<II", vmlinuz, _PAYLOAD)
    start = (sectors + 1) * 512 + offset
    payload = vmlinuz[start : start + length]
    if length < 8 or len(payload) < length:
        raise KernelError(f"vmlinuz: damaged: a payload of {length} bytes at {start}, the file has {len(vmlinuz)}")
    vmlinux = expanded(payload, MAX_VMLINUX, "vmlinuz: payload")
    (size,) = struct.unpack_from("<I", payload, length - 4)
    if len(vmlinux) != size:
        raise KernelError(f"vmlinuz: payload: expected {size} expanded bytes, got {len(vmlinux)}")
    return vmlinux


def has_pvh_entry(vmlinux: bytes) -> bool:
    """True where QEMU can start a vmlinux as it is (CONFIG_PVH): a boot without the kernel's own unpacking."""
    try:
        (table,) = struct.unpack_from("<Q", vmlinux, 0x20)
        size, count = struct.unpack_from("<HH", vmlinux, 0x36)
        segments = [_SEGMENT.unpack_from(vmlinux, table + n * size) for n in range(min(count, MAX_SEGMENTS))]
        return any(_is_pvh_note(vmlinux, s[2], s[5]) for s in segments if s[0] == _PT_NOTE)
    except (struct.error, OverflowError):
        return False


def _is_pvh_note(vmlinux: bytes, at: int, size: int) -> bool:
    """Whether the note that tells the 32-bit entry is among those at `at`; each part of a note ends on a word."""
    end = min(at + min(size, MAX_NOTES), len(vmlinux))
    while at + 12 <= end:
        name, content, kind = struct.unpack_from("<III", vmlinux, at)
        if kind == _PHYS32_ENTRY and vmlinux[at + 12 : at + 12 + name] == b"Xen\0":
            return True
        at += 12 + (name + 3 & ~3) + (content + 3 & ~3)
    return False


def _check_header(vmlinuz: bytes) -> None:
    if (
        len(vmlinuz) < _HEADER_END
        or vmlinuz[_BOOT_FLAG : _BOOT_FLAG + 2] != b"\x55\xaa"
        or vmlinuz[0x202:0x206] != b"HdrS"
    ):
        raise KernelError("vmlinuz: expected an x86 bzImage")
    (version,) = struct.unpack_from("<H", vmlinuz, _VERSION)
    if version < 0x208:  # payload_offset and payload_length came with 2.08, Linux 2.6.26
        raise KernelError(f"vmlinuz: expected boot protocol 2.08 or later, got {version >> 8}.{version & 255:02}")
