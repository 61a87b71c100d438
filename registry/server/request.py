"""A request's header block, understood in one way or refused: GET and HEAD without a body, and nothing else."""

import re
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

MAX_HEADER = 8 << 10
MAX_LINES = 64

# Possessive throughout: a block that does not match is refused in one pass over its bytes.
_NAME = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_READ = re.compile(rb"(GET|HEAD) (/[!-~]{0,4095}+) HTTP/1\.([01])")
_LINE = re.compile(rb"(" + _NAME + rb"{1,32}+) [!-~]{1,4096}+ HTTP/([0-9])\.([0-9])")
_FIELDS = re.compile(rb"(?:" + _NAME + rb"++:[\t\x20-\x7e\x80-\xff]*+(?:\r\n(?!\Z)|\Z))++")
_FIELD = re.compile(rb"([^:\r\n]++):([^\r]*+)")
_HOST = re.compile(rb"([A-Za-z0-9._-]++|\[[0-9A-Fa-f:.]++\])(:[0-9]{1,5})?")
_GZIP = re.compile(rb"gzip(?:[ \t]*;[ \t]*q=(?:1(?:\.0{0,3})?|0\.(?=[0-9]*[1-9])[0-9]{1,3}))?")
_REFUSED = {b"transfer-encoding", b"expect", b"upgrade", b"trailer"}


class Refusal(Exception):
    """A request that gets an error and, where its end is in doubt, a closed connection."""

    def __init__(self, status: HTTPStatus, close: bool = True) -> None:
        super().__init__(status)
        self.status = status
        self.close = close


class Fields(NamedTuple):
    """What the lines after the first one say, as far as anything depends on it."""

    hosts: int = 0
    none_match: str = ""
    gzip: bool = False
    close: bool = False
    agent: bytes = b""


class Request(NamedTuple):
    """One request that is wholly understood: GET or HEAD, the raw path, and what decides the answer."""

    head: bool
    path: str
    keep: bool = True
    fields: Fields = Fields()


def parse_request(block: bytes) -> Request:
    """A header block without its final blank line; Refusal for all that is not plainly a bodiless read."""
    first, mark, rest = block.partition(b"\r\n")
    found = _READ.fullmatch(first)
    if found is None:
        raise _refusal(first, rest)
    method, target, minor = found.groups()
    fields = read_fields(rest) if mark else Fields()
    new = minor == b"1"
    if new and not fields.hosts:
        raise Refusal(HTTPStatus.BAD_REQUEST)
    return Request(method == b"HEAD", target.decode("ascii"), new and not fields.close, fields)


def _refusal(first: bytes, rest: bytes) -> Refusal:
    """Why a first line is not that of a read."""
    found = _LINE.fullmatch(first)
    if found is None:
        return Refusal(HTTPStatus.BAD_REQUEST)
    method, major, minor = found.groups()
    if major != b"1" or minor not in b"01":
        return Refusal(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    hosts = read_fields(rest).hosts if rest else 0
    if method in (b"GET", b"HEAD") or (minor == b"1" and not hosts):
        return Refusal(HTTPStatus.BAD_REQUEST)
    return Refusal(HTTPStatus.METHOD_NOT_ALLOWED)


@lru_cache(maxsize=128)
def read_fields(lines: bytes) -> Fields:
    """The header lines; Refusal for a doubtful one, a body, a wish that is not ours, or a Host that is none.

    What one client asks for differs in the first line only, so the rest need not be read each time.
    """
    if lines.count(b"\n") >= MAX_LINES:
        raise Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    if _FIELDS.fullmatch(lines) is None:
        raise Refusal(HTTPStatus.BAD_REQUEST)
    fields: dict[bytes, list[bytes]] = {}
    for name, value in _FIELD.findall(lines):
        fields.setdefault(name.lower(), []).append(value.strip(b" \t"))
    # whatever follows a body we did not read would be taken for the next request
    if _REFUSED & fields.keys() or fields.get(b"content-length", [b"0"]) != [b"0"]:
        raise Refusal(HTTPStatus.BAD_REQUEST)
    hosts = fields.get(b"host", [])
    if len(hosts) > 1 or not all(map(_HOST.fullmatch, hosts)):
        raise Refusal(HTTPStatus.BAD_REQUEST)
    return Fields(
        len(hosts),
        b",".join(fields.get(b"if-none-match", [])).decode("latin-1"),
        any(map(_GZIP.fullmatch, _words(fields.get(b"accept-encoding", [])))),
        b"close" in _words(fields.get(b"connection", [])),
        fields.get(b"user-agent", [b""])[0],
    )


def _words(values: list[bytes]) -> list[bytes]:
    return [word.strip(b" \t") for value in values for word in value.lower().split(b",")]


def broken_line(part: bytes) -> bool:
    """Whether a block that has not ended yet can never become one: a line end that is not CR LF, or a NUL."""
    return re.search(rb"(?<!\r)\n|\r(?!\n|\Z)|\0", part) is not None
