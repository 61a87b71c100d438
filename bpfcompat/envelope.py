"""A claim, signed: one DSSE 1.0.2 envelope in a Sigstore bundle v0.3, under a plain ECDSA P-256 key.

`verify` is the only way from bytes to a believed payload, and it believes the bytes as received, never a re-dump.
Refused: anything but exactly this shape, a second signature, duplicate JSON keys, floats, deep nesting, loose base64.
The key id is the key's OpenSSH fingerprint, because cosign tries no signature with another non-empty id.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from bpfcompat.digest import canonical, digest_bytes
from bpfcompat.errors import TrustError
from bpfcompat.keys import PrivateKey, PublicKey, fingerprint
from bpfcompat.strictjson import parse_json

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_BYTES = 1 << 20
_P256_SHA256 = ec.ECDSA(hashes.SHA256())


@dataclass(frozen=True, slots=True)
class Envelope:
    """One parsed bundle; nothing in it is believed before `verify`.  `signature` is DER (r, s)."""

    payload: bytes
    signature: bytes
    keyid: str


def pae(payload: bytes) -> bytes:
    """The exact bytes under the signature: DSSE's pre-authentication encoding, lengths in bytes."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def pae_digest(payload: bytes) -> str:
    """The identity of a signed payload.

    Never the bundle's own hash: for every ECDSA signature (r, s) there is a second one, (r, n-s), that holds too.
    """
    return digest_bytes(pae(payload))


def sign(payload: bytes, key: PrivateKey, limit: int = MAX_BYTES) -> bytes:
    """The bundle's bytes, in canonical JSON without a final newline; TrustError if readers would refuse its size."""
    keyid = fingerprint(key.public_key())
    signature = {"keyid": keyid, "sig": _encode(key.sign(pae(payload), _P256_SHA256))}
    bundle = canonical(
        {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": keyid}},
            "dsseEnvelope": {"payload": _encode(payload), "payloadType": PAYLOAD_TYPE, "signatures": [signature]},
        }
    )
    if len(bundle) > limit:
        raise TrustError(f"bundle: {len(bundle)} bytes, at most {limit} are ever read")
    return bundle


def verify(data: bytes, trusted: Sequence[PublicKey], limit: int = MAX_BYTES) -> Envelope:
    """The envelope in a bundle, signed by one of the trusted keys; TrustError otherwise."""
    envelope = parse(data, limit)
    keys = {fingerprint(key): key for key in trusted}
    if envelope.keyid not in keys:
        wanted = " or ".join(sorted(keys)) or "nobody"
        raise TrustError(f"bundle: signed by {envelope.keyid}, trusted: {wanted}", hint="give the signer's public key")
    try:
        keys[envelope.keyid].verify(envelope.signature, pae(envelope.payload), _P256_SHA256)
    except InvalidSignature:
        raise TrustError(f"bundle: the signature by {envelope.keyid} does not hold") from None
    return envelope


def parse(data: bytes, limit: int = MAX_BYTES) -> Envelope:
    """A bundle of exactly our shape; TrustError names the place that differs.  The signature is not checked here."""
    bundle = _members(parse_json(data, "bundle", limit), "bundle", "mediaType", "verificationMaterial", "dsseEnvelope")
    _exactly(bundle["mediaType"], MEDIA_TYPE, "bundle: mediaType")
    material = _members(bundle["verificationMaterial"], "bundle: verificationMaterial", "publicKey")
    hint = _members(material["publicKey"], "bundle: publicKey", "hint")["hint"]
    dsse = _members(bundle["dsseEnvelope"], "bundle: dsseEnvelope", "payload", "payloadType", "signatures")
    _exactly(dsse["payloadType"], PAYLOAD_TYPE, "bundle: payloadType")
    signatures = dsse["signatures"]
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise TrustError("bundle: signatures: expected a list of exactly one")
    signature = _members(signatures[0], "bundle: signature", "keyid", "sig")
    keyid = signature["keyid"]
    if not isinstance(keyid, str):
        raise TrustError("bundle: keyid: expected text")
    _exactly(hint, keyid, "bundle: hint")
    return Envelope(_decode(dsse["payload"], "payload"), _decode(signature["sig"], "sig"), keyid)


def _members(value: Any, what: str, *names: str) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != set(names):
        raise TrustError(f"{what}: expected an object with exactly {', '.join(names)}")
    return value


def _exactly(found: Any, expected: str, what: str) -> None:
    if found != expected:
        raise TrustError(f"{what}: expected {expected!r}, got {str(found)[:80]!r}")


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decode(text: Any, what: str) -> bytes:
    """Base64 by one rule: standard alphabet, padded, no blanks, unused bits zero."""
    try:
        data = binascii.a2b_base64(text, strict_mode=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        data = b""
    # only the last four digits can have a second spelling that strict mode takes
    if not data or len(text) != (len(data) + 2) // 3 * 4 or _encode(data[(len(data) - 1) // 3 * 3 :]) != text[-4:]:
        raise TrustError(f"bundle: {what}: expected standard padded base64 of at least a byte")
    return data
