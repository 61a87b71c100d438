"""The root document: one form, one role for a key, and what policy comes of it."""

from dataclasses import replace
from typing import Any

import pytest

from bpfcompat.digest import digest_bytes
from bpfcompat.errors import TrustError
from bpfcompat.keys import fingerprint
from bpfcompat.note import Kind
from bpfcompat.rootdoc import MAX_KEYS, Key, Root, document, parse, parse_time, payload_of, time_text
from tests.roots import FROM, HOLDERS, KEYS, LOG, NAME, UNTIL, VERDICT, WITNESS, ed25519, p256, root, signed

KEY_V, KEY_L, KEY_W = KEYS


def test_round_trip() -> None:
    """What is written is read back: value, bytes under the signatures, and who signed."""
    value = replace(root(), needed=1)
    found = parse(signed(value))
    assert (found.root, found.payload) == (sorted_root(value), payload_of(value))
    assert set(found.signatures) == {fingerprint(h.public_key()) for h in HOLDERS[:2]}
    assert document(found.root, found.signatures) == signed(value)


def sorted_root(value: Root) -> Root:
    """The same, with keys in the order of the document."""
    holders = tuple(sorted(value.holders, key=fingerprint))
    return replace(value, holders=holders, keys=tuple(sorted(value.keys, key=lambda k: (k.role, k.id))))


def test_golden() -> None:
    """The bytes under the signatures never change for the same value, or old signatures would no longer hold."""
    limited = replace(KEY_V, not_after=UNTIL, below=7)
    value = replace(root(), keys=(limited, KEY_L, KEY_W), needed=1)
    assert digest_bytes(payload_of(value)) == "sha256:fdbc6ec038ea4f87733bc7c0572d6a93f989113320acde28cfb43ddf78928516"


def test_order_means_nothing() -> None:
    """Keys listed in another order are the same document."""
    turned = replace(root(), holders=root().holders[::-1], keys=KEYS[::-1])
    assert payload_of(turned) == payload_of(root())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"threshold": 0}, "threshold 0 of 3"),
        ({"threshold": -1}, "threshold -1 of 3"),
        ({"threshold": 4}, "threshold 4 of 3"),
        ({"holders": ()}, "threshold 2 of 0"),
        ({"version": 0}, "version: expected 1"),
        ({"version": 1 << 21}, "version: expected 1"),
        ({"needed": 2}, "2 witnesses needed, 1 listed"),
        ({"needed": -1}, "-1 witnesses needed"),
        ({"name": "two words"}, "origin: expected a lower-case host name"),
        ({"name": "other.example"}, "a log key has the registry's name other.example"),
        ({"holders": (HOLDERS[0].public_key(), HOLDERS[0].public_key())}, "is listed twice"),
        ({"holders": (LOG.public_key(), HOLDERS[0].public_key())}, "is listed twice"),
        ({"keys": (KEY_V, replace(KEY_V, name="again", below=3))}, "is listed twice"),
        ({"keys": (KEY_L, Key("witness", "w", LOG.public_key(), FROM))}, "is listed twice"),
        ({"keys": (replace(KEY_V, role="log", name=NAME),)}, "role 'log' is not for a key of this kind"),
        ({"keys": (replace(KEY_L, role="verdict"),)}, "role 'verdict' is not for a key of this kind"),
        ({"keys": (replace(KEY_L, role="root"),)}, "role 'root' is not for a key of this kind"),
        ({"keys": (replace(KEY_V, not_after=FROM),)}, "ends before it begins"),
        ({"keys": (replace(KEY_W, below=5),)}, "none for a witness"),
        ({"keys": (replace(KEY_V, below=-1),)}, "expected a log index"),
    ],
)
def test_contradictions(change: dict[str, Any], words: str) -> None:
    """No version can be made, read or signed that has no threshold, a key in two roles, or a limit that is none."""
    with pytest.raises(TrustError, match=words):
        replace(root(), **change)


def test_too_many_keys() -> None:
    """The number of keys is bounded: every one costs a check."""
    with pytest.raises(TrustError, match=f"more than {MAX_KEYS} keys"):
        replace(root(), keys=tuple(Key("verdict", "v", p256(n + 1).public_key(), FROM) for n in range(MAX_KEYS)))


def test_policy() -> None:
    """Verdict keys keep their limits; log keys with a last index are former; a key that is over is left out."""
    old = replace(KEY_L, key=ed25519(11).public_key(), below=40)
    over = Key("log", NAME, ed25519(12).public_key(), FROM, not_after=FROM + 1)
    early = Key("witness", "w2", ed25519(21).public_key(), UNTIL)
    limited = replace(KEY_V, not_after=UNTIL, below=7)
    value = replace(root(), keys=(limited, KEY_L, KEY_W, old, over, early), needed=1)
    policy = parse(signed(value)).root.policy(FROM + 1, max_age_s=60)
    (verdict,) = policy.verdict
    assert (verdict.id, verdict.not_before, verdict.not_after, verdict.below) == (KEY_V.id, FROM, UNTIL, 7)
    assert [(k.name, k.kind, k.key) for k in policy.log] == [(NAME, Kind.LOG, LOG.public_key())]
    assert [(k.raw, below) for k, below in policy.former] == [(ed25519(11).public_key().public_bytes_raw(), 40)]
    assert [(k.name, k.kind, k.key) for k in policy.witnesses] == [
        ("auditor.example", Kind.WITNESS, WITNESS.public_key())
    ]
    assert (policy.needed, policy.max_age_s) == (1, 60)
    assert VERDICT.public_key() in policy.keys


def test_not_enough_witnesses_left() -> None:
    """When witnesses are over and fewer than needed are left, nothing is believed."""
    value = replace(root(), keys=(KEY_V, KEY_L, replace(KEY_W, not_after=UNTIL)), needed=1)
    assert value.policy(UNTIL - 1).needed == 1
    with pytest.raises(TrustError, match="1 witnesses needed, 0 known"):
        value.policy(UNTIL)


def test_no_log_key_left() -> None:
    """Where every log key is over, nothing is believed: it is not the same as a registry without a log."""
    value = replace(root(), keys=(KEY_V, replace(KEY_L, below=40)))
    with pytest.raises(TrustError, match="none of its 1 log keys may sign at"):
        value.policy(FROM)
    assert replace(root(), keys=(KEY_V,)).policy(FROM).log == ()


def test_times() -> None:
    """A moment has one text, and only that text is read."""
    for moment in (0, FROM, 253402300799):
        assert parse_time(time_text(moment), "t") == moment
    with pytest.raises(TrustError, match="before the year 10000"):
        time_text(253402300800)
    days = ("2026-13-01", "2026-02-30", "1969-12-31", "\uff12026-11-27", "+026-11-27")
    clocks = ("", "T00:00:00+00:00", "T24:00:00Z", "T00:00:00Z\n", "T00:00:60Z", "T00:00:00.0Z", " 00:00:00Z")
    texts = (*(f"{day}T00:00:00Z" for day in days), *("2026-11-27" + clock for clock in clocks))
    for text in (5, None, ["2026-11-27T00:00:00Z"], *texts):
        with pytest.raises(TrustError, match="expected a time like"):
            parse_time(text, "t")
