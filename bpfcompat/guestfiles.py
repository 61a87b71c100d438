"""Files that go into a guest beside the object: one archive, unpacked there below /files before anything is asked.

Equal files give equal bytes, and the archive's digest is part of the probe's key.  validator/files.c reads it, and
refuses whatever this module would not have written.
"""

import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from bpfcompat.errors import ConfigError
from bpfcompat.initramfs import Entry, pack

FOLDER = "/files"
MAX_BYTES = 1 << 30  # of an archive, as in validator/files.c
MAX_FILES = 100_000
MAX_PATH = 1024
MAX_PART = 255
KERNEL_MB = 128  # of a guest's memory, for its kernel and its verifier, whatever the files take
PAGE, INODE = 4096, 1024  # bytes that a file takes in a tmpfs: its content in pages, and itself


@dataclass(frozen=True, slots=True)
class GuestFile:
    """One file as it lies in the guest: its bytes and permission bits."""

    data: bytes
    mode: int = 0o644


def archive(files: Mapping[str, GuestFile], where: str = "files") -> bytes:
    """The archive of these files, by path below /files; folders are made as needed.

    ConfigError for a path that is absolute or climbs, set-uid modes, and more than a guest takes.
    """
    return pack_whole([Entry(path, stat.S_IFREG | file.mode, file.data) for path, file in files.items()], where)


def pack_whole(entries: Iterable[Entry], where: str) -> bytes:
    """The archive of these entries and of the folders that they lie in."""
    found = list(entries)
    there = {entry.path for entry in found}
    folders = {str(parent) for path in there for parent in PurePosixPath(path).parents} - {".", "/"}
    files = {entry.path for entry in found if not stat.S_ISDIR(entry.mode)}
    if folders & files:
        raise ConfigError(f"{where}: {min(folders & files)}: a file and a folder have this path")
    return pack_checked([*(Entry(folder, stat.S_IFDIR | 0o755) for folder in folders - there), *found], where)


def pack_checked(entries: Iterable[Entry], where: str) -> bytes:
    """The archive of files, folders and links; ConfigError for whatever the guest would refuse."""
    found = list(entries)
    if len(found) > MAX_FILES:
        raise ConfigError(f"{where}: {len(found)} files and folders, at most {MAX_FILES} expected")
    for entry in found:
        fault = entry_fault(entry)
        if fault:
            raise ConfigError(f"{where}: {entry.path[:200]!r}: {fault}")
    try:
        packed = pack(found)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    if len(packed) > MAX_BYTES:
        raise ConfigError(f"{where}: {len(packed)} bytes, at most {MAX_BYTES} expected")
    return packed


def path_fault(path: str) -> str:
    """Why the guest would refuse a path below /files, "" if it would not."""
    parts = path.split("/")
    if {"", ".", ".."} & set(parts):
        return "expected a relative path without . and .."
    if not path.isprintable():
        return "expected a path that can be printed"
    long = len(path.encode()) > MAX_PATH or max(len(part.encode()) for part in parts) > MAX_PART
    return f"a path of at most {MAX_PATH} bytes expected, {MAX_PART} each part" if long else ""


def entry_fault(entry: Entry) -> str:
    """Why the guest would refuse a member, "" if it would not."""
    kind, bits = stat.S_IFMT(entry.mode), stat.S_IMODE(entry.mode)
    if kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
        return "expected a file, a folder or a link"
    if bits & (stat.S_ISUID | stat.S_ISGID) or (bits & stat.S_ISVTX and kind != stat.S_IFDIR):
        return f"mode {bits:o}: set-uid, set-gid and sticky files are not handed to guests"
    if kind == stat.S_IFLNK and not link_stays(entry.path, entry.data.decode("utf-8", "surrogateescape")):
        return "a link that leaves the files"
    return path_fault(entry.path)


def link_stays(path: str, target: str) -> bool:
    """True for a link to a relative target that is, read as text, not above the top folder."""
    depth = path.count("/")
    if not target or target.startswith("/") or "\0" in target or len(target.encode("utf-8", "replace")) > MAX_PATH:
        return False
    for part in target.split("/"):
        depth += -1 if part == ".." else 0 if part in ("", ".") else 1
        if depth < 0:
            return False
    return True


def memory_needed(sizes: Iterable[int]) -> int:
    """Bytes of a guest's memory that files of these sizes take there."""
    return sum(-(-size // PAGE) * PAGE + INODE for size in sizes)


def check_room(needed: int, memory_mb: int, where: str) -> None:
    """ConfigError when a guest of this size could not hold its files; it says which size could."""
    if needed > (memory_mb - KERNEL_MB) << 20:
        least = -(-(needed + (KERNEL_MB << 20)) >> 20)
        hint = f"set [guest] memory_mb to {-(-least // 64) * 64} or more"
        raise ConfigError(f"{where}: {needed >> 20} MiB of files do not fit into a guest of {memory_mb} MiB", hint=hint)
