"""A listening address and everybody who is connected to it: room, fairness, deadlines, and an orderly end."""

import asyncio
import contextlib
import errno
import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol

from bpfcompat.errors import ConfigError
from bpfcompat.registry.server.access import AccessLog
from bpfcompat.registry.server.answer import Answer, date_line, refused
from bpfcompat.registry.server.connection import HEADER_S, LINGER_S, SWEEP_S, Connection
from bpfcompat.registry.server.counts import Counts
from bpfcompat.registry.server.request import Refusal, Request
from bpfcompat.registry.server.tls import Certificate

DRAIN_S = 4.0
READ = 16 << 10
BACKLOG = 1024
UNSENT = 128 << 10  # that the kernel keeps for a peer beyond what that peer has room for
ACCEPTS = 64  # in a row, before those who are connected have their turn
_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Site(Protocol):
    """What is served."""

    def answer(self, request: Request) -> Answer:
        """What to say to a request; Refusal for an error."""
        ...

    def refresh(self) -> None:
        """Called a few times a second: let go of what is kept."""
        ...


class Listener:
    """All connections of one address; when full, the one that has waited longest without a request makes room.

    One address of a peer may have half of the room.
    """

    def __init__(self, site: Site, room: int, tls: Certificate | None = None, log: AccessLog | None = None) -> None:
        self.site = site
        self.room = room
        self.tls = tls
        self.log = log
        self.counts = Counts()
        self.now: Callable[[], float] = time.monotonic
        self.buffer = memoryview(bytearray(READ))
        self.date = date_line()
        self.stopping = False
        self.waiting: dict[Connection, None] = {}  # in the order in which they began to wait
        self._open: dict[Connection, asyncio.Task[None]] = {}
        self._peers: Counter[str] = Counter()
        self._sockets: list[socket.socket] = []
        self._spare = -1

    def call_soon(self, what: Callable[[], None]) -> None:
        """Call later, after the others."""
        asyncio.get_running_loop().call_soon(what)

    # --- its life

    def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; the first address in use.  ConfigError when it cannot be had."""
        self._sockets = listening(host, port)
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        for sock in self._sockets:
            self._listen(sock)
        self._sweep()
        found: tuple[str, int] = self._sockets[0].getsockname()[:2]
        return found

    def close(self) -> None:
        """Listen no more."""
        self.stopping = True
        while self._sockets:
            sock = self._sockets.pop()
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()
        self._close_spare()

    async def drain(self) -> None:
        """Listen no more and let running answers finish, for at most DRAIN_S; everything else ends at once."""
        self.close()
        for connection in list(self.waiting):
            self._abort(connection)
        until = self.now() + DRAIN_S
        while self._open and self.now() < until:
            await asyncio.sleep(0.02)
        for connection in list(self._open):
            self._abort(connection)
        self.site.refresh()
        await asyncio.sleep(0)  # so that the last ones are told of their end

    def _listen(self, sock: socket.socket) -> None:
        if not self.stopping:
            asyncio.get_running_loop().add_reader(sock, self._accept, sock)

    def _sweep(self) -> None:
        now = self.now()
        self.date = date_line()
        self.site.refresh()
        for connection in list(self._open):
            connection.check(now)
        if self.log is not None:
            self.log.flush()
        asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    # --- its connections

    def forget(self, connection: Connection) -> None:
        """A connection is over."""
        self.waiting.pop(connection, None)
        if self._open.pop(connection, None) is not None:
            self.counts.open -= 1
            self._peers[connection.peer] -= 1
            if not self._peers[connection.peer]:
                del self._peers[connection.peer]

    def cut(self, connection: Connection, why: str) -> None:
        """End a connection, and count why."""
        self.counts.cut[why] += 1
        self._abort(connection)

    def _abort(self, connection: Connection) -> None:
        task = self._open.get(connection)
        if task is not None and not task.done():
            task.cancel()  # in its handshake: there is no other way to its socket
        else:
            connection.transport.abort()

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS):
            try:
                sock, address = listening.accept()
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._turn_away(listening)
                return
            self._take(sock, str(address[0]))

    def _take(self, sock: socket.socket, peer: str) -> None:
        self.counts.accepted += 1
        if self._peers[peer] >= max(1, self.room // 2):
            self.counts.cut["peer"] += 1
            return sock.close()
        if len(self._open) >= self.room:
            oldest = next(iter(self.waiting), None)
            if oldest is None:
                self.counts.cut["room"] += 1
                return sock.close()
            self.cut(oldest, "room")
            self.forget(oldest)
        connection = Connection(self, peer)
        self.counts.open += 1
        self._peers[peer] += 1
        self.waiting[connection] = None
        self._open[connection] = asyncio.get_running_loop().create_task(self._connect(connection, sock))
        return None

    async def _connect(self, connection: Connection, sock: socket.socket) -> None:
        """Shake hands, if that is to be done, and begin to read."""
        tls = self.tls
        patience = {"ssl_handshake_timeout": HEADER_S, "ssl_shutdown_timeout": LINGER_S} if tls else {}
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection, sock, ssl=tls.context if tls else None, **patience
            )
        except (OSError, TimeoutError):  # an SSLError is an OSError
            self.counts.cut["handshake"] += 1
            self.forget(connection)
            sock.close()
        except asyncio.CancelledError:
            self.forget(connection)
            sock.close()
            raise

    def _turn_away(self, listening: socket.socket) -> None:
        """There is no descriptor left: take the spare one to say so, for a peer that is not answered waits."""
        self._close_spare()
        try:
            sock, _ = listening.accept()
            with sock, contextlib.suppress(OSError):
                sock.setblocking(False)
                if self.tls is None:
                    answer = refused(Refusal(HTTPStatus.SERVICE_UNAVAILABLE))
                    sock.send(answer.start(self.date, keep=False))
        except OSError:  # not even that: try again a little later
            loop = asyncio.get_running_loop()
            loop.remove_reader(listening)
            loop.call_later(SWEEP_S, self._listen, listening)
        self.counts.cut["descriptors"] += 1
        with contextlib.suppress(OSError):
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _close_spare(self) -> None:
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1


def listening(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen at every address of a host; ConfigError when one cannot be had."""
    found: list[socket.socket] = []
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((place[0], place[4]) for place in places):
            found.append(socket.create_server(address, family=family, backlog=BACKLOG))
            found[-1].setblocking(False)
    except OSError as error:
        for sock in found:
            sock.close()
        raise ConfigError(f"{host}:{port}: cannot listen: {error.strerror}", hint="choose another --port") from error
    return found
