"""Attacks on the root document: each is refused with TrustError (exit code 4), none traces."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bpfcompat.digest import canonical
from bpfcompat.errors import Exit, TrustError
from bpfcompat.keys import fingerprint
from bpfcompat.rootchain import MAX_ROTATIONS, follow, newest, pinned
from bpfcompat.rootdoc import MAX_BYTES, Key, parse
from tests.roots import FROM, HOLDERS, KEYS, NAME, UNTIL, p256, root, signed, versions

pytestmark = pytest.mark.hostile
GOOD = signed(root())
SMALL = {  # y coordinates of points of small order, and spellings of points that are not the shortest
    "identity": bytes([1]) + bytes(31),
    "zero": bytes(32),
    "order 2": bytes([0xEC]) + bytes([0xFF] * 30) + bytes([0x7F]),
    "identity, sign bit set": bytes([1]) + bytes(30) + bytes([0x80]),
    "y = p": bytes([0xED]) + bytes([0xFF] * 30) + bytes([0x7F]),
    "y = p + 1": bytes([0xEE]) + bytes([0xFF] * 30) + bytes([0x7F]),
    "all ones": bytes([0xFF] * 32),
}


def refused(data: bytes, words: str = ".") -> None:
    """Assert that a reader who pins this gets TrustError, with these words."""
    with pytest.raises(TrustError, match=words) as caught:
        pinned(data)
    assert caught.value.exit_code is Exit.UNTRUSTED


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """GOOD with its signed part changed and signed again by its holders: only the form can be wrong."""
    value = json.loads(GOOD)
    change(value["signed"])
    payload = canonical(value["signed"])
    ids = {fingerprint(h.public_key()): h.sign(payload).hex() for h in HOLDERS[:2]}
    value["signatures"] = [{"keyid": i, "sig": ids[i]} for i in sorted(ids)]
    return canonical(value)


def test_the_change_itself_is_sound() -> None:
    """A document made by `changed` without a change is GOOD: what follows is refused for what is changed."""
    assert changed(lambda _signed: None) == GOOD


def test_flipped_bits() -> None:
    """One flipped bit anywhere in a document with no signature to spare is refused."""
    dice = random.Random(1)
    for place in range(len(GOOD)):
        refused(GOOD[:place] + bytes([GOOD[place] ^ 1 << dice.randrange(8)]) + GOOD[place + 1 :])


def test_cut_and_padded() -> None:
    """A document cut anywhere, or with anything around it, is refused."""
    for data in (
        *(GOOD[:n] for n in range(0, len(GOOD), 61)),
        GOOD + b"\n",
        b" " + GOOD,
        GOOD + GOOD,
        b"\xef\xbb\xbf" + GOOD,
    ):
        refused(data)
    refused(GOOD.decode().encode("utf-16"))
    refused(GOOD + b" " * MAX_BYTES, "at most")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"version":1}', b'"version":1,"version":1}'),
        (b'"version":1}', b'"version":1.0}'),
        (b'"version":1}', b'"version":1e400}'),
        (b'"version":1}', b'"version":NaN}'),
        (b'"version":1}', b'"version":9223372036854775808}'),
        (b'"version":1}', b'"version":-0}'),
        (b'"version":1}', b'"version": 1}'),
        (b'"version":1}', b'"version":true}'),
        (b'"version":1}', b'"version":"1"}'),
        (b'"version":1}', b'"version":' + b"[" * 5000 + b"]" * 5000 + b"}"),
        (b'"_type":"root",', b""),
        (b'"_type":"root",', b'"_type":"targets",'),
        (b'"spec_version":"1.0.31",', b'"spec_version":"2.0.0",'),
        (b'"name":"runner"', b'"name":"r\\u0075nner"'),
    ],
)
def test_one_reading(old: bytes, new: bytes) -> None:
    """What two readers of JSON could read in two ways, or is spelled in another way, is refused even if well signed."""
    assert GOOD.count(old) == 1
    signed_part = GOOD.partition(b'"signed":')[2]
    payload = signed_part[:-1].replace(old, new)
    ids = {fingerprint(h.public_key()): h.sign(payload).hex() for h in HOLDERS[:2]}
    signatures = canonical([{"keyid": i, "sig": ids[i]} for i in sorted(ids)])
    refused(b'{"signatures":' + signatures + b',"signed":' + payload + b"}")


def spki(key: PublicKeyTypes) -> str:
    """A public key as the document has it."""
    return "".join(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode().split("\n")[1:-2])


def compressed(key: ec.EllipticCurvePublicKey) -> str:
    """A P-256 key with its point compressed: the same key in other bytes."""
    import base64

    point = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    head = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    return base64.b64encode(head + point).decode()


OTHER_KEYS = {
    "RSA": spki(rsa.generate_private_key(65537, 2048).public_key()),
    "P-384": spki(ec.generate_private_key(ec.SECP384R1()).public_key()),
    "secp256k1": spki(ec.generate_private_key(ec.SECP256K1()).public_key()),
    "Ed448": spki(ed448.Ed448PrivateKey.generate().public_key()),
    "Ed25519": spki(HOLDERS[3].public_key()),
    "compressed": compressed(p256(31).public_key()),
    "nothing": "",
    "a private key's word": "MC4CAQAwBQYDK2VwBCIEIA==",
    "a certificate": "-----END PUBLIC KEY-----",
    "surrogate": "\ufffd",
}


@pytest.mark.parametrize("kind", OTHER_KEYS)
def test_verdict_key_of_another_kind(kind: str) -> None:
    """V11: RSA, other curves, Ed25519, another spelling or garbage is no verdict key."""
    refused(changed(lambda s: s["bpfcompat"]["keys"][1].update(key=OTHER_KEYS[kind])))


@pytest.mark.parametrize("kind", [k for k in OTHER_KEYS if k != "Ed25519"])
def test_log_key_of_another_kind(kind: str) -> None:
    """V11: nor is any of these a log's key, and a P-256 key is none either."""
    for key in (OTHER_KEYS[kind], spki(p256(31).public_key())):
        refused(changed(lambda s, key=key: s["bpfcompat"]["keys"][0].update(key=key)))  # type: ignore[misc]


@pytest.mark.parametrize("point", SMALL)
def test_small_order_keys(point: str) -> None:
    """V12: a key for which signatures hold that nobody made does not load, in any Ed25519 role."""
    import base64

    raw = SMALL[point]
    packed = base64.b64encode(bytes.fromhex("302a300506032b6570032100") + raw).decode()
    for place in (0, 2):
        refused(changed(lambda s, place=place: s["bpfcompat"]["keys"][place].update(key=packed)))  # type: ignore[misc]
    refused(changed(lambda s: next(iter(s["keys"].values()))["keyval"].update(public=raw.hex())), "root key")


@pytest.mark.parametrize("role", ["verdict", "log", "witness", "root", "", "Root", "targets"])
def test_key_in_another_role(role: str) -> None:
    """V10: a key of one kind under another role, or a role that is none, is refused."""
    for place, item in enumerate(json.loads(GOOD)["signed"]["bpfcompat"]["keys"]):
        if role not in (item["role"], *(("log", "witness") if item["role"] in ("log", "witness") else ())):
            refused(changed(lambda s, place=place: s["bpfcompat"]["keys"][place].update(role=role)))  # type: ignore[misc]


@pytest.mark.parametrize("role", ["log", "witness"])
def test_root_key_in_a_second_role(role: str) -> None:
    """V10: a root key that is listed as a log's or a witness's too is refused: one key, one role."""

    def change(found: dict[str, Any]) -> None:
        place = next(n for n, key in enumerate(found["bpfcompat"]["keys"]) if key["role"] == role)
        found["bpfcompat"]["keys"][place]["key"] = spki(HOLDERS[0].public_key())

    refused(changed(change), "listed twice")


def test_same_key_under_two_ids() -> None:
    """V4: a root key under a second id does not count twice: an id is made from its key."""
    one = fingerprint(HOLDERS[0].public_key())

    def change(found: dict[str, Any]) -> None:
        found["keys"]["SHA256:again"] = found["keys"][one]
        found["roles"]["root"]["keyids"] = sorted([*found["roles"]["root"]["keyids"], "SHA256:again"])

    refused(changed(change), "listed twice")


def test_wrong_ids() -> None:
    """V6: a key under another key's id is refused, and so is a role that names other keys than are there."""

    def swap(found: dict[str, Any]) -> None:
        one, two, _three = sorted(found["keys"])
        found["keys"][one], found["keys"][two] = found["keys"][two], found["keys"][one]

    refused(changed(swap), "one form")
    refused(changed(lambda s: s["roles"]["root"].update(keyids=s["roles"]["root"]["keyids"][:2])), "one form")
    refused(changed(lambda s: s["roles"]["targets"].update(keyids=s["roles"]["root"]["keyids"])), "one form")


def test_one_signature_twice() -> None:
    """V4: the same signature twice toward the threshold is refused."""
    value = json.loads(GOOD)
    value["signatures"] = value["signatures"][:1] * 2
    refused(canonical(value), "two signatures by")


@pytest.mark.parametrize("sig", ["", "00" * 63, "00" * 65, "zz" * 64, "00" * 64, "FF" * 64, 5, None, "0" * 127])
def test_bad_signature_beside_a_good_one(sig: object) -> None:
    """V5, V13: a signature of another length or form, or that does not hold, never fills a threshold."""
    value = json.loads(GOOD)
    value["signatures"][0]["sig"] = sig
    refused(canonical(value))


@pytest.mark.parametrize("threshold", [0, -1, 4, "2", 2.0, True, None, 1 << 60])
def test_thresholds(threshold: object) -> None:
    """V41: threshold 0, below it, beyond the keys, or no number."""
    refused(changed(lambda s: s["roles"]["root"].update(threshold=threshold)))


@pytest.mark.parametrize("missing", [None, "", "never", 0, "absent"])
def test_missing_beginning(missing: object) -> None:
    """V39: a key without a beginning is refused, not unbounded."""

    def change(found: dict[str, Any]) -> None:
        key = found["bpfcompat"]["keys"][1]
        key["not_before"] = missing
        if missing == "absent":
            del key["not_before"]

    refused(changed(change), "not_before")


@pytest.mark.parametrize("below", [-1, "5", 1.5, True, 1 << 53, 1 << 70, [3]])
def test_bad_last_index(below: object) -> None:
    """V39: a last index that is no place in a log is refused, not ignored."""
    refused(changed(lambda s: s["bpfcompat"]["keys"][1].update(below=below)))


def test_skipped_version() -> None:
    """V41: version N+2 in the place of N+1 is refused, and so is N or an older one again."""
    chain, first = versions(4), pinned(versions(1)[1])
    for offered in (1, 3, 4):
        with pytest.raises(TrustError, match=f"root 2: says that it is version {offered}"):
            follow(first, chain[offered])


def test_gap_in_the_registry() -> None:
    """A version that is there and does not hold is an error: a mirror cannot end the chain with garbage."""
    chain = versions(3)
    for garbage in (b"", b"{}", b"<html>not found</html>", chain[3], chain[2][:-1]):
        with pytest.raises(TrustError, match="root 2: "):
            newest(pinned(chain[1]), {**chain, 2: garbage}.get)


def test_ten_thousand_rotations() -> None:
    """V41: however many versions a server makes up, so many are read and no more."""
    asked: list[int] = []

    def endless(version: int) -> bytes:
        asked.append(version)
        return signed(root(version))

    with pytest.raises(TrustError, match="more than 256 versions after 1"):
        newest(pinned(GOOD), endless)
    assert len(asked) == MAX_ROTATIONS


FAR_PAST, FAR_FUTURE = 0, 4_102_444_800  # 1970 and 2100
LIMITS = {
    "current": {},
    "future": {"not_before": UNTIL},
    "expired": {"not_after": FROM + 10},
    "expired, last index known": {"not_after": FROM + 10, "below": 7},
    "revoked": {"below": 7},
}


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("witnessed", [None, FROM + 5, FROM + 20])
@pytest.mark.parametrize("index", [6, 7, 8])
def test_key_limits(limit: str, witnessed: int | None, index: int) -> None:
    """V39: at index N-1, N, N+1, before and after the end; V40: with a last index or a witness no clock is asked."""
    value = replace(root(), keys=(Key("verdict", "v", p256(30).public_key(), **{"not_before": FROM, **LIMITS[limit]}),))
    policy = parse(signed(value)).root.policy
    (key,) = value.keys
    counts = {}
    for now in (FAR_PAST, FROM + 5, FAR_FUTURE):
        try:
            policy(now).allows(key.id, index, witnessed, now)
            counts[now] = True
        except TrustError:
            counts[now] = False
    if "below" in LIMITS[limit]:
        assert set(counts.values()) == {index < 7}
    elif witnessed is not None:
        good = {"current": True, "future": False, "expired": witnessed < FROM + 10}[limit]
        assert set(counts.values()) == {good}
    else:
        good_now = {"current": True, "future": False, "expired": True}[limit]
        assert counts == {FAR_PAST: False, FROM + 5: good_now, FAR_FUTURE: limit in ("current", "future")}


def test_name_of_another_registry() -> None:
    """A log key under another registry's name, or a name with a line break or a terminal's escape, is refused."""
    for name in ("other.example", "a\nb", "\x1b[2J", "a b", "a+b", "", "x" * 256, "\u202eexample", 5, None):
        refused(changed(lambda s, name=name: s["bpfcompat"].update(name=name)))  # type: ignore[misc]
        refused(changed(lambda s, name=name: s["bpfcompat"]["keys"][0].update(name=name)))  # type: ignore[misc]
    assert KEYS[1].name == NAME
