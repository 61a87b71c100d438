"""JSON from strangers: one reading or none.

Python's own reader takes the last of two equal keys, NaN, and any depth; two readers of one document must not differ,
so all of that is refused here.
"""

import json
from collections.abc import Iterator
from typing import Any, NoReturn

from bpfcompat.errors import TrustError

MAX_DEPTH = 32
_MAX_INT = 1 << 53  # beyond it, readers that use doubles see another number


def parse_json(data: bytes, what: str, limit: int) -> Any:
    """JSON from a stranger, or TrustError.

    At most `limit` bytes of UTF-8 without a byte order mark; no duplicate key at any level, no float, NaN or
    Infinity, no integer beyond 2^53, no lone surrogate, no nesting deeper than MAX_DEPTH.
    """
    if len(data) > limit:
        raise TrustError(f"{what}: {len(data)} bytes, at most {limit} expected")
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_int=_plain_int,
            parse_float=_no_float,
            parse_constant=_no_float,
        )
        _check_values(value)
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


def _check_values(root: Any) -> None:
    level = [root]
    for _ in range(MAX_DEPTH):
        for text in level:
            if isinstance(text, str):
                text.encode("utf-8")  # a lone surrogate is a UnicodeEncodeError, which is a ValueError
        level = [child for value in level for child in _children(value)]
        if not level:
            return
    raise RecursionError


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.keys()
        yield from value.values()
    elif isinstance(value, list):
        yield from value
