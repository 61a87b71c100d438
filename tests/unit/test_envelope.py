"""The signed form: what is refused, and that nothing but the received bytes is believed."""

import base64
import copy
import json
import tracemalloc
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfcompat import envelope
from bpfcompat.digest import canonical
from bpfcompat.errors import TrustError
from bpfcompat.keys import fingerprint
from bpfcompat.manifest import MAX_MATRIX_BYTES
from tests.claims import KEY, OTHER

PAYLOAD = b'{"hello":"w\xc3\xb6rld"}'
PUBLIC = KEY.public_key()
BUNDLE = envelope.sign(PAYLOAD, KEY)
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def changed(change: Any) -> bytes:
    """The bundle after a change to its parsed form."""
    bundle = json.loads(BUNDLE)
    change(bundle)
    return canonical(bundle)


def refuse(data: bytes, words: str | None = None) -> None:
    """Assert that a bundle is refused with these words."""
    with pytest.raises(TrustError, match=words):
        envelope.verify(data, [PUBLIC])


def test_round_trip() -> None:
    """What was signed comes back, byte for byte, with the signer's fingerprint."""
    found = envelope.verify(BUNDLE, [OTHER.public_key(), PUBLIC])
    assert (found.payload, found.keyid) == (PAYLOAD, fingerprint(PUBLIC))


def test_pae() -> None:
    """DSSE's encoding counts bytes, not characters."""
    assert envelope.pae(PAYLOAD) == b"DSSEv1 28 application/vnd.in-toto+json 18 " + PAYLOAD


def test_shape() -> None:
    """The bundle has the members that Sigstore's v0.3 readers accept, and ends without a newline."""
    bundle = json.loads(BUNDLE)
    keyid = fingerprint(PUBLIC)
    assert bundle["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert bundle["verificationMaterial"] == {"publicKey": {"hint": keyid}}
    assert bundle["dsseEnvelope"]["signatures"][0]["keyid"] == keyid
    assert BUNDLE.endswith(b"}")


def test_every_flipped_byte() -> None:
    """No single byte of a bundle can be changed unnoticed."""
    for place in range(len(BUNDLE)):
        for mask in (0x01, 0x20):
            data = bytearray(BUNDLE)
            data[place] ^= mask
            refuse(bytes(data))


@settings(max_examples=200)
@given(st.integers(0, len(BUNDLE) - 1), st.integers(0, 255))
def test_any_substituted_byte(place: int, value: int) -> None:
    """Whatever a byte is replaced by, the bundle is refused unless it is the same byte."""
    data = BUNDLE[:place] + bytes([value]) + BUNDLE[place + 1 :]
    if data != BUNDLE:
        refuse(data)


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_garbage(data: bytes) -> None:
    """Any bytes are answered with TrustError, never with another exception."""
    refuse(data)


def test_other_key() -> None:
    """A bundle by a key that is not trusted names both keys."""
    refuse(envelope.sign(PAYLOAD, OTHER), "signed by SHA256:.*trusted: SHA256:")
    with pytest.raises(TrustError, match="trusted: nobody"):
        envelope.verify(BUNDLE, [])


def test_keyid_is_only_a_hint() -> None:
    """A signature by another key under our key id does not hold."""
    other = json.loads(envelope.sign(PAYLOAD, OTHER))["dsseEnvelope"]["signatures"][0]["sig"]
    refuse(changed(lambda b: b["dsseEnvelope"]["signatures"][0].update(sig=other)), "does not hold")


def test_malleable_signature_has_one_identity() -> None:
    """(r, n-s) holds as well as (r, s), which is why a bundle's identity does not include its signature."""
    bundle = json.loads(BUNDLE)
    signature = bundle["dsseEnvelope"]["signatures"][0]
    r, s = decode_dss_signature(base64.b64decode(signature["sig"]))
    signature["sig"] = base64.b64encode(encode_dss_signature(r, P256_ORDER - s)).decode()
    found = envelope.verify(canonical(bundle), [PUBLIC])
    assert envelope.pae_digest(found.payload) == envelope.pae_digest(PAYLOAD)


KIND = envelope.PAYLOAD_TYPE


@pytest.mark.parametrize("kind", ["application/json", KIND + " ", KIND.upper(), "", 1])
def test_payload_type(kind: object) -> None:
    """The payload type is exact."""
    refuse(changed(lambda b: b["dsseEnvelope"].update(payloadType=kind)), "payloadType")


@pytest.mark.parametrize("count", [0, 2])
def test_signature_count(count: int) -> None:
    """Exactly one signature, so that no reader can pick another one."""
    one = json.loads(BUNDLE)["dsseEnvelope"]["signatures"]
    refuse(changed(lambda b: b["dsseEnvelope"].update(signatures=one * count)), "exactly one")


@pytest.mark.parametrize("where", [(), ("dsseEnvelope",), ("verificationMaterial",), ("dsseEnvelope", "signatures", 0)])
def test_unknown_member(where: tuple[Any, ...]) -> None:
    """An unknown member is refused at every level, as cosign does."""

    def add(bundle: Any) -> None:
        for step in where:
            bundle = bundle[step]
        bundle["extra"] = []

    refuse(changed(add), "exactly")


@pytest.mark.parametrize("name", ["mediaType", "verificationMaterial", "dsseEnvelope"])
def test_duplicate_member(name: str) -> None:
    """A member that occurs twice is refused, whichever would win."""
    value = json.dumps(json.loads(BUNDLE)[name]).encode()
    refuse(b'{"%b":%b,' % (name.encode(), value) + BUNDLE[1:], "twice")


def test_base64_has_one_spelling() -> None:
    """Padding, alphabet, blanks and unused bits are all fixed."""
    text = json.loads(BUNDLE)["dsseEnvelope"]["payload"]
    spellings = (text + "=", text + "\n", text[:4] + " " + text[4:], text[:-1], text + "====", "", 7, None)
    for other in spellings:
        refuse(changed(lambda b, other=other: b["dsseEnvelope"].update(payload=other)))
    loose = base64.b64encode(b"a").decode()
    assert base64.b64decode(loose) == base64.b64decode(loose.replace("YQ", "YR"))
    refuse(changed(lambda b: b["dsseEnvelope"]["signatures"][0].update(sig=loose.replace("YQ", "YR"))), "base64")


ODD = {"none": b"\0", "zero": b"\x30\6\2\1\0\2\1\0", "trailing": b"\x30\6\2\1\1\2\1\1\0", "raw": b"r" * 64}


@pytest.mark.parametrize("signature", ODD.values(), ids=ODD.keys())
def test_odd_signatures(signature: bytes) -> None:
    """Zero r and s, trailing bytes, raw r|s: the signature does not hold."""
    text = base64.b64encode(signature).decode()
    refuse(changed(lambda b: b["dsseEnvelope"]["signatures"][0].update(sig=text)), "does not hold")


def test_the_received_bytes_are_verified() -> None:
    """A payload that was written anew with the same meaning is refused."""
    spaced = base64.b64encode(json.dumps(json.loads(PAYLOAD), indent=1).encode()).decode()
    refuse(changed(lambda b: b["dsseEnvelope"].update(payload=spaced)), "does not hold")


def test_size() -> None:
    """Too much is refused before it is read as JSON, and never signed."""
    refuse(b" " * (envelope.MAX_BYTES + 1), "at most")
    with pytest.raises(TrustError, match="ever read"):
        envelope.sign(b"x" * envelope.MAX_BYTES, KEY)


def test_parsing_leaves_nothing_to_change() -> None:
    """An envelope is a frozen value that can be hashed and copied."""
    found = envelope.parse(BUNDLE)
    assert hash(copy.copy(found)) == hash(found)


@pytest.mark.parametrize("unit", [b"[[[[]]]],", b'{"a":[]},', b'"x",'])
def test_brackets_are_not_read(unit: bytes) -> None:
    """What nobody signed costs no more than its own bytes, be it as long as a matrix may be."""
    size = 4 << 20
    data = b"[" + unit * (size // len(unit)) + b"0]"
    tracemalloc.start()
    try:
        with pytest.raises(TrustError, match="not in canonical JSON"):
            envelope.parse(data, MAX_MATRIX_BYTES)
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()
