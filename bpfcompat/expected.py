"""What each pair must answer: words as values, an object's own table, and the patterns of [expect] below it.  Pure.

A pattern is of kernels in an object's own table, of OBJECT@KERNEL in [expect].  The kernel's half decides first, as it
does in a table of one object: its exact name, then the longest pattern.  Of two with the same half an object's own is
meant, then the one that names the object, then the longest pattern of objects.  So [expect] comes down to a table for
each object, which lies below its own.
"""

import fnmatch
import re
from collections.abc import Mapping
from typing import Any

from bpfcompat.errors import ConfigError
from bpfcompat.libbpfs import MARK
from bpfcompat.libbpfs import split as split_column
from bpfcompat.model import Answer, Expectation, ObjectSpec

_SLUG = r"(:[a-z0-9]+(-[a-z0-9]+)*)?"
_EXPECTATION = re.compile(rf"any|unknown|pass|compatible|(fail|may-fail|incompatible|inconclusive){_SLUG}")
_SHORT = {"pass": Answer.COMPATIBLE, "fail": Answer.INCOMPATIBLE}
Table = Mapping[str, Expectation]


def expectation(text: str, where: str) -> Expectation:
    """`pass`, `fail[:CAUSE]`, `may-fail[:CAUSE]`, `unknown`, `any`, or an answer in full, `incompatible:CAUSE`."""
    word, _, cause = text.partition(":")
    if not _EXPECTATION.fullmatch(text):
        words = "pass, fail[:cause], may-fail[:cause], unknown, any, inconclusive[:cause]"
        raise ConfigError(f"{where}: expected {words} (or compatible, incompatible[:cause]), got {text!r}")
    if word in ("any", "may-fail", "unknown"):
        return Expectation(None, cause or None, word)
    return Expectation(_SHORT.get(word) or Answer(word), cause or None)


def read_own(given: Any, where: str) -> dict[str, Expectation]:
    """An object's `expect`: a word for all kernels, or a table of patterns of kernels."""
    table = {"*": given} if isinstance(given, str) else given
    if not isinstance(table, dict) or not all(isinstance(v, str) for v in table.values()):
        raise ConfigError(f"{where}: expect: expected a string or a table of kernel = string, got {given!r}")
    return {str(k): expectation(v, f"{where}: expect: {k}") for k, v in table.items()}


def read_patterns(given: Any, where: str) -> dict[str, Expectation]:
    """The table [expect]: patterns of OBJECT@KERNEL; ConfigError for one without both halves."""
    if not isinstance(given, dict) or not all(isinstance(v, str) for v in given.values()):
        raise ConfigError(f'{where}: expected entries such as "*@debian-11" = "may-fail", got {str(given)[:200]}')
    for pattern in given:
        if not all(halves(pattern)) or pattern.count("@") != 1:
            bare = bool(pattern) and "@" not in pattern
            hint = f'write "{pattern[:60]}@*" or "*@{pattern[:60]}"' if bare else 'such as "*@debian-11" or "NAME@*"'
            raise ConfigError(f"{where}: expected OBJECT@KERNEL, patterns too, got {pattern[:100]!r}", hint=hint)
    return {pattern: expectation(text, f"{where}: {pattern[:100]}") for pattern, text in given.items()}


def halves(pattern: str) -> tuple[str, str]:
    """The object's and the kernel's half of a pattern of [expect]."""
    of_object, _, of_kernel = pattern.partition("@")
    return of_object, of_kernel


def inherited(patterns: Table, name: str) -> dict[str, str]:
    """The patterns of [expect] that speak of an object, by their kernel's half; of two with one half the nearer."""
    found: dict[str, str] = {}
    nearest_first = sorted(patterns, key=lambda p: (halves(p)[0] != name, -len(halves(p)[0])))
    for pattern in nearest_first:
        of_object, of_kernel = halves(pattern)
        if fnmatch.fnmatchcase(name, of_object):
            found.setdefault(of_kernel, pattern)
    return found


def whole(spec: ObjectSpec) -> Table:
    """All that is expected of an object, by patterns of kernels: its own table, and what [expect] adds to it."""
    return (
        {**spec.expect, **{k: e for k, e in spec.below.items() if k not in spec.expect}} if spec.below else spec.expect
    )


def required_on(spec: ObjectSpec, kernel: str) -> bool:
    """Whether the gate fails on a pair that is not as expected; with another loader as with the project's own."""
    names = (kernel, split_column(kernel)[0])
    return not spec.optional and not any(fnmatch.fnmatchcase(n, p) for n in names for p in spec.optional_on)


def expected_on(spec: ObjectSpec, kernel: str) -> Expectation:
    """What a pair must answer: the exact kernel's entry first, then the longest pattern that matches, else anything.

    With another loader, a pattern that names it (`*+libbpf-1.1`) wins; else what is expected of the kernel itself.
    """
    table = whole(spec)
    pattern = governing(table, kernel)
    return Expectation(None) if pattern is None else table[pattern]


def governing(expect: Mapping[str, Any], kernel: str) -> str | None:
    """The pattern that says what is expected on a kernel, None where no pattern does."""
    base, loader = split_column(kernel)
    if loader:
        own = [p for p in expect if MARK in p and fnmatch.fnmatchcase(kernel, p)]
        return max(own, key=lambda p: (p == kernel, len(p))) if own else governing(expect, base)
    ordered = sorted(expect, key=lambda p: (p != kernel, -len(p)))
    return next((p for p in ordered if fnmatch.fnmatchcase(kernel, p)), None)
