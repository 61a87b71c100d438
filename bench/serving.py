"""The endpoint's costs: requests per second of processor time beside nginx, memory, and waiting among the slow."""

import contextlib
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.measure import Row, environ
from bpfcompat.digest import digest_bytes, hex_of

FILES, SIZE, CONNECTIONS = 4000, 2048, 32
STOCK = """daemon off; master_process off; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 768; }}
http {{
    sendfile on; tcp_nopush on; types_hash_max_size 2048; gzip on; access_log {folder}/access.log;
    include /etc/nginx/mime.types; default_type application/octet-stream;
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""
LUA = """names = {{ {names} }}
function request() return wrk.format("GET", names[math.random(#names)]) end
"""


def serve(quick: bool) -> Iterator[Row]:
    """Random 2 KB files over 32 kept connections; then good requests among 2,000 slow peers."""
    if shutil.which("wrk") is None:
        yield Row("serve", note="wrk is absent")
        return
    with _tree() as folder:
        yield from _speeds(folder, 2 if quick else 6, 2 if quick else 5)
        yield _among_the_slow(folder, 200 if quick else 2000)


@contextlib.contextmanager
def _tree() -> Iterator[Path]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        folder = Path(name)
        (folder / "registry/bundles").mkdir(parents=True)
        paths = [f"bundles/{hex_of(digest_bytes(b'%d' % number))}.json" for number in range(FILES)]
        for path in paths:
            (folder / "registry" / path).write_bytes(os.urandom(SIZE))
        (folder / "registry/registry.json").write_bytes(b'{"format":2}')
        (folder / "ask.lua").write_text(LUA.format(names=", ".join(f'"/{path}"' for path in paths)))
        yield folder


def _port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def _ours(folder: Path, port: int, *more: str) -> list[str]:
    return [sys.executable, "-m", "bpfcompat", "serve", str(folder / "registry"), "--port", str(port), *more]


def _stock(folder: Path, port: int) -> list[str]:
    config = folder / "nginx.conf"
    config.write_text(STOCK.format(folder=folder, port=port, root=folder / "registry"))
    return ["nginx", "-p", str(folder), "-c", str(config)]


@contextlib.contextmanager
def _running(argv: list[str], port: int) -> Iterator[int]:
    with subprocess.Popen(_pinned(argv), env=environ(), stdout=subprocess.DEVNULL) as child:
        try:
            for _ in range(200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.05)
            yield child.pid
        finally:
            child.terminate()


def _pinned(argv: list[str]) -> list[str]:
    return ["taskset", "-c", str(max(os.sched_getaffinity(0))), *argv]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _speed(argv: list[str], port: int, folder: Path, seconds: int) -> tuple[float, float]:
    """Requests per second of the server's processor time, and its largest size in MB."""
    with _running(argv, port) as pid:
        _wrk(folder, port, 1)
        before = _cpu_s(pid)
        asked = _wrk(folder, port, seconds)
        return asked / (_cpu_s(pid) - before), _rss_mb(pid)


def _wrk(folder: Path, port: int, seconds: int) -> int:
    """How many answers came.

    The client shares the server's core and gives way to it, so that neither is charged for waking the other's core.
    """
    argv = ["chrt", "-b", "0", "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(folder / "ask.lua")]
    done = subprocess.run(
        _pinned([*argv, f"http://127.0.0.1:{port}/"]), capture_output=True, text=True, check=True, timeout=120
    )
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise AssertionError(done.stdout)
    return int(next(line.split()[0] for line in done.stdout.splitlines() if "requests in" in line))


def _speeds(folder: Path, seconds: int, rounds: int) -> Iterator[Row]:
    """Both servers in turn, so that both have the same hour."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    log = str(folder / "ours.log")
    kinds = {"plain": (), "log": ("--access-log", log)}
    ours: dict[str, list[float]] = {kind: [] for kind in kinds}
    stock, sizes = [], []
    for _ in range(rounds):
        if nginx:
            port = _port()
            stock.append(_speed(_stock(folder, port), port, folder, seconds)[0])
        for kind, more in kinds.items():
            port = _port()
            speed, size = _speed(_ours(folder, port, *more), port, folder, seconds)
            ours[kind].append(speed)
            sizes.append(size)
    beside = f"; stock nginx {statistics.median(stock) / 1000:.1f} k" if stock else "; nginx is absent"
    for kind, speeds in ours.items():
        ratio = statistics.median(speeds) / statistics.median(stock) if stock else None
        words = "with an access log" if kind == "log" else "no log"
        note = f"{statistics.median(speeds) / 1000:.1f} k requests per CPU-second, {words}{beside}"
        note += f", {ratio:.3f} of it" if ratio else ""
        yield Row(f"serve: {kind}", tuple(1 / speed for speed in speeds), ratio, f"{note}; {max(sizes):.0f} MB")


def _among_the_slow(folder: Path, slow: int) -> Row:
    """How long a good request takes, on a new connection each, while others are silent, slow or read nothing."""
    files = 2 * slow + 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(files, 1024), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    large = folder / "registry/evidence" / ("e" * 64 + ".json")
    large.parent.mkdir()
    large.write_bytes(os.urandom(8 << 20))
    ask = f"GET /evidence/{large.name} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    port = _port()
    with _running(_ours(folder, port), port) as pid, contextlib.ExitStack() as stack:
        base = len(os.listdir(f"/proc/{pid}/fd"))
        began = time.perf_counter()
        peers = []
        for number in range(slow):
            source = (f"127.0.0.{2 + number % 8}", 0)
            peer = stack.enter_context(socket.create_connection(("127.0.0.1", port), source_address=source))
            peer.sendall((b"", b"GET / HTTP/1.1\r\nX: ", ask)[number % 3])
            peers.append(peer)
        waits = sorted(_good(port) for _ in range(1000))
        held = len(os.listdir(f"/proc/{pid}/fd")) - base
        while len(os.listdir(f"/proc/{pid}/fd")) > base:
            for peer in peers[1::3]:
                with contextlib.suppress(OSError):
                    peer.send(b"x")
            time.sleep(0.25)
        gone = time.perf_counter() - began
        worst = waits[len(waits) * 99 // 100]
        note = (f"p99 {worst * 1000:.1f} ms among {slow} slow peers ({held} descriptors held then); "
                f"the last was gone {gone:.1f} s after the first came; {_rss_mb(pid):.0f} MB")  # fmt: skip
    return Row("serve: slow peers", tuple(waits), note=note)


def _good(port: int) -> float:
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(b"GET /registry.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        if not peer.recv(4096).startswith(b"HTTP/1.1 200"):
            raise AssertionError("a good request was not answered")
    return time.perf_counter() - began
