"""The since table, made: uapi headers of releases and a reviewed seed in, rows out.  Pure; refuses what contradicts.

A name is of the first header that has it.  Where the header before is of the release before, that is the answer; where
releases lie between, the seed says which, and must lie within.  Without either the row says both ends.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bpfcompat.builds import ENUMS
from bpfcompat.errors import ConfigError
from bpfcompat.since import PREFIXES, full_name, version

MAX_HEADER = 4 << 20
LAST = {2: 6, 3: 19, 4: 20, 5: 19, 6: 19}  # the last release of each major number
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
_NAME = re.compile(r"^\s*([A-Za-z_]\w*)\s*(?:=\s*([^,]+?)\s*)?$")
_HELPER = re.compile(r"\bFN\(\s*(\w+)\s*(?:,\s*(\d+)\s*)?(?:,[^)]*)?\)")
_NO_NAME = re.compile(r"_*MAX_|__|unspec$|.*_UNSPEC$")


@dataclass(frozen=True, slots=True)
class Header:
    """The names of one release's uapi header, by kind; of helpers with their ids.  `source` says where it is from."""

    series: str
    source: str
    names: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table: the release, its source, and the newest release that was looked at and lacks it."""

    version: str
    source: str
    after: str = ""


Seed = Mapping[str, Mapping[str, str]]
Table = Mapping[str, Mapping[str, Row]]


def read_header(series: str, source: str, text: str) -> Header:
    """The enums, helpers and flags of include/uapi/linux/bpf.h; ConfigError where one is not found in it."""
    code = _COMMENT.sub(" ", text)
    names = {kind: dict(_enum(code, enum)) for kind, enum in ENUMS.items() if kind != "helpers"}
    names["helpers"] = dict(_helpers(code))
    names["flags"] = dict.fromkeys(re.findall(r"\bBPF_F_[A-Z0-9_]+\b(?=\s*[=(,]|\s+[(0-9])", code), 0)
    empty = [kind for kind, found in names.items() if not found]
    if empty:
        raise ConfigError(f"since: {source}: no {', '.join(empty)} in its bpf.h")
    return Header(series, source, names)


def _enum(code: str, name: str) -> Iterator[tuple[str, int]]:
    """The names of an enum and their places; a name that equals another has that one's."""
    found = re.search(rf"\benum {name}\s*\{{(.*?)\}}", code, re.S)
    places: dict[str, int] = {}
    number = 0
    for entry in found[1].split(",") if found else ():
        said = _NAME.match(entry)
        if said:
            value = said[2]
            number = places[value] if value in places else int(value, 0) if value and value.isdigit() else number
            places[said[1]] = number
            number += 1
    yield from ((name, place) for name, place in places.items() if not _NO_NAME.match(name))


def _helpers(code: str) -> Iterator[tuple[str, int]]:
    """The names in the list of helpers; until 6.1 an id is a place in it."""
    for place, (name, number) in enumerate(_HELPER.findall(code)):
        if not _NO_NAME.match(name):
            yield name, int(number) if number else place


def read_seed(raw: Mapping[str, Mapping[str, str]], helpers: Mapping[str, int]) -> dict[str, dict[str, str]]:
    """A seed's kinds as name → version; helpers come as ranges of ids, of which `helpers` has the names."""
    by_id = {number: name for name, number in helpers.items()}
    found: dict[str, dict[str, str]] = {}
    for kind in PREFIXES:
        rows = found.setdefault(kind, {})
        for release, text in raw.get(kind, {}).items():
            words = _of_ids(text, by_id) if kind == "helpers" else text.split()
            rows |= dict.fromkeys((full_name(kind, word) for word in words), release)
    return found


def _of_ids(text: str, by_id: Mapping[int, str]) -> list[str]:
    first, _, last = text.partition("-")
    return [by_id[n] for n in range(int(first), int(last or first) + 1)]


def make(headers: Sequence[Header], seed: Seed, seed_source: str) -> dict[str, dict[str, Row]]:
    """The table of all names in the headers, which come oldest first; ConfigError for a seed that one contradicts."""
    return {
        kind: {name: row for name in _every(kind, headers) if (row := _row(kind, name, headers, seed, seed_source))}
        for kind in (*ENUMS, "flags")
    }


def _every(kind: str, headers: Sequence[Header]) -> list[str]:
    return list(dict.fromkeys(name for header in headers for name in header.names[kind]))


def _row(kind: str, name: str, headers: Sequence[Header], seed: Seed, seed_source: str) -> Row | None:
    first = next(n for n, header in enumerate(headers) if name in header.names[kind])
    header, said = headers[first], seed.get(kind, {}).get(name)
    before = headers[first - 1].series if first else ""
    late = said and version(said) > version(header.series)
    if late or (said and before and version(said) <= version(before)):
        hint = f"the header before is of {before or 'no release'}: correct since_seed.toml"
        raise ConfigError(f"since: {kind} {name}: the seed says {said}, the first to have it is {header.source}", hint)
    if before and is_next(before, header.series):
        return Row(header.series, header.source)
    if not said and not before:  # older than all that was looked at
        if kind != "flags":
            raise ConfigError(f"since: {kind} {name}: no header is without it, and the seed has no row")
        return None
    return Row(said, seed_source) if said else Row(header.series, header.source, before)


def is_next(old: str, new: str) -> bool:
    """True for two releases without one between."""
    (major, minor), wanted = version(old), version(new)
    return wanted == ((major + 1, 0) if LAST.get(major) == minor else (major, minor + 1))


def kfunc_rows(builds: Sequence[tuple[str, str, frozenset[str]]], seed: Mapping[str, str],
               seed_source: str) -> dict[str, Row]:  # fmt: skip
    """Rows of kfuncs: from builds (series, source, names), oldest first, and the seed where it lies within them."""
    found: dict[str, Row] = {}
    for n, (series, source, names) in enumerate(builds):
        before = builds[n - 1][0] if n else ""
        for name in sorted(names - found.keys()):
            said = seed.get(name)
            fits = said and version(said) <= version(series) and (not before or version(said) > version(before))
            if said and fits:
                found[name] = Row(said, seed_source)
            elif before:
                found[name] = Row(series, source, "" if is_next(before, series) else before)
    return found


def unordered(table: Table, ids: Mapping[str, int]) -> list[str]:
    """Helpers whose release is before that of one with a smaller id: ids were given in the order of merging."""
    ordered = sorted((number, name) for name, number in ids.items())
    return [
        f"{name} #{number}: {table['helpers'][name].version}, and {below} #{lower} {table['helpers'][below].version}"
        for (lower, below), (number, name) in pairwise(ordered)
        if version(table["helpers"][name].version) < version(table["helpers"][below].version)
    ]


def rendered(table: Table) -> bytes:
    """The table as JSON: `rows` by kind and name as [version, source, after?]; a source is its place in `sources`."""
    sources = list(dict.fromkeys(row.source for rows in table.values() for row in rows.values()))
    place = {source: n for n, source in enumerate(sources)}
    rows = {
        kind: {n: [r.version, place[r.source], *([r.after] if r.after else [])] for n, r in found.items()}
        for kind, found in table.items()
    }
    head = {"about": "written by `doit since`; do not edit it", "sources": sources}
    body = ",\n".join(
        f" {json.dumps(kind)}: {{\n"
        + ",\n".join(f"  {json.dumps(n)}: {json.dumps(row)}" for n, row in found.items())
        + "\n }"
        for kind, found in rows.items()
    )
    return (json.dumps(head, indent=1)[:-2] + ',\n "rows": {\n' + body + "\n }\n}\n").encode()
