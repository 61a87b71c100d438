"""How long work is shown: a bar on a terminal, plain lines in a log; nothing hostile reaches the terminal."""

import sys
import threading
import time
from typing import Protocol, TextIO


class Voice(Protocol):
    """Where lines and progress go."""

    def say(self, text: str) -> None:
        """One line of the log."""

    def progress(self, label: str, done: int, total: int | None) -> None:
        """`done` of `total` (None: not known) in the label's own unit, usually bytes; may be called often."""


def clean(text: str, limit: int = 2000) -> str:
    """Text from outside, fit for a terminal: printable characters and spaces only, bounded.

    Escapes, bidirectional overrides and line breaks become `?`: str.isprintable() is false for all of them.
    """
    cut = text if len(text) <= limit else text[: limit - 3] + "..."
    return "".join(c if c.isprintable() else "?" for c in cut)


def clean_lines(text: str, limit: int = 1 << 20) -> str:
    """Several lines from outside, each made fit by `clean`, whole unless they are very long."""
    return "\n".join(clean(line, limit) for line in text.expandtabs().split("\n"))


class Terminal:
    """Lines, and on a terminal one bar that is redrawn; safe to use from several threads."""

    BAR = 24

    def __init__(self, stream: TextIO | None = None, every_s: float = 0.1) -> None:
        self._often_s = every_s
        self.turn(stream or sys.stdout)
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}
        self._drawn = False

    def turn(self, stream: TextIO) -> None:
        """Speak here from now on: where a command's answer is what it prints, its log goes to stderr."""
        self.stream = stream
        self.live = stream.isatty()
        self._every_s = self._often_s if self.live else 10.0

    def say(self, text: str) -> None:
        """Print a line, or several, after wiping the bar."""
        lines = clean_lines(text)
        with self._lock:
            self._write(lines + "\n")

    def progress(self, label: str, done: int, total: int | None) -> None:
        """Redraw the bar, or in a log say a line every ten seconds and at no other time."""
        now = time.monotonic()
        with self._lock:
            first = self._last.setdefault(label, now if not self.live else 0.0)
            if now - first < self._every_s and done != total:
                return
            self._last[label] = now
            if self.live:
                self._draw(clean(label, 60), done, total)
            elif done != total:
                self._write(f"   {clean(label, 60)}: {_amount(done, total)}\n")

    def _draw(self, label: str, done: int, total: int | None) -> None:
        part = min(1.0, done / total) if total else 0.0
        full = round(part * self.BAR)
        self._write(f"   {label} [{'#' * full}{'.' * (self.BAR - full)}] {_amount(done, total)}")
        self._drawn = True

    def _write(self, text: str) -> None:
        if self._drawn:
            self.stream.write("\r\x1b[K")
            self._drawn = False
        self.stream.write(text)
        self.stream.flush()


class Silent:
    """Says nothing; for planning and tests."""

    def say(self, text: str) -> None:
        """Nothing."""

    def progress(self, label: str, done: int, total: int | None) -> None:
        """Nothing."""


def _amount(done: int, total: int | None) -> str:
    if done > 9999 or (total or 0) > 9999:
        return f"{done / 1e6:.1f} of {total / 1e6:.1f} MB" if total else f"{done / 1e6:.1f} MB"
    return f"{done} of {total}" if total else str(done)
