"""Today's answers as expectations, and bpfcompat.toml edited to say them.  Pure: rows and text in, text out.

What was written by hand stays as long as it holds: a pattern is changed only where every pair under it changed alike.
A pair without an answer changes nothing: "could not ask" is no expectation.  A pattern of [expect] speaks for many
objects and is never edited: where it does not hold, the object says so itself.
"""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace

from bpfcompat.config import FILE, parse_toml
from bpfcompat.errors import ConfigError
from bpfcompat.expected import Table, expectation, governing, whole
from bpfcompat.gate import Row
from bpfcompat.model import Answer, Expectation, ObjectSpec
from bpfcompat.plan import Pair
from bpfcompat.tomledit import Statement, quoted, replaced, statements

_SHORT = {Answer.COMPATIBLE: "pass", Answer.INCOMPATIBLE: "fail"}
_LONG = ("compatible", "incompatible")


@dataclass(frozen=True, slots=True)
class Change:
    """What is expected of one object, before and after."""

    object: str
    before: Table
    after: Table


def recorded(row: Row) -> Expectation | None:
    """A pair's answer as what is expected from now on; None where there is none."""
    found = row.verdict
    return Expectation(found.answer, found.cause or None) if found else None


def changes(rows: Sequence[Row], specs: Mapping[str, ObjectSpec], chosen: Container[Pair]) -> list[Change]:
    """For each object with a chosen pair that is not as expected, or of which nobody has said anything: the new table.

    `rows` are all pairs of these objects: what is expected of those that were not chosen must not change.
    """
    of: dict[str, list[Row]] = {}
    for row in rows:
        of.setdefault(row.pair.object, []).append(row)
    proposed = [Change(o, specs[o].expect, renewed(specs[o], those, chosen)) for o, those in of.items()]
    return [change for change in proposed if change.before != change.after]


def renewed(spec: ObjectSpec, rows: Sequence[Row], chosen: Container[Pair]) -> dict[str, Expectation]:
    """One object's own table, so that every chosen one of its pairs that has an answer is as expected."""
    table, every = spec.expect, whole(spec)
    said = {row.pair.kernel: recorded(row) for row in rows if row.pair in chosen}
    today = {kernel: found for kernel, found in said.items() if found is not None}
    stale = {row.pair.kernel for row in rows if row.pair.kernel in today and _is_stale(every, row)}
    new = dict(table)
    for pattern in dict.fromkeys(governing(every, k) for k in today if k in stale):
        under = [row.pair.kernel for row in rows if governing(every, row.pair.kernel) == pattern]
        if pattern is not None and pattern in table and len({today.get(k) for k in under}) == 1 and set(under) <= stale:
            new[pattern] = today[under[0]]
        elif pattern is None and not table:
            new.update(_from_nothing({k: today[k] for k in under if k in today}, all_=set(under) <= set(today)))
        else:
            new.update({k: today[k] for k in under if k in stale})
    touched = [p for p, e in new.items() if table.get(p) != e]
    return _simpler(replace(spec, expect=new), [row.pair.kernel for row in rows], touched)


def _is_stale(table: Table, row: Row) -> bool:
    pattern = governing(table, row.pair.kernel)
    return pattern is None or table[pattern].word == "unknown" or not row.as_expected


def _from_nothing(today: Mapping[str, Expectation], all_: bool) -> dict[str, Expectation]:
    """`*` for what most kernels say, the others by name; no `*` where it would speak for a pair without an answer."""
    most, _ = Counter(today.values()).most_common(1)[0]
    return {"*": most, **{k: e for k, e in today.items() if e != most}} if all_ else dict(today)


def _simpler(spec: ObjectSpec, kernels: Sequence[str], touched: Sequence[str]) -> dict[str, Expectation]:
    """Without the patterns that were just changed to what another one says anyway of all that they speak for."""
    for pattern in touched:
        less = replace(spec, expect={p: e for p, e in spec.expect.items() if p != pattern})
        every, without = whole(spec), whole(less)
        under = [k for k in kernels if governing(every, k) == pattern]
        if all(without.get(governing(without, k) or "") == every[pattern] for k in under):
            spec = less
    return dict(spec.expect)


# --- in words


def words(wanted: Expectation, short: bool) -> str:
    """An expectation as the file spells it: `fail:CAUSE`, or `incompatible:CAUSE`."""
    said = str(wanted)
    for answer, word in _SHORT.items():
        if short and wanted.answer is answer:
            return said.replace(str(answer), word, 1)
    return said


def is_short(text: str) -> bool:
    """Whether a file says pass and fail: so it is unless more of its expectations are spelt in full."""
    full = brief = 0
    for place in (s for s in statements(text) if s.path[:1] == ("objects",) and "expect" in s.path[2:3]):
        value = text[slice(*place.value)]
        full += sum(value.count(f'"{word}') + value.count(f"'{word}") for word in _LONG)
        brief += sum(value.count(f'"{word}') + value.count(f"'{word}") for word in _SHORT.values())
    return full <= brief


def value_of(table: Table, short: bool) -> str:
    """A table as the value of `expect`; one that is the same everywhere is a string."""
    if set(table) == {"*"}:
        return quoted(words(table["*"], short))
    inner = ", ".join(f"{quoted(p)} = {quoted(words(e, short))}" for p, e in table.items())
    return f"{{ {inner} }}"


# --- in the file


def edited(text: str, proposed: Sequence[Change]) -> str:
    """The file with these changes and no other; ConfigError for an object that is written in a way we cannot edit."""
    short, found = is_short(text), list(statements(text))
    spans = [span for change in proposed for span in _spans(text, found, change, short)]
    new = replaced(text, spans)
    _check(text, new, proposed, short)
    return new


def _spans(text: str, found: Sequence[Statement], change: Change, short: bool) -> list[tuple[int, int, str]]:
    home = ("objects", change.object)
    own = next((s for s in found if s.path == (*home, "expect") and not s.header), None)
    if own is not None:
        return [(*own.value, value_of(change.after, short))]
    keys = [s for s in found if len(s.path) == 4 and s.path[:3] == (*home, "expect") and not s.header]
    if keys:
        return _in_table(text, keys, change, short)
    last = _last_of(found, home)
    if last is None:
        line = f"[objects.{change.object}] expect = {value_of(change.after, short)}"
        raise ConfigError(f"{FILE}: {change.object}: no table of its own here", hint=f"write it by hand: {line}")
    end = _line_end(text, last.end)
    return [(end, end, f"{_break(text)}expect = {value_of(change.after, short)}")]


def _last_of(found: Sequence[Statement], home: tuple[str, ...]) -> Statement | None:
    """The last statement of an object's own table, before any table below it."""
    last, inside = None, False
    for statement in found:
        if statement.header:
            inside = statement.path == home
        last = statement if inside else last
    return last


def _break(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _in_table(text: str, keys: Sequence[Statement], change: Change, short: bool) -> list[tuple[int, int, str]]:
    """Edits of `[objects.NAME.expect]`, or of `expect.KEY = …`, line by line."""
    known = {s.path[3]: s for s in keys}
    spans = []
    for pattern, statement in known.items():
        wanted = change.after.get(pattern)
        if wanted is None:
            spans.append((*_whole_line(text, statement), ""))
        elif wanted != change.before.get(pattern):
            spans.append((*statement.value, quoted(words(wanted, short))))
    prefix = text[keys[-1].start : keys[-1].value[0]]
    dotted = "expect." if prefix.lstrip().startswith("expect") else ""
    fresh = [(p, e) for p, e in change.after.items() if p not in known]
    lines = [f"{_break(text)}{dotted}{quoted(p)} = {quoted(words(e, short))}" for p, e in fresh]
    end = _line_end(text, keys[-1].end)
    return [*spans, (end, end, "".join(lines))] if lines else spans


def _whole_line(text: str, statement: Statement) -> tuple[int, int]:
    end = text.find("\n", statement.end)
    return text.rfind("\n", 0, statement.start) + 1, len(text) if end < 0 else end + 1


def _line_end(text: str, place: int) -> int:
    """The end of the line, before its line break: a comment stays with what it is about."""
    end = text.find("\n", place)
    end = len(text) if end < 0 else end
    return end - 1 if text[end - 1 : end] == "\r" else end


def _check(before: str, after: str, proposed: Sequence[Change], short: bool) -> None:
    """What the edited file says is what the old one says, but for these expectations."""
    old, new = (parse_toml(t.encode(), FILE) for t in (before, after))
    for change in proposed:
        given = new.get("objects", {}).get(change.object, {}).pop("expect", None)
        old["objects"][change.object].pop("expect", None)
        if _read(given) != dict(change.after):
            raise ConfigError(f"{FILE}: {change.object}: its expectations cannot be edited here",
                              hint=f"write it by hand: expect = {value_of(change.after, short)}")  # fmt: skip
    if old != new:
        raise ConfigError(f"{FILE}: cannot be edited without a change to something else",
                          hint="give each object a table of its own: [objects.NAME]")  # fmt: skip


def _read(given: object) -> dict[str, Expectation]:
    table = given if isinstance(given, dict) else {"*": given}
    return {p: expectation(str(text), FILE) for p, text in table.items()}
