"""From a host to a connected socket, with the address judged in between, and every receive within a budget.

A host is looked up once for a connection, every address is judged, and one that passed is dialled itself: a name that
says something else a moment later changes nothing.
"""

import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from bpfcompat.addresses import Address, parse, special
from bpfcompat.errors import KernelError
from bpfcompat.origins import NOBODY, PORTS, Allowed, Refused

MAX_ADDRESSES = 8  # of one name that are dialled
CONNECT_S = 10.0
SILENCE_S = 30.0
GRACE_S = 30.0
SLOWEST = 1 << 10  # bytes/s that an answer must keep up after the grace
OVERHEAD = 1 << 20  # bytes of headers, chunk marks and trailers beside a body

LookUp = Callable[[str, int, float], Sequence[Address]]
Dial = Callable[[Address, int, float], socket.socket]


class Late(KernelError):
    """The answer was not complete within its time, or came too slowly or with too much around it."""


class Trouble(Exception):
    """Something that may be better in a second."""


@dataclass(slots=True)
class Budget:
    """What one exchange may take: seconds in all, and bytes of body."""

    seconds: float
    limit: int
    end: float = field(init=False)  # on the monotonic clock
    waited: float = 0.0
    received: int = 0

    def __post_init__(self) -> None:
        self.end = time.monotonic() + self.seconds

    def left(self) -> float:
        """Seconds that are left; Late when there are none."""
        seconds = self.end - time.monotonic()
        if seconds <= 0:
            raise Late(f"not complete within its deadline of {self.seconds:.3g} s")
        return seconds

    def wait(self) -> float:
        """How long the next receive may wait; Late when there must be none."""
        if self.waited > GRACE_S + self.received / SLOWEST:
            raise Late(f"slower than {SLOWEST} bytes/s")
        if self.received > 2 * self.limit + OVERHEAD:
            raise Late(f"{self.received} bytes came for an answer of at most {self.limit}")
        return min(self.left(), SILENCE_S)

    def receive(self, sock: socket.socket, take: Callable[[], int]) -> int:
        """One receive of a socket."""
        sock.settimeout(self.wait())
        began = time.monotonic()
        try:
            got = take()
        except TimeoutError:
            self.left()  # the deadline was the reason, not a silence
            raise
        finally:
            self.waited += time.monotonic() - began
        self.received += got
        return got


# Whose receive it is: between our call and the socket stand urllib3 and http.client, which know no budgets.
BUDGET: ContextVar[Budget] = ContextVar("budget")


class Socket(socket.socket):
    """A socket whose every receive is the budget's: a header that drips is as bounded as a body."""

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """As socket's."""
        take = super().recv_into
        return BUDGET.get().receive(self, lambda: take(buffer, nbytes, flags))


class TlsSocket(ssl.SSLSocket):
    """As Socket, behind TLS."""

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """As SSLSocket's."""
        take = super().recv_into
        return BUDGET.get().receive(self, lambda: take(buffer, nbytes, flags))


def look_up(host: str, port: int, seconds: float) -> list[Address]:
    """The addresses of a name, as this machine finds them.  In a thread, because a look-up knows no deadline."""
    answers: queue.SimpleQueue[list[Any] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise Late(f"{host}: not looked up within {seconds:.3g} s") from None
    if isinstance(answer, OSError):
        raise Trouble(f"{host}: cannot be looked up: {answer.strerror}") from answer
    return list(dict.fromkeys(a for a in (parse(row[4][0]) for row in answer) if a is not None))


def dial(address: Address, port: int, seconds: float) -> socket.socket:
    """A socket that is connected to an address; OSError as the system says it."""
    sock = Socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
    try:
        sock.settimeout(seconds)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect((str(address), port))
    except OSError:
        sock.close()
        raise
    return sock


@dataclass(frozen=True, slots=True)
class Dialler:
    """Connects to hosts whose addresses pass: open to everybody, or inside a network when the host was named."""

    allowed: Allowed = NOBODY
    look_up: LookUp = look_up
    dial: Dial = dial

    def connect(self, host: str, port: int) -> socket.socket:
        """A socket to the first address that passes and answers; Refused when none passes, else Trouble."""
        budget, said = BUDGET.get(), f"{host}: has no address"
        for address in self.judged(host, port, budget)[:MAX_ADDRESSES]:
            try:
                return self.dial(address, port, min(CONNECT_S, budget.left()))
            except OSError as error:
                said = f"{host} ({address}, port {port}): {error.strerror or error}"
        raise Trouble(said)

    def judged(self, host: str, port: int, budget: Budget) -> list[Address]:
        """The addresses of a host that may be dialled; of a host with some inside and some outside, those outside."""
        literal = parse(host)
        shown = f"[{literal}]" if literal is not None and literal.version == 6 else host
        named = self.allowed.has(shown, port)
        found = [literal] if literal is not None else self.look_up(host, port, budget.left())
        marks = {address: special(address) for address in found}
        good = [a for a, mark in marks.items() if mark is None or (named and mark.inside)]
        for address, mark in marks.items() if not good else ():
            if mark is not None:
                hint = advice(shown, port) if mark.inside else "no setting opens such an address"
                raise Refused(f"{shown}{'' if literal else f' is at {address}'}: {mark.why}", hint=hint)
        return good


def advice(host: str, port: int) -> str:
    """The one line to add for a host that is to be asked all the same."""
    site = host if port in PORTS.values() else f"{host}:{port}"
    return f'if it is meant, add "{site}" to [fetch] allow in bpfcompat.toml'
