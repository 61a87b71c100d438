"""Changes to a TOML file that leave all else of it as it was: comments, order, spacing, line ends.

Text in, text out.  The scanner finds where each statement of a *valid* file lies; it checks nothing, so whoever edits
reads the result again and compares (see `expecting`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'', re.DOTALL
)  # those of three quotes first, and an escaped quote ends none
_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_OPEN, _CLOSE = "[{", "]}"


@dataclass(frozen=True, slots=True)
class Statement:
    """`key = value` below the header that it stands under, as a path of names, and where its value lies.

    A header has no value: `value` is then empty, at its end.  `start` and `end` are those of the statement itself.
    """

    path: tuple[str, ...]
    header: bool
    start: int
    end: int
    value: tuple[int, int]


def statements(text: str) -> Iterator[Statement]:
    """Every header and every assignment of a valid TOML file, in order."""
    place, table = _skip(text, 0), tuple[str, ...]()
    while place < len(text):
        if text[place] == "[":
            end = text.index("]", _key(text, place + len(_brackets(text, place)))[1]) + len(_brackets(text, place))
            table = _key(text, place + len(_brackets(text, place)))[0]
            yield Statement(table, True, place, end, (end, end))
        else:
            names, after = _key(text, place)
            first = after + re.compile(r"[ \t]*=[ \t]*").match(text, after).end() - after  # type: ignore[union-attr]
            end = _value_end(text, first)
            yield Statement((*table, *names), False, place, end, (first, end))
        place = _skip(text, end)


def _skip(text: str, place: int) -> int:
    found = _BLANK.match(text, place)
    return found.end() if found else place


def _brackets(text: str, place: int) -> str:
    return "[[" if text.startswith("[[", place) else "["


def _key(text: str, place: int) -> tuple[tuple[str, ...], int]:
    """A dotted key from here on: its names without quotes, and where it ends."""
    names: list[str] = []
    while True:
        while text[place] in " \t":
            place += 1
        found = _STRING.match(text, place) or _BARE.match(text, place)
        if found is None:
            return tuple(names), place
        names.append(found[0][1:-1] if found[0][0] in "\"'" else found[0])
        place = found.end()
        while place < len(text) and text[place] in " \t":
            place += 1
        if place >= len(text) or text[place] != ".":
            return tuple(names), found.end()
        place += 1


def _value_end(text: str, place: int) -> int:
    """Where a value ends: at its line's end or a comment, but for what brackets and quotes hold together."""
    depth = 0
    while place < len(text):
        quoted = _STRING.match(text, place) if text[place] in "\"'" else None
        if quoted:
            place = quoted.end()
            continue
        if text[place] == "#" and depth:
            place = text.find("\n", place) if "\n" in text[place:] else len(text)
            continue
        if not depth and text[place] in "#\n":
            break
        depth += (text[place] in _OPEN) - (text[place] in _CLOSE)
        place += 1
    while text[place - 1] in " \t\r":
        place -= 1
    return place


def replaced(text: str, changes: list[tuple[int, int, str]]) -> str:
    """The text with each span replaced; spans do not overlap."""
    for start, end, new in sorted(changes, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def quoted(text: str) -> str:
    """A basic string; what needs an escape has one."""
    escaped = "".join(f"\\u{ord(c):04x}" if ord(c) < 0x20 or c == "\x7f" else c for c in text.translate(_ESCAPES))
    return f'"{escaped}"'


_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"'})
