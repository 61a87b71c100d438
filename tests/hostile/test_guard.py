"""Where downloads could be lured to: names, addresses, redirects and servers of a stranger.

No test here asks anybody outside: looking up and dialling are replaced, and what would be dialled is written down.
"""

import contextlib
import gzip
import itertools
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bpfcompat import dialler
from bpfcompat.addresses import Address
from bpfcompat.dialler import Budget, Dialler, Late, Trouble, dial
from bpfcompat.digest import digest_bytes
from bpfcompat.errors import BpfcompatError, KernelError, TrustError
from bpfcompat.fetch import fetch
from bpfcompat.guard import Door
from bpfcompat.origins import NOBODY, Allowed, Refused, allowed
from bpfcompat.registry.client import Web
from tests.addressing import beyond_ascii, embedded, spellings
from tests.serving import files, reply, serving, talking

pytestmark = pytest.mark.hostile

OPEN = "93.184.216.34"
INNER = ("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254")


@dataclass
class World:
    """A stub of name servers and of the network: what was looked up and dialled, and where every dial really ends."""

    names: dict[str, list[list[str]]] = field(
        default_factory=dict
    )  # what each look-up of a name says, the last for ever
    port: int = 0  # on this machine; 0 refuses every connection
    dead: tuple[str, ...] = ()
    asked: list[str] = field(default_factory=list)
    dialled: list[str] = field(default_factory=list)

    def look_up(self, host: str, port: int, seconds: float) -> list[Address]:
        self.asked.append(host)
        said = self.names.get(host)
        if said is None:
            raise Trouble(f"{host}: no such name")
        return [ip_address(text) for text in (said.pop(0) if len(said) > 1 else said[0])]

    def dial(self, address: Address, port: int, seconds: float) -> socket.socket:
        self.dialled.append(f"{address}:{port}")
        if not self.port or str(address) in self.dead:
            raise ConnectionRefusedError(111, "refused by the stub")
        return dial(ip_address("127.0.0.1"), self.port, seconds)

    def door(self, named: Allowed = NOBODY, tls: ssl.SSLContext | None = None) -> Door:
        return Door(Dialler(named, self.look_up, self.dial), tls)


def ask(door: Door, url: str, seconds: float = 5.0, limit: int = 1 << 16) -> bytes:
    with door.open(url, Budget(seconds, limit)) as answer:
        return b"".join(answer.body())


def refused(door: Door, url: str, words: str = "") -> Refused:
    with pytest.raises(Refused) as caught:
        ask(door, url)
    assert words in str(caught.value), caught.value
    return caught.value


@dataclass(frozen=True)
class Paper:
    """A certificate authority of our own, and a server's papers for `registry.example`."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    called: list[str | None]


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Paper:
    folder, key = tmp_path_factory.mktemp("tls"), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry.example")])
    names, now = [x509.DNSName("registry.example"), x509.DNSName("open.example")], datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = made.public_bytes(serialization.Encoding.PEM)
    (folder / "both").write_bytes(pem + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))  # fmt: skip
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server.load_cert_chain(folder / "both")
    client.load_verify_locations(cadata=pem.decode())
    called: list[str | None] = []
    server.sni_callback = lambda sock, name, context: called.append(name)
    return Paper(server, client, called)


# Names and addresses


@pytest.mark.parametrize("inner", INNER)
def test_spellings(inner: str) -> None:
    """No spelling of an inner address, plain or odd or wrapped in IPv6, is looked up or dialled over https."""
    address, world = IPv4Address(inner), World()
    forms = {"plain": inner, **spellings(address), **beyond_ascii(address)}
    forms |= {name: f"[{six}]" for name, six in embedded(address).items()}
    world.names = {host: [[inner]] for host in forms.values()}  # a resolver that understands them all
    door = world.door()
    for form, host in forms.items():
        for url in (f"https://{host}/", f"https://{host}:443/x", f"https://user@{host}/"):
            with pytest.raises(Refused):
                raise AssertionError(f"{form}: {ask(door, url)!r}")
    assert (world.asked, world.dialled) == ([], [])
    assert len(forms) >= 26


@pytest.mark.parametrize("inner", [*INNER, "::1", "fec0::1", "fd00::1", "fe80::1", "ff02::1", "2002:7f00:1::"])
def test_names_that_lead_inside(inner: str) -> None:
    """A name whose address is inside is refused with host, address, range, and the one line to add if there is one."""
    world = World({"trap.example": [[inner]]})
    error = refused(world.door(), "https://trap.example/x", f"trap.example is at {inner}: ")
    assert world.dialled == []
    assert error.hint in ('if it is meant, add "trap.example" to [fetch] allow in bpfcompat.toml',
                          "no setting opens such an address")  # fmt: skip


@pytest.mark.parametrize("address", [str(a) for a in embedded(IPv4Address("127.0.0.1")).values()])
def test_names_that_lead_inside_in_disguise(address: str) -> None:
    """The same of an IPv4 address wrapped in IPv6."""
    world = World({"trap.example": [[address]]})
    refused(world.door(), "https://trap.example/x")
    assert world.dialled == []


def test_named_host() -> None:
    """A host that was named may be inside, but nobody's name may lead to a metadata service."""
    named = allowed(["mirror.lan", "10.0.0.7:8080"])
    with serving(files({"/x": b"data"})) as server:
        world = World({"mirror.lan": [["10.1.2.3"]], "other.lan": [["10.1.2.3"]]}, port=server.server_port)
        door = world.door(named)
        assert ask(door, "http://mirror.lan/x") == b"data"
        assert ask(door, "http://10.0.0.7:8080/x") == b"data"
        refused(door, "http://other.lan/x", "plain http")
        refused(door, "https://other.lan/x", "other.lan is at 10.1.2.3: private (10.0.0.0/8)")
        refused(door, "http://mirror.lan:8080/x", "plain http")
        refused(door, "https://mirror.lan:8080/x", "port 8080")
        refused(door, "http://10.0.0.7/x", "plain http")
        assert world.dialled == ["10.1.2.3:80", "10.0.0.7:8080"]
    world = World({"mirror.lan": [["169.254.169.254"]]})
    assert refused(world.door(named), "http://mirror.lan/").hint == "no setting opens such an address"
    refused(world.door(NOBODY.also("http://169.254.169.254/")), "http://169.254.169.254/latest/meta-data/", "metadata")
    assert world.dialled == []


def test_rebinding(paper: Paper) -> None:
    """A name is looked up once for a connection, and what was judged is dialled; its next word is judged anew."""
    with serving(files({"/x": b"data"}), paper.server) as server:
        world = World({"registry.example": [[OPEN], ["127.0.0.1"]]}, port=server.server_port)
        door = world.door(tls=paper.client)
        assert ask(door, "https://registry.example/x") == b"data"
        assert (world.asked, world.dialled) == (["registry.example"], [f"{OPEN}:443"])
        refused(door, "https://registry.example/x", "registry.example is at 127.0.0.1")
        assert world.dialled == [f"{OPEN}:443"]


def test_one_foot_inside() -> None:
    """Of a name with addresses inside and outside only the outer ones are dialled, one after the other."""
    world = World({"h.example": [["127.0.0.1", "8.8.8.8", "fd00::1", "1.1.1.1", "169.254.169.254"]]})
    with pytest.raises(Trouble, match=r"h\.example \(1\.1\.1\.1, port 443\): refused by the stub"):
        ask(world.door(), "https://h.example/")
    assert world.dialled == ["8.8.8.8:443", "1.1.1.1:443"]


def test_many_addresses() -> None:
    """A name with hundreds of addresses costs eight dials."""
    world = World({"h.example": [[f"8.8.{a}.{b}" for a, b in itertools.product(range(4), range(200))]]})
    with pytest.raises(Trouble):
        ask(world.door(), "https://h.example/")
    assert len(world.dialled) == 8


def test_next_address(paper: Paper) -> None:
    """When the first address does not answer, the next is asked."""
    with serving(files({"/x": b"data"}), paper.server) as server:
        world = World({"registry.example": [["8.8.8.8", OPEN]]}, port=server.server_port, dead=("8.8.8.8",))
        assert ask(world.door(tls=paper.client), "https://registry.example/x") == b"data"


def test_slow_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that never answers meets the deadline."""
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: over.wait(20))
    with pytest.raises(Late, match="within"):
        ask(Door(Dialler()), "https://h.example/", seconds=0.2)
    over.set()


# TLS


def test_certificate_stays_the_names(paper: Paper) -> None:
    """SNI and certificate are the name's, though an address was dialled; another name's certificate is refused."""
    with serving(files({"/x": b"data"}), paper.server) as server:
        names = {"registry.example": [[OPEN]], "other.example": [[OPEN]]}
        door = World(names, port=server.server_port).door(tls=paper.client)
        paper.called.clear()
        assert ask(door, "https://registry.example/x") == b"data"
        for url in ("https://other.example/x", f"https://{OPEN}/x"):
            with pytest.raises(Trouble, match="CERTIFICATE_VERIFY_FAILED"):
                ask(door, url)
        assert paper.called == ["registry.example", "other.example", None]
        assert [request["Host"] for request in server.seen] == ["registry.example"]


def test_unknown_authority(paper: Paper) -> None:
    """Without its authority a certificate is worth nothing, and no environment brings one in but the system's own."""
    with serving(files({"/x": b"data"}), paper.server) as server:
        world = World({"registry.example": [[OPEN]]}, port=server.server_port)
        with pytest.raises(Trouble, match="CERTIFICATE_VERIFY_FAILED"):
            ask(world.door(), "https://registry.example/x")
        assert server.seen == []


# Redirects

AWAY = (
    "http://169.254.169.254/latest/meta-data/", "https://169.254.169.254/", "https://10.0.0.1/", "https://127.0.0.1/",
    "https://127.0.0.1:443/", "https://localhost/", "https://[::1]/", "https://[::ffff:127.0.0.1]/",
    "https://2130706433/", "https://trap.example/", "http://registry.example/", "http://open.example/", "https://open.example:8443/",
    "file:///etc/passwd", "ftp://open.example/", "gopher://127.0.0.1:6379/_x", "//127.0.0.1/x",
    "//user:pw@open.example/", "https://open.example\\@127.0.0.1/", "https://open.example/\x0b", "//[::", "data:,x",
)  # fmt: skip


@pytest.mark.parametrize("location", AWAY)
def test_redirects_away(paper: Paper, location: str) -> None:
    """A redirect is judged like a first address, never leads from https to http, and nothing of it is dialled."""
    with serving(lambda handler: reply(handler, 302, Location=location), paper.server) as server:
        names = {"registry.example": [[OPEN]], "open.example": [[OPEN]], "trap.example": [["10.0.0.1"]],
                 "localhost": [["127.0.0.1"]]}  # fmt: skip
        world = World(names, port=server.server_port)
        refused(world.door(tls=paper.client), "https://registry.example/x", "redirected to")
        assert world.dialled == [f"{OPEN}:443"] and len(server.seen) == 1


def test_redirects_of_a_named_host() -> None:
    """That a host was named says nothing of where it redirects to."""
    with serving(lambda handler: reply(handler, 302, Location="http://127.0.0.1:1/")) as server:
        refused(World(port=server.server_port).door(NOBODY.also(server.url)), server.url, "redirected to")
    with serving(lambda handler: reply(handler, 302, Location="https://10.0.0.1/")) as server:
        refused(World(port=server.server_port).door(NOBODY.also(server.url)), server.url, "10.0.0.1: private")


def test_hop_after_hop(paper: Paper) -> None:
    """The third hop is judged as the first."""

    def moved(handler: object) -> None:
        step = {"/0": "/1", "/1": "https://open.example/2", "/2": "https://trap.example/"}
        reply(handler, 307, Location=step[handler.path])  # type: ignore[arg-type,attr-defined]

    with serving(moved, paper.server, keeps=True) as server:
        names = {"registry.example": [[OPEN]], "open.example": [[OPEN]], "trap.example": [["192.168.0.1"]]}
        world = World(names, port=server.server_port)
        words = "redirected to https://trap.example/: trap.example is at 192.168.0.1"
        refused(world.door(tls=paper.client), "https://registry.example/0", words)
        assert len(server.seen) == 3 and len(world.dialled) == 2


# What the environment and other servers must not get


def test_environment(paper: Paper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies, netrc and other programs' certificate settings are not used, for http and for https."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login user password secret\n")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
        monkeypatch.setenv(name.lower(), "http://127.0.0.1:1")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSLKEYLOGFILE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text(netrc.read_text())
    with serving(files({"/x": b"data"})) as plain, serving(files({"/x": b"data"}), paper.server) as secret:
        assert ask(World(port=plain.server_port).door(NOBODY.also(plain.url)), f"{plain.url}/x") == b"data"
        world = World({"registry.example": [[OPEN]]}, port=secret.server_port)
        assert ask(world.door(tls=paper.client), "https://registry.example/x") == b"data"
        for request in (*plain.seen, *secret.seen):
            assert {"Authorization", "Cookie", "Proxy-Authorization", "Referer"}.isdisjoint(request)
    assert not (tmp_path / "SSLKEYLOGFILE").exists()


def test_cookies() -> None:
    """A cookie is not sent back, on the same connection and on the next."""
    answer = lambda handler: reply(handler, 200, b"x", Set_Cookie="a=b; Path=/")  # noqa: E731
    with serving(answer, keeps=True) as server:
        door = Door(Dialler(NOBODY.also(server.url)))
        for _ in range(2):
            ask(door, server.url)
        assert [request.get("Cookie") for request in server.seen] == [None, None]


def test_login_stays_at_home() -> None:
    """User and password go to their own server, also after a redirect within it, and to no other."""
    with serving(files({"/x": b"data"})) as other:

        def moved(handler: object) -> None:
            there = {"/0": "/1", "/1": f"{other.url}/x"}[handler.path]  # type: ignore[attr-defined]
            reply(handler, 302, Location=there)  # type: ignore[arg-type]

        with serving(moved) as home:
            door = Door(Dialler(NOBODY.also(home.url).also(other.url)))
            assert ask(door, home.url.replace("//", "//us%40er:s%3Acret@") + "/0") == b"data"
            assert [request["Authorization"] for request in home.seen] == ["Basic dXNAZXI6czpjcmV0"] * 2
            assert "Authorization" not in other.seen[0]


# Servers that misbehave on the wire

OK = b"HTTP/1.1 200 OK\r\n"


def endless(piece: bytes, first: bytes = OK) -> Callable[[socket.socket], None]:
    def talk(peer: socket.socket) -> None:
        peer.sendall(first)
        while True:
            peer.sendall(piece * 64)

    return talk


def dripping(piece: bytes, first: bytes = OK) -> Callable[[socket.socket], None]:
    def talk(peer: socket.socket) -> None:
        peer.sendall(first)
        while True:
            peer.sendall(piece)
            time.sleep(0.01)

    return talk


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "header lines": endless(b"X: y\r\n"),
    "one header line": endless(b"xxxxxxxx", OK + b"X: "),
    "one status line": endless(b"xxxxxxxx", b"HTTP/1.1 200 "),
    "100 Continue": endless(b"HTTP/1.1 100 Continue\r\n\r\n", b""),
    "103 Early Hints": endless(b"HTTP/1.1 103 Early Hints\r\n\r\n", b""),
    "folded header": endless(b" x\r\n", OK + b"X: y\r\n"),
    "chunk size": endless(b"0", CHUNKED),
    "chunk extension": endless(b";a=b", CHUNKED + b"1"),
    "chunks of a byte": endless(b"1\r\nx\r\n", CHUNKED),
    "trailers": endless(b"X: y\r\n", CHUNKED + b"0\r\n"),
    "body": endless(b"x", OK + b"\r\n"),
}


@pytest.mark.parametrize("talk", ENDLESS.values(), ids=ENDLESS.keys())
def test_endless(tmp_path: Path, talk: Callable[[socket.socket], None]) -> None:
    """Whatever a server sends without end is cut by bytes, not by patience."""
    with talking(talk) as url:
        with pytest.raises(KernelError):
            fetch(url, size=None, digest=None, limit=1 << 16, dest=tmp_path / "x", deadline_s=1.0,
                  allowed=NOBODY.also(url))  # fmt: skip
        with pytest.raises(TrustError):
            Web(url, NOBODY.also(url)).read("matrix.json", 1 << 16)


DRIPS = {
    "status line": dripping(b"x", b"HTTP/1.1 200 "),
    "header": dripping(b"x", OK + b"X: "),
    "header lines": dripping(b"X: y\r\n"),
    "100 Continue": dripping(b"HTTP/1.1 100 Continue\r\n\r\n", b""),
    "body": dripping(b"x", OK + b"Content-Length: 60000\r\n\r\n"),
    "body without length": dripping(b"x", OK + b"\r\n"),
    "chunks": dripping(b"1\r\nx\r\n", CHUNKED),
    "trailers": dripping(b"X: y\r\n", CHUNKED + b"0\r\n"),
    "nothing": dripping(b"", b""),
}


@pytest.mark.parametrize("talk", DRIPS.values(), ids=DRIPS.keys())
def test_drips(talk: Callable[[socket.socket], None]) -> None:
    """Whatever a server lets drip meets the deadline, though every receive brings something."""
    with talking(talk) as url, pytest.raises(Late, match="deadline"):
        ask(Door(Dialler(NOBODY.also(url))), url, seconds=0.3)


def test_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drip is too slow long before the deadline."""
    monkeypatch.setattr(dialler, "GRACE_S", 0.1)
    with talking(DRIPS["body"]) as url, pytest.raises(Late, match="slower than 1024 bytes/s"):
        ask(Door(Dialler(NOBODY.also(url))), url, seconds=60)


def test_slow_handshake() -> None:
    """A server that never finishes the handshake meets the deadline."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        world = World({"registry.example": [[OPEN]]}, port=silent.getsockname()[1])
        with pytest.raises(Late, match="deadline"):
            ask(world.door(), "https://registry.example/", seconds=0.3)


LENGTHS = {
    "too long": b"Content-Length: 9\r\n\r\ndata",
    "negative": b"Content-Length: -4\r\n\r\ndata",
    "two": b"Content-Length: 4\r\nContent-Length: 5\r\n\r\ndata",
    "no number": b"Content-Length: four\r\n\r\ndata",
    "huge": b"Content-Length: 99999999999999999999999\r\n\r\ndata",
    "broken chunk": b"Transfer-Encoding: chunked\r\n\r\nzz\r\ndata\r\n",
    "cut chunk": b"Transfer-Encoding: chunked\r\n\r\n9\r\ndata",
    "no last chunk": b"Transfer-Encoding: chunked\r\n\r\n4\r\ndata\r\n",
}


@pytest.mark.parametrize("rest", LENGTHS.values(), ids=LENGTHS.keys())
def test_lengths(tmp_path: Path, rest: bytes) -> None:
    """A length that does not fit the body never makes a file; at most the very bytes that came, when they are right."""
    with talking(lambda peer: peer.sendall(OK + rest)) as url:
        for digest, size in ((digest_bytes(b"data!"), 5), (digest_bytes(b"dat"), 3)):
            with pytest.raises(BpfcompatError):
                fetch(url, size=size, digest=digest, limit=100, dest=tmp_path / "x", deadline_s=1.0,
                      allowed=NOBODY.also(url))  # fmt: skip
            assert not (tmp_path / "x").exists()


def test_part_instead_of_whole(tmp_path: Path) -> None:
    """206 is no answer to a request for the whole."""
    answer = lambda handler: reply(handler, 206, b"data", Content_Range="bytes 0-3/4")  # noqa: E731
    with serving(answer) as server, pytest.raises(KernelError, match="status 206"):
        fetch(server.url, size=None, digest=None, limit=100, dest=tmp_path / "x", allowed=NOBODY.also(server.url))
    assert list(tmp_path.glob("x")) == []


def test_gzip_bomb(tmp_path: Path) -> None:
    """What is compressed in transit is never unpacked: a bomb stays as small as it came, and is what a digest says."""
    bomb = gzip.compress(b"\0" * (64 << 20))
    with serving(lambda handler: reply(handler, 200, bomb, Content_Encoding="gzip")) as server:
        named = NOBODY.also(server.url)
        digest = digest_bytes(bomb)
        assert fetch(server.url, size=None, digest=digest, limit=1 << 20, dest=tmp_path / "x", allowed=named)
        assert (tmp_path / "x").read_bytes() == bomb
        with pytest.raises(TrustError, match="compressed"):
            fetch(server.url, size=None, digest=None, limit=1 << 20, dest=tmp_path / "y", allowed=named)
        with pytest.raises(TrustError, match="compressed"):
            Web(server.url, named).read("matrix.json", 1 << 20)


@pytest.mark.parametrize("seed", range(40))
def test_random_answers(seed: int) -> None:
    """Random bytes, and random changes of a good answer, end in an error of ours or in bytes, never in another one."""
    dice = random.Random(seed)
    good = bytearray(OK + b"Content-Length: 20\r\nContent-Type: a/b\r\nX: y\r\n\r\n" + b"d" * 20)
    for _ in range(dice.randrange(1, 8)):
        good[dice.randrange(len(good))] = dice.choice(b"\r\n\0 :;,\xff\x7f09aZ")
    said = dice.randbytes(dice.randrange(200)) if seed % 4 == 0 else bytes(good)
    with talking(lambda peer: peer.sendall(said)) as url:
        with contextlib.suppress(BpfcompatError, Trouble):
            assert len(ask(Door(Dialler(NOBODY.also(url))), url, seconds=2)) <= len(said)


# Kept connections


def test_kept(paper: Paper) -> None:
    """A hundred files, refusals among them, come over one connection and cost one look-up, over TLS as well."""
    with serving(files({"/x": b"data"}), paper.server, keeps=True) as server:
        world = World({"registry.example": [[OPEN]]}, port=server.server_port)
        door = world.door(tls=paper.client)
        for number in range(100):
            with door.open(f"https://registry.example/{'x' if number % 3 else 'none'}", Budget(5, 100)) as answer:
                assert answer.status == (200 if number % 3 else 404)
                if answer.status == 200:
                    assert b"".join(answer.body()) == b"data"
        assert len({request["peer"] for request in server.seen}) == 1
        assert (len(world.asked), len(world.dialled)) == (1, 1)


def test_kept_and_closed() -> None:
    """A connection that the server closed meanwhile is opened again without a word."""
    with serving(files({"/x": b"data"}), keeps=False) as server:
        door = Door(Dialler(NOBODY.also(server.url)))
        assert [ask(door, f"{server.url}/x") for _ in range(3)] == [b"data"] * 3


def test_left_over_bytes() -> None:
    """What a server sends beyond an answer does not become the next one."""
    smuggled = OK + b"Content-Length: 4\r\n\r\nevil"
    turns = iter((OK + b"Content-Length: 4\r\n\r\ngood" + smuggled, OK + b"Content-Length: 4\r\n\r\nbest"))

    def talk(peer: socket.socket) -> None:
        peer.sendall(next(turns))
        peer.recv(1 << 16)

    with talking(talk) as url:
        door = Door(Dialler(NOBODY.also(url)))
        assert [ask(door, url), ask(door, url)] == [b"good", b"best"]


def test_threads() -> None:
    """Threads share a door, each with its own budget."""
    with serving(files({"/x": b"data"}), keeps=True) as server:
        door, found = Door(Dialler(NOBODY.also(server.url))), []
        threads = [threading.Thread(target=lambda: found.append(ask(door, f"{server.url}/x"))) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [b"data"] * 16


@pytest.fixture(autouse=True)
def _nobody_outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever goes wrong here, only this machine is dialled."""
    connect = socket.socket.connect

    def inside(self: socket.socket, there: tuple[str, int]) -> None:
        assert there[0].startswith("127."), there
        connect(self, there)

    monkeypatch.setattr(dialler.Socket, "connect", inside)
    return
