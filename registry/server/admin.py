"""The operator's own listener: is it well, and numbers for Prometheus.  Not for the public."""

import os
import resource
import time
from collections.abc import Callable
from http import HTTPStatus

from bpfcompat.registry.layout import CHECKPOINT, FORMAT_FILE, MATRIX
from bpfcompat.registry.server.answer import Answer, plain
from bpfcompat.registry.server.counts import family
from bpfcompat.registry.server.listener import Listener
from bpfcompat.registry.server.request import Refusal, Request

_TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Admin:
    """`/health` and `/metrics` of a public listener and the tree it serves."""

    def __init__(self, public: Listener, root: int, reloads: Callable[[], dict[str, int]]) -> None:
        self.public = public
        self.root = root
        self.reloads = reloads
        self.began = time.time()

    def answer(self, request: Request) -> Answer:
        """The two pages; Refusal 404 for all others."""
        if request.path == "/health":
            return self._health()
        if request.path == "/metrics":
            return plain(HTTPStatus.OK, self._metrics(), kind=_TEXT)
        raise Refusal(HTTPStatus.NOT_FOUND, close=False)

    def refresh(self) -> None:
        """Nothing is kept."""

    def _health(self) -> Answer:
        """200 while requests are taken and the registry can be read; else 503 with the reason."""
        if self.public.stopping:
            return plain(HTTPStatus.SERVICE_UNAVAILABLE, "stopping\n")
        try:
            fd = os.open(FORMAT_FILE, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.root)
            try:
                os.pread(fd, 1, 0)
            finally:
                os.close(fd)
        except OSError as error:
            return plain(HTTPStatus.SERVICE_UNAVAILABLE, f"{FORMAT_FILE}: {error.strerror}\n")
        return plain(HTTPStatus.OK, "ok\n")

    def _metrics(self) -> str:
        public = self.public
        lost = {"": public.log.lost if public.log else 0}
        lines = family("access_log_lost_lines_total", "counter", "lines that could not be written", lost)
        ends = {f'result="{result}"': number for result, number in self.reloads().items()}
        lines += family("tls_reloads_total", "counter", "certificates read again on SIGHUP", ends)
        if public.tls is not None:
            lines += family("tls_expires_seconds", "gauge", "when the certificate ends", {"": public.tls.expires})
        ages = {f'file="{name}"': at for name in (MATRIX, CHECKPOINT) if (at := self._changed(name)) is not None}
        lines += family("changed_seconds", "gauge", "when a file was written, Unix time", ages)
        lines += family("start_seconds", "gauge", "when this server began, Unix time", {"": round(self.began, 3)})
        lines += family("descriptors", "gauge", "open descriptors", {"": len(os.listdir("/proc/self/fd")) - 1})
        used = resource.getrusage(resource.RUSAGE_SELF)
        lines += family("resident_max_bytes", "gauge", "largest resident size so far", {"": used.ru_maxrss << 10})
        lines += family("cpu_seconds_total", "counter", "processor time", {"": used.ru_utime + used.ru_stime})
        return public.counts.text() + "\n".join([*lines, ""])

    def _changed(self, name: str) -> float | None:
        try:
            return os.stat(name, dir_fd=self.root, follow_symlinks=False).st_mtime
        except OSError:
            return None
