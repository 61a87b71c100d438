"""The one download: bounded, resumable, checked against a digest, renamed into place whole.

Where it may go is the guard's to say (docs/fetch.md); no byte is believed before its digest is right.
"""

import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bpfcompat.dialler import Budget, Dialler, Late, Trouble
from bpfcompat.digest import digest_file
from bpfcompat.errors import BpfcompatError, KernelError, TrustError
from bpfcompat.files import explain_os, locked, sync_dir
from bpfcompat.guard import Answer, Door
from bpfcompat.origins import NOBODY, Allowed, Refused, shown

Progress = Callable[[int, int | None], None]

PAUSES_S = (0.2, 1.0, 3.0)


class Gone(KernelError):
    """The server says that it has no such file (404 or 410)."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    url: str
    name: str  # the address without credentials, for people
    size: int | None
    digest: str | None
    limit: int  # the most bytes that may come
    end: float  # on the monotonic clock
    progress: Progress | None
    allowed: Allowed

    def left(self) -> float:
        seconds = self.end - time.monotonic()
        if seconds <= 0:
            raise Late("not complete within its deadline")
        return seconds


def fetch(
    url: str,
    *,
    size: int | None,
    digest: str | None,
    limit: int,
    dest: Path,
    progress: Progress | None = None,
    deadline_s: float = 900.0,
    allowed: Allowed = NOBODY,
) -> str:
    """Have a URL's bytes at `dest` and return their digest (`sha256:…`).

    `size` and `digest` are what the bytes must have, as far as known; never more than `limit` bytes are read.  What
    arrived before a break is kept beside `dest` and resumed when a digest is there to check the sum.
    `progress(bytes_so_far, bytes_in_all)`.  `allowed` are the hosts that were named.  Raises Gone for 404 and 410,
    TrustError for wrong bytes, Refused where the guard does not go, KernelError for everything else that a server can
    do.
    """
    name = shown(url)
    if size is not None and size > limit:
        raise KernelError(f"{name}: {size} bytes, at most {limit} expected")
    bound = limit if size is None else size
    wanted = _Wanted(url, name, size, digest, bound, time.monotonic() + deadline_s, progress, allowed)
    part = dest.with_name(dest.name + ".part")
    with locked(part.with_name(part.name + ".lock")):
        if digest is not None and dest.is_file() and digest_file(dest) == digest:
            return digest
        try:
            return _into_place(wanted, part, dest)
        except OSError as error:
            raise explain_os(error, dest, "cannot write the download") from error


def _into_place(wanted: _Wanted, part: Path, dest: Path) -> str:
    """Download, check, rename.  A resumed file that is wrong is tried once more from its beginning."""
    resumed = wanted.digest is not None and _begun(part) > 0
    _download(wanted, part)
    found = digest_file(part)
    if wanted.digest not in (None, found):
        part.unlink()
        if resumed:
            return _into_place(wanted, part, dest)
        raise TrustError(f"{wanted.name}: expected {wanted.digest}, got {found}")
    os.replace(part, dest)
    sync_dir(dest.parent)
    return found


def _download(wanted: _Wanted, part: Path) -> None:
    """Fill the .part file, with a few attempts when the trouble looks passing."""
    try:
        for pause in (*PAUSES_S, None):
            try:
                _attempt(wanted, part)
                return
            except Trouble as error:
                if pause is None or pause >= wanted.left():
                    hint = "check the network and [mirror] debian in bpfcompat.toml"
                    raise KernelError(f"{wanted.name}: {error}", hint=hint) from error
                time.sleep(pause)
    except (Refused, Late) as error:
        again = "run it again: it resumes" if isinstance(error, Late) and wanted.digest else None
        raise type(error)(f"{wanted.name}: {error.message}", again or error.hint) from error


def _begun(part: Path) -> int:
    """How many bytes came before; what is no file of this name alone (a link, a FIFO) is taken away and not written."""
    try:
        found = os.lstat(part)
    except FileNotFoundError:
        return 0
    if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
        return found.st_size
    part.unlink()
    return 0


def _attempt(wanted: _Wanted, part: Path) -> None:
    if wanted.digest is None:  # of two attempts, each could be of another file
        part.unlink(missing_ok=True)
    have = _begun(part)
    if have and have == wanted.size:
        return
    headers = {"Range": f"bytes={have}-"} if have else {}
    budget = Budget(wanted.left(), wanted.limit)
    with _door(os.getpid(), wanted.allowed).open(wanted.url, budget, headers) as answer:
        _check_status(answer, wanted, (200, 206, 416) if have else (200,))
        _check_encoding(answer, wanted)
        offset = 0 if answer.status == 200 else have  # a server may ignore Range and start over
        if offset and not answer.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
            part.unlink()
            raise Trouble("the server has another file than the one that was begun")
        _write(answer.body(), wanted, part, offset, _announced(answer, wanted, offset))


@cache
def _door(process: int, allowed: Allowed) -> Door:
    """The door of all downloads with the same named hosts; a forked process shares no connection."""
    return Door(Dialler(allowed))


def _check_status(answer: Answer, wanted: _Wanted, good: tuple[int, ...]) -> None:
    status = answer.status
    if status in good:
        return
    if status in (404, 410):
        raise Gone(f"{wanted.name}: not there (status {status})")
    if status == 429 or status >= 500:
        raise Trouble(f"the server answers with status {status}")
    raise KernelError(f"{wanted.name}: the server answers with status {status}")


def _check_encoding(answer: Answer, wanted: _Wanted) -> None:
    """Where no digest would notice that other bytes came than those of the file, nothing compressed is taken."""
    if wanted.digest is None and answer.headers.get("Content-Encoding", "identity") != "identity":
        raise TrustError(f"{wanted.name}: came compressed though we asked for it plain")


def _announced(answer: Answer, wanted: _Wanted, offset: int) -> int | None:
    """How long the whole file will be, as far as anybody says; refused when that is too long."""
    length = answer.headers.get("Content-Length", "")
    total = offset + int(length) if length.isascii() and length.isdigit() and len(length) < 19 else None
    if total is not None and total > wanted.limit:
        raise _too_long(wanted, total)
    return total if wanted.size is None else wanted.size


def _too_long(wanted: _Wanted, got: int) -> BpfcompatError:
    if wanted.size is not None:
        return TrustError(f"{wanted.name}: expected {wanted.size} bytes, got {got} or more")
    return KernelError(f"{wanted.name}: {got} bytes or more, at most {wanted.limit} expected")


def _write(body: Iterator[bytes], wanted: _Wanted, part: Path, offset: int, total: int | None) -> None:
    done = offset
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(part, flags | (os.O_APPEND if offset else os.O_TRUNC), 0o644)
    with open(fd, "ab" if offset else "wb") as stream:
        for chunk in body:
            done += len(chunk)
            if done > wanted.limit:
                stream.close()
                part.unlink()
                raise _too_long(wanted, done)
            stream.write(chunk)
            if wanted.progress is not None:
                wanted.progress(done, total)
        stream.flush()
        os.fsync(stream.fileno())
    if total is not None and done < total:
        raise Trouble(f"the body ended after {done} of {total} bytes")
