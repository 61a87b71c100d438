"""One peer: reads header blocks, answers each, and ends at the first doubt or deadline.

Nothing here waits: the event loop calls when bytes have come or gone, and the listener looks at `deadline`.
"""

import asyncio
import time
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING

from bpfcompat.registry.server.access import line
from bpfcompat.registry.server.answer import Answer, refused
from bpfcompat.registry.server.request import MAX_HEADER, Refusal, Request, broken_line, parse_request

if TYPE_CHECKING:
    from bpfcompat.registry.server.listener import Listener

SWEEP_S = 0.25  # how often deadlines are looked at
HEADER_S = 10.0 - SWEEP_S  # for a header block, the handshake before the first one included
IDLE_S = 30.0
STALL_S = 10.0 - SWEEP_S  # without a byte that the peer takes
WRITE_S = 60.0
SLOWEST = 32 << 10  # bytes a second that a reader must manage once WRITE_S is used up
LINGER_S = 2.0
MAX_LINGER = 256 << 10
TURN = 16  # pieces and answers of one peer before the others have their turn


class Stage(StrEnum):
    """What a connection waits for; its value is why it was cut when that did not come in time."""

    HEADER = "header"
    IDLE = "idle"
    SENDING = "stalled"
    LINGERING = "lingered"


_HEADER, _IDLE, _SENDING, _LINGERING = Stage  # looked up for every request


class Connection(asyncio.BufferedProtocol):
    """The state of one peer.  Bytes come in `house.buffer`, which all share and which is emptied at once."""

    __slots__ = ("answer", "began", "deadline", "done", "ended", "full", "held", "house", "last", "latest",
                 "lingered", "peer", "queued", "request", "sent", "stage", "transport")  # fmt: skip
    transport: asyncio.Transport

    def __init__(self, house: "Listener", peer: str) -> None:
        self.house = house
        self.peer = peer
        self.held = b""  # what came and is not answered yet
        self.ended = False  # the peer sends no more
        self.full = False  # the kernel takes no more
        self.last = False  # nothing is answered after this
        self.queued = False  # our turn comes again
        self.answer: Answer | None = None  # on its way
        self.request: Request | None = None
        self.sent = self.lingered = 0
        self.began = self.done = self.latest = 0.0
        self.stage = _HEADER
        self.deadline = house.now() + HEADER_S

    # --- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The peer is there, and after its handshake if there is one."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=1, low=0)  # so `full` means: the kernel takes no more

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where bytes go."""
        return self.house.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came."""
        if self.stage is _LINGERING:
            self.lingered += nbytes
            if self.lingered > MAX_LINGER:
                self.transport.abort()
            return
        self.held += self.house.buffer[:nbytes]
        if self.full or self.queued or self.answer is not None:
            self.transport.pause_reading()
            return
        if self.stage is _IDLE:
            self._wait(_HEADER, HEADER_S)
        self._run()

    def eof_received(self) -> bool:
        """The peer sends no more, but may still read; with TLS it may not."""
        self.ended = True
        busy = self.full or self.queued or self.answer is not None
        return busy and self.transport.can_write_eof()

    def pause_writing(self) -> None:
        """The kernel takes no more."""
        self.full = True
        self.house.waiting.pop(self, None)

    def resume_writing(self) -> None:
        """All that was written is with the kernel, be it the last words of a handshake."""
        self.full = False
        if self.stage is _SENDING:
            self.deadline = min(self.house.now() + STALL_S, self.latest)
        if not self.queued and self.stage is not _LINGERING:
            self._queue()  # not at once: asyncio cannot bear that we close in here

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over, for whatever reason."""
        if self.answer is not None:
            self._told(whole=False)
        self.house.forget(self)

    # --- what it does

    def check(self, now: float) -> None:
        """Cut a peer whose time is over."""
        if now >= self.deadline:
            self.house.cut(self, self.stage)

    def _run(self) -> None:
        """Send what is due and answer what was asked, until the peer must act, or others have waited long enough."""
        self.queued = False
        for _ in range(TURN):
            if self.full or self.transport.is_closing():
                return
            if self.answer is not None:
                self._send_piece()
            elif self.last or self.house.stopping:
                self._finish()
                return
            elif (block := self._block()) is not None:
                self._reply(block)
            elif self.ended:
                self._finish()
                return
            else:
                self._await_request()
                return
        self._queue()

    def _queue(self) -> None:
        """Go on after the others."""
        self.queued = True
        self.house.waiting.pop(self, None)
        self.house.call_soon(self._run)

    def _block(self) -> bytes | Refusal | None:
        """The next whole header block; None when more must come; a Refusal when no more is wanted."""
        if not self.held:
            return None
        block, mark, rest = self.held.partition(b"\r\n\r\n")
        if len(block) > MAX_HEADER:
            return Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if mark:
            self.held = rest
            return block
        return Refusal(HTTPStatus.BAD_REQUEST) if broken_line(block) else None

    def _reply(self, block: bytes | Refusal) -> None:
        """Answer one request; its head and its first bytes leave at once."""
        house = self.house
        began = self.began = house.now()
        request = None
        try:
            if isinstance(block, Refusal):
                raise block
            request = parse_request(block)
            answer = house.site.answer(request)
        except Refusal as refusal:
            answer = refused(refusal)
        self.request = request
        self.answer = answer
        self.last = answer.close or request is None or not request.keep or house.stopping
        self.stage = _SENDING
        self.deadline = began + STALL_S
        self.latest = began + WRITE_S + (answer.rest.size / SLOWEST if answer.rest else 0.0)
        if request.head if request else isinstance(block, bytes) and block.startswith(b"HEAD "):
            answer.body = b""
        self.sent = len(answer.body)
        self.transport.write(answer.start(house.date, not self.last))
        if answer.rest is None:
            self._told(whole=True)

    def _send_piece(self) -> None:
        """The next bytes of a file; a fault can only be told by breaking off."""
        assert self.answer is not None and self.answer.rest is not None
        try:
            piece = self.answer.rest.piece()
        except OSError:
            self.house.cut(self, "file")
            return
        if piece:
            self.sent += len(piece)
            self.transport.write(piece)
        else:
            self._told(whole=True)

    def _told(self, whole: bool) -> None:
        """An answer is over: count it, write it down, give its file back."""
        answer, self.answer = self.answer, None
        assert answer is not None
        if answer.rest is not None:
            answer.rest.close()
        house = self.house
        self.done = house.now()
        seconds = self.done - self.began
        house.counts.answered(answer.status, self.sent, seconds)
        if house.log is not None:
            request = self.request
            method, target = ("HEAD" if request.head else "GET", request.path) if request else ("", "")
            agent = request.fields.agent if request else b""
            house.log.add(line(time.time(), self.peer, method, target, answer.status, self.sent, seconds, whole, agent))

    def _await_request(self) -> None:
        waiting = self.house.waiting
        if self.stage is _SENDING:
            self.stage, patience = (_HEADER, HEADER_S) if self.held else (_IDLE, IDLE_S)
            self.deadline = self.done + patience
            waiting.pop(self, None)
        waiting[self] = None  # at the end, or where it was: the time for this header is running already
        self.transport.resume_reading()

    def _finish(self) -> None:
        """End in good order: an answer is lost when we close before the peer's last bytes were read."""
        self.held = b""
        self._wait(_LINGERING, LINGER_S)
        self.house.waiting[self] = None
        if self.ended or not self.transport.can_write_eof():
            self.transport.close()
        else:
            self.transport.write_eof()
            self.transport.resume_reading()

    def _wait(self, stage: Stage, seconds: float) -> None:
        self.stage = stage
        self.deadline = self.house.now() + seconds
