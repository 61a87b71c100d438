"""A registry's folder over HTTP: read-only, and only the paths of layout.py.

GET and HEAD of a regular file, nothing else.  A path is matched as it came (no decoding, no clean-up) and opened below
the root's descriptor without following a link.  Refused: bodies, smuggling, other hosts' forms, slow peers.  Range is
ignored, which is legal.  Standard library only; keeps no log, so a request can put nothing into one.
"""

import asyncio
import contextlib
import email.utils
import errno
import os
import re
import resource
import signal
import ssl
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from bpfcompat.errors import ConfigError
from bpfcompat.registry.layout import INDEX, SERVED

HEADER_S = 10.0
IDLE_S = 30.0
WRITE_S = 60.0
DRAIN_S = 4.0
SLOWEST = 32 << 10  # bytes a second that a reader must manage once WRITE_S is used up
MAX_HEADER = 8 << 10
MAX_LINES = 64
MAX_CONNECTIONS = 4096
CHUNK = 64 << 10

_REQUEST = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([!-~]{1,4096}) HTTP/(\d)\.(\d)")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_HOST = re.compile(rb"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")
_REFUSED = {b"transfer-encoding", b"expect", b"upgrade", b"trailer"}
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ENXIO, errno.EMLINK}
_TYPES = {".json": "application/json", ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
          ".pem": "application/x-pem-file", "checkpoint": "text/plain; charset=utf-8"}  # fmt: skip
_SECURITY = (
    "Content-Security-Policy: default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Referrer-Policy: no-referrer\r\n"
)


class Refusal(Exception):
    """A request that gets an error and, where its end is in doubt, a closed connection."""

    def __init__(self, status: HTTPStatus, close: bool = True) -> None:
        super().__init__(status)
        self.status = status
        self.close = close


@dataclass(frozen=True, slots=True)
class Request:
    """One request that is wholly understood: method GET or HEAD, the raw path, and what decides the answer."""

    head: bool
    path: str
    none_match: str
    keep: bool


def parse_request(block: bytes) -> Request:
    """A request's header block without its final blank line; Refusal for all that is not plainly a bodiless read."""
    lines = block.split(b"\r\n")
    if len(lines) > MAX_LINES + 1:
        raise Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    first = _REQUEST.fullmatch(lines[0])
    if first is None:
        raise Refusal(HTTPStatus.BAD_REQUEST)
    method, target, major, minor = first.groups()
    if major != b"1" or minor not in b"01":
        raise Refusal(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    fields = _fields(lines[1:])
    _check_framing(fields)
    _check_host(fields.get(b"host", []), needed=minor == b"1")
    if method not in (b"GET", b"HEAD"):
        raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED)
    if not target.startswith(b"/"):
        raise Refusal(HTTPStatus.BAD_REQUEST)
    wishes = b",".join(fields.get(b"connection", [])).lower()
    keep = minor == b"1" and b"close" not in [wish.strip() for wish in wishes.split(b",")]
    none_match = b",".join(fields.get(b"if-none-match", [])).decode("latin-1")
    return Request(method == b"HEAD", target.decode("ascii"), none_match, keep)


def _fields(lines: list[bytes]) -> dict[bytes, list[bytes]]:
    fields: dict[bytes, list[bytes]] = {}
    for line in lines:
        found = _FIELD.fullmatch(line)
        if found is None:
            raise Refusal(HTTPStatus.BAD_REQUEST)
        fields.setdefault(found[1].lower(), []).append(found[2].strip(b" \t"))
    return fields


def _check_framing(fields: dict[bytes, list[bytes]]) -> None:
    # whatever follows a body we did not read would be taken for the next request
    if _REFUSED & fields.keys() or fields.get(b"content-length", [b"0"]) != [b"0"]:
        raise Refusal(HTTPStatus.BAD_REQUEST)


def _check_host(hosts: list[bytes], needed: bool) -> None:
    if not (hosts or needed):
        return
    if len(hosts) != 1 or _HOST.fullmatch(hosts[0]) is None:
        raise Refusal(HTTPStatus.BAD_REQUEST)


@dataclass(frozen=True, slots=True)
class Found:
    """An open regular file and how to speak of it."""

    fd: int
    size: int
    etag: str
    type: str
    cache: str


@contextlib.contextmanager
def opened(root_fd: int, target: str) -> Iterator[Found]:
    """The file behind a request's raw path; Refusal 404 for whatever is not one, 503 when the host cannot tell.

    The ETag is inode, size and time of change: files are never edited, only replaced by rename, so other bytes always
    come with another inode or time.
    """
    path = INDEX if target == "/" else target[1:]
    named = SERVED.fullmatch(path)
    if named is None:
        raise Refusal(HTTPStatus.NOT_FOUND, close=False)
    try:
        fd = _open_beneath(root_fd, path.split("/"))
    except OSError as error:
        gone = error.errno in _GONE
        status = HTTPStatus.NOT_FOUND if gone else HTTPStatus.SERVICE_UNAVAILABLE
        raise Refusal(status, close=not gone) from error
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise Refusal(HTTPStatus.NOT_FOUND, close=False)
        etag = f'"{info.st_ino:x}-{info.st_size:x}-{info.st_mtime_ns:x}"'
        cache = "public, max-age=31536000, immutable" if named["addressed"] else "no-cache"
        kind = _TYPES.get(path[max(path.rfind("."), 0) :], "application/octet-stream")
        yield Found(fd, info.st_size, etag, kind, cache)
    finally:
        os.close(fd)


def _open_beneath(root_fd: int, parts: list[str]) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    folder = os.dup(root_fd)
    try:
        for part in parts[:-1]:
            inner = os.open(part, flags | os.O_DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = inner
        # O_NONBLOCK: opening a FIFO must not wait for its writer
        return os.open(parts[-1], flags | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)


def _piece(found: Found, offset: int) -> bytes:
    """The next bytes of a file.  At its start a fault is a 503; later only a broken connection can tell of one."""
    wanted = min(CHUNK, max(found.size - offset, 0))
    try:
        data = os.pread(found.fd, wanted, offset)
        if len(data) == wanted:
            return data
    except OSError:
        pass
    raise ConnectionAbortedError if offset else Refusal(HTTPStatus.SERVICE_UNAVAILABLE)


def _same(etag: str, none_match: str) -> bool:
    listed = (item.strip().removeprefix("W/") for item in none_match.split(","))
    return none_match.strip() == "*" or etag in listed


def _head(status: HTTPStatus, fields: str, keep: bool) -> bytes:
    date = email.utils.formatdate(usegmt=True)
    end = "" if keep else "Connection: close\r\n"
    return f"HTTP/1.1 {status.value} {status.phrase}\r\nDate: {date}\r\n{_SECURITY}{fields}{end}\r\n".encode("ascii")


def _error(refusal: Refusal, head: bool, keep: bool) -> bytes:
    text = b"" if head else f"{refusal.status.value} {refusal.status.phrase}\n".encode("ascii")
    size = len(f"{refusal.status.value} {refusal.status.phrase}\n")
    allow = "Allow: GET, HEAD\r\n" if refusal.status is HTTPStatus.METHOD_NOT_ALLOWED else ""
    fields = f"{allow}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {size}\r\nCache-Control: no-store\r\n"
    return _head(refusal.status, fields, keep) + text


class Connection:
    """One peer: reads header blocks, answers each, and ends at the first doubt or deadline."""

    def __init__(self, root_fd: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.root_fd = root_fd
        self.reader = reader
        self.writer = writer
        self.waiting = True  # for a request, so that nobody loses an answer when this connection is closed
        self.buffer = b""
        writer.transport.set_write_buffer_limits(high=0)  # drain() then means: handed to the kernel

    async def run(self, stopping: asyncio.Event) -> None:
        """Serve this peer until it leaves, errs or is too slow."""
        deadline = HEADER_S
        with contextlib.suppress(OSError, TimeoutError, ssl.SSLError):
            while (block := await self._block(deadline)) is not None:
                self.waiting = False
                keep = await self._answer(block, not stopping.is_set())
                self.waiting = True
                if not keep or stopping.is_set():
                    break
                deadline = IDLE_S
        await self._end()

    async def _block(self, idle_s: float) -> bytes | None:
        """The next header block; None at the end of the stream.  `idle_s` is for its first byte."""
        if not self.buffer:
            async with asyncio.timeout(idle_s):
                self.buffer = await self.reader.read(MAX_HEADER)
        async with asyncio.timeout(HEADER_S):
            while self.buffer:
                block, mark, rest = self.buffer.partition(b"\r\n\r\n")
                if len(block) > MAX_HEADER:
                    await self._refuse(Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))
                    return None
                if re.search(rb"(?<!\r)\n|\r(?!\n|\Z)|\0", block):
                    await self._refuse(Refusal(HTTPStatus.BAD_REQUEST))
                    return None
                if mark:
                    self.buffer = rest
                    return block
                more = await self.reader.read(MAX_HEADER)
                self.buffer = self.buffer + more if more else b""
        return None

    async def _answer(self, block: bytes, keep: bool) -> bool:
        """Answer one request; False when the connection must close."""
        head = block.startswith(b"HEAD ")
        try:
            request = parse_request(block)
            keep = keep and request.keep
            with opened(self.root_fd, request.path) as found:
                await self._send(found, request, keep)
            return keep
        except Refusal as refusal:
            keep = keep and not refusal.close
            await self._refuse(refusal, head, keep)
            return keep

    async def _send(self, found: Found, request: Request, keep: bool) -> None:
        same = f"ETag: {found.etag}\r\nCache-Control: {found.cache}\r\n"
        if _same(found.etag, request.none_match):
            return await self._write(_head(HTTPStatus.NOT_MODIFIED, same, keep))
        fields = f"{same}Content-Type: {found.type}\r\nContent-Length: {found.size}\r\n"
        start = _head(HTTPStatus.OK, fields, keep)
        if request.head:
            return await self._write(start)
        start += _piece(found, 0)
        async with asyncio.timeout(WRITE_S + found.size / SLOWEST):
            for offset in range(CHUNK, max(found.size, 1) + CHUNK, CHUNK):
                self.writer.write(start)
                await self.writer.drain()
                start = _piece(found, offset)
        return None

    async def _write(self, data: bytes) -> None:
        async with asyncio.timeout(WRITE_S):
            self.writer.write(data)
            await self.writer.drain()

    async def _refuse(self, refusal: Refusal, head: bool = False, keep: bool = False) -> None:
        await self._write(_error(refusal, head, keep))

    async def _end(self) -> None:
        """Close in good order, or abort: a peer that reads nothing must not keep us."""
        try:
            async with asyncio.timeout(2):
                self.writer.close()
                await self.writer.wait_closed()
        except (OSError, TimeoutError, ssl.SSLError):
            self.writer.transport.abort()


class Server:
    """All connections of one listener; when full, the one that has waited longest without a request makes room."""

    def __init__(self, root_fd: int, room: int) -> None:
        self.root_fd = root_fd
        self.room = room
        self.open: dict[Connection, asyncio.Task[None]] = {}
        self.stopping = asyncio.Event()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a new peer."""
        if len(self.open) >= self.room and not self._evict():
            writer.transport.abort()
            return
        connection = Connection(self.root_fd, reader, writer)
        task = asyncio.ensure_future(connection.run(self.stopping))
        self.open[connection] = task
        task.add_done_callback(lambda _: self.open.pop(connection, None))

    def _evict(self) -> bool:
        idle = next((c for c in self.open if c.waiting), None)
        if idle is None:
            return False
        self.open.pop(idle).cancel()
        idle.writer.transport.abort()
        return True

    async def drain(self) -> None:
        """Let running answers finish, for at most DRAIN_S; everything else ends at once."""
        self.stopping.set()
        tasks = list(self.open.items())
        for connection, task in tasks:
            if connection.waiting:
                task.cancel()
                connection.writer.transport.abort()
        if tasks:
            await asyncio.wait([task for _, task in tasks], timeout=DRAIN_S)
        for connection in list(self.open):
            connection.writer.transport.abort()


def tls_context(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """TLS 1.2 or newer from a certificate and its key; None for neither; ConfigError for one alone or unreadable."""
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise ConfigError("--tls-cert and --tls-key: expected both or neither")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key)
    except OSError as error:  # an SSLError is one
        raise ConfigError(f"{cert}, {key}: cannot use as a TLS certificate and key: {error.strerror}") from error
    return context


def serve(
    root: Path,
    host: str = "127.0.0.1",
    port: int = 8080,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    ready: Callable[[str, int], None] | None = None,
) -> None:
    """Serve a registry until SIGTERM or SIGINT; `ready(host, port)` is told once, with the port in use.

    ConfigError: no such folder, half a TLS pair, an address that cannot be had.
    """
    context = tls_context(tls_cert, tls_key)
    try:
        root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"{root}: cannot serve: {error.strerror}") from error
    try:
        asyncio.run(_serve(root_fd, host, port, context, ready))
    finally:
        os.close(root_fd)


async def _serve(
    root_fd: int, host: str, port: int, context: ssl.SSLContext | None, ready: Callable[[str, int], None] | None
) -> None:
    server = Server(root_fd, _room())
    try:
        patience = HEADER_S if context else None
        listener = await asyncio.start_server(
            server.accept, host, port, ssl=context, ssl_handshake_timeout=patience, limit=MAX_HEADER, backlog=1024
        )
    except OSError as error:
        raise ConfigError(f"{host}:{port}: cannot listen: {error.strerror}", hint="choose another --port") from error
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if ready is not None:
        ready(*listener.sockets[0].getsockname()[:2])
    await stop.wait()
    listener.close()
    await server.drain()


def _room() -> int:
    """How many connections to hold: each may need a descriptor for itself, one for a file and one for its folder."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = hard if hard != resource.RLIM_INFINITY else 3 * MAX_CONNECTIONS + 64
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return min(MAX_CONNECTIONS, max(1, (files - 64) // 3))
