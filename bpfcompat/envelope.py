"""A claim, signed: one DSSE 1.0.2 envelope in a Sigstore bundle v0.3, under a plain ECDSA P-256 key.

`verify` is the only way from bytes to a believed payload, and it believes the bytes as received, never a re-dump.  A
bundle has one spelling, canonical JSON of exactly this shape, with at most one entry of a log, which must be its own.
The key id is the key's OpenSSH fingerprint, because cosign tries no signature with another non-empty id.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from bpfcompat import logentry
from bpfcompat.digest import canonical, digest_bytes, raw_digest
from bpfcompat.errors import TrustError
from bpfcompat.keys import PrivateKey, PublicKey, fingerprint
from bpfcompat.logentry import LogEntry
from bpfcompat.policy import Policy
from bpfcompat.strictbase64 import encode64, strict64
from bpfcompat.strictjson import members, parse_json
from bpfcompat.tlog import Checkpoint, open_checkpoint

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_BYTES = 1 << 20
MAX_OPENED = 1024  # checkpoints that a Verifier remembers
_ODD, _FORM = "bundle: not in canonical JSON, or its keyid is no fingerprint", "docs/registry.md: bundles"
_PAE = f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} ".encode()
_P256_SHA256 = ec.ECDSA(hashes.SHA256())
_P256_HASHED = ec.ECDSA(Prehashed(hashes.SHA256()))
_BEGIN = b'{"dsseEnvelope":{"payload":"'  # the payload is found by its end, faster than any pattern goes over it
_REST = re.compile(
    (
        rf'","payloadType":"{re.escape(PAYLOAD_TYPE)}",'
        r'"signatures":\[{"keyid":"(?P<keyid>SHA256:[A-Za-z0-9+/]{43})","sig":"(?P<sig>[^"]+)"}\]},'
        rf'"mediaType":"{re.escape(MEDIA_TYPE)}","verificationMaterial":{{"publicKey":{{"hint":"(?P=keyid)"}}'
        rf'(?:,"tlogEntries":\[{logentry.PATTERN}\])?}}}}'
    ).encode()
)


@dataclass(frozen=True, slots=True)
class Envelope:
    """One parsed bundle; nothing in it is believed before `verify`.  `signature` is DER (r, s).

    `hash` is the SHA-256 of what is signed, 32 bytes: computed once, as name, leaf and signature all need it.
    """

    payload: bytes
    signature: bytes
    keyid: str
    entry: LogEntry | None = None
    hash: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hash", raw_digest(pae(self.payload)))

    @property
    def digest(self) -> str:
        """The identity of what is signed, as pae_digest says it."""
        return f"sha256:{self.hash.hex()}"

    @property
    def index(self) -> int | None:
        """The leaf's place in the log, None for what is not logged."""
        return self.entry.index if self.entry else None


def pae(payload: bytes) -> bytes:
    """The exact bytes under the signature: DSSE's pre-authentication encoding, lengths in bytes."""
    return b"%b%d %b" % (_PAE, len(payload), payload)


def pae_digest(payload: bytes) -> str:
    """The identity of a signed payload.

    Never the bundle's own hash: for every ECDSA signature (r, s) there is a second one, (r, n-s), that holds too.
    """
    return digest_bytes(pae(payload))


def sign(payload: bytes, key: PrivateKey, limit: int = MAX_BYTES) -> bytes:
    """The bundle's bytes, in no log yet; TrustError if readers would refuse its size."""
    signature = key.sign(pae(payload), _P256_SHA256)
    return bundle_bytes(Envelope(payload, signature, fingerprint(key.public_key())), limit)


def bundle_bytes(signed: Envelope, limit: int = MAX_BYTES) -> bytes:
    """A bundle as canonical JSON without a final newline; TrustError if readers would refuse its size."""
    signature = {"keyid": signed.keyid, "sig": encode64(signed.signature)}
    entries = {"tlogEntries": [logentry.as_json(signed.entry)]} if signed.entry else {}
    bundle = canonical(
        {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": signed.keyid}, **entries},
            "dsseEnvelope": {
                "payload": encode64(signed.payload),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [signature],
            },
        }
    )
    if len(bundle) > limit:
        raise TrustError(f"bundle: {len(bundle)} bytes, at most {limit} are ever read")
    return bundle


def leaf_of(signed: Envelope, key: PublicKey) -> bytes:
    """The leaf of a bundle that this key signed; TrustError when it did not."""
    _check_signature(signed, fingerprint(key), key)
    return logentry.body_of(signed.hash, signed.signature, logentry.spki(key))


def logged(signed: Envelope, entry: LogEntry) -> bytes:
    """The bytes of a bundle once its leaf is in a log."""
    return bundle_bytes(replace(signed, entry=entry))


class Verifier:
    """What these keys make of bundles; keeps what they have in common, so that a thousand cost little more than one."""

    def __init__(self, trusted: Policy | Sequence[PublicKey]) -> None:
        self.policy = trusted if isinstance(trusted, Policy) else Policy.of_keys(trusted)
        self._keys = {known.id: (known.key, logentry.spki(known.key)) for known in self.policy.verdict}
        self._opened: dict[bytes, tuple[Checkpoint, bytes]] = {}

    def verify(self, data: bytes, limit: int = MAX_BYTES) -> Envelope:
        """The envelope in a bundle, signed by one of the trusted keys; TrustError otherwise.

        An entry of a log must be this bundle's and its proof must lead to its root; whose log, `checkpoint` says.
        """
        found = parse(data, limit)
        key, spki = self._keys.get(found.keyid) or self._unknown(found.keyid)
        _check_signature(found, found.keyid, key)
        if found.entry is not None:
            found.entry.check(logentry.body_of(found.hash, found.signature, spki))
        return found

    def checkpoint(self, found: Envelope) -> Checkpoint:
        """What a verified envelope's entry proves: its leaf is below this checkpoint, which a log key signed.

        TrustError: no entry, or one of a log that the policy does not know.
        """
        entry = found.entry
        if entry is None:
            raise TrustError("bundle: is in no log", hint="publish it anew, or leave the log's key out")
        opened = self._opened.get(entry.checkpoint)
        if opened is None:
            opened = self._open(entry)
        entry.check_signed(*opened)
        return opened[0]

    def _open(self, entry: LogEntry) -> tuple[Checkpoint, bytes]:
        """The checkpoint of an entry, and the id of the log that signed it; kept, for many bundles carry the same."""
        checkpoint, note = open_checkpoint(entry.checkpoint, self.policy.log_for(entry.size))
        key = next(s.key for s in note.signers if s.key.name == checkpoint.origin)
        if len(self._opened) >= MAX_OPENED:
            self._opened.clear()
        opened = self._opened[entry.checkpoint] = checkpoint, logentry.log_id(key)
        return opened

    def _unknown(self, keyid: str) -> NoReturn:
        wanted = " or ".join(sorted(self._keys)) or "nobody"
        raise TrustError(f"bundle: signed by {keyid}, trusted: {wanted}", hint="give the signer's public key")


def verify(data: bytes, trusted: Policy | Sequence[PublicKey], limit: int = MAX_BYTES) -> Envelope:
    """As Verifier.verify, for a single bundle."""
    return Verifier(trusted).verify(data, limit)


def parse(data: bytes, limit: int = MAX_BYTES) -> Envelope:
    """A bundle of exactly our shape; TrustError names the place that differs.  The signature is not checked here."""
    end = data.find(b'"', len(_BEGIN))
    found = _REST.fullmatch(data, end) if len(data) <= limit and end > 0 and data.startswith(_BEGIN) else None
    if found is None:
        _explain(data, limit)
    signature, keyid = found.group("sig", "keyid")
    payload, signature = strict64(data[len(_BEGIN) : end], "bundle: payload"), strict64(signature, "bundle: sig")
    return Envelope(payload, signature, keyid.decode(), logentry.from_groups(found))


def _check_signature(signed: Envelope, keyid: str, key: PublicKey) -> None:
    try:
        key.verify(signed.signature, signed.hash, _P256_HASHED)
    except InvalidSignature:
        raise TrustError(f"bundle: the signature by {keyid} does not hold") from None


def _explain(data: bytes, limit: int) -> NoReturn:
    """TrustError about a bundle that is not as we write them: what differs, as far down as it can be told."""
    if MAX_BYTES < len(data) <= limit:  # nobody signed it, and 32 MiB of brackets take 1.5 GiB and 20 s to read
        raise TrustError(_ODD, hint=_FORM)
    bundle = members(parse_json(data, "bundle", limit), "bundle", "mediaType", "verificationMaterial", "dsseEnvelope")
    _exactly(bundle["mediaType"], MEDIA_TYPE, "bundle: mediaType")
    material = bundle["verificationMaterial"]
    logs = ("tlogEntries",) if isinstance(material, dict) and "tlogEntries" in material else ()
    hint = members(members(material, "bundle: verificationMaterial", "publicKey", *logs)["publicKey"],
                    "bundle: publicKey", "hint")["hint"]  # fmt: skip
    dsse = members(bundle["dsseEnvelope"], "bundle: dsseEnvelope", "payload", "payloadType", "signatures")
    _exactly(dsse["payloadType"], PAYLOAD_TYPE, "bundle: payloadType")
    signature = members(_only(dsse["signatures"], "signatures"), "bundle: signature", "keyid", "sig")
    _exactly(hint, signature["keyid"], "bundle: hint")
    for name, text in (("payload", dsse["payload"]), ("sig", signature["sig"])):
        strict64(text.encode() if isinstance(text, str) else b"", f"bundle: {name}")
    if logs:
        logentry.explain(_only(material["tlogEntries"], "tlogEntries"))
    raise TrustError(_ODD, hint=_FORM)


def _only(value: Any, what: str) -> Any:
    if not isinstance(value, list) or len(value) != 1:
        raise TrustError(f"bundle: {what}: expected a list of exactly one")
    return value[0]


def _exactly(found: Any, expected: Any, what: str) -> None:
    if found != expected:
        raise TrustError(f"{what}: expected {str(expected)[:80]!r}, got {str(found)[:80]!r}")
