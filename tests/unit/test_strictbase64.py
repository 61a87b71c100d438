"""Base64 from strangers: what is read has one spelling."""

from binascii import Error, a2b_base64, b2a_base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat.errors import TrustError
from bpfcompat.strictbase64 import encode64, strict64


@given(st.binary(min_size=1, max_size=200))
def test_there_and_back(data: bytes) -> None:
    """What is written is what is read."""
    assert strict64(encode64(data).encode(), "x") == data


@given(st.text("ABCDwxyz0189+/=-_ \n\r\0é", max_size=24).map(str.encode))
def test_one_spelling(text: bytes) -> None:
    """Anything is either the one spelling of its bytes, as Python's own reader has them, or refused."""
    try:
        data = a2b_base64(text, strict_mode=True)
    except Error:
        data = b""
    if data and b2a_base64(data, newline=False) == text:
        assert strict64(text, "x") == data
    else:
        with pytest.raises(TrustError, match="x: expected standard padded base64"):
            strict64(text, "x")


@pytest.mark.parametrize("text", [b"", b"QQ", b"QQ=", b"QR==", b"QQ==QQ==", b"QQ==\n", b"Q Q=", b"-_==", b"=", b"A==="])
def test_refused(text: bytes) -> None:
    """No byte, no padding, bits that are not used, something behind it, blanks, another alphabet."""
    with pytest.raises(TrustError):
        strict64(text, "x")
