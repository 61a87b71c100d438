"""Where a download goes: a URL taken apart once, and the hosts that were named beyond what is open to everybody.

A URL is read here and nowhere else, and what is dialled and asked for is what was read: two readers of one URL that
disagree are how guards are passed.  What is not plain is refused, not mended.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urljoin

from bpfcompat.addresses import Address, plain
from bpfcompat.errors import ConfigError, KernelError

MAX_URL = 4096
PORTS = {"https": 443, "http": 80}
_URL = re.compile(
    r"""(?P<scheme> [A-Za-z][A-Za-z0-9+.-]*) :// (?: (?P<user> [^@/?#\[\]]*) @ )?
    (?P<host> \[ [0-9A-Fa-f:.]+ \] | [^@:/?#\[\]]+ ) (?: : (?P<port> [0-9]{1,5}) )?
    (?P<path> / [^?#]* )? (?P<query> \? [^#]* )? (?: \# .* )?""",
    re.VERBOSE,
)
_PLAIN = re.compile(r"[!#$%&'()*+,./0-9:;=?@A-Z\[\]_a-z~-]+")  # no space, control or backslash, only ASCII
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_SITE = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:/@?#]+)(?::(?P<port>[0-9]{1,5}))?")


class Refused(KernelError):
    """The guard does not go there."""


@dataclass(frozen=True, slots=True)
class Target:
    """One http or https address: `host` in lower case, IPv6 in brackets; `path` with the query, never empty."""

    scheme: str
    host: str
    port: int
    path: str = "/"
    user: str = field(default="", repr=False)  # USER:PASSWORD as it was written; never in a message
    address: Address | None = None

    @property
    def origin(self) -> tuple[str, str, int]:
        """What two addresses share when they are of one server."""
        return self.scheme, self.host, self.port

    @property
    def site(self) -> str:
        """As [fetch] allow names it: the host, and the port where it is not the scheme's own."""
        return self.host if self.port == PORTS[self.scheme] else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.site}{self.path}"


@dataclass(frozen=True, slots=True)
class Allowed:
    """Hosts that were named: `host` with the ports 80 and 443, or `host:port` with that one; nothing but exact ones."""

    sites: frozenset[str] = frozenset()

    def has(self, host: str, port: int) -> bool:
        """Whether a host was named for this port."""
        return (host in self.sites and port in PORTS.values()) or f"{host}:{port}" in self.sites

    def also(self, url: str) -> "Allowed":
        """These and the site of one address that somebody has named in full."""
        return Allowed(self.sites | {target(url).site})


NOBODY = Allowed()


def allowed(sites: Iterable[str]) -> Allowed:
    """The hosts of a setting; ConfigError for what is not one exact `host` or `host:port`."""
    return Allowed(frozenset(_site(text) for text in sites))


def _site(text: str) -> str:
    found = _SITE.fullmatch(text)
    try:
        if found is None:
            raise ValueError("not a host")
        host, _ = _host(found["host"])
        return host if found["port"] is None else f"{host}:{_port(found['port'])}"
    except ValueError:
        hint = "no scheme, path, range or *: every host is named by itself"
        raise ConfigError(f"[fetch] allow: expected host or host:port, got {text[:200]!r}", hint=hint) from None


def target(url: str) -> Target:
    """A URL taken apart; Refused for one that is not http or https, or is written in a way that others may misread."""
    found = _URL.fullmatch(url) if len(url) <= MAX_URL and _PLAIN.fullmatch(url) else None
    scheme = found["scheme"].lower() if found else ""
    if found is None or scheme not in PORTS:
        hint = "a folder of this machine is named as a folder" if url[:5].lower() == "file:" else None
        raise Refused(f"{_said(url)!r}: expected an http or https address", hint=hint)
    try:
        host, address = _host(found["host"])
        port = PORTS[scheme] if found["port"] is None else _port(found["port"])
    except ValueError as error:
        raise Refused(f"{_said(url)!r}: {error}") from None
    return Target(scheme, host, port, (found["path"] or "/") + (found["query"] or ""), found["user"] or "", address)


def redirected(before: Target, location: str) -> Target:
    """Where a redirect leads; Refused for a step from https to http, or with somebody's credentials."""
    try:
        there = target(urljoin(str(before), location) if _PLAIN.fullmatch(location) else location)
    except ValueError:
        raise Refused(f"redirected to {_said(location)!r}: expected an http or https address") from None
    except Refused as error:
        raise Refused(f"redirected to {error.message}") from None
    if there.user:
        raise Refused(f"redirected to {there}: an address with credentials")
    if (before.scheme, there.scheme) == ("https", "http"):
        raise Refused(f"redirected to {there}: from https to http")
    return there


def shown(url: str) -> str:
    """A URL without user and password."""
    return str(target(url))


def name_of(registry: str) -> str:
    """A registry as logs, reports and others may know it: as it was written, but without user and password."""
    if "@" not in registry or not registry.startswith(("http://", "https://")):
        return registry
    try:
        return shown(registry)
    except Refused:
        return _said(registry)


def _host(text: str) -> tuple[str, Address | None]:
    address = plain(text)
    if address is not None:
        return (f"[{address}]" if address.version == 6 else str(address)), address
    host = text.lower()
    if not _NAME.fullmatch(host) or len(host) > 253:
        raise ValueError("expected a host name of letters, digits, - and . (xn--… where it has others)")
    return host, None


def _port(text: str) -> int:
    if not 0 < int(text) < 65536:
        raise ValueError(f"expected a port from 1 to 65535, got {text}")
    return int(text)


def _said(url: str) -> str:
    """A URL that could not be read, for people: what may be a password is left out."""
    head, separator, rest = url[:MAX_URL].partition("://")
    return (head + separator + rest.rpartition("@")[2] if separator else head)[:200]
