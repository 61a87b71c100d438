"""The request parser, without a socket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat.registry.server import request
from bpfcompat.registry.server.request import Fields, Refusal, Request, parse_request
from tests.streams import HIDDEN, PIECES, check


def test_plain_request() -> None:
    """What a browser sends is understood; unknown headers are nobody's business."""
    block = b'GET /matrix.json HTTP/1.1\r\nHost: [::1]:8080\r\nUser-Agent: x\r\nIf-None-Match: "a"\r\nA:\r\nB: \xff'
    assert parse_request(block) == Request(False, "/matrix.json", True, Fields(1, '"a"', agent=b"x"))
    assert parse_request(b"HEAD / HTTP/1.0") == Request(True, "/", keep=False)
    assert not parse_request(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: a, CLOSE").keep


LINES = st.lists(
    st.sampled_from([b"Host: x", b"Host:", b"Content-Length: 0", b"Content-Length: 5", b"A: b", b" A: b", b"A : b", b"",
                     b"Transfer-Encoding: chunked", b"transfer-encoding:", b"Connection: close", b"Expect: x"]),
    max_size=6,
)  # fmt: skip


@given(st.sampled_from([b"GET / HTTP/1.1", b"GET / HTTP/1.0", b"POST / HTTP/1.1"]), LINES)
def test_framing(first: bytes, lines: list[bytes]) -> None:
    """Whatever is accepted has no body, no doubtful line, and one Host at most."""
    try:
        parse_request(b"\r\n".join([first, *lines]))
    except Refusal:
        return
    assert first.startswith(b"GET")
    assert set(lines) <= {b"Host: x", b"Content-Length: 0", b"A: b", b"Connection: close"}
    assert lines.count(b"Host: x") <= 1 and lines.count(b"Content-Length: 0") <= 1


@given(st.binary(max_size=200))
def test_garbage(block: bytes) -> None:
    """Any bytes are a request or a Refusal, never another exception."""
    try:
        parse_request(block)
    except Refusal as refusal:
        assert 400 <= refusal.status.value <= 505


@given(st.lists(st.sampled_from(PIECES), max_size=12), st.integers(0, 40))
def test_as_h11_reads_it(pieces: list[bytes], cut: int) -> None:
    """Of any stream, in whatever parts it comes, we answer only what h11 reads in the same way, and without a body."""
    check(b"".join(pieces), cut)


def test_streams_are_answered() -> None:
    """That comparison has something to compare: sound streams are answered to their end."""
    assert check(HIDDEN * 50, 7) == 50
    assert check(b"GET /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" + HIDDEN) == 2
    assert check(b"GET / HTTP/1.0\r\n\r\n" + HIDDEN) == 1
    assert check(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 33\r\n\r\n" + HIDDEN) == 0


def test_a_smuggled_request_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that does not care for bodies is found out."""
    monkeypatch.setattr(request, "_REFUSED", set())
    request.read_fields.cache_clear()
    with pytest.raises(AssertionError):
        check(b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n" + HIDDEN)
    request.read_fields.cache_clear()
