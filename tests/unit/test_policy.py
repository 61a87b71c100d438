"""What a reader trusts: limits of keys by log index, witness time and clock."""

import re
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bpfcompat.errors import TrustError
from bpfcompat.keys import fingerprint
from bpfcompat.note import Kind, NoteKey
from bpfcompat.policy import CLOCK_SKEW_S, Policy, VerdictKey
from tests.claims import KEY

PUBLIC = KEY.public_key()
ID = fingerprint(PUBLIC)
OTHER = ec.generate_private_key(ec.SECP256R1()).public_key()
FROM, UNTIL = 1_000_000, 2_000_000
FAR_PAST, FAR_FUTURE = 0, 4_102_444_800  # 1970 and 2100


def noted(name: str) -> NoteKey:
    """A new log's or witness's key."""
    return NoteKey(name, Ed25519PrivateKey.generate().public_key())


def test_plain_keys_have_no_limits() -> None:
    """A pinned key counts at any time, logged or not; the same key twice is one key."""
    policy = Policy.of_keys([PUBLIC, PUBLIC, OTHER])
    assert policy.keys == (PUBLIC, OTHER)
    for now in (FAR_PAST, FAR_FUTURE):
        policy.allows(ID, None, None, now)
        policy.allows(ID, 1 << 40, now, now)


def test_unknown_key() -> None:
    """A key that is not listed is refused, with those that are."""
    with pytest.raises(TrustError, match=re.escape(f"signed by {fingerprint(OTHER)}, trusted: {ID}")):
        Policy.of_keys([PUBLIC]).allows(fingerprint(OTHER), 0, None, 0)
    with pytest.raises(TrustError, match="trusted: nobody"):
        Policy(()).allows(ID, 0, None, 0)


@pytest.mark.parametrize(("index", "good"), [(0, True), (6, True), (7, False), (8, False), (None, False)])
@pytest.mark.parametrize("now", [FAR_PAST, FROM, FAR_FUTURE])
@pytest.mark.parametrize("witnessed", [None, FROM, FAR_FUTURE])
def test_last_index_decides_alone(index: int | None, good: bool, now: int, witnessed: int | None) -> None:
    """Below its recorded last index a key counts whatever any clock says; from it on, and off the log, never."""
    why = VerdictKey(PUBLIC, FROM, UNTIL, below=7).refusal(index, witnessed, now)
    assert (why is None) is good
    assert good or (why is not None and why.startswith("holds only below log index 7, this is "))


@pytest.mark.parametrize(
    ("seen", "why"),
    [(FROM - 1, "not valid before"), (FROM, None), (UNTIL - 1, None), (UNTIL, "expired at"), (UNTIL + 1, "expired at")],
)
@pytest.mark.parametrize("now", [FAR_PAST, FAR_FUTURE])
def test_witness_time(seen: int, why: str | None, now: int) -> None:
    """What a witness saw in a key's life stays good after it, and this machine's clock is not asked."""
    said = VerdictKey(PUBLIC, FROM, UNTIL).refusal(5, seen, now)
    assert (said is None) if why is None else (said or "").startswith(why)


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (FROM - CLOCK_SKEW_S - 1, "not valid before"),
        (FROM - CLOCK_SKEW_S, None),
        (UNTIL - 1, None),
        (UNTIL, "expired at"),
    ],
)
def test_own_clock_without_a_witness(now: int, why: str | None) -> None:
    """Without a witness or a last index, an expired key is refused, and the words say whose clock it was."""
    said = VerdictKey(PUBLIC, FROM, UNTIL).refusal(5, None, now)
    if why is None:
        assert said is None
    else:
        assert said is not None and said.startswith(why) and "this machine's clock" in said


def test_policy_words() -> None:
    """The refusal names the key, its limit and the place in the log."""
    policy = Policy((VerdictKey(PUBLIC, below=3), VerdictKey(OTHER)))
    policy.allows(ID, 2, None, 0)
    with pytest.raises(TrustError) as caught:
        policy.allows(ID, 3, None, 0)
    assert caught.value.message == f"key {ID}: holds only below log index 3, this is log index 3"


def test_one_role_once() -> None:
    """The same key as log and witness, under two names, or twice anywhere, is refused."""
    log = noted("log.example")
    again = NoteKey("other.example", log.key, Kind.WITNESS)
    bad: tuple[dict[str, Any], ...] = (
        {"log": (log,), "witnesses": (again,), "needed": 1},
        {"log": (log, again)},
        {"witnesses": (log, again), "needed": 2},
        {"log": (log,), "former": ((again, 5),)},
        {"verdict": (VerdictKey(PUBLIC), VerdictKey(PUBLIC, below=9))},
    )
    for members in bad:
        with pytest.raises(TrustError, match="listed twice"):
            Policy(**{"verdict": (), **members})


@pytest.mark.parametrize("needed", [-1, 2])
def test_needed_witnesses_exist(needed: int) -> None:
    """More witnesses than are known can never agree, and fewer than none is no number."""
    with pytest.raises(TrustError, match=f"{needed} witnesses needed, 1 known"):
        Policy((), (noted("log"),), (noted("w"),), needed)


def test_former_log_keys() -> None:
    """A log key of old is good for checkpoints up to where it ended, and never for the newest."""
    new, old = noted("log"), noted("log")
    policy = Policy((), (new,), former=((old, 10),))
    assert policy.log_for(10) == (new, old)
    assert policy.log_for(11) == (new,)
    assert policy.log == (new,)
