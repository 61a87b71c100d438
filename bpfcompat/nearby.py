"""What a kernel's BTF has in place of a name that it lacks: the closest members, enumerators, types, functions.

Pure, and bounded by what btftypes takes.  Likeness is of spelling alone, so what comes of it is a proposal: it never
decides a verdict, nor how sure a cause is (see likeness).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bpfcompat.btfindex import essential
from bpfcompat.btftypes import Kind, Type, Types
from bpfcompat.likeness import renamed, similar

MAX_DEPTH = 16  # anonymous structures in structures, and steps of one specification
_RECORDS = {"struct": Kind.STRUCT, "union": Kind.UNION}
_SPEC = re.compile(r"(?P<kind>struct|union|enum|enum64|typedef|\w+) (?P<name>[\w<>]+)(?P<rest>.*)", re.S)


@dataclass(frozen=True, slots=True)
class Near:
    """Where a look-up ended: at which type (`struct inode`), for which name, and the closest names that are there.

    `missing` is "" where all of it is there.  `renamed` is the one name that so resembles the missing one that it is
    likely the same thing, or "".
    """

    where: str
    missing: str
    closest: tuple[str, ...] = ()
    renamed: str = ""


def near(types: Types, spec: str) -> Near | None:
    """What there is instead of `struct inode.i_atime.tv_sec`, `enum e::X = 1` or `struct x`; None: no idea."""
    found = _SPEC.match(re.sub(r" \(.*$", "", re.sub(r"^\[\d+\] ", "", spec), flags=re.S))
    if not found:
        return None
    kind, name, rest = found["kind"], essential(found["name"]), found["rest"]
    if kind in _RECORDS:
        return _record(types, kind, name, re.findall(r"\.(\w+)", rest))
    if kind.startswith("enum"):
        value = re.match(r"::(\w+)", rest)
        return _enum(types, name, essential(value[1]) if value else "")
    return None


def functions_near(types: Types, name: str) -> tuple[str, ...]:
    """The function itself where it is there, else the closest, such as the parts that a compiler made of it."""
    names = types.functions()
    return (name,) if name in names else similar(name, sorted(names))


def _record(types: Types, kind: str, name: str, path: list[str]) -> Near | None:
    found = next((t for _, t in types.of_kind(_RECORDS[kind]) if t.name == name), None)
    if found is None:
        names = (t.name for k in _RECORDS.values() for _, t in types.of_kind(k))
        return Near("", f"{kind} {name}", close := similar(name, names), renamed(name, close))
    where = f"{kind} {name}"
    for step in path[:MAX_DEPTH]:
        members = dict(_members(types, found))
        if step not in members:
            return Near(where, step, close := similar(step, members), renamed(step, close))
        found = types.resolved(_element(types, members[step]))[1]
        if found.kind not in (Kind.STRUCT, Kind.UNION):
            break
        where = f"{found.kind.name.lower()} {found.name}" if found.name else f"{where}.{step}"
    return Near(where, "")


def _element(types: Types, number: int) -> int:
    """Past arrays, whose indexes a specification has too."""
    for _ in range(MAX_DEPTH):
        _, found = types.resolved(number)
        if found.kind is not Kind.ARRAY:
            return number
        number = types.element(found)[0]
    return number


def _members(types: Types, of: Type, depth: int = 0) -> Iterator[tuple[str, int]]:
    """Names of members and the ids of their types; those of an anonymous structure inside are the outer one's too."""
    for member in types.members(of):
        if member.name:
            yield member.name, member.type
        elif depth < MAX_DEPTH:
            _, inner = types.resolved(member.type)
            if inner.kind in (Kind.STRUCT, Kind.UNION):
                yield from _members(types, inner, depth + 1)


def _enum(types: Types, name: str, value: str) -> Near | None:
    enums = [t for k in (Kind.ENUM, Kind.ENUM64) for _, t in types.of_kind(k)]
    found = next((t for t in enums if t.name == name), None)
    if found is None:
        return Near("", f"enum {name}", similar(name, (t.name for t in enums)))
    values = types.enumerators(found)
    if not value or value in values:
        return Near(f"enum {name}", "")
    return Near(f"enum {name}", value, close := similar(value, values), renamed(value, close))
