"""Text from strangers, made safe to show: on a terminal, in a page.

Names come out of hostile ELF files.  Control characters (terminal escapes), bidirectional overrides (text that reads
in another order than it is), and other invisible ones are shown as `\\u202e`, never sent; length is bounded.
"""

import unicodedata
from datetime import UTC, datetime

MAX_SHOWN = 300
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def plain(text: object, limit: int = MAX_SHOWN) -> str:
    """One line of visible text of at most `limit` characters of the original."""
    full = str(text)
    if len(full) <= limit and full.isprintable():  # as nearly all text is: then nothing is hidden
        return full
    shown = "".join(_visible(char) for char in full[:limit])
    return shown if len(full) <= limit else shown + "…"


def when(seconds: int) -> str:
    """A moment for people, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _visible(char: str) -> str:
    if unicodedata.category(char) not in _HIDDEN:
        return char
    if char == "\t":
        return "    "
    return f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"
