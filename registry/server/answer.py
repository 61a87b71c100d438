"""What is said to a request: a status, header lines, and bytes that are at hand or still in a file."""

import email.utils
import os
from dataclasses import dataclass
from http import HTTPStatus

from bpfcompat.registry.server.request import Refusal

CHUNK = 32 << 10
_SECURITY = (
    b"Content-Security-Policy: default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    b"frame-ancestors 'none'\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
    b"Referrer-Policy: no-referrer\r\n"
)
_END = {True: b"\r\n", False: b"Connection: close\r\n\r\n"}
_START = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() + _SECURITY for s in HTTPStatus}


class Rest:
    """What is still to be sent of an open file, up to the size that was promised.  Close it."""

    def __init__(self, fd: int, offset: int, size: int) -> None:
        self.fd = fd
        self.offset = offset
        self.size = size

    def piece(self) -> bytes:
        """The next bytes, none at the end; OSError when the disk fails or the file has become shorter."""
        wanted = min(CHUNK, self.size - self.offset)
        data = os.pread(self.fd, wanted, self.offset)
        if len(data) != wanted:
            raise OSError("the file has become shorter")
        self.offset += wanted
        return data

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)


@dataclass(slots=True)
class Answer:
    """`fields` are whole header lines; `body` is all of it, or what comes before `rest`."""

    status: int
    fields: bytes
    body: bytes = b""
    rest: Rest | None = None
    close: bool = False

    def start(self, date: bytes, keep: bool) -> bytes:
        """The head, and the body that is at hand; `date` is a header line."""
        return b"".join((_START[self.status], date, self.fields, _END[keep], self.body))


def date_line() -> bytes:
    """The Date header of now."""
    return f"Date: {email.utils.formatdate(usegmt=True)}\r\n".encode()


def refused(refusal: Refusal) -> Answer:
    """The answer that a Refusal is."""
    status = refusal.status
    allow = "Allow: GET, HEAD\r\n" if status is HTTPStatus.METHOD_NOT_ALLOWED else ""
    return plain(status, f"{status.value} {status.phrase}\n", allow, refusal.close)


def plain(
    status: HTTPStatus, text: str, more: str = "", close: bool = False, kind: str = "text/plain; charset=utf-8"
) -> Answer:
    """A short text that is never cached; `more` are header lines."""
    body = text.encode()
    fields = f"{more}Content-Type: {kind}\r\nContent-Length: {len(body)}\r\nCache-Control: no-store\r\n"
    return Answer(status.value, fields.encode(), body, close=close)
