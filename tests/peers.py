"""A registry's server in a process of its own, and peers that say exactly the bytes they are told to."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bpfcompat import process

ROOT = Path(__file__).parents[1]
START = """
import json, os, pathlib, resource, sys
from bpfcompat.registry.server import connection
given = json.loads(sys.argv[1])
if given.pop("hurried", False):  # the deadlines, in fewer seconds
    connection.HEADER_S = connection.STALL_S = 2.0
    connection.IDLE_S = 4.0
from bpfcompat.registry.serve import serve
files = given.pop("files", None)
if files is not None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
broken = given.pop("broken_from", None)
if broken is not None:  # a disk that fails from this offset on
    sound = os.pread
    def pread(fd, size, offset):
        if offset >= broken:
            raise OSError(5, "Input/output error")
        return sound(fd, size, offset)
    os.pread = pread
root, *tls = map(pathlib.Path, given.pop("paths"))
cert, key = tls or (None, None)
serve(root, port=0, tls_cert=cert, tls_key=key, **given,
      ready=lambda public, admin: print(json.dumps([public, admin]), flush=True))
"""


class Running:
    """A server in its own process."""

    def __init__(self, root: Path, child: subprocess.Popen[bytes], port: int, admin: int | None, errors: Path) -> None:
        self.root = root
        self.child = child
        self.port = port
        self.admin = admin
        self.errors = errors

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=15, source_address=(source, 0))

    def say(self, data: bytes) -> bytes:
        """Everything that comes back for these bytes, until the server closes or we have said we are done."""
        with self.connect() as peer:
            with contextlib.suppress(OSError):
                peer.sendall(data)
                peer.shutdown(socket.SHUT_WR)
            return until_closed(peer)

    def get(self, target: str | bytes, method: bytes = b"GET", more: bytes = b"") -> bytes:
        """The whole answer to one plain request."""
        raw = target.encode() if isinstance(target, str) else target
        return self.say(method + b" " + raw + b" HTTP/1.1\r\nHost: x\r\n" + more + b"\r\n")

    def ask_admin(self, target: str) -> bytes:
        """The whole answer of the operator's listener."""
        with socket.create_connection(("127.0.0.1", self.admin or 0), timeout=15) as peer:
            peer.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            return until_closed(peer)

    def metric(self, line: str) -> float:
        """The value of one metric, 0 when it is not there."""
        found = re.search(rf"^{re.escape(line)} (\S+)$", body(self.ask_admin("/metrics")).decode(), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def said(self) -> str:
        """What the server has said to its operator."""
        return self.errors.read_text()


def until_closed(peer: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionError):
        while more := peer.recv(65536):
            data += more
    return data


def status(answer: bytes) -> int:
    """The status of the first answer, 0 for none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def answers(data: bytes) -> int:
    """How many answers a stream holds."""
    return len(re.findall(rb"HTTP/1\.1 \d\d\d ", data))


def body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def fields(answer: bytes) -> list[bytes]:
    """The header lines of an answer but for its date."""
    return [line for line in answer.partition(b"\r\n\r\n")[0].split(b"\r\n") if not line.startswith(b"Date:")]


@contextlib.contextmanager
def running(root: Path, *tls: Path, **options: Any) -> Iterator[Running]:
    """A server of this folder; afterwards, it must have met nothing that it did not expect."""
    argv = [sys.executable, "-c", START, json.dumps({"paths": [str(root), *map(str, tls)], **options})]
    env = {"PYTHONPATH": str(ROOT), "PATH": os.defpath}
    errors = root.with_name(root.name + ".stderr")
    with errors.open("wb") as stream:
        with process.spawned(argv, cwd=root, env=env, stdout=subprocess.PIPE, stderr=stream.fileno()) as child:
            assert child.stdout is not None
            with child.stdout:
                line = child.stdout.readline()
                assert line, errors.read_text()
                public, admin = json.loads(line)
                yield Running(root, child, public[1], admin[1] if admin else None, errors)
    assert all(line.startswith("bpfcompat: serve: ") for line in errors.read_text().splitlines()), errors.read_text()


def snapshot(root: Path) -> list[tuple[str, int, bytes]]:
    """Names, times and bytes of everything in a tree."""
    return sorted((str(p), p.lstat().st_mtime_ns, p.read_bytes() if p.is_file() else b"") for p in root.rglob("*"))


def eventually(holds: Callable[[], bool], patience_s: float = 20) -> None:
    """Wait for what may take a moment: a server keeps folders open, and tells its log, for a fraction of a second."""
    until = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def descriptors(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))
