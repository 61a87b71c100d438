"""A registry's folder over HTTP: read-only, and only the paths of layout.py.

GET and HEAD of a regular file, nothing else.  A path is matched as it came (no decoding, no clean-up) and opened below
the root's descriptor without following a link.  Refused: bodies, smuggling, other hosts' forms, slow peers.  Range is
ignored, which is legal.  Standard library only.  SIGTERM ends it in order, SIGHUP reads the certificate again and
reopens the log.
"""

import asyncio
import os
import resource
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from bpfcompat.errors import ConfigError
from bpfcompat.registry.server.access import AccessLog
from bpfcompat.registry.server.admin import Admin
from bpfcompat.registry.server.files import Tree
from bpfcompat.registry.server.listener import Listener
from bpfcompat.registry.server.tls import certificate

MAX_CONNECTIONS = 4096
ADMIN_CONNECTIONS = 16
OTHER_FILES = 64  # descriptors beside those of connections: standard ones, listeners, logs, folders

Address = tuple[str, int]
Ready = Callable[[Address, Address | None], None]


def serve(
    root: Path,
    host: str = "127.0.0.1",
    port: int = 8080,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    ready: Ready = lambda public, admin: None,
    admin: Address | None = None,
    access_log: str | None = None,
) -> None:
    """Serve a registry until SIGTERM or SIGINT; `ready` is told once, with the addresses in use.

    `admin` is where health and metrics are, `access_log` a file or `-` for stdout.  ConfigError: no such folder, half a
    TLS pair or one that no client would take, an address or a log that cannot be had.
    """
    tls = certificate(tls_cert, tls_key)
    try:
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"{root}: cannot serve: {error.strerror}") from error
    try:
        log = AccessLog(access_log, _say) if access_log else None
        public = Listener(Tree(fd), _room(), tls, log)
        server = Server(public, fd)
        asyncio.run(server.run((host, port), admin, ready))
    finally:
        os.close(fd)


def address(text: str) -> Address:
    """HOST:PORT, with an IPv6 address in brackets; ConfigError."""
    host, mark, port = text.rpartition(":")
    if not (mark and port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise ConfigError(f"{text}: expected HOST:PORT", hint="such as 127.0.0.1:9090")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


class Server:
    """The public listener, the operator's, and what signals do to them."""

    def __init__(self, public: Listener, root: int) -> None:
        self.public = public
        self.reloads: Counter[str] = Counter()
        self.admin = Listener(Admin(public, root, lambda: self.reloads), ADMIN_CONNECTIONS)

    async def run(self, place: Address, admin: Address | None, ready: Ready) -> None:
        """Listen until a signal ends it."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        try:
            found = self.public.start(*place)
            told = self.admin.start(*admin) if admin else None
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop.set)
            loop.add_signal_handler(signal.SIGHUP, self.reload)
            ready(found, told)
            await stop.wait()
            await self.public.drain()
        finally:
            self.public.close()
            self.admin.close()
            if self.public.log is not None:
                self.public.log.close()

    def reload(self) -> None:
        """SIGHUP: a new certificate for connections to come, a new log.  What is no good is said, and the old stays."""
        if self.public.log is not None:
            self.public.log.reopen()
        if self.public.tls is None:
            return
        try:
            self.public.tls.reload()
        except ConfigError as error:
            self.reloads["refused"] += 1
            _say(f"the old certificate stays: {error}")
        else:
            self.reloads["taken"] += 1
            _say("the certificate was read again")


def _say(text: str) -> None:
    print(f"bpfcompat: serve: {text}", file=sys.stderr, flush=True)


def _room() -> int:
    """How many connections to hold: each needs a descriptor for itself and one for a file that it is being sent."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = hard if hard != resource.RLIM_INFINITY else 2 * MAX_CONNECTIONS + OTHER_FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return min(MAX_CONNECTIONS, max(1, (files - OTHER_FILES) // 2))
