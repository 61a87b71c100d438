"""Changes to a root document: each gives a new version to sign, and no limit ever widens."""

from dataclasses import replace

import pytest

from bpfcompat.errors import ConfigError, TrustError
from bpfcompat.keys import fingerprint
from bpfcompat.rootdoc import Key
from bpfcompat.rootedit import (
    DAY_S,
    add,
    changes,
    drop,
    end,
    expire,
    find,
    lines,
    name_of,
    next_version,
    role_of,
    rotate,
)
from tests.roots import FROM, HOLDERS, KEYS, NAME, UNTIL, ed25519, p256, root

KEY_V, KEY_L, KEY_W = KEYS
HOLDER = fingerprint(HOLDERS[0].public_key())
NEW_V = Key("verdict", "runner-2", p256(31).public_key(), FROM + 5)


def test_next_version() -> None:
    """The next version says the same, for another while."""
    found = next_version(root(), FROM, 30)
    assert found == replace(root(), version=2, expires=FROM + 30 * DAY_S)


def test_add_and_drop() -> None:
    """What was added and dropped again is as before; a key without a role is a root key."""
    grown = add(add(root(), NEW_V), ed25519(9).public_key())
    assert (len(grown.keys), len(grown.holders)) == (4, 4)
    assert drop(drop(grown, NEW_V.id), fingerprint(ed25519(9).public_key())) == root()
    with pytest.raises(TrustError, match="listed twice"):
        add(root(), KEY_V)


def test_drop_below_the_threshold() -> None:
    """The last root keys that a threshold needs cannot be dropped."""
    two = drop(root(), HOLDER)
    with pytest.raises(TrustError, match="threshold 2 of 1"):
        drop(two, fingerprint(HOLDERS[1].public_key()))


def test_last_index_only_narrows() -> None:
    """A last index can be made smaller, never larger or none."""
    once = end(root(), KEY_V.id, 10)
    assert end(once, KEY_V.id, 9).keys[0].below == 9
    with pytest.raises(ConfigError, match="ends below 10 already, 11 would widen it"):
        end(once, KEY_V.id, 11)


def test_expiry_only_narrows() -> None:
    """An end in time can be made earlier, never later."""
    once = expire(root(), KEY_V.id, UNTIL)
    assert expire(once, KEY_V.id, UNTIL - 1).keys[0].not_after == UNTIL - 1
    with pytest.raises(ConfigError, match="expires at 2028-08-16T00:53:20Z already"):
        expire(once, KEY_V.id, UNTIL + 1)


def test_limits_of_what_has_none() -> None:
    """A root key has no limits of its own, and a witness no last index: the words say what to do instead."""
    for change in (end, expire):
        with pytest.raises(ConfigError, match="keys rotate, or keys drop"):
            change(root(), HOLDER, UNTIL)
    with pytest.raises(ConfigError, match="keys drop, or keys expire"):
        end(root(), KEY_W.id, 5)
    assert expire(root(), KEY_W.id, UNTIL).keys[2].not_after == UNTIL


def test_rotate_verdict_and_log() -> None:
    """The old key ends at an index and stays for what it signed; the new one begins."""
    found = rotate(root(), KEY_V.id, NEW_V, 12)
    assert found.keys == (replace(KEY_V, below=12), KEY_L, KEY_W, NEW_V)
    fresh = Key("log", NAME, ed25519(11).public_key(), FROM)
    assert rotate(root(), KEY_L.id, fresh, 12).policy(FROM).former[0][1] == 12
    with pytest.raises(ConfigError, match="below which log index"):
        rotate(root(), KEY_V.id, NEW_V, None)


def test_rotate_root_and_witness() -> None:
    """A root key and a witness are gone when another comes in their place, also where all are needed."""
    tight = replace(root(), threshold=3, needed=1)
    after = rotate(tight, HOLDER, ed25519(9).public_key(), None)
    assert (len(after.holders), after.threshold) == (3, 3)
    assert HOLDER not in map(fingerprint, after.holders)
    fresh = Key("witness", "w2", ed25519(21).public_key(), FROM)
    assert [k.name for k in rotate(tight, KEY_W.id, fresh, None).keys if k.role == "witness"] == ["w2"]


def test_ids() -> None:
    """A key is found by the beginning of its id, with or without its prefix; too short, none and two are errors."""
    assert find(root(), KEY_V.id) == find(root(), KEY_V.id[:20]) == find(root(), KEY_V.id[7:15]) == KEY_V.id
    for wrong in ("", "SHA256:", KEY_V.id[7:10], "nobody-at-all", KEY_V.id + "x"):
        with pytest.raises(ConfigError, match="expected the id of one key"):
            find(root(), wrong)
    assert (role_of(root(), HOLDER), name_of(root(), HOLDER)) == ("root", None)
    assert (role_of(root(), KEY_W.id), name_of(root(), KEY_W.id)) == ("witness", "auditor.example")


def test_words() -> None:
    """A version is said in a line for each key with its limits, and a change by what was and what is."""
    value = replace(root(), keys=(replace(KEY_V, below=7, not_after=UNTIL), KEY_L, KEY_W), needed=1)
    told = list(lines(value, FROM))
    assert told[0] == "results.example, version 1, expires 2028-08-16T00:53:20Z"
    assert told[1] == "2 of 3 root keys sign a version; 1 witnesses are needed"
    assert told[5] == (f"  verdict  {KEY_V.id}  runner  from 2025-06-15T15:06:40Z, until 2028-08-16T00:53:20Z, "
                       "only below log index 7")  # fmt: skip
    assert len(told) == 8
    assert "expired 2028" in list(lines(value, UNTIL))[5]
    after = next_version(drop(value, HOLDER), UNTIL, 1)
    assert list(changes(value, after, FROM)) == ["  version 1 → 2", f"-   root     {HOLDER}".replace("-   ", "- ")]
