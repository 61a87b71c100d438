"""What a transparency log says of one bundle: the leaf, its place, the proof, the signed checkpoint.  Pure.

A leaf is the canonical JSON of a Rekor v2 `hashedrekord 0.0.2` body: the SHA-256 of what was signed, the signature, and
the signer's key.  It is rebuilt from the bundle and compared, never read: so an entry of another bundle, however valid,
is no entry of this one.  In a bundle the whole is `tlogEntries[0]`, in the one spelling that `as_json` writes.
"""

import base64
import re
from binascii import a2b_base64, b2a_base64
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives import serialization

from bpfcompat.digest import canonical
from bpfcompat.errors import TrustError
from bpfcompat.keys import PublicKey
from bpfcompat.note import NoteKey
from bpfcompat.strictbase64 import encode64, strict64
from bpfcompat.strictjson import members
from bpfcompat.tlog import HASH, Checkpoint, check_inclusion, leaf_hash

KIND, VERSION = "hashedrekord", "0.0.2"
_BODY = (
    b'{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{"hashedRekordV002":{"data":{"algorithm":"SHA2_256",'
    b'"digest":"%b"},"signature":{"content":"%b","verifier":{"keyDetails":"PKIX_ECDSA_P256_SHA_256",'
    b'"publicKey":{"rawBytes":"%b"}}}}}}'
)
_BASE64 = "[A-Za-z0-9+/]+={0,2}"
_LEAF = re.compile(re.escape(_BODY) % (f"({HASH})".encode(), _BASE64.encode(), _BASE64.encode()))
_NUMBER = "0|[1-9][0-9]{0,15}"
PATTERN = (
    r'{"canonicalizedBody":"(?P<body>[^"]+)","inclusionProof":{'
    r'"checkpoint":{"envelope":"(?P<note>[^"]{1,8192}+)"},'
    rf'"hashes":\[(?P<hashes>(?:"{HASH}"(?:,"{HASH}"){{0,62}})?)\],"logIndex":"(?P<index>{_NUMBER})",'
    rf'"rootHash":"(?P<root>{HASH})","treeSize":"(?P<size>{_NUMBER})"}},'
    rf'"kindVersion":{{"kind":"{KIND}","version":"{re.escape(VERSION)}"}},"logId":{{"keyId":"(?P<log>{HASH})"}},'
    r'"logIndex":"(?P=index)"}'
)
"""One entry as a bundle has it, but for the note, which `from_groups` looks at; for bytes.  Its groups are for that."""
_NOTE = re.compile(rb'(?:[^"\\\x00-\x1f]++|\\n)++')
_MAX_NOTE = 4096
_GROUPS = ("body", "note", "hashes", "index", "root", "size", "log")


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A leaf and its place in a log of `size` leaves under `root`, which the note `checkpoint` signs.

    Nothing in it is believed before `check` and before the note's signature was.  `log` is the log's id: 32 bytes.
    """

    body: bytes
    index: int
    size: int
    root: bytes
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    log: bytes

    def check(self, body: bytes) -> None:
        """TrustError unless this entry is of just this body and its proof leads to its root."""
        if self.body != body:
            raise TrustError("log entry: is of another signature, payload or key than this bundle's")
        check_inclusion(leaf_hash(body), self.index, self.size, self.hashes, self.root)

    def check_signed(self, found: Checkpoint, log: bytes) -> None:
        """TrustError unless the checkpoint, of the log with this id, is the one that the proof leads to."""
        if (found.size, found.root) != (self.size, self.root):
            raise TrustError(f"log entry: its proof is for {self.size} leaves, its checkpoint for {found.size}")
        if self.log != log:
            raise TrustError(f"log entry: is of another log than {found.origin}")


def log_id(key: NoteKey) -> bytes:
    """What Rekor v2 calls a log: SHA-256 over name and key; its first four bytes are the key's id in notes."""
    return key.identity


def spki(key: PublicKey) -> bytes:
    """A public key in DER, base64: as a leaf names its signer."""
    made = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(made)


def body_of(digest: bytes, signature: bytes, key: bytes) -> bytes:
    """The leaf: the SHA-256 (32 bytes) of what is under the DER `signature`; `key` comes from `spki`."""
    return _BODY % (b2a_base64(digest, newline=False), b2a_base64(signature, newline=False), key)


def digest_in(body: bytes) -> str:
    """The digest (`sha256:…`) that a leaf says was signed: its bundle's name; TrustError when it is no leaf of ours."""
    found = _LEAF.fullmatch(body)
    if found is None:
        raise TrustError(f"log: a leaf is no {KIND} {VERSION} body: {body[:40]!r}")
    return "sha256:" + base64.b64decode(found[1]).hex()


def as_json(entry: LogEntry) -> dict[str, Any]:
    """The entry as Sigstore's bundle v0.3 has it."""
    return {
        "logIndex": str(entry.index),
        "logId": {"keyId": encode64(entry.log)},
        "kindVersion": {"kind": KIND, "version": VERSION},
        "inclusionProof": {
            "logIndex": str(entry.index),
            "rootHash": encode64(entry.root),
            "treeSize": str(entry.size),
            "hashes": [encode64(one) for one in entry.hashes],
            "checkpoint": {"envelope": entry.checkpoint.decode()},
        },
        "canonicalizedBody": encode64(entry.body),
    }


def from_groups(found: re.Match[bytes]) -> LogEntry | None:
    """The entry in a match of PATTERN, None where the place for it was empty; TrustError for a loose spelling."""
    body, note, hashes, index, root, size, log = found.group(*_GROUPS)
    if body is None:
        return None
    checkpoint = _note(note)
    if checkpoint is None:
        raise TrustError("log entry: checkpoint: not as docs/registry.md says")
    return LogEntry(
        strict64(body, "log entry: canonicalizedBody"),
        int(index),
        int(size),
        a2b_base64(root),
        tuple(map(a2b_base64, hashes[1:-1].split(b'","'))) if hashes else (),
        checkpoint,
        a2b_base64(log),
    )


@lru_cache(maxsize=64)
def _note(text: bytes) -> bytes | None:
    """The note in its one spelling as JSON, None for another; what is published together shares it."""
    note = text.replace(b"\\n", b"\n")
    return note if len(note) <= _MAX_NOTE and _NOTE.fullmatch(text) else None


def trusted_root(*keys: NoteKey) -> bytes:
    """What Sigstore's clients take as a trust root: these log keys, of old ones too, and no certificate authority."""
    rest: dict[str, list[Any]] = {"certificateAuthorities": [], "ctlogs": [], "timestampAuthorities": []}
    kind = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
    return canonical({"mediaType": kind, "tlogs": [_tlog(key) for key in keys], **rest})


def _tlog(key: NoteKey) -> dict[str, Any]:
    der = key.key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    public = {"rawBytes": encode64(der), "keyDetails": "PKIX_ED25519", "validFor": {"start": "1970-01-01T00:00:00Z"}}
    return {"baseUrl": f"https://{key.name}", "hashAlgorithm": "SHA2_256", "publicKey": public,
            "logId": {"keyId": encode64(log_id(key))}}  # fmt: skip


def explain(entry: Any) -> None:
    """TrustError that names the member of a JSON entry which is not as `as_json` writes it; nothing when all are."""
    members(entry, "log entry: entry", "logIndex", "logId", "kindVersion", "inclusionProof", "canonicalizedBody")
    names = ("logIndex", "rootHash", "treeSize", "hashes", "checkpoint")
    proof = members(entry["inclusionProof"], "log entry: inclusionProof", *names)
    if entry["kindVersion"] != {"kind": KIND, "version": VERSION}:
        raise TrustError(f"log entry: kindVersion: expected {KIND} {VERSION}, got {str(entry['kindVersion'])[:80]}")
    if entry["logIndex"] != proof["logIndex"]:
        raise TrustError("log entry: two different logIndex")
    for one in proof["hashes"] if isinstance(proof["hashes"], list) else [None]:
        _matching("hashes", HASH, one)
    _matching("logIndex", _NUMBER, entry["logIndex"])
    _matching("treeSize", _NUMBER, proof["treeSize"])
    _matching("rootHash", HASH, proof["rootHash"])
    _matching("keyId", HASH, members(entry["logId"], "log entry: logId", "keyId")["keyId"])
    checkpoint = members(proof["checkpoint"], "log entry: checkpoint", "envelope")
    _matching("checkpoint", r'[^"\\]{1,4096}', checkpoint["envelope"])
    _matching("canonicalizedBody", _BASE64, entry["canonicalizedBody"])


def _matching(name: str, pattern: str, text: Any) -> None:
    if not isinstance(text, str) or not re.fullmatch(pattern, text):
        raise TrustError(f"log entry: {name}: not as docs/registry.md says: {str(text)[:80]!r}")
