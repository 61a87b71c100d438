"""Signed notes: what a reader takes, and everything it refuses."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bpfcompat.errors import TrustError
from bpfcompat.note import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    Kind,
    NoteKey,
    cosign,
    parse_vkey,
    put_line,
    sign_note,
    split_note,
    verify_note,
)

SEED = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
EYES = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
LOG = NoteKey("log.example", SEED.public_key())
WITNESS = NoteKey("witness.example/w1", EYES.public_key(), Kind.WITNESS)
TEXT = b"log.example\n3\n" + base64.b64encode(bytes(32)) + b"\n"
NOTE = sign_note(TEXT, "log.example", SEED)
SEEN = 1_800_000_000


def test_golden() -> None:
    """The bytes of a note and of a vkey do not change: others keep them."""
    assert NOTE.decode() == (
        "log.example\n3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n"
        "— log.example slLQz0KmLJOLxzx8MqIH5o+qiNmB+R5qd2kmmr4ETDwbhsj/fuOvB6OcoJ2UYXnYkzOMn+giNESmFvrxdtBvQeN0mAc=\n"
    )
    assert LOG.vkey == "log.example+b252d0cf+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
    assert cosign(TEXT, WITNESS.name, EYES, SEEN).decode() == (
        "— witness.example/w1 Ro2ZuwAAAABrSdIAFZhZCF8hA4SsV3W49qqgiGbpxsBDSPkilfxAd+gV+/xa"
        "RL9S+IXmFDAWMS5Gk+ONVKd0JE3O69MLlhENZujGDA==\n"
    )


def test_verify() -> None:
    """A note is its text and who signed it; a witness says when it looked."""
    both = put_line(NOTE, cosign(TEXT, WITNESS.name, EYES, SEEN))
    note = verify_note(both, [LOG, WITNESS])
    assert note.text == TEXT
    assert [(s.key.name, s.time) for s in note.signers] == [("log.example", None), ("witness.example/w1", SEEN)]
    assert [s.key.name for s in verify_note(both, [LOG]).signers] == ["log.example"]


def test_every_flipped_bit() -> None:
    """No bit of a note, of either signature or of the text, can be another."""
    both = put_line(NOTE, cosign(TEXT, WITNESS.name, EYES, SEEN))
    for place in range(len(both) * 8):
        changed = bytearray(both)
        changed[place // 8] ^= 1 << place % 8
        try:
            note = verify_note(bytes(changed), [LOG, WITNESS])
        except TrustError:
            continue
        # a line of which the name or id changed is one of a stranger: what is left must still say the same
        assert note.text == TEXT and len(note.signers) == 1, place


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("— log", "- log", "expected a line"),
        ("— log", "—log", "expected a line"),
        ("— log", "—  log", "expected a line"),
        ("— log", "— l+g", "expected a line"),
        ("— log", "— l\N{NO-BREAK SPACE}g", "expected a line"),
        ("\n", "\r\n", "expected a text, a blank line"),
        ("log.example\n3", "log.example\t\n3", "control character"),
        ("\n\n—", "\n—", "expected a text, a blank line"),
        ("\n\n—", "\n\n\n—", "does not hold"),
        ("\n3\n", "\n4\n", "does not hold"),
        ("=\n\n", "=\nextension\n\n", "does not hold"),
        ("log.example\n3", "other.example\n3", "does not hold"),
        ("— log.example ", "— log.example  ", "base64"),
        ("— log.example ", "— log.example -_", "base64"),
        ("— log.example", "— other.example", "trusted: log.example"),
    ],
)  # fmt: skip
def test_refused(old: str, new: str, why: str) -> None:
    """A note that is anything but that note is refused, in words."""
    with pytest.raises(TrustError, match=why):
        verify_note(NOTE.decode().replace(old, new).encode(), [LOG])


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b"\n\n", b"text", b"text\n\n", b"text\n\n\n", TEXT, NOTE[:-1], NOTE + b"x", NOTE + b"\n",
     b"\n\n" + NOTE.partition(b"\n\n")[2], b"\xff" + NOTE, NOTE.replace(b"3", b"\xc0\xb3")],
)  # fmt: skip
def test_not_a_note(data: bytes) -> None:
    """What is cut, empty, or no UTF-8 is refused."""
    with pytest.raises(TrustError, match="note:"):
        verify_note(data, [LOG])


def test_wrong_key_hash() -> None:
    """The right signature under another key id is a stranger's."""
    text, (line,) = split_note(NOTE)
    packed = base64.b64encode(bytes(4) + line.signature).decode()
    with pytest.raises(TrustError, match=r"signed by log\.example \(00000000\)"):
        verify_note(text + f"\n— log.example {packed}\n".encode(), [LOG])


def test_two_lines_of_one_key() -> None:
    """A key has one line: twice the same, twice with other times, or once more under another name is refused."""
    line = NOTE.partition(b"\n\n")[2]
    with pytest.raises(TrustError, match="more than one line"):
        verify_note(NOTE + line, [LOG])
    alias = NoteKey("witness.example/w2", EYES.public_key(), Kind.WITNESS)
    for name, time in ((WITNESS.name, SEEN + 1), (alias.name, SEEN)):
        twice = NOTE + cosign(TEXT, WITNESS.name, EYES, SEEN) + cosign(TEXT, name, EYES, time)
        with pytest.raises(TrustError, match="more than one line"):
            verify_note(twice, [LOG, WITNESS, alias])


def test_a_bad_line_of_a_known_key() -> None:
    """One good line does not make up for another known key's that fails; a stranger's is not looked at."""
    forged = NOTE + cosign(TEXT.replace(b"3", b"4"), WITNESS.name, EYES, SEEN)
    with pytest.raises(TrustError, match=r"witness\.example/w1 .* does not hold"):
        verify_note(forged, [LOG, WITNESS])
    assert len(verify_note(forged, [LOG]).signers) == 1


def test_kinds_do_not_mix() -> None:
    """A log's signature is no cosignature of the same key, and the other way round."""
    as_log, as_witness = NoteKey("one", SEED.public_key()), NoteKey("one", SEED.public_key(), Kind.WITNESS)
    assert as_log.id != as_witness.id
    text, (line,) = split_note(sign_note(TEXT, "one", SEED))
    packed = base64.b64encode(as_witness.id + bytes(8) + line.signature).decode()
    with pytest.raises(TrustError, match="does not hold"):
        verify_note(text + f"\n— one {packed}\n".encode(), [as_witness])


@pytest.mark.parametrize("length", [1, 8, 63, 65, 71, 73])
def test_lengths(length: int) -> None:
    """A signature of another length does not hold."""
    for key in (LOG, WITNESS):
        packed = base64.b64encode(key.id + bytes(length)).decode()
        with pytest.raises(TrustError, match="does not hold"):
            verify_note(TEXT + f"\n— {key.name} {packed}\n".encode(), [key])


def test_time_out_of_range() -> None:
    """A cosignature's time beyond 2^63-1 is refused before anything is made of it."""
    packed = base64.b64encode(WITNESS.id + b"\xff" * 72).decode()
    with pytest.raises(TrustError, match="out of range"):
        verify_note(TEXT + f"\n— {WITNESS.name} {packed}\n".encode(), [WITNESS])


def test_s_beyond_the_order() -> None:
    """A signature with S + L in place of S, which says the same, does not hold."""
    order = 2**252 + 27742317777372353535851937790883648493
    _, (line,) = split_note(NOTE)
    s = int.from_bytes(line.signature[32:], "little") + order
    packed = base64.b64encode(LOG.id + line.signature[:32] + s.to_bytes(32, "little")).decode()
    with pytest.raises(TrustError, match="does not hold"):
        verify_note(TEXT + f"\n— log.example {packed}\n".encode(), [LOG])


def test_bounds() -> None:
    """A note of sixteen signatures is read; thousands, or a huge one, are not."""
    stranger = "— stranger.example " + base64.b64encode(bytes(68)).decode() + "\n"
    assert verify_note(NOTE + stranger.encode() * 16, [LOG]).text == TEXT
    with pytest.raises(TrustError, match="signatures, at most"):
        verify_note(NOTE + stranger.encode() * MAX_SIGNATURES, [LOG])
    with pytest.raises(TrustError, match="bytes, at most"):
        verify_note(b"x" * MAX_NOTE_BYTES + NOTE, [LOG])


def test_vkey() -> None:
    """A vkey says its key; anything else in it is refused."""
    assert parse_vkey(LOG.vkey + "\n") == LOG and parse_vkey(WITNESS.vkey) == WITNESS
    name, key_id, packed = LOG.vkey.split("+", 2)
    other = base64.b64encode(b"\2" + LOG.raw).decode()
    zero = base64.b64encode(b"\1" + bytes(32)).decode()
    bad = [
        "", "+", name, f"{name}+{key_id}", f"{name}+{key_id.upper()}+{packed}", f"{name}+00000000+{packed}",
        f"{name}+{key_id}+{packed}\n\n", f" {LOG.vkey}", f"other+{key_id}+{packed}", f"{name}+{key_id}+{other}",
        f"{name}+{key_id}+{zero}", f"{name}+{key_id}+{packed[:-4]}", f"a b+{key_id}+{packed}", f"+{key_id}+{packed}",
    ]  # fmt: skip
    for text in bad:
        with pytest.raises(TrustError):
            parse_vkey(text)


def test_put_line_replaces() -> None:
    """A witness that looks again has its older line replaced; what is no line is refused."""
    old, new = (cosign(TEXT, WITNESS.name, EYES, SEEN + n) for n in (0, 9))
    assert put_line(put_line(NOTE, old), new) == NOTE + new
    for junk in (b"", b"junk\n", old + new, old[:-1]):
        with pytest.raises(TrustError):
            put_line(NOTE, junk)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\n", "\N{EM DASH}", "x" * 256])
def test_names(name: str) -> None:
    """A key of ours has a printable name without blank and plus."""
    with pytest.raises(TrustError, match="key name"):
        NoteKey(name, SEED.public_key())
