"""Which of some names resemble one that is missing.  Pure, of spelling alone: what comes of it proposes, never decides.

difflib is loaded where something is missing only: a look before any boot has no time for it.
"""

import re
from collections.abc import Iterable

MOST = 5
MAX_NAMES = 200_000
MAX_KIN = 20_000
FEW = 1000
LIKELY = 0.8  # of difflib's ratio, from which on one single name is called the new one


def similar(name: str, names: Iterable[str]) -> tuple[str, ...]:
    """The closest of some names, best first: itself (of another kind), those that resemble it, those that hold it."""
    pool = [n for n, _ in zip(dict.fromkeys(names), range(MAX_NAMES), strict=False) if n]
    key, kin = name.lower().strip("_"), _stem(name)
    if not key:
        return ()
    like = [n for n in pool if _stem(n) == kin or n.lower().startswith(key[:3]) or key in n.lower()]
    like = pool if len(pool) <= FEW else like[:MAX_KIN]  # difflib is slow; of many names only kin are compared
    from difflib import get_close_matches

    close = get_close_matches(name, like, MOST, 0.6)
    holding = sorted((n for n in like if key in n.lower() and n not in close), key=len)
    return tuple([*close, *holding][:MOST])


def renamed(name: str, close: tuple[str, ...]) -> str:
    """The one of some names that likely is this one's new name, `__state` of `state`; "" where two are as good."""
    same = [n for n in close if _stem(n) == _stem(name)]
    if len(same) == 1:
        return same[0]
    from difflib import SequenceMatcher

    likely = [n for n in close if SequenceMatcher(None, name, n).ratio() >= LIKELY]
    return likely[0] if len(likely) == 1 and not same else ""


def _stem(name: str) -> str:
    return re.sub(r"[\W_\d]", "", name).lower()
