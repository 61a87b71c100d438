"""Signed notes: a text and, below it, one line for each signature.  C2SP signed-note and tlog-cosignature (v1).

A log signs the text itself (kind 1); a witness signs the text and the time at which it looked (kind 4).  Read by one
rule: a line of a key that is not known is ignored, a line of a known key must hold, and no key has two lines.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from cryptography.exceptions import InvalidSignature

from bpfcompat.digest import raw_digest
from bpfcompat.errors import ConfigError, TrustError
from bpfcompat.files import read_bounded, write_atomic
from bpfcompat.keys import (
    MAX_KEY_BYTES,
    LogPrivateKey,
    LogPublicKey,
    keygen,
    load_log_public,
    load_log_raw,
    raw_public,
)
from bpfcompat.strictbase64 import encode64, strict64

MAX_NOTE_BYTES = 64 << 10
MAX_SIGNATURES = 64
MAX_TIME = 2**63 - 1
_DASH = "\N{EM DASH} "
_NO_TEXT = "note: expected a text that ends in a newline"
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
_NAME = re.compile(r"[!-*,-~]{1,255}")  # ours: printable ASCII without blank and plus


class Kind(IntEnum):
    """What a key's signature is over; the byte that the key's id and its vkey carry."""

    LOG = 1
    WITNESS = 4


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A key that notes are checked with, under its name.

    `raw` is its 32 bytes: who this is, whatever its name.  `identity` is 32 bytes over name, kind and key; `id` are the
    first four, which say with the name whose a line is, and prove nothing.
    """

    name: str
    key: LogPublicKey
    kind: Kind = Kind.LOG
    raw: bytes = field(init=False, repr=False, compare=False)
    identity: bytes = field(init=False, repr=False, compare=False)
    id: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_name(self.name)
        object.__setattr__(self, "raw", raw_public(self.key))
        identity = raw_digest(b"%b\n%c%b" % (self.name.encode(), self.kind, self.raw))
        object.__setattr__(self, "identity", identity)
        object.__setattr__(self, "id", identity[:4])

    def __hash__(self) -> int:
        return hash((self.name, self.kind, self.raw))  # the library's key has none

    @property
    def vkey(self) -> str:
        """The key as one word: name, id in hex, and base64 of kind and key, joined by plus signs."""
        return f"{self.name}+{self.id.hex()}+{encode64(bytes([self.kind]) + self.raw)}"


@dataclass(frozen=True, slots=True)
class Signer:
    """A known key whose line holds; for a witness, when it looked, in Unix seconds by its own clock."""

    key: NoteKey
    time: int | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """A note whose text at least one known key signed."""

    text: bytes
    signers: tuple[Signer, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One signature line as it stands; nothing in it is believed."""

    name: str
    id: bytes
    signature: bytes

    def __bytes__(self) -> bytes:
        return f"{_DASH}{self.name} {encode64(self.id + self.signature)}\n".encode()


def check_name(name: str) -> None:
    """TrustError unless a key of ours can have this name."""
    if not _NAME.fullmatch(name):
        raise TrustError(f"key name: expected 1 to 255 printable characters without blank and plus, got {name[:80]!r}")


def parse_vkey(text: str) -> NoteKey:
    """The key in a vkey, one trailing newline allowed; TrustError names what is wrong with it."""
    name, _, rest = text.removesuffix("\n").partition("+")
    key_id, _, packed = rest.partition("+")
    where = f"vkey {name[:80]!r}"
    if not re.fullmatch("[0-9a-f]{8}", key_id):
        raise TrustError(f"{where}: expected NAME+8 hex digits+base64", hint="`bpfcompat keygen --kind log` writes one")
    data = strict64(packed.encode("ascii", "replace"), where)
    if data[:1] not in (b"\1", b"\4"):
        raise TrustError(f"{where}: expected a key of kind 1 (Ed25519 log) or 4 (Ed25519 witness)")
    key = NoteKey(name, load_log_raw(data[1:], where), Kind(data[0]))
    if key.id.hex() != key_id:
        raise TrustError(f"{where}: its id is {key.id.hex()}, not {key_id}")
    return key


def keygen_named(
    path: Path, kind: Kind, name: str, passphrase: str | None = None, published: Iterable[Path] = ()
) -> NoteKey:
    """As keys.keygen, for a log or a witness of this name, with its vkey in `path`.vkey."""
    check_name(name)
    beside = path.with_name(path.name + ".vkey")
    if os.path.lexists(beside):
        raise ConfigError(f"{beside}: is already there", hint="choose another path: keys are never overwritten")
    keygen(path, passphrase, published, log=True)
    public = path.with_name(path.name + ".pub")
    made = NoteKey(name, load_log_public(read_bounded(public, MAX_KEY_BYTES, ConfigError), str(public)), kind)
    write_atomic(beside, made.vkey.encode() + b"\n")
    return made


def load_vkey(path: Path) -> NoteKey:
    """The key in a vkey file; ConfigError when it cannot be read, TrustError as parse_vkey."""
    return parse_vkey(read_bounded(path, MAX_KEY_BYTES, ConfigError).decode("utf-8", "replace"))


def sign_note(text: bytes, name: str, private: LogPrivateKey) -> bytes:
    """A whole note: the text, which ends in a newline, and the line of this log."""
    _check_text(text)
    key = NoteKey(name, private.public_key())
    return text + b"\n" + bytes(Line(name, key.id, private.sign(text)))


def cosign(text: bytes, name: str, private: LogPrivateKey, time: int) -> bytes:
    """The line of a witness over this text, seen at this time (Unix seconds): cosignature/v1."""
    _check_text(text)
    key = NoteKey(name, private.public_key(), Kind.WITNESS)
    return bytes(Line(name, key.id, time.to_bytes(8, "big") + private.sign(_cosigned(text, time))))


def verify_note(data: bytes, keys: Iterable[NoteKey]) -> Note:
    """The note and which of these keys signed it, in the order of its lines.

    TrustError: not a note, a line of a known key that does not hold, two lines of one key, or no known key at all.
    """
    text, lines = split_note(data)
    known = {(key.name, key.id): key for key in keys}
    signers = tuple([_held(text, line, known[line.name, line.id]) for line in lines if (line.name, line.id) in known])
    if len(signers) > 1:
        _each_once(signers)
    if not signers:
        wanted = " or ".join(sorted(f"{key.name} ({key.id.hex()})" for key in known.values())) or "nobody"
        found = ", ".join(f"{line.name} ({line.id.hex()})" for line in lines[:3])
        raise TrustError(f"note: signed by {found}, trusted: {wanted}", hint="give the log's public key (vkey)")
    return Note(text, signers)


def _each_once(signers: tuple[Signer, ...]) -> None:
    seen = [(signer.key.raw, signer.key.kind) for signer in signers]
    twice = next((signer.key.name for signer, key in zip(signers, seen, strict=True) if seen.count(key) > 1), None)
    if twice is not None:
        raise TrustError(f"note: more than one line of the key {twice}")


def split_note(data: bytes) -> tuple[bytes, tuple[Line, ...]]:
    """A note's text and its lines, by form only; TrustError when it is not a note."""
    if len(data) > MAX_NOTE_BYTES:
        raise TrustError(f"note: {len(data)} bytes, at most {MAX_NOTE_BYTES} expected")
    text, blank, below = data.rpartition(b"\n\n")
    if not blank or not below.endswith(b"\n"):
        raise TrustError("note: expected a text, a blank line and signature lines, each with its newline")
    if not text:
        raise TrustError(_NO_TEXT)
    rows = _decoded(data)[:-1].rpartition("\n\n")[2].split("\n")
    if len(rows) > MAX_SIGNATURES:
        raise TrustError(f"note: {len(rows)} signatures, at most {MAX_SIGNATURES} expected")
    return text + b"\n", tuple(map(_line, rows))


def put_line(data: bytes, line: bytes) -> bytes:
    """A note with this line added, in place of an older line of the same key."""
    text, lines = split_note(data)
    _, found = split_note(b"text\n\n" + line)
    if len(found) != 1:
        raise TrustError(f"note: expected one line to add, got {len(found)}")
    added = found[0]
    kept = [old for old in lines if (old.name, old.id) != (added.name, added.id)]
    return text + b"\n" + b"".join(map(bytes, [*kept, added]))


def _line(row: str) -> Line:
    name, _, packed = row.removeprefix(_DASH).partition(" ")
    if not row.startswith(_DASH) or "+" in name or name.split() != [name]:
        raise TrustError(f"note: expected a line `{_DASH}NAME BASE64`, got {row[:80]!r}")
    data = strict64(packed.encode("ascii", "replace"), f"note: signature of {name[:80]!r}")
    if len(data) < 5:
        raise TrustError(f"note: signature of {name[:80]!r}: {len(data)} bytes, expected a key id and more")
    return Line(name, data[:4], data[4:])


def _held(text: bytes, line: Line, key: NoteKey) -> Signer:
    time, signature, message = None, line.signature, text
    if key.kind is Kind.WITNESS:
        time, signature = int.from_bytes(line.signature[:8], "big"), line.signature[8:]
        if time > MAX_TIME:
            raise TrustError(f"note: cosignature of {key.name}: its time {time} is out of range")
        message = _cosigned(text, time)
    try:
        key.key.verify(signature, message)
    except InvalidSignature:
        raise TrustError(f"note: the signature of {key.name} ({key.id.hex()}) does not hold") from None
    return Signer(key, time)


def _cosigned(text: bytes, time: int) -> bytes:
    return b"cosignature/v1\ntime %d\n%b" % (time, text)


def _check_text(text: bytes) -> None:
    if not text.endswith(b"\n") or text == b"\n":
        raise TrustError(_NO_TEXT)
    _decoded(text)


def _decoded(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise TrustError("note: expected UTF-8") from None
    if found := _CONTROL.search(text):
        raise TrustError(f"note: a control character (0x{ord(found[0]):02x}) in it")
    return text
