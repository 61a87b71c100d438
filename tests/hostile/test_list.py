"""The list of what a verifier must refuse, V1 to V26, V29 and V36, each through the command line: exit code 4.

A payload of the list is signed by the right key and lies under its right name, so to a reader without the log's key
nothing but the item itself is wrong.
"""

import base64
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from bpfcompat import cli, envelope
from bpfcompat.digest import canonical, raw_digest
from bpfcompat.errors import Exit
from bpfcompat.keys import public_pem
from bpfcompat.manifest import MAX_MATRIX_BYTES, Row, matrix_payload, parse_matrix_statement
from bpfcompat.registry import layout
from bpfcompat.statement import Claim, verdict_statement
from tests.claims import BAD, KEY, LOG, LOG_KEY, OBJECT, OTHER, VMLINUZ, claim, item, put, registry, row
from tests.logs import entries

pytestmark = pytest.mark.hostile
GOOD = claim()
PLACE = layout.bundle_path(row(GOOD).bundle or "")
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
BIG = 64 << 20
Change = Callable[[Any], object]


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A registry and, beside it, the files that a reader has."""
    folder = tmp_path / "registry"
    registry(folder, GOOD, now=int(time.time()))
    (tmp_path / "key.pub").write_bytes(public_pem(KEY.public_key()))
    (tmp_path / "log.vkey").write_text(LOG.vkey)
    return folder


def code(folder: Path, *more: str, key: str = "key.pub", log: bool = True) -> int:
    """The exit code of `bpfcompat verify`, which never ends in a traceback."""
    logged = ("--log-key", str(folder.parent / "log.vkey")) if log else ()
    state = ("--state", str(folder.parent / "state")) if log else ()
    return cli.main(["verify", str(folder), "--key", str(folder.parent / key), *logged, *state, *more])


def dsse(change: Change) -> Callable[[Path], None]:
    """Change the parsed bundle, and write it canonically."""

    def apply(folder: Path) -> None:
        bundle = json.loads((folder / PLACE).read_bytes())
        change(bundle)
        (folder / PLACE).write_bytes(canonical(bundle))

    return apply


def signature(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Change the signature's bytes, and take the log entry away."""

    def apply(folder: Path) -> None:
        found = envelope.parse((folder / PLACE).read_bytes())
        changed = replace(found, signature=change(found.signature), entry=None)
        (folder / PLACE).write_bytes(envelope.bundle_bytes(changed))

    return apply


def payload(make: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Sign other bytes with the right key; they get their right name, and no place in the log."""

    def apply(folder: Path) -> None:
        signed = envelope.parse(envelope.sign(make(canonical(verdict_statement(GOOD))), KEY, BIG), BIG)
        (folder / layout.bundle_path(signed.digest)).write_bytes(envelope.bundle_bytes(signed, BIG))

    return apply


def statement(change: Change) -> Callable[[Path], None]:
    """Sign a statement that was changed, spelled canonically."""

    def make(data: bytes) -> bytes:
        found = json.loads(data)
        change(found)
        return canonical(found)

    return payload(make)


def swap(old: bytes, new: bytes) -> Callable[[Path], None]:
    """Sign a statement with other bytes in it."""

    def make(data: bytes) -> bytes:
        assert old in data
        return data.replace(old, new, 1)

    return payload(make)


def spelled(old: bytes, new: bytes) -> Callable[[Path], None]:
    """Put other bytes into the bundle itself, which a JSON writer would not write."""

    def apply(folder: Path) -> None:
        data = (folder / PLACE).read_bytes()
        assert data.count(old) == 1
        (folder / PLACE).write_bytes(data.replace(old, new))

    return apply


def twice(member: str, first: bool = False) -> Callable[[Path], None]:
    """A member of the bundle, at whatever level, is there again with an empty text, before or behind the good one."""

    def apply(folder: Path) -> None:
        data = (folder / PLACE).read_bytes()
        at = data.index(f'"{member}":'.encode())
        end = at + len(member) + 3 + json.JSONDecoder().raw_decode(data[at + len(member) + 3 :].decode())[1]
        good, empty = data[at:end], f'"{member}":""'.encode()
        (folder / PLACE).write_bytes(data[:at] + (empty + b"," + good if first else good + b"," + empty) + data[end:])

    return apply


def malleable(data: bytes) -> bytes:
    """The other signature that holds."""
    r, s = decode_dss_signature(data)
    return encode_dss_signature(r, ORDER - s)


def of_another(folder: Path) -> None:
    """The log entry of another valid signature over the same payload, by the same key, in the same log."""
    found = envelope.parse((folder / PLACE).read_bytes())
    again = envelope.parse(envelope.sign(found.payload, KEY))
    (entry,) = entries([envelope.leaf_of(again, KEY.public_key())])
    (folder / PLACE).write_bytes(envelope.logged(found, entry))


def text64(data: bytes) -> str:
    """Base64 as text."""
    return base64.b64encode(data).decode()


def sig(bundle: Any) -> Any:
    """The one signature of a parsed bundle."""
    return bundle["dsseEnvelope"]["signatures"][0]


def extra(made: Any) -> Any:
    """Our own part of a statement."""
    return made["predicate"]["bpfcompat"]


LIST: dict[str, Callable[[Path], None]] = {
    "V1 payload": dsse(lambda b: b["dsseEnvelope"].update(payload=text64(b"{}"))),
    "V1 sig": signature(lambda s: s[:-1] + bytes([s[-1] ^ 1])),
    "V1 type": dsse(lambda b: b["dsseEnvelope"].update(payloadType="application/vnd.in-toto+jsoo")),
    "V2 json": dsse(lambda b: b["dsseEnvelope"].update(payloadType="application/json")),
    "V2 space": dsse(lambda b: b["dsseEnvelope"].update(payloadType=envelope.PAYLOAD_TYPE + " ")),
    "V2 case": dsse(lambda b: b["dsseEnvelope"].update(payloadType=envelope.PAYLOAD_TYPE.upper())),
    "V3 two": dsse(lambda b: b["dsseEnvelope"]["signatures"].append(sig(b))),
    "V3 none": dsse(lambda b: b["dsseEnvelope"].update(signatures=[])),
    "V3 empty": dsse(lambda b: sig(b).update(sig="")),
    "V5 bad and good": dsse(lambda b: b["dsseEnvelope"]["signatures"].insert(0, {**sig(b), "sig": "AAAA"})),
    "V6": dsse(lambda b: sig(b).update(sig=text64(OTHER.sign(b"x", ec.ECDSA(hashes.SHA256()))))),
    "V7": dsse(lambda b: (sig(b).update(keyid="SHA256:" + "A" * 43),
                          b["verificationMaterial"]["publicKey"].update(hint="SHA256:" + "A" * 43))),
    "V8": dsse(lambda b: sig(b).pop("keyid")),
    "V9": signature(LOG_KEY.sign),
    "V14 length in BER": signature(lambda s: s[:1] + b"\x81" + s[1:]),
    "V14 leading zero": signature(lambda s: b"\x30" + bytes([s[1] + 1, 2, s[3] + 1, 0]) + s[4:]),
    "V14 r=0": signature(lambda s: encode_dss_signature(0, decode_dss_signature(s)[1])),
    "V14 s=0": signature(lambda s: encode_dss_signature(decode_dss_signature(s)[0], 0)),
    "V14 raw": signature(lambda s: b"".join(n.to_bytes(32, "big") for n in decode_dss_signature(s))),
    "V14 trailing": signature(lambda s: s + b"\0"),
    "V15 in the log": dsse(lambda b: sig(b).update(sig=text64(malleable(base64.b64decode(sig(b)["sig"]))))),
    "V16 padding": dsse(lambda b: sig(b).update(sig=sig(b)["sig"].rstrip("=") + "===")),
    "V16 newline": dsse(lambda b: sig(b).update(sig=sig(b)["sig"][:8] + "\n" + sig(b)["sig"][8:])),
    "V16 NUL": dsse(lambda b: sig(b).update(sig=sig(b)["sig"][:8] + "\0" + sig(b)["sig"][8:])),
    "V16 url": dsse(lambda b: b["dsseEnvelope"].update(payload=b["dsseEnvelope"]["payload"][:-4] + "-_-_")),
    **{f"V17 {name} twice{', first' if first else ''}": twice(name, first)
       for name in ("dsseEnvelope", "payload", "payloadType", "signatures", "sig", "keyid", "verificationMaterial",
                    "publicKey", "hint", "tlogEntries", "inclusionProof", "mediaType", "canonicalizedBody")
       for first in (False, True)},
    "V17 the same twice": spelled(b'"mediaType":', b'"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json",'
                                  b'"mediaType":'),
    "V17 statement": swap(b'{"_type":', b'{"_type":"x","_type":'),
    "V17 predicate": swap(b'"result":"PASSED"', b'"result":"FAILED","result":"PASSED"'),
    "V17 digest": swap(b'"subject":[{"digest":{', b'"subject":[{"digest":{"sha256":"' + b"0" * 64 + b'",'),
    **{f"V18 {n}": swap(b'"memory_mb":256', b'"memory_mb":' + n.encode())
       for n in ("NaN", "Infinity", "1e400", "9223372036854775808", "-0", "256.0", "1.5")},
    "V19 depth": payload(lambda data: b"[" * 100_000 + b"]" * 100_000),
    "V19 long": payload(lambda data: data.replace(b'"ringbuf"', b'"' + b"x" * (2 << 20) + b'"')),
    "V19 subjects": statement(lambda s: s.update(subject=s["subject"] * 1000)),
    "V20 BOM": payload(lambda data: b"\xef\xbb\xbf" + data),
    "V20 UTF-16": payload(lambda data: data.decode().encode("utf-16")),
    "V20 surrogate": swap(b'"ringbuf"', b'"\\ud800"'),
    "V20 overlong": swap(b'"ringbuf"', b'"\xc0\xaf"'),
    "V20 trailing": payload(lambda data: data + b" "),
    "V20 second": payload(lambda data: data + data),
    "V21 digits": statement(lambda s: s["subject"][0]["digest"].update(sha256="\u0661" * 64)),
    "V21 upper": statement(lambda s: s["subject"][0]["digest"].update(sha256="A" * 64)),
    "V21 63": statement(lambda s: s["subject"][0]["digest"].update(sha256="a" * 63)),
    "V21 65": statement(lambda s: s["subject"][0]["digest"].update(sha256="a" * 65)),
    "V21 prefix": statement(lambda s: s["subject"][0]["digest"].update(sha256="sha256:" + "a" * 64)),
    "V22": payload(lambda data: json.dumps(json.loads(data)).encode()),
    "V23 missing": statement(lambda s: s.pop("_type")),
    "V23 v0.1": statement(lambda s: s.update(_type="https://in-toto.io/Statement/v0.1")),
    "V23 unknown": statement(lambda s: s.update(_type="x")),
    "V24": statement(lambda s: s.update(predicateType="https://slsa.dev/provenance/v1")),
    "V25 lower": statement(lambda s: s["predicate"].update(result="passed")),
    "V25 OK": statement(lambda s: s["predicate"].update(result="OK")),
    "V25 missing": statement(lambda s: s["predicate"].pop("result")),
    "V25 list": statement(lambda s: s["predicate"].update(result=["PASSED"])),
    "V25 failed tests": statement(lambda s: s["predicate"].update(failedTests=["count"])),
    "V25 contradiction": statement(lambda s: extra(s).update(answer="incompatible")),
    "V26 md5": statement(lambda s: s["subject"][0].update(digest={"md5": "0" * 32})),
    "V26 sha1": statement(lambda s: s["subject"][0].update(digest={"sha1": "0" * 40})),
    "V26 two": statement(lambda s: s["subject"][0]["digest"].update(md5="0" * 32)),
    "V26 empty": statement(lambda s: s["subject"][0].update(digest={})),
    "V36": of_another,
}  # fmt: skip


@pytest.mark.parametrize("attack", LIST.values(), ids=LIST.keys())
def test_list(good: Path, attack: Callable[[Path], None], capsys: pytest.CaptureFixture[str]) -> None:
    """Every item of the list ends in exit code 4 and a reason, whether the log's key is known or not."""
    assert code(good) == Exit.OK
    attack(good)
    capsys.readouterr()
    assert code(good) == Exit.UNTRUSTED
    said = capsys.readouterr()
    assert "not trusted: " in said.out and "Traceback" not in said.out + said.err
    assert code(good, log=False) == Exit.UNTRUSTED


def lied(folder: Path, other: Claim, about: Row) -> None:
    """A claim that holds, signed and logged, in the place of what a signed row is about."""
    put(folder, [item(GOOD), *([item(other)] if other != GOOD else [])], [row(GOOD)], now=int(time.time()))
    sign_rows(folder, replace(about, bundle=row(other).bundle))


def sign_rows(folder: Path, *rows: Row) -> None:
    """The matrix with other rows, signed by KEY, whatever its bundles say."""
    found = envelope.parse((folder / layout.MATRIX).read_bytes(), MAX_MATRIX_BYTES)
    matrix = replace(parse_matrix_statement(found.payload), rows=rows, pack=None)
    (folder / layout.MATRIX).write_bytes(envelope.sign(matrix_payload(matrix), KEY, MAX_MATRIX_BYTES))


SWAPPED = claim(object_digest=GOOD.vmlinuz, vmlinuz=GOOD.object_digest)


def test_the_list_of_rows_is_sound(good: Path) -> None:
    """What V21 and V29 do to rows is refused for what it changes: a matrix signed anew without a change is trusted."""
    lied(good, GOOD, row(GOOD))
    assert code(good) == code(good, log=False) == Exit.OK


@pytest.mark.parametrize("pair", ["of the row", "of the bundle"])
def test_swapped_object_and_kernel(good: Path, pair: str, capsys: pytest.CaptureFixture[str]) -> None:
    """V29: a verdict whose subject is the kernel and whose kernel is the object is none on that object and kernel."""
    about = row(GOOD) if pair == "of the row" else replace(row(GOOD), pair=row(SWAPPED).pair)
    lied(good, SWAPPED, about)
    capsys.readouterr()
    assert code(good) == code(good, log=False) == Exit.UNTRUSTED
    assert f"{about.label}: object_digest: the matrix says {GOOD.object_digest}" in capsys.readouterr().out


def test_swapped_is_no_answer_about_the_files(good: Path) -> None:
    """V29: by itself such a verdict holds, and says nothing of the object or the kernel at hand."""
    put(good, [item(SWAPPED)], [row(SWAPPED)], now=int(time.time()))
    (good.parent / "probe.bpf.o").write_bytes(OBJECT)
    (good.parent / "vmlinuz").write_bytes(VMLINUZ)
    assert code(good) == Exit.OK
    assert code(good, "--object", str(good.parent / "probe.bpf.o")) == Exit.UNTRUSTED
    assert code(good, "--kernel", str(good.parent / "vmlinuz")) == Exit.UNTRUSTED


NAMES = {"NFD for NFC": ("caf\u00e9", "cafe\u0301"), "Cyrillic": ("probe", "рrobе"), "RLO": ("probe", "\u202eprobe"),
         "zero width": ("probe", "pro\u200bbe"), "another case": ("probe", "Probe")}  # fmt: skip


@pytest.mark.parametrize(("name", "alike"), NAMES.values(), ids=NAMES.keys())
def test_names_that_look_alike(good: Path, name: str, alike: str) -> None:
    """V21: names are bytes: a row is not about a bundle whose object's name only looks like its own."""
    lied(good, claim(object_name=alike), row(claim(object_name=name)))
    assert code(good) == code(good, log=False) == Exit.UNTRUSTED
    lied(good, claim(object_name=alike), row(claim(object_name=alike)))
    assert code(good) == Exit.OK  # and as themselves they are names


EVIL = "a\u202e\x1b[2J\x9b31m\rb\u2066\u200f\x00<script>"


def test_names_that_move_the_cursor(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """V21: whatever programs, sections and causes are called, no command's line turns, hides or moves for it."""
    tests = tuple(replace(one, name=EVIL + str(n), section=EVIL, cause=EVIL) for n, one in enumerate(BAD.programs))
    verdict = replace(BAD, programs=tests, cause=EVIL, subject=EVIL, hint=EVIL, sentence=EVIL)
    odd = claim(object_name=EVIL, kernel_name=EVIL, kernel_release=EVIL, verdict=verdict, config=None)
    put(good, [item(odd)], [row(odd)], now=int(time.time()))
    page = good.parent / "audit.html"
    trust = ["--key", str(good.parent / "key.pub"), "--log-key", str(good.parent / "log.vkey")]
    trust += ["--state", str(good.parent / "state")]
    assert cli.main(["verify", str(good), *trust]) == Exit.OK
    assert cli.main(["audit", str(good), *trust, "--html", str(page)]) in (Exit.OK, Exit.INCONCLUSIVE)
    assert cli.main(["fsck", str(good)]) == Exit.OK
    said = capsys.readouterr()
    pages = [page.read_text(), *(place.read_text() for place in good.rglob("*.html"))]
    for text in (said.out, said.err, *pages):
        assert all(char.isprintable() or char == "\n" for char in text)
    assert len(pages) > 2 and "<script" not in "".join(pages)


def spki(key: Any) -> bytes:
    """A public key as PEM."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))


KEYS: dict[str, Callable[[], bytes]] = {
    "V10 log key": lambda: spki(LOG_KEY),
    "V11 RSA": lambda: spki(rsa.generate_private_key(65537, 2048)),
    "V11 P-384": lambda: spki(ec.generate_private_key(ec.SECP384R1())),
    "V11 secp256k1": lambda: spki(ec.generate_private_key(ec.SECP256K1())),
    "V12 Ed25519": lambda: spki(ed25519.Ed25519PrivateKey.generate()),
}


@pytest.mark.parametrize("make", KEYS.values(), ids=KEYS.keys())
def test_keys(good: Path, make: Callable[[], bytes]) -> None:
    """A key of another kind is no verdict key: exit code 4."""
    (good.parent / "odd.pub").write_bytes(make())
    assert code(good, key="odd.pub") == Exit.UNTRUSTED


def test_small_order_log_key(good: Path) -> None:
    """V12, V13: a log key for which anybody can sign does not load: exit code 4."""
    raw = bytes([1]) + bytes(31)
    key_id = raw_digest(b"log.bpfcompat.test\n\1" + raw)[:4].hex()
    (good.parent / "log.vkey").write_text(f"log.bpfcompat.test+{key_id}+{text64(bytes([1]) + raw)}")
    assert code(good) == Exit.UNTRUSTED


def test_same_key_in_two_roles_or_twice(good: Path) -> None:
    """V4: the same log key twice is refused, exit code 4; the same verdict key twice is one key."""
    assert code(good, "--key", str(good.parent / "key.pub")) == Exit.OK
    assert code(good, "--log-key", str(good.parent / "log.vkey")) == Exit.UNTRUSTED


def test_malleable_without_a_log(good: Path) -> None:
    """V15: (r, n-s) holds as well, and is the same verdict by name; without the log that is all there is to say."""
    signature(malleable)(good)
    assert code(good, log=False) == Exit.OK
    assert code(good) == Exit.UNTRUSTED


def test_incompatible_is_not_trusted_less(good: Path) -> None:
    """A signed FAILED is trusted, and is not as expected: exit code 1, never 0 and never 4."""
    bad = claim(verdict=BAD, kernel_name="old", vmlinuz=GOOD.config or "")
    put(good, [item(bad)], [row(GOOD), row(bad, "compatible")], now=int(time.time()))
    assert code(good) == Exit.UNEXPECTED
