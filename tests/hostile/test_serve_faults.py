"""The server when its host or its peers fail: no descriptors, a broken disk, the slow, the many, the silent."""

import contextlib
import os
import resource
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfcompat import process
from bpfcompat.registry.server import connection
from tests.claims import registry
from tests.peers import Running, answers, body, descriptors, eventually, running, status, until_closed

pytestmark = pytest.mark.hostile
PLAIN = b"GET /registry.json HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = "/evidence/" + "e" * 64 + ".json"
MANY = 2001  # peers at once, a third of each kind
ASK_LARGE = f"GET {LARGE} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Running]:
    """A server with a listener for its operator, whose tree the test may change."""
    registry(tmp_path / "registry")
    with running(tmp_path / "registry", admin=["127.0.0.1", 0]) as found:
        yield found


def large(root: Path, size: int) -> bytes:
    """A large file of the registry."""
    data = os.urandom(size)
    (root / LARGE[1:]).write_bytes(data)
    return data


def limit(own: Running, files: int) -> None:
    """How many descriptors a server may have from now on."""
    tool = shutil.which("prlimit")
    if tool is None:
        pytest.skip("prlimit is absent")
    process.check([tool, f"--pid={own.child.pid}", f"--nofile={files}:"], what="limit", cwd=own.root)


def test_out_of_descriptors(own: Running) -> None:
    """Without a descriptor for the file, or for the connection, the answer is 503; with some again, all is well."""
    with own.connect() as peer:
        peer.sendall(PLAIN)
        assert status(peer.recv(4096)) == 200
        limit(own, descriptors(own.child.pid))
        eventually(lambda: status(own.say(PLAIN)) == 503)  # a new peer
        peer.sendall(PLAIN)
        assert status(peer.recv(4096)) == 503  # one that is connected
        limit(own, 4096)
    assert status(own.get("/registry.json")) == 200
    assert own.metric('bpfcompat_connections_cut_total{why="descriptors"}') >= 1


@pytest.mark.parametrize("broken_from", [0, 1 << 20])
def test_disk_errors(tmp_path: Path, broken_from: int) -> None:
    """A disk that cannot be read is a 503, and in the middle of a file a broken connection, never a padded answer."""
    registry(tmp_path / "registry")
    data = large(tmp_path / "registry", 2 << 20)
    with running(tmp_path / "registry", broken_from=broken_from) as found:
        answer = found.get(LARGE)
        if broken_from:
            assert data.startswith(body(answer)) and 0 < len(body(answer)) < len(data)
        else:
            assert status(answer) == 503 and b"Connection: close" in answer
        assert status(found.get(LARGE, b"HEAD")) == 200
        assert found.child.poll() is None


def test_replaced_while_sent(own: Running) -> None:
    """A file that is replaced while being sent arrives as it was."""
    data = large(own.root, 12 << 20)
    with own.connect() as peer:
        peer.sendall(ASK_LARGE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        start = peer.recv(1000)
        (own.root / "new").write_bytes(b"x" * len(data))
        (own.root / "new").rename(own.root / LARGE[1:])
        assert body(start + until_closed(peer)) == data
    assert body(own.get(LARGE)) == b"x" * len(data)


def test_half_closed(own: Running) -> None:
    """A peer that has said all it will say still gets its answers, large ones too, and then the end."""
    data = large(own.root, 8 << 20)
    said = own.say(PLAIN + ASK_LARGE + PLAIN)
    assert answers(said[:2000]) == 2 and data in said
    assert said.endswith((own.root / "registry.json").read_bytes())


def test_resets(own: Running) -> None:
    """Peers that hang up with a reset, before, in and after a request and in the middle of a body, leave nothing."""
    large(own.root, 8 << 20)
    base = descriptors(own.child.pid)
    for data in (b"", b"GET /", PLAIN, PLAIN * 40, ASK_LARGE):
        for _ in range(30):
            with own.connect() as peer:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                peer.sendall(data)
                if data is ASK_LARGE:
                    peer.recv(100)
    eventually(lambda: descriptors(own.child.pid) <= base)
    assert status(own.get("/registry.json")) == 200
    eventually(lambda: own.metric("bpfcompat_connections_open") == 0)


def test_last_words_arrive(own: Running) -> None:
    """Why a request was refused is heard even by a peer that is still talking."""
    for _ in range(20):
        with own.connect() as peer:
            peer.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60000)
            assert status(until_closed(peer)) == 400


def test_slow_peers(tmp_path: Path) -> None:
    """H14: 2,001 silent, slow and who read nothing keep nobody waiting, and are gone after their deadlines."""
    assert max(connection.HEADER_S, connection.STALL_S) <= 10  # here they are shorter
    registry(tmp_path / "registry")
    large(tmp_path / "registry", 12 << 20)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # ours too: each peer is a descriptor here
    with running(tmp_path / "registry", admin=["127.0.0.1", 0], hurried=True) as own, contextlib.ExitStack() as stack:
        base = descriptors(own.child.pid)
        peers = [stack.enter_context(own.connect(f"127.0.0.{i % 3 + 2}")) for i in range(MANY)]
        for number, peer in enumerate(peers):
            peer.sendall((b"", b"G", ASK_LARGE)[number % 3])
        idle = stack.enter_context(own.connect())
        idle.sendall(PLAIN)
        assert status(idle.recv(4096)) == 200
        assert [status(own.get("/registry.json")) for _ in range(100)] == [200] * 100
        while own.metric("bpfcompat_connections_open") > 0:
            for peer in peers[1::3]:
                with contextlib.suppress(OSError):
                    peer.send(b"x")  # a byte now and then makes nobody wait longer
            time.sleep(0.2)
        cut = [own.metric(f'bpfcompat_connections_cut_total{{why="{why}"}}') for why in ("header", "stalled", "idle")]
        assert cut == [MANY * 2 / 3, MANY / 3, 1]
        eventually(lambda: descriptors(own.child.pid) <= base)


def test_room(tmp_path: Path) -> None:
    """When all places are taken the longest waiting one makes room, and no address has more than half of them."""
    registry(tmp_path / "registry")
    room = 20
    options = {"admin": ["127.0.0.1", 0], "files": 64 + 2 * room}
    with running(tmp_path / "registry", **options) as own, contextlib.ExitStack() as stack:
        for number in range(60):
            stack.enter_context(own.connect(f"127.0.0.{2 + number % 3}"))
        assert status(own.get("/registry.json")) == 200
        cut = {why: own.metric(f'bpfcompat_connections_cut_total{{why="{why}"}}') for why in ("room", "peer")}
        assert own.metric("bpfcompat_connections_open") <= room
        assert cut["room"] > 0
        for _ in range(30):
            stack.enter_context(own.connect("127.0.0.9"))
        eventually(lambda: own.metric('bpfcompat_connections_cut_total{why="peer"}') >= 20)
        assert status(own.get("/registry.json")) == 200


def test_flood_of_connections(own: Running) -> None:
    """Thousands of connections that come and go at once are taken and let go."""
    base = descriptors(own.child.pid)
    for _ in range(3000):
        own.connect().close()
    assert status(own.get("/registry.json")) == 200
    eventually(lambda: own.metric("bpfcompat_connections_open") == 0)
    assert own.metric("bpfcompat_connections_total") >= 3000
    eventually(lambda: descriptors(own.child.pid) <= base)


def test_greedy_pipeline(own: Running) -> None:
    """A peer that asks thousands of times at once, and reads nothing, is not even read, and others are served."""
    with own.connect() as peer:
        peer.settimeout(1)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 64 << 20:
                sent += peer.send(PLAIN * 1000)
        assert sent < 64 << 20
        assert status(own.get("/registry.json")) == 200
        peer.settimeout(15)
        got = 0
        while got < 4 << 20:
            got += len(peer.recv(1 << 20))  # and when it reads, it goes on
