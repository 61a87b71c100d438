"""The audit trail: what was published, with which keys, what was refused, and how settings changed.

Lines of canonical JSON, each with the digest of the line before, written under a lock and only ever appended.  A line
that a kill cut short stays where it is: the next record names it by length and digest, and goes on from the last whole
one.  Facts are short texts and numbers under names that EVENTS lists, so that no secret gets in by accident.

Whoever can write the file can write it anew.  What proves that nobody did is a head (the number and digest of a line)
that somebody else keeps: `head_text` is what a log's key signs for them.
"""

import base64
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bpfcompat.digest import canonical, digest_bytes, is_digest, raw_digest
from bpfcompat.errors import StoreError, TrustError
from bpfcompat.files import ensure_dir, explain_os, kind_of, locked, open_to_read, sync_dir
from bpfcompat.strictjson import parse_json

EVENTS: Mapping[str, tuple[str, ...]] = {
    "publish": ("registry", "manifest", "verdicts", "known", "conflicts", "log_size"),
    "key": ("key", "role", "use"),
    "refusal": ("what", "why"),
    "settings": ("digest", "changed", "trust"),
    "logged": ("registry", "number", "head", "bundle"),
    "root": ("registry", "name", "version", "digest", "signed_by"),
    "torn": ("bytes", "digest"),
}
FIRST = "sha256:" + "0" * 64
MAX_LINE = 8 << 10
MAX_TEXT = 400
_MAX_TORN = 64 << 10
_END_OF_TIME = 253402300800  # the year 10000
# in an address: USER:PASSWORD, and a query, which may be a signature or a token
_LOGIN = re.compile(r"(?<=://)[^/?#\s]*@")
_QUERY = re.compile(r"(://[^\s?]*\?)\S+?(?=:?(?:\s|$))")
_HEAD = re.compile(rb"([!-~]{1,260})/trail\n([1-9][0-9]{0,14})\n([A-Za-z0-9+/]{43}=)\n")
Facts = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Line:
    """One record.  `number` counts from 1, `at` is in Unix seconds by the writer's clock, `prev` a digest."""

    number: int
    at: int
    event: str
    facts: Facts
    prev: str

    def __bytes__(self) -> bytes:
        facts = dict(self.facts)
        return canonical({"at": self.at, "event": self.event, "facts": facts, "n": self.number, "prev": self.prev})

    @property
    def digest(self) -> str:
        """What the next line says that this one is: over its bytes without the newline."""
        return digest_bytes(bytes(self))


@dataclass(frozen=True, slots=True)
class Checked:
    """A trail whose chain holds: its last line (None in an empty one), repaired and unrepaired torn places."""

    last: Line | None
    repaired: int
    torn_bytes: int


# --- writing


def record(path: Path, event: str, facts: Facts, now: int, waiting: Callable[[str], None] | None = None) -> Line:
    """Append one record, on disk when this returns.

    StoreError when it cannot be written or the end of the trail is damaged: then what it would tell of must not happen.
    """
    with locked(path.with_name(f".{path.name}.lock"), waiting), _opened(path) as stream:
        last, torn, newline = _end(stream, path)
        lines = []
        if torn:
            last = _after(last, "torn", {"bytes": len(torn), "digest": digest_bytes(torn)}, now)
            lines.append(last)
        lines.append(_after(last, event, facts, now))
        _append(stream, newline + b"".join(bytes(line) + b"\n" for line in lines), path)
    return lines[-1]


def _after(last: Line | None, event: str, facts: Facts, now: int) -> Line:
    unknown = sorted(facts.keys() - set(EVENTS[event]))
    if unknown:
        raise ValueError(f"trail: {event}: no such fact: {', '.join(unknown)}")
    shown = {name: _bounded(value) for name, value in facts.items()}
    return Line(last.number + 1 if last else 1, now, event, shown, last.digest if last else FIRST)


def _bounded(value: str | int) -> str | int:
    if isinstance(value, int):
        return value
    if "PRIVATE KEY" in value:
        return "(withheld: it looks like a private key)"
    text = _QUERY.sub(r"\1…", _LOGIN.sub("…@", value.encode("utf-8", "replace").decode()))
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    ensure_dir(path.parent)
    try:
        new = not path.exists()
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        with open(fd, "r+b", buffering=0) as stream:
            mode = os.fstat(fd).st_mode
            if not stat.S_ISREG(mode):
                raise StoreError(f"{path}: expected a regular file, got {kind_of(mode)}")
            if new:
                sync_dir(path.parent)
            yield stream
    except OSError as error:
        raise explain_os(error, path, "cannot open the audit trail") from error


def _end(stream: BinaryIO, path: Path) -> tuple[Line | None, bytes, bytes]:
    """The last whole line, what a kill left behind it, and the newline that is wanted before one may go on."""
    size = stream.seek(0, os.SEEK_END)
    start = stream.seek(max(0, size - _MAX_TORN - MAX_LINE))
    tail = stream.read()
    newline = b"" if not tail or tail.endswith(b"\n") else b"\n"
    rows = tail.split(b"\n")
    for kept in range(len(rows), 0, -1):
        line = _parse(rows[kept - 1])
        if line is not None:
            return line, b"\n".join(rows[kept:]).removesuffix(b"\n"), newline
    if start > 0:
        hint = "`bpfcompat trail verify` says where; move the file away, keep it, and a new trail begins"
        raise StoreError(f"{path}: no whole line at its end", hint=hint)
    return None, tail.removesuffix(b"\n"), newline


def _append(stream: BinaryIO, data: bytes, path: Path) -> None:
    try:
        written = stream.write(data)
        os.fsync(stream.fileno())
    except OSError as error:
        raise explain_os(error, path, "cannot write the audit trail") from error
    if written != len(data):
        raise StoreError(
            f"{path}: cannot write the audit trail: {written} of {len(data)} bytes", hint="is the disk full?"
        )


# --- reading


def _parse(row: bytes) -> Line | None:
    """A line without its newline, None when it is no whole one in its only spelling."""
    try:
        found = parse_json(row, "line", MAX_LINE)
        line = Line(found["n"], found["at"], found["event"], found["facts"], found["prev"])
        kinds = ((line.number, int), (line.at, int), (line.event, str))
        sound = all(type(value) is kind for value, kind in kinds) and 0 <= line.at < _END_OF_TIME
        return line if sound and _facts(line.facts) and is_digest(line.prev) and bytes(line) == row else None
    except (TrustError, KeyError, TypeError):
        return None


def _facts(found: object) -> bool:
    return isinstance(found, dict) and all(type(value) in (str, int) for value in found.values())


def lines(path: Path) -> Iterator[Line]:
    """Every record of a trail whose chain holds so far, oldest first, the newest too when only its newline is cut off.

    TrustError where the chain does not hold, with the number of the line of text.  StoreError: cannot be read.
    """
    for line, _torn in _walk(path):
        if line is not None:
            yield line


def check(path: Path) -> Checked:
    """Walk the whole chain; TrustError where it does not hold."""
    last, repaired, torn = None, 0, b""
    for line, rest in _walk(path):
        last, torn = line or last, rest
        repaired += line is not None and line.event == "torn"
    return Checked(last, repaired, len(torn))


def _walk(path: Path) -> Iterator[tuple[Line | None, bytes]]:
    """Each line, and at the end None with what a kill left there."""
    last: Line | None = None
    torn = b""
    for place, row in enumerate(_rows(path), 1):
        line = _parse(row.removesuffix(b"\n"))
        if line is None:
            torn += row
            if len(torn) > _MAX_TORN:
                raise TrustError(f"{path}: line {place}: no record, and too long for one that was cut short")
            continue
        _follows(last, line, torn.removesuffix(b"\n"), f"{path}: line {place}")
        last, torn = line, b""
        yield line, b""
    if torn:
        yield None, torn


def _follows(last: Line | None, line: Line, torn: bytes, where: str) -> None:
    number, prev = (last.number + 1, last.digest) if last else (1, FIRST)
    if line.number != number:
        raise TrustError(f"{where}: record {number} expected, got {line.number}")
    if line.prev != prev:
        raise TrustError(f"{where}: record {number} does not follow from the one before: one of them was changed")
    names = {"bytes": len(torn), "digest": digest_bytes(torn)}
    if bool(torn) != (line.event == "torn") or (torn and dict(line.facts) != names):
        raise TrustError(f"{where}: before record {number} there is something that no record of a cut line names")


def _rows(path: Path) -> Iterator[bytes]:
    try:
        with open(open_to_read(path, follow=False), "rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise StoreError(f"{path}: expected a regular file, got {kind_of(mode)}")
            while row := stream.readline(MAX_LINE + 1):
                yield row
    except OSError as error:
        raise explain_os(error, path, "cannot read the audit trail") from error


def recent(path: Path) -> tuple[Line, ...]:
    """The records near the end of a trail, oldest first, their chain not checked; none when there is no trail."""
    if not os.path.lexists(path):
        return ()
    with _opened(path) as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - _MAX_TORN))
        return tuple(line for row in stream.read().split(b"\n") if (line := _parse(row)) is not None)


# --- what somebody else keeps


def head_text(origin: str, line: Line) -> bytes:
    """The text of a note that says how far a registry's trail goes and what its last line is.

    Its first line is no log's origin, so that no checkpoint can be mistaken for it, nor it for one.
    """
    root = base64.b64encode(raw_digest(bytes(line))).decode()
    return f"{origin}/trail\n{line.number}\n{root}\n".encode()


def head_of(text: bytes) -> tuple[int, str]:
    """The number and the digest of the record that a kept head names; TrustError where the text is no head."""
    found = _HEAD.fullmatch(text)
    if found is None:
        raise TrustError("trail head: expected ORIGIN/trail, a number and a digest on three lines")
    return int(found[2]), "sha256:" + base64.b64decode(found[3]).hex()


def check_heads(paths: Sequence[Path], heads: Iterable[tuple[int, str]]) -> None:
    """Each head, a record's number and digest, is still in one of these trails; TrustError when one is not."""
    missing, ends = set(heads), dict.fromkeys(paths, 0)
    for path in paths:
        for line in lines(path):
            missing.discard((line.number, line.digest))
            ends[path] = line.number
    if not missing:
        return
    number, _ = min(missing)
    if len(paths) > 1:
        raise TrustError(f"a kept head names record {number}, which none of {', '.join(map(str, paths))} has as it was")
    if ends[paths[0]] < number:
        raise TrustError(f"{paths[0]}: ends before record {number}, which a kept head names: records were taken away")
    raise TrustError(f"{paths[0]}: record {number} is not the one that a kept head names: the trail was written anew")
