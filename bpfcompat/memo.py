"""Digests of files, remembered by what stat() says of them, so that nothing is hashed twice.

A file younger than two seconds is not remembered: it may change again within the clock's grain and look the same
(git calls this racy).  Losing the memo costs one hashing pass and nothing else.
"""

import json
import os
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bpfcompat.digest import canonical, digest_file
from bpfcompat.errors import BuildError, ConfigError, StoreError
from bpfcompat.files import kind_of, read_bounded, write_atomic

MAX_BYTES = 64 << 20
YOUNG_NS = 2_000_000_000


class Memo:
    """Remembers one string per file state; thread-safe as far as dict operations are, which is all it needs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, list[Any]] = _read(path)
        self._learned: dict[str, list[Any]] = {}

    def digest(self, path: Path) -> str:
        """`sha256:…` of a file; ConfigError when it is not a file that can be read."""
        return self.recall("digest", path, lambda: digest_file(path))

    def tool(self, name: str, package: str, ask: Callable[[Path], str]) -> str:
        """What a program says of itself (its version), asked again only when the program's file changes."""
        found = shutil.which(name)
        if found is None:
            raise BuildError(
                f"{name}: program not found", hint=f"apt-get install {package}, or set its path in [build]"
            )
        real = Path(found).resolve()
        return self.recall("tool", real, lambda: ask(Path(found)))

    def recall(self, what: str, path: Path, compute: Callable[[], str]) -> str:
        """The remembered string for this file state, or a newly computed one."""
        try:
            state = _state(path)
            name = f"{what} {os.fsencode(path).decode('utf-8', 'backslashreplace')}"
            held = self._known.get(name)
            if held is not None and held[:4] == state:
                return str(held[4])
            value = compute()
        except OSError as error:
            raise ConfigError(f"{path}: cannot read: {error.strerror}") from error
        if time.time_ns() - max(state[0], state[1]) > YOUNG_NS and _state(path) == state:
            self._known[name] = self._learned[name] = [*state, value]
        return value

    def save(self) -> None:
        """Add what was learned to what others wrote since; a store that cannot be written is not ours to report."""
        if self._learned:
            try:
                write_atomic(self.path, canonical({**_read(self.path), **self._learned}))
            except StoreError:
                return
            self._learned = {}


def _state(path: Path) -> list[int]:
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):  # a FIFO would hang us, a device might never end
        raise ConfigError(f"{path}: expected a regular file, got {kind_of(found.st_mode)}")
    return [found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino]


def _read(path: Path) -> dict[str, list[Any]]:
    if not path.exists():
        return {}
    try:
        known = json.loads(read_bounded(path, MAX_BYTES))
    except (ValueError, StoreError, RecursionError):
        return {}
    return known if isinstance(known, dict) and all(_is_whole(v) for v in known.values()) else {}


def _is_whole(held: Any) -> bool:
    return isinstance(held, list) and len(held) == 5 and isinstance(held[4], str)
