"""What our server understands of a stream of bytes, and what h11 does: requests in order, until one of them gives up.

No socket is involved, so that a million streams can be tried: `python -m tests.streams COUNT [SEED]`.
"""

import asyncio
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import h11

from bpfcompat.registry.server.answer import Answer
from bpfcompat.registry.server.connection import Connection
from bpfcompat.registry.server.listener import Listener
from bpfcompat.registry.server.request import Request

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n"
PIECES = (
    b"GET / HTTP/1.1\r\n", b"HEAD /a HTTP/1.1\r\n", b"GET /b HTTP/1.0\r\n", b"POST /c HTTP/1.1\r\n", b"GET ", b"HEAD ",
    b"/", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/0.9\r\n", b"Host: x\r\n", b"host:y:80\r\n", b"Host: [::1]\r\n",
    b"Host : x\r\n", b"Host:\r\n", b"Content-Length: 0\r\n", b"Content-Length: 33\r\n", b"Content-Length: 0, 0\r\n",
    b"Content-Length: +0\r\n", b"content-length: 00\r\n", b"Content-Length : 33\r\n", b"Content-Length:\t0\r\n",
    b"Content-Length: 0x0\r\n", b"Content-Length: -0\r\n", b"Content_Length: 33\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n", b"Transfer-Encoding : chunked\r\n", b"transfer-encoding:\x0bchunked\r\n",
    b"Transfer-Encoding\r\n : chunked\r\n", b"TE: chunked\r\n", b"X: y\r\n Content-Length: 33\r\n", b"X: y\rZ: z\r\n",
    b"X: y\nContent-Length: 33\r\n", b"X: \x00\r\n", b"X\x00: y\r\n", b"X: \x80\xff\r\n", b": y\r\n", b"X\r\n",
    b"X:\r\n",
    b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"connection: x , CLOSE\r\n", b"Connection: upgrade\r\n",
    b"Upgrade: h2c\r\n", b"Expect: 100-continue\r\n", b"Trailer: X\r\n", b"If-None-Match: \"a\", W/\"b\"\r\n",
    b"Accept-Encoding: gzip;q=0.5, br\r\n", b"User-Agent: u v\r\n", b"0\r\n\r\n", b"21\r\n", b"\r\n", b"\r\n\r\n",
    b"\n",
    b"\r", b"\n\n", b" ", b"\t", b"\x00", b"\x85", b"\x0b", b"\x1c", b"a", b":", b"://h/", b"*", b"?q=1", b"#f", b"%00",
    HIDDEN, HIDDEN, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n",
    b"X: " + b"a" * 8192, b"A: b\r\n" * 40,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Heard:
    """One request: its method, target and the fields that an answer depends on."""

    method: str
    target: str
    none_match: str
    agent: bytes


class _Transport(asyncio.Transport):
    """A peer that takes everything."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False
        self.said = b""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closed

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.said += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def abort(self) -> None:
        self.closed = True

    close = abort

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class _Site:
    """Answers everything, and remembers what was asked."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []

    def answer(self, request: Request) -> Answer:
        method = "HEAD" if request.head else "GET"
        self.heard.append(Heard(method, request.path, request.fields.none_match, request.fields.agent))
        return Answer(200, b"Content-Length: 1\r\n", b"x")

    def refresh(self) -> None:
        pass


class _House(Listener):
    """A listener without an event loop."""

    def __init__(self, site: _Site) -> None:
        super().__init__(site, 1)
        self.due: list[object] = []

    def call_soon(self, what: object) -> None:
        self.due.append(what)


def ours(parts: Sequence[bytes]) -> tuple[list[Heard], bytes]:
    """What our server answers of a stream that comes in these parts, and all that it says."""
    site = _Site()
    house = _House(site)
    house.date = b""
    transport = _Transport()
    connection = Connection(house, "peer")
    connection.connection_made(transport)
    for part in parts:
        for start in range(0, len(part), len(house.buffer)):
            if transport.closed:
                break
            piece = part[start : start + len(house.buffer)]
            house.buffer[: len(piece)] = piece
            connection.buffer_updated(len(piece))
            while house.due:
                house.due.pop(0)()  # type: ignore[operator]
    return site.heard, transport.said


def theirs(stream: bytes) -> Iterator[tuple[Heard, bool]]:
    """What h11 reads in a stream, and whether each request has a body."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(stream)
    try:
        while isinstance(request := connection.next_event(), h11.Request):
            body = False
            while isinstance(event := connection.next_event(), h11.Data):
                body = True
            yield _heard(request), body
            if not isinstance(event, h11.EndOfMessage):
                return
            connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE:
                return
            connection.start_next_cycle()
    except h11.RemoteProtocolError:
        return


def _heard(request: h11.Request) -> Heard:
    found = [value for name, value in request.headers if name == b"if-none-match"]
    agents = [value for name, value in request.headers if name == b"user-agent"]
    target = request.target.decode("latin-1")
    return Heard(request.method.decode(), target, b",".join(found).decode("latin-1"), (agents or [b""])[0])


def check(stream: bytes, cut: int = 0) -> int:
    """How many requests of a stream we answer; AssertionError when h11 reads any of them in another way.

    Then a body that one of the two does not see could hide a request.  `cut`: the stream comes in parts of that size.
    """
    heard, _ = ours([stream])
    also = theirs(stream)
    for mine in heard:
        other, body = next(also, (None, False))
        assert mine == other and not body, (mine, other, body)
    if cut:
        assert ours([stream[i : i + cut] for i in range(0, len(stream), cut)])[0] == heard
    return len(heard)


def from_choices(data: bytes) -> tuple[bytes, int]:
    """A stream and its cut from a fuzzer's bytes: raw, or a byte for each of PIECES."""
    cut = data[1] if len(data) > 1 else 0
    rest = data[2:]
    return (rest if data[:1] < b"@" else b"".join(PIECES[number % len(PIECES)] for number in rest[:64])), cut


STARTS = (b"GET /a HTTP/1.1\r\nHost: x\r\n", b"HEAD / HTTP/1.1\r\nHost: x\r\n", b"GET / HTTP/1.0\r\n", HIDDEN, b"")
ENDS = (b"\r\n" + HIDDEN, b"\r\n" + HIDDEN, HIDDEN, b"\r\n0\r\n\r\n" + HIDDEN)


def _stream(dice: random.Random) -> bytes:
    """A stream that begins well, more or less, and goes on with whatever might hide a request."""
    short = PIECES if dice.random() < 0.02 else PIECES[:-2]
    middle = dice.choices(short, k=dice.choice((0, 1, 1, 2, 3, 6)))
    stream = bytearray(dice.choice(STARTS) + b"".join(middle) + dice.choice(ENDS))
    for _ in range(dice.choice((0, 0, 0, 1, 3))):
        at = dice.randrange(len(stream))
        stream[at : at + dice.randrange(3)] = dice.choice((b"", b"\r", b"\n", b"\0", b" ", b"\t", dice.randbytes(1)))
    return bytes(stream)


def main() -> int:
    """Try so many random streams and say what came of them."""
    count, dice = int(sys.argv[1]), random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    answered = several = 0
    for _ in range(count):
        stream = _stream(dice)
        found = check(stream, dice.choice((0, 0, 0, 0, 0, 5)) if len(stream) < 500 else 0)
        answered += found
        several += found > 1
    print(f"{count} streams: {answered} requests answered, in {several} of them several; h11 read each in the same way")
    return 0


if __name__ == "__main__":
    sys.exit(main())
