"""Canonical JSON and SHA-256."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat import digest
from bpfcompat.errors import TrustError

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
ABC = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
SCALARS = st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]))
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=5), v, max_size=4), max_leaves=12
)


def shuffled(value: Any) -> Any:
    """The same value with the keys of every object in reverse order."""
    if isinstance(value, dict):
        return {k: shuffled(value[k]) for k in reversed(value)}
    return [shuffled(v) for v in value] if isinstance(value, list) else value


def test_known_answers() -> None:
    """The vectors of FIPS 180-4, however the bytes arrive."""
    assert digest.digest_bytes(b"") == EMPTY == digest.digest_chunks([])
    assert digest.digest_bytes(b"abc") == ABC == digest.digest_chunks([b"a", b"", b"bc"])
    assert digest.digest_stream(io.BytesIO(b"abc")) == ABC


def test_stream_from_here(tmp_path: Path) -> None:
    """A stream is hashed from where it stands; a file whole, beyond one read."""
    stream = io.BytesIO(b"xabc")
    stream.read(1)
    assert digest.digest_stream(stream) == ABC
    big = bytes(3 << 20)
    (tmp_path / "big").write_bytes(big)
    assert digest.digest_file(tmp_path / "big") == digest.digest_bytes(big)


def test_canonical_bytes() -> None:
    """Sorted keys, no blanks, UTF-8 as it is, escapes only where JSON demands them."""
    value = {"b": [1, True, None], "a": "é\u202e\n\x7f", "B": {}}
    assert digest.canonical(value) == '{"B":{},"a":"é\u202e\\n\x7f","b":[1,true,null]}'.encode()


@given(VALUES)
def test_canonical_is_stable(value: Any) -> None:
    """Equal values give equal bytes whatever the order of keys, and the bytes read back as the value."""
    data = digest.canonical(value)
    assert digest.canonical(shuffled(value)) == data
    assert json.loads(data) == value
    assert digest.canonical(json.loads(data)) == data


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [-float("inf")], "\ud800", {"\udfff": 1}])
def test_unsayable_values(value: Any) -> None:
    """NaN, infinities and lone surrogates have no canonical form."""
    with pytest.raises(ValueError):
        digest.canonical(value)


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, Path("x"), object(), {1: "a", "b": 2}])
def test_unsayable_types(value: Any) -> None:
    """What JSON does not know is refused, never turned into its repr."""
    with pytest.raises(TypeError):
        digest.canonical(value)


@pytest.mark.parametrize(
    "text",
    [
        "", "sha256:", ABC[7:], ABC.upper(), ABC + "\n", ABC[:-1], ABC + "0", "sha256:" + "g" * 64, " " + ABC,
        "sha512:" + ABC[7:], "sha256:" + "０" * 64, None, 5, ABC.encode(), [ABC],
    ],
)  # fmt: skip
def test_no_digest(text: object) -> None:
    """A digest is written in exactly one way; nothing near it is one."""
    assert not digest.is_digest(text)


@pytest.mark.parametrize("text", ["../../etc/passwd", "sha256:../x", ABC + "/..", "x" * 10_000])
def test_hex_of_refuses(text: str) -> None:
    """What becomes a file name is 64 hex digits or a TrustError of bounded length."""
    with pytest.raises(TrustError) as caught:
        digest.hex_of(text)
    assert len(str(caught.value)) < 200


def test_short() -> None:
    """The short form keeps the algorithm and twelve digits."""
    assert digest.hex_of(ABC) == ABC[7:]
    assert digest.short(ABC) == "sha256:ba7816bf8f01"
