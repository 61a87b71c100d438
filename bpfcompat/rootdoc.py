"""The root document: which keys of a registry may do what, in numbered versions, each signed by a threshold.

Its shape is that of a
TUF root, so that a client of TUF can check a change of root keys with none of our code; what TUF has no word for lies
in the member `bpfcompat`.  Root keys are Ed25519: their text in a TUF root is plain hex, a signature needs no luck with
random numbers on an old offline machine, and no verdict key (P-256) can be mistaken for one.

Here is its form alone; rootchain.py believes it.  Times are Unix seconds, and UTC text in the document.
"""

import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from bpfcompat.digest import canonical, digest_bytes
from bpfcompat.errors import TrustError
from bpfcompat.keys import (
    LogPublicKey,
    PublicKey,
    fingerprint,
    load_log_public,
    load_log_raw,
    load_public,
    public_pem,
    raw_public,
)
from bpfcompat.note import Kind, NoteKey, check_name
from bpfcompat.policy import CLOCK_SKEW_S, Policy, VerdictKey
from bpfcompat.strictjson import members, parse_json
from bpfcompat.tlog import check_origin

FORMAT = 1
MAX_BYTES = 64 << 10
MAX_KEYS = 100
MAX_VERSION = 1 << 20
ALGORITHMS = {"verdict": "ecdsa-p256-sha256", "log": "ed25519", "witness": "ed25519"}
_KEY_MEMBERS = ("role", "name", "algorithm", "key", "not_before", "not_after", "below")
_NOBODY = {"keyids": [], "threshold": 1}  # TUF wants these roles named; nobody can sign for them
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_PEM = b"-----BEGIN PUBLIC KEY-----\n%b\n-----END PUBLIC KEY-----\n"  # the member `key` is what stands between
_HEX = re.compile(r"(?:[0-9a-f]{2}){1,64}")


@dataclass(frozen=True, slots=True)
class Key:
    """A key with a role that is not root, and its limits; see policy.VerdictKey for what they mean.

    A beginning is always there.  `below` is None for a witness: what it signs has no place in the log.
    """

    role: str
    name: str
    key: PublicKey | LogPublicKey
    not_before: int
    not_after: int | None = None
    below: int | None = None

    @property
    def id(self) -> str:
        """The fingerprint."""
        return fingerprint(self.key)

    def current(self, now: int) -> bool:
        """True when it may sign now and has no last index."""
        ended = self.below is not None or (self.not_after is not None and now >= self.not_after)
        return self.not_before <= now + CLOCK_SKEW_S and not ended


@dataclass(frozen=True, slots=True)
class Root:
    """One version.  `name` is the log's origin; `holders` are the root keys; `needed` is how many witnesses are.

    TrustError when it contradicts itself.
    """

    name: str
    version: int
    expires: int
    threshold: int
    holders: tuple[LogPublicKey, ...]
    keys: tuple[Key, ...] = ()
    needed: int = 0

    def __post_init__(self) -> None:
        _check(self)

    @property
    def logs(self) -> tuple[NoteKey, ...]:
        """Every log key, old and new."""
        return tuple(_note_key(key) for key in self.keys if key.role == "log")

    def policy(self, now: int, max_age_s: int | None = None) -> Policy:
        """What a reader of this version trusts now; TrustError when there are log keys and none may sign now."""
        verdict = tuple(
            VerdictKey(k.key, k.not_before, k.not_after, k.below)
            for k in self.keys
            if not isinstance(k.key, LogPublicKey)
        )
        logs = [k for k in self.keys if k.role == "log"]
        former = tuple((_note_key(k), k.below) for k in logs if k.below is not None)
        current = tuple(_note_key(k) for k in logs if k.current(now))
        if logs and not current:
            # a policy without a log key asks for no log, which is not what this document means
            raise TrustError(f"root {self.version}: none of its {len(logs)} log keys may sign at {time_text(now)}")
        witnesses = tuple(_note_key(k) for k in self.keys if k.role == "witness" and k.current(now))
        return Policy(verdict, current, witnesses, self.needed, max_age_s, former)


@dataclass(frozen=True, slots=True)
class Document:
    """A root document as read: what it says, the bytes under its signatures, these by key id, and the file.

    Not yet believed: see rootchain.
    """

    root: Root
    payload: bytes
    signatures: Mapping[str, bytes]
    data: bytes

    @property
    def digest(self) -> str:
        """Which document this is, whoever signed it."""
        return digest_bytes(self.payload)


def _note_key(key: Key) -> NoteKey:
    assert isinstance(key.key, LogPublicKey)
    return NoteKey(key.name, key.key, Kind.WITNESS if key.role == "witness" else Kind.LOG)


# --- what is refused in any version


def _check(root: Root) -> None:
    check_origin(root.name)
    if not 1 <= root.version <= MAX_VERSION:
        raise TrustError(f"root: version: expected 1 to {MAX_VERSION}, got {root.version}")
    if not 1 <= root.threshold <= len(root.holders):
        raise TrustError(f"root: threshold {root.threshold} of {len(root.holders)} root keys")
    if len(root.holders) + len(root.keys) > MAX_KEYS:
        raise TrustError(f"root: more than {MAX_KEYS} keys")
    for key in root.keys:
        _check_key(root, key)
    ids = [fingerprint(key) for key in root.holders] + [key.id for key in root.keys]
    twice = next((i for i in ids if ids.count(i) > 1), None)
    if twice:
        raise TrustError(f"root: key {twice} is listed twice", hint="a key has one role, and counts once")
    witnesses = sum(key.role == "witness" for key in root.keys)
    if not 0 <= root.needed <= witnesses:
        raise TrustError(f"root: {root.needed} witnesses needed, {witnesses} listed")


def _check_key(root: Root, key: Key) -> None:
    where = f"root: key {key.id}"
    if key.role not in ALGORITHMS or (key.role == "verdict") is isinstance(key.key, LogPublicKey):
        raise TrustError(f"{where}: role {key.role!r} is not for a key of this kind")
    check_name(key.name)
    if key.role == "log" and key.name != root.name:
        raise TrustError(f"{where}: a log key has the registry's name {root.name}, got {key.name}")
    if key.not_after is not None and key.not_after <= key.not_before:
        raise TrustError(f"{where}: ends before it begins")
    if key.below is not None and (key.role == "witness" or not 0 <= key.below < 1 << 53):
        raise TrustError(f"{where}: below: expected a log index, and none for a witness")


# --- bytes


def payload_of(root: Root) -> bytes:
    """The bytes that root keys sign: canonical JSON."""
    return canonical(
        {
            "_type": "root",
            "spec_version": "1.0.31",
            "version": root.version,
            "expires": time_text(root.expires),
            "keys": {fingerprint(key): _tuf_key(key) for key in root.holders},
            "roles": {
                "root": {"keyids": sorted(map(fingerprint, root.holders)), "threshold": root.threshold},
                **dict.fromkeys(("snapshot", "targets", "timestamp"), _NOBODY),
            },
            "bpfcompat": {
                "format": FORMAT,
                "name": root.name,
                "needed": root.needed,
                "keys": [_key_json(k) for k in sorted(root.keys, key=lambda k: (k.role, k.id))],
            },
        }
    )


def _tuf_key(key: LogPublicKey) -> dict[str, Any]:
    return {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": raw_public(key).hex()}}


def _key_json(key: Key) -> dict[str, Any]:
    return {
        "role": key.role,
        "name": key.name,
        "algorithm": ALGORITHMS[key.role],
        "key": "".join(public_pem(key.key).decode().split("\n")[1:-2]),
        "not_before": time_text(key.not_before),
        "not_after": None if key.not_after is None else time_text(key.not_after),
        "below": key.below,
    }


def document(root: Root, signatures: Mapping[str, bytes]) -> bytes:
    """The file: payload and signatures (key id → 64 bytes), in canonical JSON without a final newline."""
    listed = b",".join(canonical({"keyid": i, "sig": signatures[i].hex()}) for i in sorted(signatures))
    return b'{"signatures":[' + listed + b'],"signed":' + payload_of(root) + b"}"


def parse(data: bytes, what: str = "root document") -> Document:
    """A root document of exactly our shape; TrustError names the place that differs.  No signature is checked."""
    found = members(parse_json(data, what, MAX_BYTES), what, "signed", "signatures")
    signatures = _signatures(found["signatures"], what)
    root = _root(found["signed"], what)
    # one document, one spelling: so the payload made here is the bytes that came
    if document(root, signatures) != data:
        raise TrustError(f"{what}: not in the one form that docs/keys.md gives")
    return Document(root, payload_of(root), signatures, data)


def _signatures(found: Any, what: str) -> dict[str, bytes]:
    if not isinstance(found, list) or len(found) > MAX_KEYS:
        raise TrustError(f"{what}: signatures: expected a list of at most {MAX_KEYS}")
    made: dict[str, bytes] = {}
    for item in found:
        one = members(item, f"{what}: signature", "keyid", "sig")
        keyid = _text(one["keyid"], f"{what}: keyid")
        if keyid in made:
            raise TrustError(f"{what}: two signatures by {keyid[:80]}")
        made[keyid] = _hex(one["sig"], f"{what}: sig")
    return made


def _root(found: Any, what: str) -> Root:
    names = ("_type", "spec_version", "version", "expires", "keys", "roles", "bpfcompat")
    signed = members(found, f"{what}: signed", *names)
    roles = members(signed["roles"], f"{what}: roles", "root", "snapshot", "targets", "timestamp")
    role = members(roles["root"], f"{what}: role root", "keyids", "threshold")
    ours = members(signed["bpfcompat"], f"{what}: bpfcompat", "format", "name", "needed", "keys")
    if ours["format"] != FORMAT:
        raise TrustError(f"{what}: format {str(ours['format'])[:20]}, this program knows {FORMAT}")
    if not isinstance(signed["keys"], dict) or not isinstance(ours["keys"], list):
        raise TrustError(f"{what}: keys: expected an object of root keys and a list of others")
    if len(signed["keys"]) + len(ours["keys"]) > MAX_KEYS:
        raise TrustError(f"{what}: more than {MAX_KEYS} keys")
    return Root(
        name=_text(ours["name"], f"{what}: name"),
        version=_whole(signed["version"], f"{what}: version"),
        expires=parse_time(signed["expires"], f"{what}: expires"),
        threshold=_whole(role["threshold"], f"{what}: threshold"),
        holders=tuple(_holder(key, what) for key in signed["keys"].values()),
        keys=tuple(_key(key, what) for key in ours["keys"]),
        needed=_whole(ours["needed"], f"{what}: needed"),
    )


def _holder(found: Any, what: str) -> LogPublicKey:
    key = members(found, f"{what}: root key", "keytype", "scheme", "keyval")
    value = members(key["keyval"], f"{what}: root key: keyval", "public")
    if (key["keytype"], key["scheme"]) != ("ed25519", "ed25519"):
        raise TrustError(f"{what}: root key: expected ed25519, got {str(key['keytype'])[:40]!r}")
    return _ed25519(_hex(value["public"], f"{what}: root key"), "root key")


@lru_cache(256)  # a chain of versions names the same keys again and again, and the look at a point is slow
def _ed25519(raw: bytes, where: str) -> LogPublicKey:
    return load_log_raw(raw, where)


@lru_cache(256)
def _spki(pem: bytes, role: str, where: str) -> PublicKey | LogPublicKey:
    return load_public(pem, where) if role == "verdict" else load_log_public(pem, where)


def _key(found: Any, what: str) -> Key:
    item = members(found, f"{what}: key", *_KEY_MEMBERS)
    role = _text(item["role"], f"{what}: role")
    where = f"{what}: {role[:20]} key"
    if item["algorithm"] != ALGORITHMS.get(role):
        raise TrustError(
            f"{where}: expected {ALGORITHMS.get(role, 'another role')}, got {str(item['algorithm'])[:40]!r}"
        )
    return Key(
        role,
        _text(item["name"], f"{where}: name"),
        _spki(_PEM % _text(item["key"], where).encode("utf-8", "replace"), role, f"{role} key"),
        parse_time(item["not_before"], f"{where}: not_before"),
        None if item["not_after"] is None else parse_time(item["not_after"], f"{where}: not_after"),
        None if item["below"] is None else _whole(item["below"], f"{where}: below"),
    )


def time_text(moment: int) -> str:
    """A moment as the document has it: 2026-11-27T00:00:00Z; TrustError beyond the year 9999."""
    try:
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        raise TrustError(f"time: expected Unix seconds before the year 10000, got {moment}") from None


def parse_time(found: Any, what: str) -> int:
    """The Unix seconds of such a text; TrustError for any other."""
    try:
        if isinstance(found, str) and _TIME.fullmatch(found) and found >= "1970":
            return int(datetime.strptime(found, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())
    except ValueError:
        pass
    raise TrustError(f"{what}: expected a time like 2026-11-27T00:00:00Z, got {str(found)[:40]!r}")


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise TrustError(f"{what}: expected text")
    return value


def _whole(value: Any, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TrustError(f"{what}: expected a whole number, got {str(value)[:40]!r}")
    return value


def _hex(value: Any, what: str) -> bytes:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise TrustError(f"{what}: expected lower-case hex of a key or signature")
    return binascii.unhexlify(value)
