"""Downloads against a server on this machine that may misbehave in every way a server can."""

import contextlib
import gzip
import http.server
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfcompat.digest import digest_bytes
from bpfcompat.errors import KernelError, TrustError
from bpfcompat.fetch import Gone, fetch
from bpfcompat.origins import NOBODY, shown
from tests.serving import Server, reply, serving

DATA = bytes(range(256)) * 1000
DIGEST = digest_bytes(DATA)


def whole(handler: http.server.BaseHTTPRequestHandler) -> None:
    """An honest server that knows Range."""
    start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
    if start >= len(DATA):
        reply(handler, 416, Content_Range=f"bytes */{len(DATA)}")
    elif start:
        reply(handler, 206, DATA[start:], Content_Range=f"bytes {start}-{len(DATA) - 1}/{len(DATA)}")
    else:
        reply(handler, 200, DATA)


def get(server: Server, dest: Path, *, size: int | None = len(DATA), digest: str | None = DIGEST,
        limit: int = 1 << 20, deadline_s: float = 20.0) -> str:  # fmt: skip
    return fetch(
        f"{server.url}/x",
        size=size,
        digest=digest,
        limit=limit,
        dest=dest,
        deadline_s=deadline_s,
        allowed=NOBODY.also(server.url),
    )


def part_of(dest: Path) -> Path:
    return dest.with_name(dest.name + ".part")


def test_whole(tmp_path: Path) -> None:
    """The bytes land at dest, their digest comes back, and progress ends at the whole size."""
    told: list[tuple[int, int | None]] = []
    with serving(whole) as server:
        dest = tmp_path / "new" / "x"
        got = fetch(f"{server.url}/x", size=None, digest=None, limit=1 << 20, dest=dest,
                    progress=lambda done, total: told.append((done, total)),
                    allowed=NOBODY.also(server.url))  # fmt: skip
    assert got == DIGEST and dest.read_bytes() == DATA
    assert told[-1] == (len(DATA), len(DATA))
    assert not part_of(dest).exists()


def test_chunked(tmp_path: Path) -> None:
    """A body without a length is read to its end."""

    def chunked(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for at in range(0, len(DATA), 1000):
            piece = DATA[at : at + 1000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")

    with serving(chunked) as server:
        assert get(server, tmp_path / "x", size=None, digest=None) == DIGEST


def test_already_there(tmp_path: Path) -> None:
    """A file that already has the digest costs no request."""
    (tmp_path / "x").write_bytes(DATA)
    with serving(whole) as server:
        assert get(server, tmp_path / "x") == DIGEST
        assert server.seen == []


def test_resumes(tmp_path: Path) -> None:
    """What came before a break is not asked for again."""
    part_of(tmp_path / "x").write_bytes(DATA[:1000])
    with serving(whole) as server:
        assert get(server, tmp_path / "x") == DIGEST
        assert [request["Range"] for request in server.seen] == ["bytes=1000-"]


def test_broken_connection_resumes(tmp_path: Path) -> None:
    """A connection that breaks in the middle is taken up again in the same call."""

    def breaks_once(handler: http.server.BaseHTTPRequestHandler) -> None:
        if "Range" in handler.headers:
            return whole(handler)
        return reply(handler, 200, DATA[:5000], Content_Length=str(len(DATA)))

    with serving(breaks_once) as server:
        assert get(server, tmp_path / "x") == DIGEST
        assert server.seen[1]["Range"] == "bytes=5000-"


def test_range_ignored(tmp_path: Path) -> None:
    """A server that ignores Range makes us start over, not append."""
    part_of(tmp_path / "x").write_bytes(DATA[:1000])
    with serving(lambda handler: reply(handler, 200, DATA)) as server:
        assert get(server, tmp_path / "x") == DIGEST


def test_wrong_part(tmp_path: Path) -> None:
    """A begun file of other bytes is thrown away and the whole is fetched once more."""
    for begun in (b"!" * 1000, b"!" * len(DATA), b"!" * (len(DATA) + 5)):
        dest = tmp_path / str(len(begun))
        part_of(dest).write_bytes(begun)
        with serving(whole) as server:
            assert get(server, dest) == DIGEST


def test_other_range(tmp_path: Path) -> None:
    """A server that sends another range than the asked one is not believed."""
    part_of(tmp_path / "x").write_bytes(DATA[:1000])

    def other(handler: http.server.BaseHTTPRequestHandler) -> None:
        if "Range" in handler.headers:
            return reply(handler, 206, DATA[2000:], Content_Range=f"bytes 2000-{len(DATA) - 1}/{len(DATA)}")
        return whole(handler)

    with serving(other) as server:
        assert get(server, tmp_path / "x") == DIGEST


def test_no_resume_without_digest(tmp_path: Path) -> None:
    """Without a digest nothing would notice a mixture of two files, so the part is not used."""
    part_of(tmp_path / "x").write_bytes(b"!" * 1000)
    with serving(whole) as server:
        assert get(server, tmp_path / "x", size=None, digest=None) == DIGEST
        assert "Range" not in server.seen[0]


@pytest.mark.parametrize("plant", [Path.symlink_to, Path.hardlink_to, lambda part, victim: os.mkfifo(part)])
@pytest.mark.parametrize("digest", [DIGEST, None])
def test_a_link_in_its_place(tmp_path: Path, plant: Callable[[Path, Path], None], digest: str | None) -> None:
    """What somebody planted where a download begins is not written through, not gone on from, and not waited for."""
    victim = tmp_path / "victim"
    victim.write_bytes(DATA[:1000])
    plant(part_of(tmp_path / "x"), victim)
    with serving(whole) as server:
        assert get(server, tmp_path / "x", digest=digest) == DIGEST
        assert "Range" not in server.seen[0]
    assert victim.read_bytes() == DATA[:1000]
    assert stat.S_ISREG(os.lstat(tmp_path / "x").st_mode)


def test_no_mixture_without_digest(tmp_path: Path) -> None:
    """What broke off in this very download is begun anew, too: the server may have another file by now."""

    def replaced(handler: http.server.BaseHTTPRequestHandler) -> None:
        if len(handler.server.seen) > 1:  # type: ignore[attr-defined]
            whole(handler)
            return
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(DATA)))
        handler.end_headers()
        handler.wfile.write(b"!" * 1000)
        handler.close_connection = True

    with serving(replaced) as server:
        assert get(server, tmp_path / "x", size=None, digest=None) == DIGEST
        assert len(server.seen) == 2 and "Range" not in server.seen[1]


def test_compressed(tmp_path: Path) -> None:
    """Bytes that came compressed are not unpacked: a digest does not match them, and without one they are refused."""
    packed = gzip.compress(DATA)
    with serving(lambda handler: reply(handler, 200, packed, Content_Encoding="gzip")) as server:
        for size, digest, words in ((None, None, "came compressed"), (None, DIGEST, "expected sha256:")):
            with pytest.raises(TrustError, match=words):
                get(server, tmp_path / "x", size=size, digest=digest)
    assert not (tmp_path / "x").exists()


def test_wrong_digest(tmp_path: Path) -> None:
    """Other bytes of the right size are a matter of trust, and nothing stays behind."""
    with serving(lambda handler: reply(handler, 200, b"?" * len(DATA))) as server:
        with pytest.raises(TrustError, match="expected sha256:"):
            get(server, tmp_path / "x")
    assert not (tmp_path / "x").exists() and not part_of(tmp_path / "x").exists()


@pytest.mark.parametrize("status", [404, 410])
def test_gone(tmp_path: Path, status: int) -> None:
    """A server that has no such file is told apart from one that fails."""
    with serving(lambda handler: reply(handler, status)) as server, pytest.raises(Gone):
        get(server, tmp_path / "x")


def test_forbidden(tmp_path: Path) -> None:
    """A refusal is not tried again."""
    with serving(lambda handler: reply(handler, 403)) as server:
        with pytest.raises(KernelError, match="status 403"):
            get(server, tmp_path / "x")
        assert len(server.seen) == 1


def test_unavailable_once(tmp_path: Path) -> None:
    """A server error is tried again."""

    def recovers(handler: http.server.BaseHTTPRequestHandler) -> None:
        seen = handler.server.seen  # type: ignore[attr-defined]
        return reply(handler, 503) if len(seen) == 1 else whole(handler)

    with serving(recovers) as server:
        assert get(server, tmp_path / "x") == DIGEST


def test_unavailable(tmp_path: Path) -> None:
    """A server that keeps failing ends in an error that says so, within the deadline."""
    with serving(lambda handler: reply(handler, 503)) as server, pytest.raises(KernelError, match="status 503"):
        get(server, tmp_path / "x", deadline_s=0.9)


def test_nobody_there(tmp_path: Path) -> None:
    """A closed port is a KernelError with something to check."""
    with serving(whole) as server:
        pass
    with pytest.raises(KernelError) as caught:
        get(server, tmp_path / "x", deadline_s=0.9)
    assert caught.value.hint


@pytest.mark.hostile
def test_endless_body(tmp_path: Path) -> None:
    """A body that never ends is cut at the limit."""

    def endless(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        with contextlib.suppress(OSError):
            while True:
                handler.wfile.write(b"x" * 65536)

    with serving(endless) as server, pytest.raises(KernelError, match="at most 1048576 expected"):
        get(server, tmp_path / "x", size=None, digest=None)
    with serving(endless) as server, pytest.raises(TrustError, match="expected 1000 bytes"):
        get(server, tmp_path / "x", size=1000)
    assert not part_of(tmp_path / "x").exists()


@pytest.mark.hostile
def test_announced_too_long(tmp_path: Path) -> None:
    """A length beyond the limit is refused before the body is read; so is a size that we expect ourselves."""
    with serving(lambda handler: reply(handler, 200, b"x", Content_Length="99999999999")) as server:
        with pytest.raises(KernelError, match="99999999999 bytes"):
            get(server, tmp_path / "x", size=None, digest=None)
        with pytest.raises(KernelError, match="at most 10 expected"):
            get(server, tmp_path / "x", limit=10)


@pytest.mark.hostile
def test_slow_body(tmp_path: Path) -> None:
    """A body that drips keeps every receive alive and still meets the deadline."""

    def drips(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        with contextlib.suppress(OSError):
            while True:
                handler.wfile.write(b"x")
                time.sleep(0.02)

    with serving(drips) as server, pytest.raises(KernelError, match="deadline"):
        get(server, tmp_path / "x", deadline_s=0.3)


@pytest.mark.hostile
def test_slow_header(tmp_path: Path) -> None:
    """A header that drips meets the deadline too."""

    def drips(handler: http.server.BaseHTTPRequestHandler) -> None:
        with contextlib.suppress(OSError):
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while True:
                handler.wfile.write(b"x")
                time.sleep(0.02)

    with serving(drips) as server, pytest.raises(KernelError, match="deadline"):
        get(server, tmp_path / "x", deadline_s=0.3)


def test_redirect(tmp_path: Path) -> None:
    """A relative redirect is followed."""

    def moved(handler: http.server.BaseHTTPRequestHandler) -> None:
        return reply(handler, 302, Location="/y") if handler.path == "/x" else whole(handler)

    with serving(moved) as server:
        assert get(server, tmp_path / "x") == DIGEST


@pytest.mark.hostile
def test_redirect_loop(tmp_path: Path) -> None:
    """Redirects end after three."""
    with serving(lambda handler: reply(handler, 302, Location="/x")) as server:
        with pytest.raises(KernelError, match="more than 3 redirects"):
            get(server, tmp_path / "x")
        assert len(server.seen) == 4


@pytest.mark.hostile
@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/", "//user:secret@127.0.0.1/", "http://[::"])
def test_redirect_elsewhere(tmp_path: Path, target: str) -> None:
    """A redirect to another scheme, or to an address with credentials, is refused."""
    with serving(lambda handler: reply(handler, 302, Location=target)) as server, pytest.raises(KernelError):
        get(server, tmp_path / "x")


@pytest.mark.hostile
def test_redirect_body(tmp_path: Path) -> None:
    """The body of a redirect, however long, is not read."""

    def endless(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", "/x")
        handler.end_headers()
        with contextlib.suppress(OSError):
            while True:
                handler.wfile.write(b"x" * 65536)

    with serving(endless) as server, pytest.raises(KernelError, match="more than 3 redirects"):
        get(server, tmp_path / "x", deadline_s=5)


@pytest.mark.hostile
def test_credentials_stay(tmp_path: Path) -> None:
    """User and password of an address go to its host only, and never into a message."""
    with serving(whole) as second:
        with serving(lambda handler: reply(handler, 302, Location=second.url)) as first:
            url = first.url.replace("//", "//user:secret@")
            fetch(url, size=None, digest=DIGEST, limit=1 << 20, dest=tmp_path / "x",
                  allowed=NOBODY.also(first.url).also(second.url))  # fmt: skip
            assert "Authorization" in first.seen[0] and "Authorization" not in second.seen[0]
    assert shown(url) == f"{first.url}/"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "http://", "host/x", "http://h:x/"])
def test_address(tmp_path: Path, url: str) -> None:
    """Only http and https addresses are fetched."""
    with pytest.raises(KernelError, match="expected an http or https address"):
        fetch(url, size=None, digest=None, limit=1, dest=tmp_path / "x")


def test_two_at_once(tmp_path: Path) -> None:
    """Two fetches of one file do not write into each other; the second finds it done."""
    with serving(whole) as server:
        threads = [threading.Thread(target=get, args=(server, tmp_path / "x")) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (tmp_path / "x").read_bytes() == DATA and len(server.seen) == 1
