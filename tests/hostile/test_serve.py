"""Attacks on the server over real sockets: it answers plain reads of its own files, and nothing else."""

import gzip
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfcompat import process
from bpfcompat.errors import ConfigError
from bpfcompat.registry import layout
from bpfcompat.registry.compressed import refresh
from bpfcompat.registry.serve import serve
from bpfcompat.registry.server.tls import certificate
from bpfcompat.statement import pair_id
from tests.claims import claim, registry
from tests.peers import (
    ROOT,
    Running,
    answers,
    body,
    descriptors,
    eventually,
    fields,
    running,
    snapshot,
    status,
    until_closed,
)

pytestmark = pytest.mark.hostile


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for all attacks; afterwards it is still well and its tree is as it was."""
    root = tmp_path_factory.mktemp("served") / "registry"
    registry(root)
    (root / "secret.txt").write_text("secret")
    for name in (".tmp-0123", "bundles/.tmp-0123"):  # of a write in progress
        (root / name).write_text("secret")
    (root.parent / "outside.json").write_text("secret")
    before = snapshot(root)
    with running(root) as found:
        assert status(found.get("/registry.json")) == 200
        base = descriptors(found.child.pid)
        yield found
        assert status(found.get("/registry.json")) == 200
        eventually(lambda: descriptors(found.child.pid) <= base)
        assert found.child.poll() is None
    assert snapshot(root) == before


BUNDLE = "/" + layout.pair_path(pair_id(claim()))


def test_plain_reads(server: Running) -> None:
    """Every file of the layout is served with its bytes, its type and the security headers."""
    for path in (p for p in server.root.rglob("*") if p.is_file()):
        name = str(path.relative_to(server.root))
        answer = server.get("/" + name)
        if not layout.SERVED.fullmatch(name):
            assert status(answer) == 404, name
            continue
        assert (status(answer), body(answer)) == (200, path.read_bytes()), name
        text = b"\n".join(fields(answer))
        assert b"X-Content-Type-Options: nosniff" in text
        assert b"default-src 'none'" in text and b"frame-ancestors 'none'" in text
        fixed = name.split("/")[0] in ("bundles", "evidence", "manifests", "keys", "tile", "packs")
        assert (b"immutable" in text) == fixed and (b"Cache-Control: no-cache" in text) != fixed
    assert body(server.get("/")) == (server.root / "index.html").read_bytes()


PATHS = [
    "/../outside.json", "/bundles/../../outside.json", "//etc/passwd", "/./matrix.json", "/bundles/", "/bundles",
    "/.lock", "/secret.txt", "/%2e%2e/outside.json", "/%252e%252e/outside.json", "/..%5coutside.json",
    "/..\\outside.json",
    "/matrix.json%00", "/%6datrix.json", "/matrix.json?x=1", "/matrix.json/", "/matrix.json;x", "/MATRIX.JSON",
    "/bundles/.tmp-0123", "/.tmp-0123",
    "/" + "a/" * 300, "/" + "a" * 4000, "/%c0%ae%c0%ae/outside.json", "/bundles/" + "A" * 64 + ".json",
    "/bundles/" + "0" * 63 + ".json", "/bundles/" + "0" * 64 + ".json", "/favicon.ico", "/health",
]  # fmt: skip


@pytest.mark.parametrize("target", PATHS)
def test_other_paths(server: Running, target: str) -> None:
    """One spelling each: any other path is 404, and nothing tells whether it exists outside."""
    answer = server.get(target)
    assert status(answer) == 404
    assert body(answer) == b"404 Not Found\n"


REQUESTS: dict[str, tuple[bytes, set[int]]] = {
    "lower-case method": (b"get / HTTP/1.1\r\nHost: x\r\n\r\n", {405}),
    "tab": (b"GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n", {400}),
    "double space": (b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", {400}),
    "trailing space": (b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n", {400}),
    "0.9": (b"GET /\r\n\r\n", {400}),
    "1.9": (b"GET / HTTP/1.9\r\nHost: x\r\n\r\n", {505}),
    "2.0": (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", {505}),
    "2.0 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {505}),
    "absolute": (b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", {400}),
    "asterisk": (b"GET * HTTP/1.1\r\nHost: x\r\n\r\n", {400}),
    "CONNECT": (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", {405}),
    "not ASCII": ("GET /é HTTP/1.1\r\nHost: x\r\n\r\n".encode(), {400}),
    "NUL": (b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n", {400}),
    "blank line first": (b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", {400}),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", {400}),
    "two Hosts": (b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", {400}),
    "Host with path": (b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", {400}),
    "Host with user": (b"GET / HTTP/1.1\r\nHost: u@x\r\n\r\n", {400}),
    "empty Host": (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", {400}),
    "two Hosts in one": (b"GET / HTTP/1.0\r\nHost: x, y\r\n\r\n", {400}),
    "TE": (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
    "TE and CL": (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", {400}),
    "CL twice": (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", {400}),
    "CL +0": (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n", {400}),
    "CL list": (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0, 0\r\n\r\n", {400}),
    "space before colon": (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\n", {400}),
    "obs-fold": (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", {400}),
    "space in name": (b"GET / HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n", {400}),
    "NUL in name": (b"GET / HTTP/1.1\r\nHost: x\r\nA\0: b\r\n\r\n", {400}),
    "NUL in value": (b"GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n", {400}),
    "no colon": (b"GET / HTTP/1.1\r\nHost: x\r\nA\r\n\r\n", {400}),
    "bare LF": (b"GET / HTTP/1.1\nHost: x\n\n", {400}),
    "bare LF in a line": (b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", {400}),
    "bare CR": (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\rC: d\r\n\r\n", {400}),
    "Expect": (b"GET / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n", {400}),
    "Upgrade": (b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n\r\n", {400}),
    "header of 8 KiB and 1": (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 8192 + b"\r\n\r\n", {431, 0}),
    "65 headers": (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 65 + b"\r\n", {431}),
    "1 MB without a line": (b"A" * (1 << 20), {431, 0}),
    "TLS at the plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", {400}),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_odd_requests(server: Running, name: str) -> None:
    """A request that two readers could understand in two ways is refused, and the connection ends with it."""
    data, wanted = REQUESTS[name]
    answer = server.say(data + b"GET /registry.json HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status(answer) in wanted
    assert answers(answer) <= 1
    assert not answer or b"Connection: close" in answer


def test_hidden_second_request(server: Running) -> None:
    """A request hidden in another one's body is never answered."""
    hidden = b"GET /registry.json HTTP/1.1\r\nHost: x\r\n\r\n"
    for method in (b"GET", b"HEAD", b"POST"):
        outer = method + b" / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(hidden)
        answer = server.say(outer + hidden)
        assert (status(answer), answers(answer)) == (400, 1)


def test_pipelining(server: Running) -> None:
    """Requests without bodies may follow one another; each gets its answer, in order."""
    one = b"GET /registry.json HTTP/1.1\r\nHost: x\r\n\r\n"
    assert answers(server.say(one * 20)) == 20
    closed = server.say(one.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive, Close\r\n\r\n") + one)
    assert answers(closed) == 1
    old = server.say(b"GET /registry.json HTTP/1.0\r\n\r\n" + one)
    assert (status(old), answers(old)) == (200, 1)
    after_404 = server.say(b"GET /none HTTP/1.1\r\nHost: x\r\n\r\n" + one)
    assert answers(after_404) == 2


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"MKCOL"])
def test_other_methods(server: Running, method: bytes) -> None:
    """Only GET and HEAD; an overriding header changes nothing."""
    answer = server.get("/matrix.json", method)
    assert status(answer) == 405
    assert b"Allow: GET, HEAD" in fields(answer)
    assert status(server.get("/matrix.json", more=b"X-HTTP-Method-Override: DELETE\r\n")) == 200


def test_head(server: Running) -> None:
    """HEAD has the same headers as GET and no body, for hits and misses."""
    for target in ("/", "/matrix.json", "/none"):
        got, head = server.get(target), server.get(target, b"HEAD")
        assert fields(head) == fields(got)
        assert body(head) == b"" != body(got)


def test_conditional(server: Running) -> None:
    """A known ETag gives 304 without a body; garbage gives the file."""
    (etag,) = (line[6:] for line in fields(server.get("/matrix.json")) if line.startswith(b"ETag: "))
    for known in (etag, b"W/" + etag, b'"x", ' + etag, b"*", b'"x"\r\nIf-None-Match: ' + etag):
        answer = server.get("/matrix.json", more=b"If-None-Match: " + known + b"\r\n")
        assert (status(answer), body(answer)) == (304, b"")
    for unknown in (b"", b'"x"', b"x" * 5000, b"," * 5000, b'"' * 99):
        assert status(server.get("/matrix.json", more=b"If-None-Match: " + unknown + b"\r\n")) == 200
    assert status(server.get("/matrix.json", more=b"If-Modified-Since: garbage\r\nIf-Match: x\r\n")) == 200


@pytest.mark.parametrize("given", [b"bytes=0-0", b"bytes=-0", b"bytes=9-", b"bytes=9-1", b"bytes=99999999-", b"x=0-1",
                                   b"bytes=" + b"0-0," * 1000, b"bytes=-9223372036854775809"])  # fmt: skip
def test_range_is_ignored(server: Running, given: bytes) -> None:
    """A Range gets the whole file."""
    answer = server.get("/matrix.json", more=b"Range: " + given + b"\r\nIf-Range: x\r\n")
    assert (status(answer), body(answer)) == (200, (server.root / "matrix.json").read_bytes())


@pytest.mark.parametrize("given", [b"gzip", b"gzip;q=0", b"*", b"identity;q=0", b"br, zstd"])
def test_encoding_is_plain(server: Running, given: bytes) -> None:
    """Whatever encoding is asked for, the bytes are the file's."""
    answer = server.get("/matrix.json", more=b"Accept-Encoding: " + given + b"\r\n")
    assert body(answer) == (server.root / "matrix.json").read_bytes()
    assert b"Content-Encoding" not in answer


FORMAT_2 = {
    "checkpoint": "text/plain; charset=utf-8", "trail": "text/plain; charset=utf-8", "root/1.json": "application/json",
    "tile/0/x001/x234/067": "application/octet-stream", "tile/0/000.p/7": "application/octet-stream",
    "tile/entries/000": "application/octet-stream", f"packs/{'0' * 64}.pack": "application/octet-stream",
}  # fmt: skip


def test_log_and_packs(tmp_path: Path) -> None:
    """The log's nested tiles, its checkpoint, root documents and packs are served; a link on the way to them is not."""
    root = tmp_path / "registry"
    for name in FORMAT_2:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    with running(root) as found:
        for name, kind in FORMAT_2.items():
            answer = found.get("/" + name)
            assert (status(answer), body(answer)) == (200, name.encode())
            assert f"Content-Type: {kind}".encode() in fields(answer)
            fixed = name.split("/")[0] in ("tile", "packs")
            assert (b"Cache-Control: no-cache" not in fields(answer)) == fixed
        assert [status(found.get(f"/{name}")) for name in ("tile/0/x001/x234", "tile/0", "root/", "packs")] == [404] * 4
        for folder in ("tile/0/x001", "tile/0", "tile"):
            (root / folder).rename(tmp_path / "aside")
            (root / folder).symlink_to(tmp_path / "aside")
            eventually(lambda: status(found.get("/tile/0/x001/x234/067")) == 404)
            (root / folder).unlink()
            (tmp_path / "aside").rename(root / folder)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Running]:
    """A server whose tree the test may change."""
    registry(tmp_path / "registry")
    with running(tmp_path / "registry") as found:
        yield found


def test_hard_links(own: Running, tmp_path: Path) -> None:
    """H4: a file with a second name, which may be anybody's, is not sent, as itself or as a compressed copy."""
    (tmp_path / "secret").write_text("secret")
    name = "evidence/" + "e" * 64 + ".json"
    (own.root / name).hardlink_to(tmp_path / "secret")
    for method in (b"GET", b"HEAD"):
        answer = own.get("/" + name, method)
        assert status(answer) == 503 and b"secret" not in answer
    (tmp_path / "secret").unlink()
    assert body(own.get("/" + name)) == b"secret"  # now it is nobody else's
    page = own.root / "index.html"
    page.write_bytes(b"<p>a page</p>\n" * 5000)
    assert refresh(own.root) == 1
    (tmp_path / "copy").hardlink_to(own.root / "index.html.gz")
    answer = ask_gzip(own, b"gzip")
    assert (status(answer), body(answer)) == (200, page.read_bytes()) and b"Content-Encoding" not in answer


def test_odd_files(own: Running, tmp_path: Path) -> None:
    """Links to outside and to inside, a FIFO, a directory, an unreadable loop: 404, at once."""
    (tmp_path / "secret").write_text("secret")
    name = "bundles/" + "e" * 64 + ".json"
    path = own.root / name
    inside = min((own.root / "bundles").iterdir())
    for make in (
        lambda: path.symlink_to(tmp_path / "secret"),
        lambda: path.symlink_to(inside),
        lambda: path.symlink_to(path),
        lambda: os.mkfifo(path),
        path.mkdir,
    ):
        make()
        assert status(own.get("/" + name)) == 404
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    (own.root / "pairs").rename(tmp_path / "pairs")
    (own.root / "pairs").symlink_to(tmp_path / "pairs")
    eventually(lambda: status(own.get(BUNDLE)) == 404)


GZIPPED = [b"gzip", b"GZIP", b"br, gzip;q=0.5", b"gzip ; q=1.000", b"deflate,gzip", b"*, gzip"]
PLAIN_ONLY = [
    b"gzip;q=0", b"gzip;q=0.000", b"*", b"x-gzip", b"gzip;q=2", b"gzip;level=9", b"identity;q=0", b"br", b"gzi p", b"",
]  # fmt: skip


def ask_gzip(own: Running, coding: bytes, more: bytes = b"") -> bytes:
    return own.get("/index.html", more=b"Accept-Encoding: " + coding + b"\r\n" + more)


def test_twins(own: Running) -> None:
    """A compressed copy goes to those who name gzip, under a tag of its own; all answers say that it depends."""
    page = own.root / "index.html"
    page.write_bytes(b"<p>a page</p>\n" * 5000)
    assert refresh(own.root) == 1
    plain = own.get("/index.html")
    for coding in GZIPPED:
        answer = ask_gzip(own, coding)
        assert b"Content-Encoding: gzip" in fields(answer)
        assert gzip.decompress(body(answer)) == page.read_bytes() == body(plain)
        assert {b"Vary: Accept-Encoding"} <= set(fields(answer)) & set(fields(plain))
    for coding in PLAIN_ONLY:
        assert fields(ask_gzip(own, coding)) == fields(plain) and body(ask_gzip(own, coding)) == body(plain)
    both = (plain, ask_gzip(own, b"gzip"))
    tags = [next(line[6:] for line in fields(a) if line.startswith(b"ETag: ")) for a in both]
    assert tags[0] != tags[1]
    known = [b"If-None-Match: " + tag + b"\r\n" for tag in tags]
    assert [status(own.get("/index.html", more=tag)) for tag in known] == [304, 200]
    assert [status(ask_gzip(own, b"gzip", tag)) for tag in known] == [200, 304]
    assert status(own.get("/index.html.gz")) == 404
    head = own.get("/index.html", b"HEAD", b"Accept-Encoding: gzip\r\n")
    assert (fields(head), body(head)) == (fields(ask_gzip(own, b"gzip")), b"")


def test_twins_that_are_none(own: Running, tmp_path: Path) -> None:
    """A copy of older bytes, a link, a folder, a FIFO in its place, or none at all: the file itself is sent."""
    page = own.root / "index.html"
    page.write_bytes(b"<p>a page</p>\n" * 5000)
    refresh(own.root)
    copy = own.root / "index.html.gz"
    assert b"Content-Encoding: gzip" in ask_gzip(own, b"gzip")
    page.write_bytes(b"<p>another</p>\n" * 5000)  # and a kill before its copy was made
    odd = [lambda: copy.symlink_to(tmp_path / "registry/style.css"), copy.mkdir, lambda: os.mkfifo(copy), lambda: None]
    for make in (lambda: None, *odd):
        answer = ask_gzip(own, b"gzip")
        assert (status(answer), body(answer)) == (200, page.read_bytes()) and b"Content-Encoding" not in answer
        if os.path.lexists(copy):
            copy.rmdir() if copy.is_dir() and not copy.is_symlink() else copy.unlink()
        make()


def test_file_changes_while_sent(own: Running) -> None:
    """A file that is deleted while being sent arrives as it was; one that shrinks breaks off and is never padded."""
    path = own.root / "evidence" / ("e" * 64 + ".json")
    data = os.urandom(24 << 20)
    request = b"GET /evidence/" + b"e" * 64 + b".json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    for change in ("delete", "truncate"):
        path.write_bytes(data)
        with own.connect() as peer:
            peer.sendall(request)
            start = peer.recv(1000)
            path.unlink() if change == "delete" else os.truncate(path, 0)
            got = body(start + until_closed(peer))
        assert (got == data) if change == "delete" else (len(got) < len(data) and data.startswith(got))
    path.write_bytes(b"")
    assert (status(own.get("/evidence/" + "e" * 64 + ".json")), status(own.get("/"))) == (200, 200)


def test_etag_changes_with_the_file(own: Running) -> None:
    """A file that is replaced by one of the same size has another ETag."""
    path = own.root / "matrix.json"
    before = fields(own.get("/matrix.json"))
    other = path.with_name("other")
    other.write_bytes(path.read_bytes()[::-1])
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.rename(path)
    assert fields(own.get("/matrix.json")) != before


def test_resets(own: Running) -> None:
    """Peers that hang up with a reset, before, in and after a request, do no harm."""
    for data in (b"", b"GET /", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
        for _ in range(30):
            with own.connect() as peer:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                peer.sendall(data)
    assert status(own.get("/registry.json")) == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_orderly_stop(own: Running, number: int) -> None:
    """A running answer finishes, idle peers are let go, new ones refused, and the exit code is 0 within 5 s."""
    path = own.root / "evidence" / ("e" * 64 + ".json")
    path.write_bytes(b"x" * (16 << 20))
    with own.connect() as idle, own.connect() as busy:
        busy.sendall(b"GET /evidence/" + b"e" * 64 + b".json HTTP/1.1\r\nHost: x\r\n\r\n")
        start = busy.recv(1000)
        own.child.send_signal(number)
        assert until_closed(idle) == b""
        assert len(body(start + until_closed(busy))) == 16 << 20
        assert own.child.wait(timeout=5) == 0
    with pytest.raises(ConnectionRefusedError):
        own.connect()


def test_stop_does_not_wait_for_ever(own: Running) -> None:
    """A peer that never reads its answer cannot hold up the stop."""
    path = own.root / "evidence" / ("e" * 64 + ".json")
    path.write_bytes(b"x" * (16 << 20))
    with own.connect() as stuck:
        stuck.sendall(b"GET /evidence/" + b"e" * 64 + b".json HTTP/1.1\r\nHost: x\r\n\r\n")
        stuck.recv(1)
        own.child.send_signal(signal.SIGTERM)
        assert own.child.wait(timeout=8) == 0


def test_configuration(tmp_path: Path) -> None:
    """Half a TLS pair, a broken one, a missing folder and a taken port are said in words."""
    junk = tmp_path / "junk"
    junk.write_text("junk")
    for pair in ((junk, None), (None, junk), (junk, junk), (junk, tmp_path / "none")):
        with pytest.raises(ConfigError, match=r"tls|TLS"):
            certificate(*pair)
    with pytest.raises(ConfigError, match="cannot serve"):
        serve(tmp_path / "none")
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="cannot listen"):
        serve(tmp_path, port=taken.getsockname()[1])


def test_small() -> None:
    """Each part of the server stays small enough to be read in one sitting, and the whole in an hour."""
    import bpfcompat.registry.serve as module

    entry = Path(module.__file__)
    lines = {p.name: len(p.read_text().splitlines()) for p in (entry, *(entry.parent / "server").glob("*.py"))}
    assert max(lines.values()) <= 250 and sum(lines.values()) <= 1400, lines


def test_standard_library_only() -> None:
    """Nothing that the server imports is from anywhere but Python's own library and this package."""
    program = "import sys, bpfcompat.registry.serve\nprint(*{name.partition('.')[0] for name in sys.modules})"
    argv = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = [{str(ROOT)!r}]\n{program}"]
    said = process.check(argv, what="imports", cwd=ROOT).decode()
    assert set(said.split()) - set(sys.stdlib_module_names) == {"__main__", "bpfcompat"}
