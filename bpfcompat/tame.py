"""What an object may put into others' words: nothing that reads like them.

libbpf and the verifier print an object's names as they are, and an object may bear any: one that ends a quotation and
goes on as libbpf would, or one with a line break and a whole sentence behind it.  Before a log is asked for its words,
such names lose what could be read for one, and no line is longer than a search of it can afford.  Pure.
"""

import re
from collections.abc import Iterable

MAX_LINE = 2000  # characters; the longest line of libbpf's or the verifier's own is a third of that
MAX_ODD = 64  # names of one object; nobody who wants an answer has one
LEAST = 8  # characters that can say anything: the shortest words that a cause is known by are longer
MAX_SEEN = 300  # characters of a name that a search may take for one
TOO_MANY = f"more than {MAX_ODD} names of this object are no names, so what was said of them is not read"
_PLAIN = re.compile(r"[\w.$/?:+@<>,*&~=\[\]-]*")  # identifiers, mangled and not, and sections
_NO_CHAR = "\N{REPLACEMENT CHARACTER}"
_ENDS = dict.fromkeys(map(ord, "\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"), _NO_CHAR)  # of lines, to Python
_LONG = re.compile(rf"^([^\n]{{{MAX_LINE}}})[^\n]+", re.M)


def is_odd(name: str) -> bool:
    """True for a name that holds blanks, quotes, brackets or control characters."""
    return _PLAIN.fullmatch(name) is None


def tamed(text: str, odd: Iterable[str]) -> str:
    """A log without what these names of the object could say in it.

    In each place of such a name its odd characters are replaced.  Where a log cut it short, so are those of its
    beginning, and lines that a line break in it began are left out.
    """
    names, text = sorted({name for name in odd if len(name) >= LEAST}, key=len, reverse=True), text.translate(_ENDS)
    if len(names) > MAX_ODD:
        return TOO_MANY
    for name in names:
        text = text.replace(name, _plain(name))
    begun = [part for name in names for part in name.split("\n")[1:]]
    if begun:
        text = "\n".join(line for line in text.split("\n") if not _continues(line, begun))
    for name in names:
        head = name.partition("\n")[0][:MAX_SEEN]
        if len(head) >= LEAST:
            text = text.replace(head, _plain(head))
    return _LONG.sub(r"\1", text)


def _continues(line: str, begun: Iterable[str]) -> bool:
    """True for a line that begins as what stands behind a name's line break, if it is long enough to say anything."""
    return len(line) >= LEAST and any(
        len(part) >= LEAST and (line.startswith(part[:MAX_SEEN]) or part.startswith(line)) for part in begun
    )


def _plain(name: str) -> str:
    return "".join(char if _PLAIN.fullmatch(char) else _NO_CHAR for char in name)
