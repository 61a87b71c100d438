"""The files of a registry's folder as answers: only the paths of layout.py, opened without following any link."""

import contextlib
import errno
import os
import stat
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

from bpfcompat.registry.layout import CHECKPOINT, INDEX, SERVED, TRAIL, TWIN
from bpfcompat.registry.server.answer import CHUNK, Answer, Rest
from bpfcompat.registry.server.request import Refusal, Request

_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ENXIO, errno.EMLINK}
_KINDS = {
    ".json": ("application/json", True),
    ".html": ("text/html; charset=utf-8", True),
    ".css": ("text/css; charset=utf-8", True),
    ".pem": ("application/x-pem-file", False),
    ".pack": ("application/octet-stream", True),
    CHECKPOINT: ("text/plain; charset=utf-8", False),
    TRAIL: ("text/plain; charset=utf-8", False),
}  # by the end of the path; and whether such files may have a compressed twin
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO must not wait for its writer
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_FOLDERS = 32
MAX_PATH = 100


class Place(NamedTuple):
    """Where a path lies, and the header lines that it decides: `cache` for every answer, `kind` for one with bytes."""

    folder: str
    name: str
    cache: bytes
    kind: bytes
    twinned: bool


@lru_cache(maxsize=4096)
def place_of(path: str) -> Place | None:
    """The place of a path of at most MAX_PATH characters; None for what is no path of a registry."""
    named = SERVED.fullmatch(path)
    if named is None:
        return None
    folder, _, name = path.rpartition("/")
    kind, twinned = _KINDS.get(path[max(path.rfind("."), 0) :], ("application/octet-stream", False))
    cache = "public, max-age=31536000, immutable" if named["addressed"] else "no-cache"
    vary = "Vary: Accept-Encoding\r\n" if twinned else ""
    lines = f"Cache-Control: {cache}\r\n{vary}".encode(), f"Content-Type: {kind}\r\n".encode()
    return Place(folder, name, *lines, twinned)


class Tree:
    """A registry below an open folder; the caller keeps the descriptor open.

    Folders on the way to a file stay open from one call of `refresh` to the next, a fraction of a second.
    """

    def __init__(self, root: int) -> None:
        self.root = root
        self._folders: dict[str, int] = {}

    def refresh(self) -> None:
        """Find folders anew from now on."""
        for fd in self._folders.values():
            os.close(fd)
        self._folders.clear()

    def answer(self, request: Request) -> Answer:
        """The file that a request names; Refusal 404 for whatever is not one, 503 when the host cannot tell.

        The ETag is inode, size and time of change: files are never edited, only replaced by rename, so other bytes
        always come with another inode or time.
        """
        path = INDEX if request.path == "/" else request.path[1:]
        place = place_of(path) if len(path) <= MAX_PATH else None
        if place is None:
            raise Refusal(HTTPStatus.NOT_FOUND, close=False)
        fd, info = self._open(place.folder, place.name)
        coding = b""
        try:
            if place.twinned and request.fields.gzip and (twin := self._twin(place, info)):
                os.close(fd)
                fd, info = twin
                coding = b"Content-Encoding: gzip\r\n"
            size = info.st_size
            etag = b'"%x-%x-%x"' % (info.st_ino, size, info.st_mtime_ns)
            if request.fields.none_match and _matches(etag.decode(), request.fields.none_match):
                return Answer(304, b"ETag: %b\r\n%b%b" % (etag, place.cache, coding))
            lines = b"ETag: %b\r\n%b%b%bContent-Length: %d\r\n" % (etag, place.cache, coding, place.kind, size)
            if request.head:
                return Answer(200, lines)
            body, rest = _read(fd, size)
            fd = fd if rest is None else -1
            return Answer(200, lines, body, rest)
        finally:
            if fd >= 0:
                os.close(fd)

    def _open(self, folder: str, name: str) -> tuple[int, os.stat_result]:
        try:
            fd = os.open(name, _FILE, dir_fd=self._folder(folder))
        except OSError as error:
            gone = error.errno in _GONE
            status = HTTPStatus.NOT_FOUND if gone else HTTPStatus.SERVICE_UNAVAILABLE
            raise Refusal(status, close=not gone) from error
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            os.close(fd)
            raise Refusal(HTTPStatus.NOT_FOUND, close=False)
        # A second name may be somebody's secret outside.  Not 404: that would say of an honest copy, whose snapshots
        # are hard links, that its verdicts were taken away.  No name is a file that was replaced a moment ago.
        if info.st_nlink > 1:
            os.close(fd)
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, close=False)
        return fd, info

    def _folder(self, path: str) -> int:
        if path not in self._folders:
            if len(self._folders) >= MAX_FOLDERS:
                self.refresh()
            self._folders[path] = open_folder(self.root, path)
        return self._folders[path]

    def _twin(self, place: Place, of: os.stat_result) -> tuple[int, os.stat_result] | None:
        """The compressed copy of this very file: its time says that it was made from it.  None without one."""
        with contextlib.suppress(Refusal):
            fd, info = self._open(place.folder, place.name + TWIN)
            if info.st_mtime_ns == of.st_mtime_ns and info.st_size:
                return fd, info
            os.close(fd)
        return None


def open_folder(root: int, path: str) -> int:
    """A descriptor of a folder below an open one; OSError for a link anywhere on the way, and as the system says."""
    at = os.dup(root)
    try:
        for name in path.split("/") if path else ():
            inner = os.open(name, _FOLDER, dir_fd=at)
            os.close(at)
            at = inner
    except OSError:
        os.close(at)
        raise
    return at


def _read(fd: int, size: int) -> tuple[bytes, Rest | None]:
    """A file's first bytes, and the rest where there is one; Refusal 503, while there is still time to say it."""
    wanted = min(size, CHUNK)
    try:
        data = os.pread(fd, wanted, 0)
    except OSError as error:
        raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE) from error
    if len(data) != wanted:
        raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE)
    return data, Rest(fd, wanted, size) if size > wanted else None


def _matches(etag: str, none_match: str) -> bool:
    listed = (item.strip().removeprefix("W/") for item in none_match.split(","))
    return none_match.strip() == "*" or etag in listed
