"""JSON from strangers: one reading or none.

Python's own reader takes the last of two equal keys, NaN, and any depth; two readers of one document must not differ,
so all of that is refused here.
"""

import json
from collections.abc import Iterable
from typing import Any, NoReturn

from bpfcompat.digest import canonical
from bpfcompat.errors import TrustError

MAX_DEPTH = 32
_MAX_INT = 1 << 53  # beyond it, readers that use doubles see another number
_CONTAINERS = (dict, list)


def parse_json(data: bytes, what: str, limit: int) -> Any:
    """JSON from a stranger, or TrustError.

    At most `limit` bytes of UTF-8 without a byte order mark; no duplicate key at any level, no float, NaN or
    Infinity, no integer beyond 2^53, no lone surrogate, no nesting deeper than MAX_DEPTH.
    """
    if len(data) > limit:
        raise TrustError(f"{what}: {len(data)} bytes, at most {limit} expected")
    try:
        value = _DECODER.decode(data.decode("utf-8"))
        _check_depth(value)
        if b"\\u" in data:  # only an escape can bring a lone surrogate past UTF-8
            canonical(value)
    except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors are ValueErrors
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)[:200]
        raise TrustError(f"{what}: not acceptable JSON: {reason}") from None
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return made


def _plain_int(text: str) -> int:
    if len(text) > 17 or text == "-0" or abs(int(text)) > _MAX_INT:
        raise ValueError(f"number {text[:20]!r}: expected a plain integer of at most 2^53")
    return int(text)


def _no_float(text: str) -> NoReturn:
    raise ValueError(f"number {text[:20]!r}: expected an integer")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_no_duplicates, parse_int=_plain_int, parse_float=_no_float, parse_constant=_no_float
)


def _check_depth(root: Any) -> None:
    level = [root]
    for _ in range(MAX_DEPTH):
        level = [child for value in level for child in _children(value) if type(child) in _CONTAINERS]
        if not level:
            return
    raise RecursionError


def _children(value: Any) -> Iterable[Any]:
    return value.values() if type(value) is dict else value if type(value) is list else ()


def members(value: Any, what: str, *names: str) -> dict[str, Any]:
    """A JSON object with exactly these members; TrustError for anything else."""
    if not isinstance(value, dict) or set(value) != set(names):
        raise TrustError(f"{what}: expected an object with exactly {', '.join(names)}")
    return value
