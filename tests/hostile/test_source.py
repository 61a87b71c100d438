"""Where a registry's bytes come from: odd files in a folder, files that change, a server that drags the run out."""

import os
import socket
import stat
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfcompat.errors import ConfigError, Exit, TrustError
from bpfcompat.origins import NOBODY
from bpfcompat.registry import client, layout
from bpfcompat.registry.client import Folder, Pace, Source, Web, open_source
from bpfcompat.registry.verify import verify
from tests.claims import KEY, NOW
from tests.serving import files, reply, serving, talking

pytestmark = pytest.mark.hostile


def outcome(source: Source) -> Exit:
    return verify(source, [KEY.public_key()], now=NOW).exit_code


def link(path: Path, kept: Path) -> None:
    """A link to the very bytes that belong there."""
    path.symlink_to(kept)


def device(path: Path, kept: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o644, os.makedev(1, 5))  # zeros without end
    except PermissionError:
        pytest.skip("this user may not make a device")


def bound_socket(path: Path, kept: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # a socket's path may be 107 bytes long, a test's folder is longer
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(before)


def giant(path: Path, kept: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(1 << 40)


ODD: dict[str, Callable[[Path, Path], object]] = {
    "link": link,
    "dangling link": lambda path, kept: path.symlink_to("nowhere"),
    "link to itself": lambda path, kept: path.symlink_to(path.name),
    "link to a device": lambda path, kept: path.symlink_to("/dev/zero"),
    "FIFO": lambda path, kept: os.mkfifo(path),
    "folder": lambda path, kept: path.mkdir(),
    "device": device,
    "socket": bound_socket,
    "sparse terabyte": giant,
}
PLACES = ("registry.json", "matrix.json", "bundles/*", "evidence/*", "pairs/*", "bundles", "evidence", "pairs")


CASES = [(place, kind) for place in PLACES for kind in ODD if kind != "folder" or "*" in place or "." in place]


@pytest.mark.parametrize(("place", "kind"), CASES)
def test_odd_files(good: Path, tmp_path: Path, place: str, kind: str) -> None:
    """What is no regular file, in any file's or folder's place, is refused: nothing is followed, nothing hangs."""
    path = min(good.glob(place))
    kept = path.rename(tmp_path / "kept")
    ODD[kind](path, kept)
    assert outcome(Folder(good)) is Exit.UNTRUSTED


class Turning:
    """A registry in which every file turns into something else as soon as it was read."""

    def __init__(self, root: Path, turned: bytes) -> None:
        self.root, self.turned, self.inner = root, turned, Folder(root)
        self.reads: Counter[str] = Counter()

    def read(self, path: str, limit: int) -> bytes | None:
        data = self.inner.read(path, limit)
        self.reads[path] += 1
        if data is not None:
            (self.root / path).write_bytes(self.turned)
        return data

    def names(self, folder: str) -> tuple[str, ...] | None:
        return self.inner.names(folder)


@pytest.mark.parametrize("turned", [b"", b"{}", b"x" * 100])
def test_changed_after_reading(good: Path, turned: bytes) -> None:
    """Every file is read once, and those bytes are what is checked and believed: a later change alters nothing."""
    source = Turning(good, turned)
    assert outcome(source) is Exit.OK
    assert set(source.reads.values()) == {1}
    assert outcome(Folder(good)) is Exit.UNTRUSTED


def test_swapped_while_listing(good: Path) -> None:
    """A bundle that is taken away between listing and reading is missing, not forgotten."""

    class Losing(Turning):
        def names(self, folder: str) -> tuple[str, ...] | None:
            found = self.inner.names(folder)
            for name in found or ():
                (self.root / folder / name).unlink()
            return found

        def read(self, path: str, limit: int) -> bytes | None:
            return self.inner.read(path, limit)

    assert outcome(Losing(good, b"")) is Exit.UNTRUSTED


# A server


def test_partial_download(good: Path) -> None:
    """A file that is cut short on the way, at any place and however its length is told, is not taken."""
    data = (good / layout.MATRIX).read_bytes()
    for cut in (0, 1, len(data) // 2, len(data) - 1):
        for head in (b"Content-Length: %d\r\n" % len(data), b"Transfer-Encoding: chunked\r\n"):
            body = data[:cut] if b"Length" in head else b"%x\r\n" % len(data) + data[:cut]
            said = b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + body
            with talking(lambda peer, said=said: peer.sendall(said)) as url, pytest.raises(TrustError):
                Web(url, NOBODY.also(url)).read(layout.MATRIX, 1 << 20)


@pytest.mark.parametrize("length", ["3", "+2", "-2", "2x", "two", "", "2, 3", "2\r\nContent-Length: 3", "9" * 40])
def test_wrong_length(length: str) -> None:
    """A length that is not exactly what came, or is none, is not taken."""
    said = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{{}}".encode()
    with talking(lambda peer: peer.sendall(said)) as url, pytest.raises(TrustError):
        Web(url, NOBODY.also(url)).read(layout.MATRIX, 1 << 20)


def test_redirect_to_another_named_server(good: Path) -> None:
    """A registry redirects within its own server only, even where the other one was named as well."""
    with serving(files({"/matrix.json": b"{}"})) as other:
        with serving(lambda handler: reply(handler, 302, Location=f"{other.url}/matrix.json")) as server:
            source = Web(server.url, NOBODY.also(server.url).also(other.url))
            with pytest.raises(TrustError, match="another server"):
                source.read(layout.MATRIX, 1 << 20)
            assert other.seen == []


def test_unnamed_registry() -> None:
    """A registry that stands in the settings is https to the open network, unless its exact host was named."""
    with serving(files({"/matrix.json": b"{}"})) as server:
        with pytest.raises(TrustError, match=r"plain http is for hosts that were named .*\[fetch\] allow"):
            Web(server.url).read(layout.MATRIX, 1 << 20)
        with pytest.raises(TrustError, match=r"127\.0\.0\.1: loopback"):
            Web("https://127.0.0.1").read(layout.MATRIX, 1 << 20)
        assert server.seen == []
        assert Web(server.url, NOBODY.also(server.url)).read(layout.MATRIX, 1 << 20) == b"{}"
        assert open_source(server.url).read(layout.MATRIX, 1 << 20) == b"{}"


def test_credentials_unsaid() -> None:
    """An address that cannot be read is not repeated with its password."""
    for base in ("https://user:secret@host/?q", "https://user:secret@host:x/", "https://user:secret@127.1/"):
        with pytest.raises(ConfigError) as caught:
            open_source(base)
        assert "secret" not in str(caught.value)


def test_run_over_its_time(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is over its time however fast each file came."""
    monkeypatch.setattr(client, "RUN_S", 0.0)
    with serving(files({"/registry.json": b"{}"})) as server:
        with pytest.raises(TrustError, match=r"registry\.json: cannot fetch: the whole run was not done within 0 s"):
            open_source(server.url).read("registry.json", 100)
        assert server.seen == []


def test_run_behind_its_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers each request within its deadline, but slowly, does not hold a reader for days."""
    monkeypatch.setattr(client, "GRACE_S", 0.2)
    monkeypatch.setattr(client, "PER_FILE_S", 0.001)

    def slow(handler: object) -> None:
        time.sleep(0.05)
        reply(handler, 200, b"{}")  # type: ignore[arg-type]

    with serving(slow) as server:
        source = open_source(server.url)
        with pytest.raises(TrustError, match=r"the server is too slow: [0-9]+ files and [0-9]+ bytes"):
            for _ in range(1000):
                source.read("registry.json", 100)
        assert len(server.seen) < 100


def test_slow_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing counts as much: 404 after 404."""
    monkeypatch.setattr(client, "GRACE_S", 0.1)
    monkeypatch.setattr(client, "PER_FILE_S", 0.0)
    with serving(lambda handler: reply(handler, 404)) as server:
        source = open_source(server.url)
        with pytest.raises(TrustError, match="too slow"):
            for _ in range(10_000):
                assert source.read("registry.json", 100) is None


def test_pace_of_a_good_server() -> None:
    """Ten thousand small files at a tenth of a second each, and a gigabyte at a megabyte a second, are no reason."""
    pace = Pace(time.monotonic() + 1000)
    pace.files, pace.waited = 10_000, 1000.0
    assert pace.left() == client.FILE_S
    pace.files, pace.received, pace.waited = 1, 1 << 30, 1000.0
    assert pace.left() == client.FILE_S
