"""The one door to the network: what may be asked, of whom, for how long and how much.  docs/fetch.md has the rules.

https to hosts that are open to everybody; http, other ports and hosts inside a network only where they were named.
Nothing of the environment is used but the system's certificate authorities: no proxies, no netrc, no cookies.  That is
why requests is used without its sessions: an adapter sends what was prepared, and adds nothing.
"""

import base64
import contextlib
import ssl
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import unquote_to_bytes

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from bpfcompat.dialler import BUDGET, CONNECT_S, SILENCE_S, Budget, Dialler, Late, TlsSocket, Trouble, advice
from bpfcompat.origins import PORTS, Refused, Target, redirected, target

MAX_REDIRECTS = 3
HEADERS = {"Accept-Encoding": "identity", "User-Agent": "bpfcompat"}
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 1 << 16
_DRAINED = 1 << 12  # the body of a refusal up to this is read, so that its connection can be kept
_POOLS = 8  # servers whose connections are kept
_KEPT = 4  # connections kept of each
# a kept connection may have been closed by the server meanwhile: that is no answer, so ask again, once
_AGAIN = urllib3.Retry(1, connect=0, read=1, redirect=0, status=0, other=0, respect_retry_after_header=False)


class _Guarded(HTTPConnection):
    """A connection of urllib3 whose one method that opens a socket is the dialler's."""

    def __init__(self, *args: Any, dialler: Dialler, **options: Any) -> None:
        super().__init__(*args, **options)
        self._dialler = dialler

    def _new_conn(self) -> Any:
        return self._dialler.connect(self.host, self.port)


class _GuardedTls(_Guarded, HTTPSConnection):
    """The same behind TLS: certificate and SNI stay the name's, whichever address was dialled."""


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Guarded


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _GuardedTls


class _Adapter(HTTPAdapter):
    """requests over connections that the dialler opens, to servers that the given certificate authorities know."""

    def __init__(self, dialler: Dialler, tls: ssl.SSLContext) -> None:
        self._dialler, self._tls = dialler, tls
        super().__init__(pool_connections=_POOLS, pool_maxsize=_KEPT, max_retries=_AGAIN)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        """As HTTPAdapter's, with pools of ours."""
        self.poolmanager = urllib3.PoolManager(connections, maxsize=maxsize, block=block, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": self._plain, "https": self._encrypted}

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        """Whom to ask, and nothing of what requests would trust by itself."""
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing: the context has it all, and requests would add authorities of its own."""

    def _plain(self, host: str, port: int, **options: Any) -> _Pool:
        return _Pool(host, port, dialler=self._dialler, **options)

    def _encrypted(self, host: str, port: int, **options: Any) -> _TlsPool:
        return _TlsPool(host, port, ssl_context=self._tls, dialler=self._dialler, **options)


class Answer:
    """What a server said, its body not yet read."""

    def __init__(self, response: requests.Response) -> None:
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._response = response.raw

    @property
    def moved(self) -> str | None:
        """Where a redirect leads, as it was sent."""
        return self.headers.get("Location") if self.status in _REDIRECTS else None

    def body(self) -> Iterator[bytes]:
        """The bytes as they come, one receive each; what came compressed stays so."""
        while chunk := self._response.read1(_CHUNK, decode_content=False):
            yield chunk

    def close(self) -> None:
        """Let go of the connection: it is kept where little is left to read, else closed."""
        left = getattr(self._response, "length_remaining", None)
        with contextlib.suppress(urllib3.exceptions.HTTPError, Late):
            if left is not None and left <= _DRAINED:
                self._response.read(decode_content=False)
        self._response.close()


class Door:
    """Asks servers for files.  Connections are kept for as long as the door is there; threads may share it.

    Without `tls` the system's certificate authorities hold.
    """

    def __init__(self, dialler: Dialler, tls: ssl.SSLContext | None = None) -> None:
        self._dialler = dialler
        self._given_tls = tls

    @contextlib.contextmanager
    def open(
        self, url: str, budget: Budget, headers: Mapping[str, str] | None = None, roam: bool = True
    ) -> Iterator[Answer]:
        """The answer to a GET, after at most MAX_REDIRECTS hops, each of them judged; it lives in this block only.

        With `roam` off a redirect must stay on its server.  Raises Refused for where the guard does not go, Late for
        what takes too long, Trouble for what may be better in a second; the last two inside the block too.
        """
        token = BUDGET.set(budget)
        try:
            with contextlib.closing(self._follow(target(url), {**HEADERS, **(headers or {})}, roam)) as answer:
                yield answer
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise Trouble(_brief(error)) from error
        finally:
            BUDGET.reset(token)

    def _follow(self, first: Target, headers: Mapping[str, str], roam: bool) -> Answer:
        login, there, hops = _login(first), first, 0
        answer = self._ask(first, {**headers, **login})
        while (location := answer.moved) is not None:
            answer.close()
            hops += 1
            if hops > MAX_REDIRECTS:
                raise Refused(f"more than {MAX_REDIRECTS} redirects")
            there = redirected(there, location)
            at_home = there.origin == first.origin
            try:
                if not roam and not at_home:
                    raise Refused("another server")
                answer = self._ask(there, {**headers, **(login if at_home else {})})
            except Refused as error:
                raise Refused(f"redirected to {there}: {error.message}", error.hint) from error
        return answer

    def _ask(self, there: Target, headers: Mapping[str, str]) -> Answer:
        self._check(there)
        seconds = BUDGET.get().left()
        prepared = requests.Request("GET", f"{there.scheme}://{there.host}:{there.port}/", headers).prepare()
        prepared.url = f"{there.scheme}://{there.host}:{there.port}{there.path}"  # as it came, in no other spelling
        patience = min(CONNECT_S, seconds), min(SILENCE_S, seconds)
        return Answer(self._adapter.send(prepared, stream=True, timeout=patience))

    def _check(self, there: Target) -> None:
        """What can be said before anybody is asked; the dialler judges the address."""
        named = self._dialler.allowed.has(there.host, there.port)
        if there.scheme == "http" and not named:
            raise Refused(f"{there.site}: plain http is for hosts that were named", hint=advice(there.host, there.port))
        if there.port != PORTS[there.scheme] and not named:
            hint = advice(there.host, there.port)
            raise Refused(f"{there.site}: port {there.port} is for hosts that were named with it", hint=hint)

    @cached_property
    def _adapter(self) -> _Adapter:
        return _Adapter(self._dialler, self._tls)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        context = self._given_tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self._given_tls is None:
            context.load_default_certs()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslsocket_class = TlsSocket
        return context


def _login(there: Target) -> dict[str, str]:
    """The header for USER:PASSWORD of an address; for its own server only."""
    if not there.user:
        return {}
    user, _, password = there.user.partition(":")
    said = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    return {"Authorization": f"Basic {base64.b64encode(said).decode()}"}


def _brief(error: Exception) -> str:
    """The words of urllib3's innermost error."""
    if isinstance(error, requests.RequestException) and error.args and isinstance(error.args[0], Exception):
        error = error.args[0]
    if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason is not None:
        error = error.reason
    return " ".join(str(error).split())[:300] or type(error).__name__
