"""Where a registry's bytes come from: a folder or an HTTP server.  Fetches, bounds, and believes nothing.

Refused: anything beyond the bounds, a redirect to another origin, a body that is compressed or cut short, a file that
is not a regular one.  Proxy and netrc settings of the environment are not used: a check must not hang on them.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from bpfcompat.errors import ConfigError, TrustError
from bpfcompat.files import TEMP_PREFIX, read_bounded

CONNECT_S = 10.0
STALL_S = 20.0
FILE_S = 120.0
MAX_REDIRECTS = 3
_CHUNK = 64 << 10


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
        """As Source.read; a link is refused, as the server refuses it."""
        where = self.root / path
        if not os.path.lexists(where):
            return None
        if where.is_symlink() or where.parent.is_symlink():
            raise TrustError(f"{path}: expected a regular file, got a link")
        try:
            return read_bounded(where, limit, TrustError)
        except OSError as error:
            raise TrustError(f"{path}: cannot read: {error.strerror}") from error

    def names(self, folder: str) -> tuple[str, ...] | None:
        """As Source.names; what an interrupted write left behind is not a file of the registry."""
        try:
            found = os.listdir(self.root / folder)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise TrustError(f"{folder}: cannot list: {error.strerror}") from error
        return tuple(sorted(name for name in found if not name.startswith(TEMP_PREFIX)))


class Web:
    """A registry behind http or https, over one kept connection."""

    def __init__(self, base: str) -> None:
        self.base = base if base.endswith("/") else base + "/"
        parts = urlsplit(self.base)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ConfigError(f"{base}: expected http://HOST[:PORT]/ or https://…, without a query")
        self.session = requests.Session()
        self.session.trust_env = False
        # a kept connection may have been closed by the server meanwhile: that is no answer, so ask again
        retry = urllib3.Retry(2, redirect=False, respect_retry_after_header=False)
        self.session.mount(f"{parts.scheme}://", requests.adapters.HTTPAdapter(max_retries=retry))

    def read(self, path: str, limit: int) -> bytes | None:
        """As Source.read; only 404 and 410 mean that there is none."""
        try:
            with self._get(urljoin(self.base, path), path) as response:
                if response.status_code in (404, 410):
                    return None
                if response.status_code != 200:
                    raise TrustError(f"{path}: expected HTTP status 200, got {response.status_code}")
                return _body(response, path, limit)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            # ValueError: requests lets urlsplit's words about a broken redirect through
            raise TrustError(f"{path}: cannot fetch: {type(error).__name__}", hint="is the server up?") from error

    def names(self, folder: str) -> tuple[str, ...] | None:
        """None: a server lists nothing."""
        return None

    def _get(self, url: str, path: str) -> requests.Response:
        for _ in range(MAX_REDIRECTS + 1):
            response = self.session.get(
                url,
                stream=True,
                timeout=(CONNECT_S, STALL_S),
                allow_redirects=False,
                headers={"Accept-Encoding": "identity", "User-Agent": "bpfcompat"},
            )
            if not response.is_redirect:
                return response
            target = urljoin(url, response.headers["location"])
            response.close()
            if _origin(target) != _origin(self.base):
                raise TrustError(f"{path}: redirected to another origin")
            url = target
        raise TrustError(f"{path}: more than {MAX_REDIRECTS} redirects")


def open_source(text: str) -> Source:
    """A folder, or a server when the text begins with http:// or https://."""
    return Web(text) if text.startswith(("http://", "https://")) else Folder(Path(text))


def _origin(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return "", None, None


def _body(response: requests.Response, path: str, limit: int) -> bytes:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise TrustError(f"{path}: came compressed though we asked for it plain")
    data = bytearray()
    for chunk in _chunks(response, path):
        data += chunk
        if len(data) > limit:
            raise TrustError(f"{path}: more than {limit} bytes")
    declared = response.headers.get("content-length")
    if declared is not None and declared != str(len(data)):
        raise TrustError(f"{path}: {declared[:20]} bytes announced, {len(data)} came")
    return bytes(data)


def _chunks(response: requests.Response, path: str) -> Iterator[bytes]:
    # read1 and not read: read would wait for a full chunk, and a slow server could stretch that without end
    deadline = time.monotonic() + FILE_S
    while chunk := response.raw.read1(_CHUNK, decode_content=False):
        yield chunk
        if time.monotonic() > deadline:
            raise TrustError(f"{path}: not whole within {FILE_S:g} s")
