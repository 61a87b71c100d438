"""Files that are never half there: atomic writes, locks, bounded reads.

Anything may be killed at any moment, so every write goes to a temporary name on the same file system, is synced,
and is renamed; readers see the old bytes or the new ones.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bpfcompat.errors import BpfcompatError, StoreError

TEMP_PREFIX = ".tmp-"
KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
    stat.S_IFREG: "a regular file",
}


def explain_os(error: OSError, where: object, doing: str) -> StoreError:
    """An OSError in words that say what to do next."""
    hints = {
        errno.ENOSPC: "free some space or point [paths] at another file system",
        errno.EDQUOT: "your quota is used up: free some space",
        errno.EACCES: "make it writable for this user, or choose another place in [paths]",
        errno.EPERM: "make it writable for this user, or choose another place in [paths]",
        errno.EROFS: "the file system is read-only: choose another place in [paths]",
        errno.EMFILE: "raise the open-file limit (ulimit -n)",
    }
    return StoreError(f"{where}: {doing}: {error.strerror}", hint=hints.get(error.errno or 0))


def ensure_dir(path: Path) -> Path:
    """Make a folder and its parents; StoreError when that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_os(error, path, "cannot make the folder") from error
    return path


def write_atomic(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Put bytes at a path, whole or not at all, and on disk when this returns."""
    ensure_dir(path.parent)
    temporary = path.parent / f"{TEMP_PREFIX}{secrets.token_hex(8)}"
    try:
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            with os.fdopen(fd, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
            sync_dir(path.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
    except OSError as error:
        raise explain_os(error, path, "cannot write") from error


def sync_dir(path: Path) -> None:
    """Make a rename in this folder survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_bounded(path: Path, limit: int, error_class: type[BpfcompatError] = StoreError) -> bytes:
    """The bytes of a regular file of at most `limit` bytes.

    The file is opened without blocking and judged by its descriptor, so a FIFO, a device or a swapped link cannot
    hang or mislead us.  Raises `error_class`.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise error_class(f"{path}: cannot open: {error.strerror}") from error
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise error_class(f"{path}: expected a regular file, got {kind_of(found.st_mode)}")
        if found.st_size > limit:
            raise error_class(f"{path}: {found.st_size} bytes, at most {limit} expected")
        with open(fd, "rb", closefd=False) as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise error_class(f"{path}: cannot read: {error.strerror}") from error
    finally:
        os.close(fd)
    if len(data) > limit:
        raise error_class(f"{path}: grew beyond {limit} bytes while being read")
    return data


def kind_of(mode: int) -> str:
    """What a file is, in a word, from its st_mode."""
    return KINDS.get(stat.S_IFMT(mode), "something else")


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[str], None] | None = None, poll_s: float = 0.1) -> Iterator[None]:
    """Hold an exclusive lock on a file; `waiting(holder)` is told once when another process has it.

    The kernel drops the lock when its holder dies, so there are no stale locks; the file's text names the holder.
    """
    ensure_dir(path.parent)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise explain_os(error, path, "cannot open the lock") from error
    try:
        told = False
        while not _try_lock(fd):
            if waiting is not None and not told:
                waiting(os.pread(fd, 200, 0).decode("utf-8", "replace").strip())
                told = True
            time.sleep(poll_s)
        with contextlib.suppress(OSError):  # the holder's name is a courtesy; a full disk must not cost the lock
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"pid {os.getpid()} since {time.strftime('%H:%M:%S')}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True
