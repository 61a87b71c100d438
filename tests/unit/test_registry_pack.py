"""One file for all verdicts of a matrix: what goes in comes out, within bounds, or nothing does."""

import gzip
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat.envelope import MAX_BYTES
from bpfcompat.errors import TrustError
from bpfcompat.registry import pack as packing
from bpfcompat.registry.pack import pack, unpack

LINE = st.binary(max_size=200).map(lambda data: data.replace(b"\n", b""))
TWO = [(b'{"bundle":1}', b'{"report":1}'), (b'{"bundle":2}', b'{"report":2}')]


def packed(items: list[tuple[bytes, bytes]]) -> bytes:
    """A pack, which is not too large."""
    data = pack(items)
    assert data is not None
    return data


@given(st.lists(st.tuples(LINE, LINE), max_size=20))
def test_round_trip(items: list[tuple[bytes, bytes]]) -> None:
    """What is packed comes back, in its order, and equal lines give equal bytes."""
    assert list(unpack(packed(items), len(items))) == items
    assert pack(items) == pack(items)


def test_long_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line may span many chunks."""
    monkeypatch.setattr(packing, "_CHUNK", 7)
    items = [(b"a" * 100, b"b" * 99), (b"c", b"")]
    assert list(unpack(packed(items), 2)) == items


def test_plain_gzip() -> None:
    """A stranger reads a pack with zcat."""
    shown = subprocess.run(["zcat"], input=packed(TWO), capture_output=True, check=True).stdout
    assert shown == b'{"bundle":1}\n{"report":1}\n{"bundle":2}\n{"report":2}\n'


def test_line_ends() -> None:
    """What has two lines is never packed."""
    with pytest.raises(TrustError, match="one line"):
        pack([(b"a\n", b"b")])


GOOD = packed(TWO)
BAD = {
    "nothing": b"",
    "no gzip": b"{}",
    "odd": gzip.compress(b"a\nb\nc\n"),
    "no last line end": gzip.compress(b"a\nb"),
    "more than named": packed([*TWO, *TWO]),
    "bytes behind": GOOD + b"x",
    "another member behind": GOOD + GOOD,
    "a long bundle": gzip.compress(b"a" * (MAX_BYTES + 1) + b"\nb\n"),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_bad(data: bytes) -> None:
    """What is no pack of at most two bundles is refused."""
    with pytest.raises(TrustError, match="pack: "):
        list(unpack(data, 2))


def test_every_cut_and_flip() -> None:
    """A pack that is cut short, or has another byte in it, is refused or gives the same."""
    for end in range(len(GOOD)):
        with pytest.raises(TrustError):
            list(unpack(GOOD[:end], 2))
    for at in range(10, len(GOOD)):  # before that are gzip's own flags, time and system
        with pytest.raises(TrustError):
            list(unpack(GOOD[:at] + bytes([GOOD[at] ^ 1]) + GOOD[at + 1 :], 2))


def test_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    """What grows beyond the bound, or a line that does, is refused before it is all there."""
    monkeypatch.setattr(packing, "MAX_UNPACKED_BYTES", 1 << 20)
    seen = 0
    with pytest.raises(TrustError, match="when it is unpacked"):
        for bundle, _report in unpack(gzip.compress(b"a\nb\n" * (1 << 20)), 1 << 30):
            seen += len(bundle)
    assert seen < 1 << 20
    monkeypatch.setattr(packing, "MAX_EVIDENCE_BYTES", 1000)
    monkeypatch.setattr(packing, "_CHUNK", 100)
    with pytest.raises(TrustError, match="a line of more than 1000 bytes"):
        list(unpack(gzip.compress(b"a\n" + b"b" * 2000 + b"\n"), 2))


@pytest.mark.parametrize("bound", ["MAX_PACK_BYTES", "MAX_UNPACKED_BYTES"])
def test_too_large(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack that readers would refuse is not made."""
    sizes = [len(GOOD), sum(len(line) + 1 for item in TWO for line in item)]
    monkeypatch.setattr(packing, bound, sizes[bound == "MAX_UNPACKED_BYTES"])
    assert pack(TWO) == GOOD
    monkeypatch.setattr(packing, bound, sizes[bound == "MAX_UNPACKED_BYTES"] - 1)
    assert pack(TWO) is None
