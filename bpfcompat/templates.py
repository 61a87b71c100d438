"""Frozen guests on disk: a folder a key, `ram` (sparse), `state`, and `template.json` that says what both must be.

A template is this host's own: its key names the host.  It is believed only as far as its files hold what was written:
the state is hashed at each use, the RAM whenever its file is not the very one that was hashed before.  What is not
believed is dropped, and made again by who needs it.
"""

import contextlib
import errno
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpfcompat.action import Action
from bpfcompat.digest import canonical, digest_bytes, digest_stream, hex_of, is_digest
from bpfcompat.errors import BpfcompatError, StoreError
from bpfcompat.files import TEMP_PREFIX, ensure_dir, explain_os, is_resource, read_bounded, sync_dir, write_atomic
from bpfcompat.guest import ram_pieces
from bpfcompat.qemu import STATE_BYTES, TEMPLATES_GID, Frozen

RAM, STATE, META = "ram", "state", "template.json"
MAX_META = 1 << 16
_NOT_WHOLE = (
    BpfcompatError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
    OverflowError,
)


@dataclass(frozen=True, slots=True)
class Template:
    """An opened template: give `frozen` to run_clone(); `close` it in the end.  `boot_s` is what freezing it took."""

    folder: Path
    frozen: Frozen
    seen: tuple[int, ...]
    boot_s: float

    def touched(self) -> bool:
        """True when somebody wrote into the RAM's file since it was opened.

        One that somebody else has dropped meanwhile is not: unlinking, too, sets the time of change.
        """
        return os.fstat(self.frozen.ram).st_nlink > 0 and _seen(self.frozen.ram) != self.seen

    def close(self) -> None:
        """Let go of the RAM's file."""
        os.close(self.frozen.ram)


class Templates:
    """The templates of one store."""

    def __init__(self, root: Path, say: Callable[[str], None]) -> None:
        self.root = root / "templates"
        self._say = say

    def folder(self, action: Action) -> Path:
        """Where a template lies, there or not."""
        return self.root / hex_of(action.key())

    def open(self, action: Action) -> Template | None:
        """A template that is as it was written, or None; a damaged one is dropped, and that is said.

        StoreError where this host or user cannot open it now, which is no fault of the template.
        """
        folder = self.folder(action)
        if not os.path.lexists(folder):
            return None
        try:
            return _opened(folder, action.key())
        except _NOT_WHOLE as error:
            _raise_resource(error, folder)
            self._say(f"   {action.label}: dropped: {error}")
            self.drop(action)
            return None

    def put(self, action: Action, ram: int, state: bytes, boot_s: float) -> None:
        """Keep a frozen guest; it appears whole or not at all.  StoreError when there is no room."""
        folder, place = self.folder(action), ensure_dir(self.root)
        try:
            with tempfile.TemporaryDirectory(dir=place, prefix=TEMP_PREFIX, ignore_cleanup_errors=True) as name:
                made = Path(name) / "template"
                _write(made, action, ram, state, boot_s)
                self.drop(action)
                os.rename(made, folder)
                sync_dir(place)
        except OSError as error:
            raise explain_os(error, folder, "cannot keep the template") from error

    def drop(self, action: Action) -> bool:
        """Forget a template; True if there was one.  Guests that run on it are not disturbed."""
        folder = self.folder(action)
        if not os.path.lexists(folder):
            return False
        try:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(folder) if folder.is_dir() and not folder.is_symlink() else folder.unlink()
        except OSError as error:
            raise explain_os(error, folder, "cannot drop the template") from error
        return True


def _raise_resource(error: BaseException, folder: Path) -> None:
    cause = error if isinstance(error, OSError) else error.__cause__
    if isinstance(cause, OSError) and (is_resource(cause) or cause.errno == errno.EROFS):
        raise explain_os(cause, folder, "cannot open the template") from error


def _write(folder: Path, action: Action, ram: int, state: bytes, boot_s: float) -> None:
    folder.mkdir()
    fd = os.open(folder / RAM, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, os.fstat(ram).st_size)
        for at, piece in ram_pieces(ram):
            if os.pwrite(fd, piece, at) != len(piece):
                raise OSError(28, os.strerror(28))  # ENOSPC: a short write is the disk's last word before it
        if os.geteuid() == 0:  # guests have a user of their own, and QEMU opens the file for writing (until 8.2)
            os.fchown(fd, 0, TEMPLATES_GID)
            os.fchmod(fd, 0o660)
        os.fsync(fd)
        said = {"key": action.key(), "ram": _digest(fd), "seen": _seen(fd), "state": digest_bytes(state),
                "boot_s": round(boot_s, 3)}  # fmt: skip
    finally:
        os.close(fd)
    write_atomic(folder / STATE, state, mode=0o600)
    write_atomic(folder / META, canonical(said))


def _opened(folder: Path, key: str) -> Template:
    if not stat.S_ISDIR(os.lstat(folder).st_mode):
        raise StoreError(f"{folder}: expected a folder")
    said: dict[str, Any] = json.loads(_read(folder / META, MAX_META))
    state = _read(folder / STATE, STATE_BYTES)
    if said["key"] != key:
        raise StoreError(f"{META}: key: expected {key[:19]}, got {str(said['key'])[:19]}")
    if digest_bytes(state) != said["state"] or not is_digest(said["ram"]):
        raise StoreError(f"{STATE}: expected {str(said['state'])[:19]}, got {digest_bytes(state)[:19]}")
    fd = os.open(folder / RAM, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        _believe(folder, fd, said)
        os.utime(folder / META)  # gc drops what was used longest ago
        return Template(folder, Frozen(fd, state), _seen(fd), float(said["boot_s"]))
    except BaseException:
        os.close(fd)
        raise


def _believe(folder: Path, fd: int, said: dict[str, Any]) -> None:
    """StoreError unless the RAM's file holds what it was said to hold."""
    seen = _seen(fd)
    if not stat.S_ISREG(os.fstat(fd).st_mode) or seen[2] != said["seen"][2]:
        raise StoreError(f"{RAM}: expected a file of {said['seen'][2]} bytes, got {seen[2]}")
    if list(seen) == said["seen"]:
        return
    found = _digest(fd)
    if found != said["ram"]:
        raise StoreError(f"{RAM}: expected {said['ram'][:19]}, got {found[:19]}")
    write_atomic(folder / META, canonical({**said, "seen": seen}))


def _read(path: Path, limit: int) -> bytes:
    if path.is_symlink():
        raise StoreError(f"{path.name}: is a link")
    return read_bounded(path, limit)


def _seen(fd: int) -> tuple[int, ...]:
    found = os.fstat(fd)
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _digest(fd: int) -> str:
    with open(os.dup(fd), "rb") as stream:
        stream.seek(0)
        return digest_stream(stream)
