"""JSON from strangers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat.errors import TrustError
from bpfcompat.strictjson import MAX_DEPTH, parse_json

BAD = {
    "duplicate key": b'{"a":1,"a":1}',
    "duplicate key inside": b'[{"b":{"a":1,"\\u0061":2}}]',
    "NaN": b"[NaN]",
    "Infinity": b"[-Infinity]",
    "float": b"[1.0]",
    "huge float": b"[1e400]",
    "beyond 2^53": b"[9007199254740993]",
    "many digits": b"[" + b"9" * 5000 + b"]",
    "minus zero": b"[-0]",
    "deep": b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    "very deep": b"[" * 100_000,
    "byte order mark": b"\xef\xbb\xbf[]",
    "UTF-16": "[]".encode("utf-16"),
    "overlong UTF-8": b'["\xc0\xaf"]',
    "lone surrogate": b'["\\ud800"]',
    "lone surrogate key": b'{"\\udc00":1}',
    "trailing bytes": b"[] []",
    "trailing NUL": b"[]\0",
    "empty": b"",
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_refused(data: bytes) -> None:
    """Whatever two readers could read in two ways, or could choke on, is a TrustError."""
    with pytest.raises(TrustError, match="thing: not acceptable JSON"):
        parse_json(data, "thing", 1 << 20)


def test_limit() -> None:
    """Size is bounded before anything is parsed."""
    with pytest.raises(TrustError, match="at most 2 expected"):
        parse_json(b"[1]", "thing", 2)


TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
        max_leaves=10,
    )
)
def test_plain_values(value: object) -> None:
    """Plain values come back as they were."""
    assert parse_json(json.dumps(value).encode(), "thing", 1 << 20) == value
