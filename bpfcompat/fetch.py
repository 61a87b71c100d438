"""The one download: bounded, resumable, checked against a digest, renamed into place whole.

It speaks http and https only, reads nothing from the environment (no proxies, no netrc), sends no credentials to a
second host, and believes no byte before its digest is right.  Plain http is allowed because digests protect it.
"""

import contextlib
import os
import queue
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from bpfcompat.digest import digest_file
from bpfcompat.errors import BpfcompatError, KernelError, TrustError
from bpfcompat.files import explain_os, locked, sync_dir

Progress = Callable[[int, int | None], None]

MAX_REDIRECTS = 3
CONNECT_S = 10.0
SILENCE_S = 30.0
PAUSES_S = (0.2, 1.0, 3.0)
CHUNK = 1 << 16


class Gone(KernelError):
    """The server says that it has no such file (404 or 410)."""


class _Trouble(Exception):
    """Something that may be better in a second."""


class _Session(requests.Session):
    """A session blind to redirects: requests reads their whole bodies even when told not to follow."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


@dataclass(frozen=True, slots=True)
class _Wanted:
    url: str
    name: str  # the address without credentials, for people
    size: int | None
    digest: str | None
    limit: int  # the most bytes that may come
    end: float  # on the monotonic clock
    progress: Progress | None

    def left(self) -> float:
        seconds = self.end - time.monotonic()
        if seconds <= 0:
            raise KernelError(f"{self.name}: not complete within its deadline", hint="run it again: it resumes")
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
) -> str:
    """Have a URL's bytes at `dest` and return their digest (`sha256:…`).

    `size` and `digest` are what the bytes must have, as far as known; never more than `limit` bytes are read.  What
    arrived before a break is kept beside `dest` and resumed when a digest is there to check the sum.
    `progress(bytes_so_far, bytes_in_all)`.  Raises Gone for 404 and 410, TrustError for wrong bytes, KernelError
    for everything else that a server can do.
    """
    _check_scheme(url)
    if size is not None and size > limit:
        raise KernelError(f"{shown(url)}: {size} bytes, at most {limit} expected")
    bound = limit if size is None else size
    wanted = _Wanted(url, shown(url), size, digest, bound, time.monotonic() + deadline_s, progress)
    part = dest.with_name(dest.name + ".part")
    with locked(part.with_name(part.name + ".lock")):
        if digest is not None and dest.is_file() and digest_file(dest) == digest:
            return digest
        try:
            return _into_place(wanted, part, dest)
        except OSError as error:
            raise explain_os(error, dest, "cannot write the download") from error


def shown(url: str) -> str:
    """A URL without user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _into_place(wanted: _Wanted, part: Path, dest: Path) -> str:
    """Download, check, rename.  A resumed file that is wrong is tried once more from its beginning."""
    resumed = wanted.digest is not None and part.is_file()
    if not resumed:
        part.unlink(missing_ok=True)
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
    for pause in (*PAUSES_S, None):
        try:
            _attempt(wanted, part)
            return
        except (_Trouble, requests.RequestException, urllib3.exceptions.HTTPError) as error:
            if pause is None or pause >= wanted.left():
                hint = "check the network and [mirror] debian in bpfcompat.toml"
                raise KernelError(f"{wanted.name}: {_brief(error)}", hint=hint) from error
            time.sleep(pause)


def _attempt(wanted: _Wanted, part: Path) -> None:
    have = part.stat().st_size if part.is_file() else 0
    if have and have == wanted.size:
        return
    with _Session() as session:
        session.trust_env = False
        session.verify = ssl.get_default_verify_paths().cafile or True  # the system's authorities, else certifi's
        response = _open(session, wanted, have)
        with contextlib.closing(response):
            offset = 0 if response.status_code == 200 else have  # a server may ignore Range and start over
            if offset and not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
                part.unlink()
                raise _Trouble("the server has another file than the one that was begun")
            _write(_body(response, wanted), wanted, part, offset, _announced(response, wanted, offset))


def _open(session: requests.Session, wanted: _Wanted, have: int) -> requests.Response:
    """The answer that has the body, after at most MAX_REDIRECTS hops, each of them checked."""
    headers = {"Accept-Encoding": "identity", "User-Agent": "bpfcompat"}
    if have:
        headers["Range"] = f"bytes={have}-"
    url = wanted.url
    for _ in range(MAX_REDIRECTS + 1):
        response = _ask(session, url, headers, wanted)
        target = response.headers.get("Location")
        if response.status_code not in (301, 302, 303, 307, 308) or target is None:
            _check_status(response, wanted, (200, 206, 416) if have else (200,))
            return response
        response.close()
        url = _redirected(url, target, wanted)
    raise KernelError(f"{wanted.name}: more than {MAX_REDIRECTS} redirects")


def _ask(session: requests.Session, url: str, headers: dict[str, str], wanted: _Wanted) -> requests.Response:
    """One request.  In a thread, because neither a name look-up nor a trickled header knows a total deadline."""
    answers: queue.SimpleQueue[requests.Response | Exception] = queue.SimpleQueue()
    seconds = wanted.left()
    timeout = (min(CONNECT_S, seconds), min(SILENCE_S, seconds))

    def ask() -> None:
        try:
            answers.put(session.get(url, headers=headers, stream=True, allow_redirects=False, timeout=timeout))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise KernelError(f"{wanted.name}: no answer within {seconds:.0f} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _check_scheme(url: str) -> None:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid:
        raise KernelError(f"{url[:200]!r}: expected an http or https address")


def _redirected(url: str, target: str, wanted: _Wanted) -> str:
    try:
        new = urljoin(url, target)
    except ValueError:
        raise KernelError(f"{wanted.name}: redirected to {target[:200]!r}, which is no address") from None
    _check_scheme(new)
    old_parts, new_parts = urlsplit(url), urlsplit(new)
    if new_parts.username is not None or (old_parts.scheme, new_parts.scheme) == ("https", "http"):
        raise KernelError(f"{wanted.name}: refuses to be redirected to {shown(new)[:200]}")
    return new


def _check_status(response: requests.Response, wanted: _Wanted, good: tuple[int, ...]) -> None:
    status = response.status_code
    if status in good:
        return
    response.close()
    if status in (404, 410):
        raise Gone(f"{wanted.name}: not there (status {status})")
    if status == 429 or status >= 500:
        raise _Trouble(f"the server answers with status {status}")
    raise KernelError(f"{wanted.name}: the server answers with status {status}")


def _announced(response: requests.Response, wanted: _Wanted, offset: int) -> int | None:
    """How long the whole file will be, as far as anybody says; refused when that is too long."""
    length = response.headers.get("Content-Length", "")
    total = offset + int(length) if length.isascii() and length.isdigit() and len(length) < 19 else None
    if total is not None and total > wanted.limit:
        raise _too_long(wanted, total)
    return total if wanted.size is None else wanted.size


def _too_long(wanted: _Wanted, got: int) -> BpfcompatError:
    if wanted.size is not None:
        return TrustError(f"{wanted.name}: expected {wanted.size} bytes, got {got} or more")
    return KernelError(f"{wanted.name}: {got} bytes or more, at most {wanted.limit} expected")


def _body(response: requests.Response, wanted: _Wanted) -> Iterator[bytes]:
    """The bytes as they came: one receive each, so that the deadline is looked at in between."""
    while chunk := response.raw.read1(CHUNK, decode_content=False):
        wanted.left()
        yield chunk


def _write(body: Iterator[bytes], wanted: _Wanted, part: Path, offset: int, total: int | None) -> None:
    done = offset
    with open(part, "ab" if offset else "wb") as stream:
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
        raise _Trouble(f"the body ended after {done} of {total} bytes")


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
