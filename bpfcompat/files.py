"""Files that are never half there: atomic writes, locks, bounded reads.

Anything may be killed at any moment, so every write goes to a temporary name on the same file system, is synced,
and is renamed; readers see the old bytes or the new ones.
"""

import contextlib
import errno
import fcntl
import itertools
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from bpfcompat.errors import BpfcompatError, StoreError

TEMP_PREFIX = ".tmp-"
_BATCH = 100  # files that are open at once
KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
    stat.S_IFREG: "a regular file",
    stat.S_IFLNK: "a symbolic link",
}
_NO_LOCKS = "this file system grants no locks: point [paths] at a disk of this machine"


def explain_os(error: OSError, where: object, doing: str) -> StoreError:
    """An OSError in words that say what to do next."""
    hints = {
        errno.ENOSPC: "free some space or point [paths] at another file system",
        errno.EDQUOT: "your quota is used up: free some space",
        errno.EACCES: "make it writable for this user, or choose another place in [paths]",
        errno.EPERM: "make it writable for this user, or choose another place in [paths]",
        errno.EROFS: "the file system is read-only: choose another place in [paths]",
        errno.EMFILE: "raise the open-file limit (ulimit -n)",
        errno.ENOLCK: _NO_LOCKS,
        errno.ENOSYS: _NO_LOCKS,
        errno.EOPNOTSUPP: _NO_LOCKS,
    }
    return StoreError(f"{where}: {doing}: {error.strerror}", hint=hints.get(error.errno or 0))


def is_resource(error: OSError) -> bool:
    """True when an error says nothing about the file: this process may not, or this machine cannot now."""
    return error.errno in (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE)


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
    temporary = path.parent / f"{TEMP_PREFIX}{os.urandom(8).hex()}"
    try:
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            try:
                _write_whole(fd, data)
                os.fsync(fd)
            finally:
                os.close(fd)
            os.replace(temporary, path)
            sync_dir(path.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
    except OSError as error:
        raise explain_os(error, path, "cannot write") from error


def write_named(path: Path, data: bytes) -> None:
    """Put bytes where a person said: a file as write_atomic does; through a link, or into a device, as it is.

    A rename would put a file in the place of /dev/stdout.
    """
    if not path.is_symlink() and (path.is_file() or not path.exists()):
        return write_atomic(path, data)
    try:
        with open(path, "wb") as stream:
            stream.write(data)
    except OSError as error:
        raise explain_os(error, path, "cannot write") from error


def write_all(made: Iterable[tuple[Path, bytes]], mode: int = 0o644) -> None:
    """As write_atomic for many files, which appear in this order; a folder is synced once, when all of them lie there.

    Much faster than one by one: the file system is asked to sync when there is something to sync for many.
    """
    folders: dict[Path, None] = {}
    todo = iter(made)
    while batch := list(itertools.islice(todo, _BATCH)):
        for folder in dict.fromkeys(path.parent for path, _ in batch):
            if folder not in folders:
                folders[ensure_dir(folder)] = None
        _write_batch(batch, mode)
    for folder in folders:
        try:
            sync_dir(folder)
        except OSError as error:
            raise explain_os(error, folder, "cannot write") from error


def _write_batch(batch: Sequence[tuple[Path, bytes]], mode: int) -> None:
    written: list[tuple[int, Path, Path]] = []
    where = batch[0][0]
    try:
        try:
            for where, data in batch:
                temporary = where.parent / f"{TEMP_PREFIX}{os.urandom(8).hex()}"
                fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
                written.append((fd, temporary, where))
                _write_whole(fd, data)
            for fd, _, where in written:  # noqa: B007  named when it fails
                os.fsync(fd)
            for _, temporary, where in written:
                os.replace(temporary, where)
        finally:
            for fd, temporary, _ in written:
                os.close(fd)
                with contextlib.suppress(OSError):
                    temporary.unlink()
    except OSError as error:
        raise explain_os(error, where, "cannot write") from error


def _write_whole(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def sync_dir(path: Path) -> None:
    """Make a rename in this folder survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_bounded(
    path: Path, limit: int, error_class: type[BpfcompatError] = StoreError, follow: bool = True, use: bool = True
) -> bytes:
    """The bytes of a regular file of at most `limit` bytes; with `follow` off, a symbolic link is none.

    With `use` off the reading does not count as a use of the file, where that can be had.

    The file is opened without blocking and judged by its descriptor, so a FIFO, a device or a swapped link cannot
    hang or mislead us.  Raises `error_class`.
    """
    try:
        fd = open_to_read(path, follow, use)
    except OSError as error:
        raise error_class(f"{path}: {_why_not_open(path, error, follow)}") from error
    return _read_all(fd, str(path), limit, error_class)


def read_below(root: Path, path: str, limit: int, error_class: type[BpfcompatError] = StoreError) -> bytes | None:
    """As read_bounded, of a relative path with `/` below a folder; None when nothing is there.

    No link is followed, neither the file nor a folder on the way, not even one that appears meanwhile.
    """
    try:
        fd = open_below(root, path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise error_class(f"{path}: {_why_not_below(root, path, error)}") from error
    return _read_all(fd, path, limit, error_class)


def list_below(root: Path, path: str, error_class: type[BpfcompatError] = StoreError) -> list[str]:
    """The names in a folder below a folder, unsorted, none when it is not there; no link is followed."""
    try:
        fd = open_below(root, path, os.O_DIRECTORY)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise error_class(f"{path}: {_why_not_below(root, path, error, last='folder')}") from error
    try:
        return os.listdir(fd)
    except OSError as error:
        raise error_class(f"{path}: cannot list: {error.strerror}") from error
    finally:
        os.close(fd)


def open_below(root: Path, path: str, flags: int = 0) -> int:
    """A descriptor to read a relative path from, each folder on the way opened from the one before; OSError."""
    *folders, name = path.split("/")
    if {"", ".", ".."} & {*folders, name}:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    way = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    at = os.open(root, way)
    try:
        for folder in folders:
            inner = os.open(folder, way | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = inner
        return os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=at)
    finally:
        os.close(at)


def _read_all(fd: int, path: str, limit: int, error_class: type[BpfcompatError]) -> bytes:
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


def read_beneath(folder: int, name: str, limit: int, error_class: type[BpfcompatError] = StoreError) -> bytes:
    """As read_bounded, for a name in an open folder and for hundreds of thousands of them; a link is not followed.

    The error does not name the file: the caller knows which it is.
    """
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        raise error_class("is missing") from None
    except OSError as error:
        raise error_class(f"cannot open: {error.strerror}") from error
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise error_class(f"expected a regular file, got {kind_of(found.st_mode)}")
        if found.st_size > limit:
            raise error_class(f"{found.st_size} bytes, at most {limit} expected")
        data = os.read(fd, found.st_size + 1)
        while len(data) < found.st_size and (more := os.read(fd, found.st_size + 1 - len(data))):
            data += more
    except OSError as error:
        raise error_class(f"cannot read: {error.strerror}") from error
    finally:
        os.close(fd)
    if len(data) != found.st_size:
        raise error_class("changed while being read")
    return data


def open_to_read(path: Path, follow: bool = True, use: bool = True) -> int:
    """A descriptor to read from, without waiting for a FIFO's writer; OSError as the system says it."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    if not use:
        with contextlib.suppress(PermissionError):  # only a file's owner may read it unnoticed
            return os.open(path, flags | os.O_NOATIME)
    return os.open(path, flags)


def _why_not_open(path: Path, error: OSError, follow: bool) -> str:
    """What is there instead of a file, for a link that was not followed and for a socket; else the system's words."""
    if error.errno == errno.ENXIO or (error.errno == errno.ELOOP and not follow):
        with contextlib.suppress(OSError):
            return f"expected a regular file, got {kind_of(os.lstat(path).st_mode)}"
    return f"cannot open: {error.strerror}"


def _why_not_below(root: Path, path: str, error: OSError, last: str = "regular file") -> str:
    """Which part of the way is no folder, or what is there instead of the last; else the system's words."""
    parts = path.split("/") if error.errno != errno.EINVAL else []
    for count in range(1, len(parts) + 1):
        wanted = "folder" if count < len(parts) else last
        with contextlib.suppress(OSError):
            mode = os.lstat(root.joinpath(*parts[:count])).st_mode
            if not (stat.S_ISDIR(mode) if wanted == "folder" else stat.S_ISREG(mode)):
                at = "" if count == len(parts) else f"{'/'.join(parts[:count])}: "
                return f"{at}expected a {wanted}, got {kind_of(mode)}"
    return f"cannot open: {error.strerror}"


def kind_of(mode: int) -> str:
    """What a file is, in a word, from its st_mode."""
    return KINDS.get(stat.S_IFMT(mode), "something else")


def remove(path: Path, aside: Path) -> None:
    """Take away what lies at a path, if anything does, whatever it is; OSError as the system says it.

    A folder goes to `aside` on the same file system: nothing of ours made it, so its contents are not ours to delete
    at once.
    """
    try:
        path.unlink(missing_ok=True)
    except (IsADirectoryError, PermissionError):
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise
        os.rename(path, ensure_dir(aside) / f"{TEMP_PREFIX}{os.urandom(8).hex()}")


# --- locks


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[str], None] | None = None, poll_s: float = 0.1) -> Iterator[None]:
    """Hold an exclusive lock on a file; `waiting(holder)` is told once when another process has it.

    The kernel drops the lock when its holder dies, so there are no stale locks; the file's text names the holder.
    """
    ensure_dir(path.parent)
    told = False
    while (fd := _take(path)) is None:
        if waiting is not None and not told:
            waiting(holder(path))
            told = True
        time.sleep(poll_s)
    try:
        _sign(fd)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def locked_now(path: Path) -> Iterator[bool]:
    """Hold the lock of `locked` if nobody has it: True, or False at once."""
    ensure_dir(path.parent)
    fd = _take(path)
    if fd is None:
        yield False
        return
    try:
        _sign(fd)
        yield True
    finally:
        os.close(fd)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Show that a folder is in use, until the end of this block or of this process; `is_held` sees it."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
        except OSError as error:
            raise explain_os(error, folder, "cannot lock") from error
        yield
    finally:
        os.close(fd)


def is_held(folder: Path) -> bool:
    """True while any process has a folder `held`."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return not _try_lock(fd)
    finally:
        os.close(fd)


def _take(path: Path) -> int | None:
    """A descriptor that holds the lock, or None when somebody else does.

    Whoever drops old lock files holds them while he does; a lock on a file that is no longer there would lock out
    nobody, hence the second look at the path.
    """
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise explain_os(error, path, "cannot open the lock") from error
        try:
            got = _try_lock(fd)
            if got and _lies_at(path, fd):
                return fd
        except OSError as error:
            os.close(fd)
            raise explain_os(error, path, "cannot lock") from error
        os.close(fd)
        if not got:
            return None


def _lies_at(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(fd))
    except FileNotFoundError:
        return False


def _sign(fd: int) -> None:
    with contextlib.suppress(OSError):  # the holder's name is a courtesy; a full disk must not cost the lock
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"pid {os.getpid()} since {time.strftime('%H:%M:%S')}\n".encode(), 0)


def holder(path: Path) -> str:
    """Who has, or last had, the lock at this path, in words."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(fd, "rb") as stream:
            text = stream.read(200).decode("utf-8", "replace").strip()
    except OSError:
        text = ""
    return text or "another process"


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True
