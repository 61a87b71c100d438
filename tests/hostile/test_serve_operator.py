"""The server's operator: TLS and its renewal, the log, health and metrics; nothing of a peer's gets into them."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bpfcompat import process
from bpfcompat.errors import ConfigError
from bpfcompat.registry.serve import address, serve
from bpfcompat.registry.server.access import AccessLog, line, loggable
from bpfcompat.registry.server.tls import certificate
from tests.claims import registry
from tests.hosting import cannot
from tests.peers import Running, body, eventually, fields, running, status, until_closed

pytestmark = pytest.mark.hostile
PLAIN = b"GET /registry.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
ADMIN = ["127.0.0.1", 0]
Pair = tuple[Path, Path]


def pair(folder: Path, name: str) -> Pair:
    """A certificate for the name x and its key."""
    if shutil.which("openssl") is None:
        cannot("openssl is absent")
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-keyout", str(key), "-out", str(cert), "-subj", "/CN=x", "-addext", "subjectAltName=DNS:x"]  # fmt: skip
    process.check(argv, what="certificate", cwd=folder)
    return cert, key


def expired(folder: Path) -> Pair:
    """A certificate that ended long ago, and its key."""
    made = pair(folder, "expired")
    (folder / "index.txt").touch()
    config = folder / "ca.cnf"
    config.write_text(
        f"[ca]\ndefault_ca=a\n[a]\ndatabase={folder}/index.txt\nnew_certs_dir={folder}\nserial={folder}/serial\n"
        "policy=p\ndefault_md=sha256\n[p]\ncommonName=supplied\n"
    )
    (folder / "serial").write_text("01\n")
    asked = folder / "asked.csr"
    argv = ["openssl", "req", "-new", "-key", str(made[1]), "-subj", "/CN=x", "-out", str(asked)]
    process.check(argv, what="request", cwd=folder)
    argv = ["openssl", "ca", "-batch", "-config", str(config), "-selfsign", "-keyfile", str(made[1]), "-in", str(asked),
            "-out", str(made[0]), "-startdate", "200101000000Z", "-enddate", "200201000000Z", "-notext"]  # fmt: skip
    process.check(argv, what="certificate", cwd=folder)
    return made


def take(source: Pair, target: Pair) -> None:
    """Put a pair in another's place."""
    for here, there in zip(source, target, strict=True):
        shutil.copy(here, there)


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[Running, Pair]]:
    """A server with TLS, and the files of its certificate."""
    used = pair(tmp_path, "used")
    registry(tmp_path / "registry")
    with running(tmp_path / "registry", *used, admin=ADMIN) as found:
        yield found, used


def ask(own: Running, cert: Path, **limits: Any) -> bytes:
    """The whole answer, for a client that trusts this certificate."""
    context = ssl.create_default_context(cafile=str(cert))
    for name, value in limits.items():
        setattr(context, name, value)
    with own.connect() as raw, context.wrap_socket(raw, server_hostname="x") as peer:
        peer.sendall(PLAIN)
        return until_closed(peer)


def test_tls(secure: tuple[Running, Pair]) -> None:
    """The same files over TLS 1.2 and 1.3; nothing older, nothing plain, and the listener lives through it."""
    own, (cert, _) = secure
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        answer = ask(own, cert, minimum_version=version, maximum_version=version)
        assert (status(answer), body(answer)) == (200, (own.root / "registry.json").read_bytes())
    large = own.root / "evidence" / ("e" * 64 + ".json")
    large.write_bytes(os.urandom(6 << 20))
    context = ssl.create_default_context(cafile=str(cert))
    with own.connect() as raw, context.wrap_socket(raw, server_hostname="x") as peer:
        peer.sendall(PLAIN.replace(b"/registry.json", b"/evidence/" + b"e" * 64 + b".json"))
        assert body(until_closed(peer)) == large.read_bytes()
    assert own.get("/registry.json") == b""
    for old in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning):
            context.maximum_version = old
        with own.connect() as raw, pytest.raises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(raw, server_hostname="x")
    eventually(lambda: own.metric('bpfcompat_connections_cut_total{why="handshake"}') >= 3)
    assert status(ask(own, cert)) == 200


def test_no_renegotiation(secure: tuple[Running, Pair]) -> None:
    """A client that wants to shake hands again is refused, and cannot make the server work."""
    own, _ = secure
    argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{own.port}", "-tls1_2", "-legacy_renegotiation"]
    with process.spawned(argv, cwd=own.root, env={"PATH": os.environ["PATH"]}, stdin=-1, stdout=-1, stderr=-2) as child:
        assert child.stdin and child.stdout
        with child.stdin as says, child.stdout as heard:
            says.write(b"R\n")
            says.flush()
            said = heard.read()
    assert b"RENEGOTIATING" in said and b"no renegotiation" in said


def test_silent_handshake(tmp_path: Path) -> None:
    """A peer that never shakes hands is let go after the header deadline; others are served meanwhile."""
    used = pair(tmp_path, "used")
    registry(tmp_path / "registry")
    with running(tmp_path / "registry", *used, admin=ADMIN, hurried=True) as own, contextlib.ExitStack() as stack:
        peers = [stack.enter_context(own.connect()) for _ in range(50)]
        for peer in peers[::2]:
            peer.sendall(b"\x16\x03\x01\x02\x00\x01")
        assert status(ask(own, used[0])) == 200
        for peer in peers:
            assert until_closed(peer) == b""
        eventually(lambda: own.metric("bpfcompat_connections_open") == 0)


def served_by(own: Running, cert: Path) -> bool:
    """Whether the server has this certificate."""
    try:
        return status(ask(own, cert)) == 200
    except ssl.SSLError:
        return False


def test_reload(secure: tuple[Running, Pair], tmp_path: Path) -> None:
    """SIGHUP takes a new pair for connections to come; of a mismatching, expired or missing one the old stays, said."""
    own, used = secure
    fresh, other = pair(tmp_path, "fresh"), pair(tmp_path, "other")
    context = ssl.create_default_context(cafile=str(used[0]))
    with own.connect() as raw, context.wrap_socket(raw, server_hostname="x") as before:
        take(fresh, used)
        own.child.send_signal(signal.SIGHUP)
        eventually(lambda: served_by(own, fresh[0]))
        before.sendall(PLAIN)
        assert status(before.recv(4096)) == 200
    bad = [(fresh[0], other[1]), (tmp_path / "registry/registry.json", fresh[1]), expired(tmp_path)]
    for number, found in enumerate(bad, 1):
        take(found, used)
        own.child.send_signal(signal.SIGHUP)
        eventually(lambda n=number: own.said().count("the old certificate stays") == n)
        assert served_by(own, fresh[0])
    used[1].unlink()
    own.child.send_signal(signal.SIGHUP)
    eventually(lambda: own.said().count("the old certificate stays") == 4)
    assert served_by(own, fresh[0])
    assert "certificate has expired" in own.said() and "No such file" in own.said()
    assert own.metric('bpfcompat_tls_reloads_total{result="refused"}') == 4
    assert own.metric('bpfcompat_tls_reloads_total{result="taken"}') == 1
    assert own.metric("bpfcompat_tls_expires_seconds") > time.time()


def test_bad_pairs(tmp_path: Path) -> None:
    """A pair that no client would take is refused before anything listens, in words."""
    with pytest.raises(ConfigError, match="certificate has expired"):
        certificate(*expired(tmp_path))
    cert, key = pair(tmp_path, "one")
    with pytest.raises(ConfigError, match="KEY_VALUES_MISMATCH"):
        certificate(cert, pair(tmp_path, "two")[1])
    locked = tmp_path / "locked.key"
    argv = ["openssl", "ec", "-in", str(key), "-aes256", "-passout", "pass:x", "-out", str(locked)]
    process.check(argv, what="key", cwd=tmp_path)
    with pytest.raises(ConfigError, match="encrypted"):
        certificate(cert, locked)


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[tuple[Running, Path]]:
    """A server that keeps a log."""
    registry(tmp_path / "registry")
    log = tmp_path / "access.log"
    with running(tmp_path / "registry", access_log=str(log), admin=ADMIN) as found:
        yield found, log


def lines(log: Path) -> list[dict[str, Any]]:
    """The log's lines, each of which is JSON."""
    return [json.loads(text) for text in log.read_text("ascii").splitlines()] if log.exists() else []


def test_log(logged: tuple[Running, Path]) -> None:
    """One line for each answer: who, what, how it ended, how much, how long."""
    own, log = logged
    own.get("/registry.json", more=b"User-Agent: curl/8\r\n")
    own.get("/none", b"HEAD")
    own.say(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
    eventually(lambda: len(lines(log)) == 3)
    plain, missing, refused = lines(log)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", plain.pop("time"))
    assert plain.pop("ms") >= 0
    assert plain.pop("bytes") == (own.root / "registry.json").stat().st_size
    assert plain == {"peer": "127.0.0.1", "method": "GET", "path": "/registry.json", "status": 200, "whole": True,
                     "agent": "curl/8"}  # fmt: skip
    assert (missing["method"], missing["path"], missing["status"], missing["bytes"]) == ("HEAD", "/none", 404, 0)
    assert (refused["method"], refused["path"], refused["status"]) == ("", "", 405)
    assert log.stat().st_mode & 0o777 == 0o640


HOSTILE = [
    "/matrix.json?token=SECRET", "/x;SECRET", "/x%3Ftoken=SECRET", "//user:SECRET@host/", '/a"SECRET', "/<SECRET>",
    "/\\SECRET", "/" + "a" * 300 + "SECRET",
]  # fmt: skip


def test_log_keeps_no_secret_and_no_escape(logged: tuple[Running, Path]) -> None:
    """Queries, credentials, cookies and referrers are not written down, and no byte of a peer breaks a line."""
    own, log = logged
    more = (b"Authorization: Bearer SECRET\r\nCookie: SECRET\r\nReferer: http://x/?SECRET\r\n"
            b'User-Agent: "\x80\xff},{"status":200\t\r\n')  # fmt: skip
    for target in HOSTILE:
        own.get(target, more=more)
    own.say(b"GET /\x1b[2JSECRET HTTP/1.1\r\nHost: x\r\n\r\n")
    own.say(b"GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: a\rSECRET\r\n\r\n")
    own.say(b"GET /SECRET?\r\n\r\n")
    eventually(lambda: len(lines(log)) == len(HOSTILE) + 3)
    text = log.read_text("ascii")
    assert "SECRET" not in text and "\x1b" not in text and "\r" not in text
    assert {entry["agent"] for entry in lines(log)} == {'"\x80\xff},{"status":200', ""}
    assert {entry["status"] for entry in lines(log)} == {404, 400}


@pytest.mark.parametrize("given, kept", [("/a/b.json", "/a/b.json"), ("/a?b", "/a…"), ("", ""), ("*", "…")])
def test_loggable(given: str, kept: str) -> None:
    """A path is kept up to its first other character."""
    assert loggable(given) == kept


def test_line_is_one_line() -> None:
    """Whatever a peer calls itself, a line is one line of ASCII."""
    agent = bytes(range(256))
    said = line(1_800_000_000.5, "::1%\n", "GET", "/", 200, 1, 0.1, True, agent)
    assert said.isascii() and said.count("\n") == 1 and said.endswith("\n")
    assert json.loads(said)["time"] == "2027-01-15T08:00:00.500Z"


def test_log_is_turned(logged: tuple[Running, Path]) -> None:
    """After a rename and SIGHUP lines go to a new file and none is lost; where there can be none, to the old one."""
    own, log = logged
    old = log.with_suffix(".1")
    own.get("/")
    eventually(lambda: len(lines(log)) == 1)
    log.rename(old)
    own.get("/")
    own.child.send_signal(signal.SIGHUP)
    eventually(log.exists)
    own.get("/")
    eventually(lambda: len(lines(old)) + len(lines(log)) == 3)
    log.rename(log.with_suffix(".2"))
    log.mkdir()
    own.child.send_signal(signal.SIGHUP)
    eventually(lambda: "the old file is kept" in own.said())
    own.get("/")
    eventually(lambda: len(lines(log.with_suffix(".2"))) + len(lines(old)) == 4)


def test_log_to_a_full_disk(tmp_path: Path) -> None:
    """A log that cannot be written costs its lines, which are counted and said once; nobody's answer."""
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    registry(tmp_path / "registry")
    with running(tmp_path / "registry", access_log="/dev/full", admin=ADMIN) as own:
        for _ in range(3):
            assert status(own.get("/")) == 200
            time.sleep(0.4)
        eventually(lambda: own.metric("bpfcompat_access_log_lost_lines_total") == 3)
        assert own.said().count("lines are lost") == 1
    with pytest.raises(ConfigError, match="cannot open the access log"):
        serve(tmp_path / "registry", access_log=str(tmp_path))


def test_log_to_a_stuck_pipe(tmp_path: Path) -> None:
    """A reader that reads nothing keeps nobody waiting: what is too much is lost and counted."""
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        log = AccessLog(str(fifo), lambda text: None)
        for _ in range(100):
            log.add("x" * (1 << 16) + "\n")
        assert log.lost > 0
        log.close(0.1)
    finally:
        os.close(reader)


def test_health_and_metrics(logged: tuple[Running, Path]) -> None:
    """The operator's listener says whether the registry can be read, and counts; the public one has neither page."""
    own, _ = logged
    assert (status(own.ask_admin("/health")), body(own.ask_admin("/health"))) == (200, b"ok\n")
    assert b"Cache-Control: no-store" in fields(own.ask_admin("/metrics"))
    assert [status(own.get(path)) for path in ("/health", "/metrics")] == [404, 404]
    assert [status(own.ask_admin(path)) for path in ("/", "/registry.json", "/metrics?x")] == [404] * 3
    own.get("/")
    assert own.metric('bpfcompat_answers_total{status="200"}') == 1
    assert own.metric('bpfcompat_answers_total{status="404"}') == 2
    assert own.metric('bpfcompat_answer_seconds_bucket{le="+Inf"}') == own.metric("bpfcompat_answer_seconds_count") == 3
    assert own.metric('bpfcompat_changed_seconds{file="matrix.json"}') > 0
    assert own.metric("bpfcompat_body_bytes_total") >= (own.root / "index.html").stat().st_size
    text = body(own.ask_admin("/metrics")).decode()
    assert all(
        re.fullmatch(r"# (HELP|TYPE) \w+ .+|\w+(\{\w+=\"[^\"]*\"\})? [0-9.e+]+", row) for row in text.splitlines()
    )
    (own.root / "registry.json").unlink()
    assert status(own.ask_admin("/health")) == 503


def test_metrics_are_sound(logged: tuple[Running, Path]) -> None:
    """Prometheus' own checker has no complaint, where it is installed."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is absent")
    own, _ = logged
    (own.root.parent / "metrics").write_bytes(body(own.ask_admin("/metrics")))
    process.check(["sh", "-c", "promtool check metrics <metrics"], what="promtool", cwd=own.root.parent)


def test_health_while_stopping(tmp_path: Path) -> None:
    """While the last answers finish, health is 503, so that a balancer looks elsewhere."""
    registry(tmp_path / "registry")
    large = tmp_path / "registry/evidence" / ("e" * 64 + ".json")
    large.write_bytes(b"x" * (16 << 20))
    with running(tmp_path / "registry", admin=ADMIN) as own, own.connect() as slow:
        slow.sendall(f"GET /evidence/{large.name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        start = slow.recv(1000)
        own.child.send_signal(signal.SIGTERM)
        eventually(lambda: status(own.ask_admin("/health")) == 503)
        assert len(body(start + until_closed(slow))) == 16 << 20
        assert own.child.wait(timeout=5) == 0


@pytest.mark.parametrize("text", ["x", "1", ":", "h:", "h:x", "h:99999", "h:-1", "h:١"])
def test_bad_address(text: str) -> None:
    """HOST:PORT, or an error that says so."""
    with pytest.raises(ConfigError, match="expected HOST:PORT"):
        address(text)


def test_address() -> None:
    """An address of either family."""
    assert address("localhost:80") == ("localhost", 80)
    assert address("[::1]:0") == ("::1", 0)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="cannot listen"):
        serve(Path(), port=0, admin=taken.getsockname())
