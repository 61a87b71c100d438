"""Where a registry's bytes come from: a folder or an HTTP server.  Fetches, bounds, and believes nothing.

Refused: anything beyond the bounds, a redirect to another server, a body that is compressed or cut short, a file that
is not a regular one, and where the guard does not go (docs/fetch.md).
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urljoin

from bpfcompat.dialler import Budget, Dialler, Late, Trouble
from bpfcompat.errors import ConfigError, TrustError
from bpfcompat.files import TEMP_PREFIX, list_below, read_below
from bpfcompat.guard import Answer, Door
from bpfcompat.origins import NOBODY, Allowed, Refused, target

FILE_S = 120.0
RUN_S = 3600.0
GRACE_S = 60.0
PER_FILE_S = 0.5
SLOWEST = 32 << 10
_COPY = "copy the registry by other means, and check the copy"


class Source(Protocol):
    """Reads the files of one registry by the paths of layout.py."""

    def read(self, path: str, limit: int) -> bytes | None:
        """The bytes of a file, None when there is none; TrustError when it cannot be read within bounds."""
        ...

    def names(self, folder: str) -> tuple[str, ...] | None:
        """The file names in a folder, sorted; None when this source cannot list."""
        ...


class Folder:
    """A registry on this machine."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise ConfigError(f"{root}: no such folder", hint="name a registry's folder or its http(s) address")
        self.root = root

    def read(self, path: str, limit: int) -> bytes | None:
        """As Source.read; links are refused, as the server refuses them."""
        return read_below(self.root, path, limit, TrustError)

    def names(self, folder: str) -> tuple[str, ...] | None:
        """As Source.names; what an interrupted write left behind is not a file of the registry."""
        found = list_below(self.root, folder, TrustError)
        return tuple(sorted(name for name in found if not name.startswith(TEMP_PREFIX)))


@dataclass(slots=True)
class Pace:
    """How one run of a registry's reader goes: all its files together, not each by itself.

    A server that answers every request just within its deadline would hold a reader for days.
    """

    end: float  # on the monotonic clock
    files: int = 0
    received: int = 0
    waited: float = 0.0

    def left(self) -> float:
        """Seconds for the next file; Late when the run is over its time or behind its pace."""
        seconds = self.end - time.monotonic()
        if seconds <= 0:
            raise Late(f"the whole run was not done within {RUN_S:g} s", hint=_COPY)
        if self.waited > GRACE_S + self.files * PER_FILE_S + self.received / SLOWEST:
            said = f"{self.files} files and {self.received} bytes in {self.waited:.0f} s of waiting"
            raise Late(f"the server is too slow: {said}", hint=_COPY)
        return min(seconds, FILE_S)

    def add(self, began: float, received: int) -> None:
        """Count one file."""
        self.files += 1
        self.received += received
        self.waited += time.monotonic() - began


class Web:
    """A registry behind https or http, over one kept connection; `allowed` are the hosts that were named."""

    def __init__(self, base: str, allowed: Allowed = NOBODY) -> None:
        self.base = _base(base)
        self._door = Door(Dialler(allowed))
        self._pace = Pace(time.monotonic() + RUN_S)

    def read(self, path: str, limit: int) -> bytes | None:
        """As Source.read; only 404 and 410 mean that there is none."""
        began = time.monotonic()
        data: bytes | None = None
        try:
            budget = Budget(self._pace.left(), limit)
            with self._door.open(urljoin(self.base, path), budget, roam=False) as answer:
                data = _file(answer, path, limit)
        except (Refused, Late) as error:
            raise TrustError(f"{path}: cannot fetch: {error.message}", error.hint) from error
        except Trouble as error:
            raise TrustError(f"{path}: cannot fetch: {error}", hint="is the server up?") from error
        finally:
            self._pace.add(began, len(data or b""))
        return data

    def names(self, folder: str) -> tuple[str, ...] | None:
        """None: a server lists nothing."""
        return None


def open_source(text: str) -> Source:
    """What a person typed: a folder, or a server when it begins with http:// or https://.

    The very server that was typed counts as named, whatever its address; where it redirects to does not.
    """
    if not text.startswith(("http://", "https://")):
        return Folder(Path(text))
    return Web(text, NOBODY.also(_base(text)))


def _base(text: str) -> str:
    base = text if text.endswith("/") else text + "/"
    try:
        found = target(base)
    except Refused as error:
        raise ConfigError(error.message, error.hint) from None
    if "?" in base or "#" in base:
        raise ConfigError(f"{found}: expected http://HOST[:PORT]/ or https://…, without a query")
    return base


def _file(answer: Answer, path: str, limit: int) -> bytes | None:
    if answer.status in (404, 410):
        return None
    if answer.status != 200:
        raise TrustError(f"{path}: expected HTTP status 200, got {answer.status}")
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise TrustError(f"{path}: came compressed though we asked for it plain")
    data = bytearray()
    for chunk in answer.body():
        data += chunk
        if len(data) > limit:
            raise TrustError(f"{path}: more than {limit} bytes")
    declared = answer.headers.get("Content-Length")
    if declared is not None and declared != str(len(data)):
        raise TrustError(f"{path}: {declared[:20]} bytes announced, {len(data)} came")
    return bytes(data)
