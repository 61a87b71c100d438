"""The access log: one JSON object a line, written by a thread so that no disk and no pipe keeps a peer waiting.

A line holds nothing that a peer can break out of, and no query: see `loggable`.
"""

import contextlib
import json
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Callable
from functools import lru_cache

from bpfcompat.errors import ConfigError

MAX_PATH = 200
MAX_AGENT = 120
BATCH = 64 << 10
BATCHES = 64  # that may wait for a slow disk; what comes after is counted and lost
_PLAIN = re.compile(r"[A-Za-z0-9._~/-]*")


def loggable(target: str) -> str:
    """The part of a request's target that is a plain path.

    It ends with `…` at the first other character: a query, a user's name and password or a token behind `;` are not
    written down, nor is anything that would have to be escaped.
    """
    found = _PLAIN.match(target)
    plain = found[0][:MAX_PATH] if found else ""
    return plain if len(plain) == len(target) else plain + "…"


def line(at: float, peer: str, method: str, target: str, status: int, size: int, seconds: float, whole: bool,
         agent: bytes) -> str:  # fmt: skip
    """One answer as a line of JSON, ASCII only; `at` in Unix seconds."""
    stamp = f"{_second(int(at))}.{int(at % 1 * 1000):03d}Z"
    name = json.dumps(agent[:MAX_AGENT].decode("latin-1"))
    return (
        f'{{"time":"{stamp}","peer":{json.dumps(peer)},"method":"{method}","path":{json.dumps(loggable(target))},'
        f'"status":{status},"bytes":{size},"ms":{seconds * 1000:.2f},"whole":{str(whole).lower()},"agent":{name}}}\n'
    )


@lru_cache(maxsize=2)
def _second(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))


class AccessLog:
    """Lines to a file that is opened for appending, or to stdout for `-`; ConfigError when it cannot be opened.

    `say` is told of what goes wrong, once until it goes right again.
    """

    def __init__(self, place: str, say: Callable[[str], None]) -> None:
        self.place = place
        self.say = say
        self._lines: list[str] = []
        self._size = 0
        self._due: queue.Queue[bytes | None] = queue.Queue(BATCHES)
        self._again = threading.Event()
        self._dropped = 0  # here, by the loop
        self._failed = 0  # by the thread
        self._failing = False
        self._torn = False
        try:
            self._fd = self._open()
        except OSError as error:
            raise ConfigError(f"{place}: cannot open the access log: {error.strerror}") from error
        self._thread = threading.Thread(target=self._write_all, daemon=True)  # a stuck pipe must not hold our end
        self._thread.start()

    @property
    def lost(self) -> int:
        """How many lines could not be written."""
        return self._dropped + self._failed

    def add(self, text: str) -> None:
        """Take a line; it is written at the next `flush`, or when there are many."""
        self._lines.append(text)
        self._size += len(text)
        if self._size >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Hand what there is to the writer; lines are lost, and counted, when it is far behind."""
        if not self._lines:
            return
        try:
            self._due.put_nowait("".join(self._lines).encode("ascii"))
        except queue.Full:
            self._dropped += len(self._lines)
        self._lines.clear()
        self._size = 0

    def reopen(self) -> None:
        """Go on in a new file, after the old one was renamed."""
        self.flush()
        self._again.set()
        with contextlib.suppress(queue.Full):  # a writer that is behind will look anyway
            self._due.put_nowait(b"")

    def close(self, wait_s: float = 1.0) -> None:
        """Write what there is, for so long at most."""
        self.flush()
        try:
            self._due.put(None, timeout=wait_s)
        except queue.Full:
            return
        self._thread.join(wait_s)

    def _open(self) -> int:
        if self.place == "-":
            return os.dup(sys.stdout.fileno())
        return os.open(self.place, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o640)

    def _write_all(self) -> None:
        while (batch := self._due.get()) is not None:
            if self._again.is_set():
                self._again.clear()
                self._switch()
            self._write(batch)
        os.close(self._fd)

    def _switch(self) -> None:
        try:
            fd = self._open()
        except OSError as error:
            self.say(f"access log: cannot open {self.place} again, the old file is kept: {error.strerror}")
            return
        os.close(self._fd)
        self._fd = fd

    def _write(self, batch: bytes) -> None:
        rest = memoryview(b"\n" + batch if self._torn else batch)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
            self._failing = self._torn = False
        except OSError as error:
            self._failed += batch.count(b"\n", len(batch) - len(rest))
            self._torn = self._torn or len(rest) < len(batch)
            if not self._failing:
                self.say(f"access log: lines are lost: {self.place}: {error.strerror}")
            self._failing = True
