"""The chain of root documents: a threshold of old and of new keys, one step at a time, and a client of TUF agrees."""

from dataclasses import replace

import pytest

from bpfcompat.errors import TrustError
from bpfcompat.keys import fingerprint
from bpfcompat.rootchain import MAX_ROTATIONS, check_life, follow, newest, pinned, signers
from bpfcompat.rootdoc import document, payload_of
from tests.roots import HOLDERS, UNTIL, ed25519, root, signed, versions


def test_signers_count_once() -> None:
    """Each root key counts once, and only for a signature of its own that holds."""
    payload, (one, two, other) = payload_of(root()), HOLDERS[2:5]
    ids = [fingerprint(h.public_key()) for h in HOLDERS]
    given = {ids[2]: one.sign(payload), ids[0]: two.sign(payload), ids[4]: other.sign(payload), ids[1]: b""}
    assert signers(payload, given, [*root().holders, *root().holders]) == (ids[2],)


def test_first_version() -> None:
    """A pinned document is signed by enough of its own keys; a bad signature beside enough good ones is harmless."""
    assert pinned(signed(root(), HOLDERS[:3])).root.version == 1
    with pytest.raises(TrustError, match="root 1: 1 of 2 needed own root keys signed it"):
        pinned(signed(root(), HOLDERS[:1]))
    with pytest.raises(TrustError, match="root 1: 0 of 2"):
        pinned(signed(root(), HOLDERS[3:5]))
    payload = payload_of(root())
    ids = [fingerprint(h.public_key()) for h in HOLDERS[:3]]
    good = {i: h.sign(payload) for i, h in zip(ids, HOLDERS, strict=False)}
    pinned(document(root(), {**good, ids[0]: bytes(64)}))
    with pytest.raises(TrustError, match="1 of 2"):
        pinned(document(root(), {ids[0]: bytes(64), ids[1]: good[ids[1]]}))


def test_later_version_can_be_pinned() -> None:
    """A first-time reader may start from any version, and follows from there."""
    chain = versions(4)
    assert [d.root.version for d in newest(pinned(chain[3]), chain.get)] == [3, 4]


def test_lost_root_key() -> None:
    """With one of three keys lost, the two others bring in a new one; then the lost one counts for nothing."""
    first = pinned(signed(root()))
    second = signed(root(2, [*HOLDERS[1:3], HOLDERS[3]]), HOLDERS[1:3])
    after = follow(first, second)
    with pytest.raises(TrustError, match="root 3: 1 of 2 needed version 2's"):
        follow(after, signed(root(3, HOLDERS[1:4]), HOLDERS[:2]))
    assert follow(after, signed(root(3, HOLDERS[1:4]), HOLDERS[2:4])).root.version == 3


def test_all_root_keys_change() -> None:
    """A change of every root key needs enough of the old and enough of the new."""
    first, fresh = pinned(signed(root())), [ed25519(n) for n in (50, 51)]
    for by, whose in ((HOLDERS[:2], "own"), (fresh, "version 1's"), ([HOLDERS[0], *fresh], "version 1's")):
        with pytest.raises(TrustError, match=f"needed {whose} root keys"):
            follow(first, signed(root(2, fresh), by))
    assert follow(first, signed(root(2, fresh), [*HOLDERS[:2], *fresh])).root.version == 2


def test_threshold_of_the_old() -> None:
    """A version that lowers the threshold is still signed by as many as the old one asked for."""
    first = pinned(signed(replace(root(), threshold=3), HOLDERS[:3]))
    lower = replace(root(2), threshold=1)
    with pytest.raises(TrustError, match="root 2: 2 of 3 needed version 1's"):
        follow(first, signed(lower, HOLDERS[:2]))
    assert follow(first, signed(lower, HOLDERS[:3])).root.threshold == 1


def test_other_registry() -> None:
    """The next version of another registry's root is not ours, even by the same holders."""
    other = replace(root(2), name="other.example", keys=())
    with pytest.raises(TrustError, match=r"is of other\.example, the one before of results\.example"):
        follow(pinned(signed(root())), signed(other))


def test_rotations_are_bounded() -> None:
    """A chain ends somewhere, or the reader does."""
    payloads = versions(MAX_ROTATIONS + 2)
    first = pinned(payloads[1])
    assert len(newest(first, lambda n: payloads[n] if n <= MAX_ROTATIONS else None)) == MAX_ROTATIONS
    with pytest.raises(TrustError, match=f"more than {MAX_ROTATIONS} versions after 1"):
        newest(first, payloads.get)


@pytest.mark.parametrize(("now", "over"), [(0, False), (UNTIL - 1, False), (UNTIL, True)])
def test_life(now: int, over: bool) -> None:
    """A document ends at its expiry; only the newest of a chain is asked."""
    if not over:
        check_life(root(), now)
        return
    with pytest.raises(TrustError, match="root 1: expired at 2028-08-16T00:53:20Z"):
        check_life(root(), now)


def test_tuf_agrees() -> None:
    """An independent client of TUF reads our document, and accepts and refuses the same changes of root keys."""
    metadata = pytest.importorskip("tuf.api.metadata", reason="python-tuf is not installed")
    errors = pytest.importorskip("tuf.api.exceptions")
    first = metadata.Metadata.from_bytes(signed(root()))
    fresh = [ed25519(n) for n in (50, 51, 52)]
    for by, good in (
        (HOLDERS[:2] + fresh[:2], True),
        (fresh, False),
        (HOLDERS[:3], False),
        (HOLDERS[:1] + fresh, False),
    ):
        data = signed(root(2, fresh), by)
        second = metadata.Metadata.from_bytes(data)
        assert (second.signed.version, second.signed.roles["root"].threshold) == (2, 2)
        refused = 0
        for trusted in (first, second):
            try:
                trusted.signed.verify_delegate("root", second.signed_bytes, second.signatures)
            except errors.UnsignedMetadataError:
                refused += 1
        assert (refused == 0) is good
        try:
            follow(pinned(signed(root())), data)
        except TrustError:
            assert not good
        else:
            assert good
