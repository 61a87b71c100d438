"""Base64 in what strangers send: one reading or none.  Apart from strictjson, as the endpoint has no packages."""

from binascii import b2a_base64

from pybase64 import b64decode

from bpfcompat.errors import TrustError


def encode64(data: bytes) -> str:
    """Bytes as the only base64 that `strict64` reads."""
    return b2a_base64(data, newline=False).decode("ascii")


def strict64(text: bytes, what: str) -> bytes:
    """Base64 by one rule: standard alphabet, padded, no blanks, unused bits zero, at least a byte."""
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        data = b""
    # only the last group of four can be spelled in two ways
    if not data or len(text) % 4 or b2a_base64(data[-(len(data) % 3 or 3) :], newline=False) != text[-4:]:
        raise TrustError(f"{what}: expected standard padded base64 of at least a byte")
    return data
