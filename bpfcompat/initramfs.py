"""A byte-for-byte repeatable initramfs: the newc cpio archive that the kernel unpacks before it starts init.

Source of the format: Documentation/driver-api/early-userspace/buffer-format.rst in the kernel's tree.  No time, owner,
inode or order of the host gets in.  Nothing is compressed: the guest would pay for it.
"""

import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from bpfcompat.errors import KernelError

BLOCK = 512  # archives end on a block's border, so that several can be put one behind another
RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,63}")  # 64 is what utsname holds
FOLDERS = ("boot", "dev", "proc", "sys", "tmp")
_TRAILER = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class Entry:
    """One member: a relative path, st_mode with its type bits, a file's bytes, a device node's (major, minor)."""

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def pack(entries: Sequence[Entry]) -> bytes:
    """The archive of these entries, the same bytes in whatever order they come.

    The kernel makes no missing folders, so each must be an entry.  ValueError for a path twice, absolute or with `..`.
    """
    ordered = sorted(entries, key=lambda e: e.path)  # a folder sorts before what is in it
    paths = [e.path for e in ordered]
    if len(set(paths)) != len(paths):
        raise ValueError("initramfs: a path occurs twice")
    for path in paths:
        if not path or path == _TRAILER or "\0" in path or {"", ".", ".."} & set(path.split("/")):
            raise ValueError(f"initramfs: {path!r}: expected a relative path without . and ..")
    members = [_member(inode, entry) for inode, entry in enumerate(ordered, start=1)]
    archive = b"".join([*members, _member(0, Entry(_TRAILER, 0))])
    return archive + bytes(-len(archive) % BLOCK)


def guest_initramfs(
    validator: bytes, release: str, config: bytes | None, files: Sequence[tuple[str, bytes]] = ()
) -> bytes:
    """The guest's whole root: the validator as /init, mount points, a console, the kernel's configuration, and `files`.

    libbpf looks for the configuration at /boot/config-RELEASE; `None` when the kernel came without one.  KernelError
    if `release` cannot be a file name.
    """
    if not RELEASE.fullmatch(release):
        raise KernelError(f"kernel release: expected what uname -r says, got {release[:80]!r}")
    entries = [Entry(name, stat.S_IFDIR | 0o755) for name in FOLDERS]
    # init's stdin, stdout and stderr: the kernel opens this node before anything is mounted
    entries.append(Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)))
    entries.append(Entry("init", stat.S_IFREG | 0o755, validator))
    if config is not None:
        entries.append(Entry(f"boot/config-{release}", stat.S_IFREG | 0o644, config))
    folders = {"/".join(parts[:n]) for path, _ in files for parts in [path.split("/")] for n in range(1, len(parts))}
    entries += [Entry(folder, stat.S_IFDIR | 0o755) for folder in folders - set(FOLDERS)]
    entries += [Entry(path, stat.S_IFREG | 0o644, data) for path, data in files]
    return pack(entries)


def _member(inode: int, entry: Entry) -> bytes:
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    # inode, mode, uid, gid, links, mtime, size, archive's device (2), node's device (2), length of name, check
    fields = (inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + name) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
