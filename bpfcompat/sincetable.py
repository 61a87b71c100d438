"""The since table, made: uapi headers of releases and a reviewed seed in, rows out.  Pure; refuses what contradicts.

A name is of the first header that has it.  Where the header before is of the release before, that is the answer; where
releases lie between, the seed says which, and must lie within.  Without either the row says both ends.  Kfuncs are in
no header and no promise: a row names builds that have one, those before that had not, and those after that have not.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, NamedTuple

from bpfcompat.builds import ENUMS, Build
from bpfcompat.errors import ConfigError
from bpfcompat.since import PREFIXES, full_name, version

MAX_HEADER = 4 << 20
ONCE_MACROS = frozenset(("BPF_F_KPROBE_MULTI_RETURN",))  # enumerators today: in no BTF of kernels that have the macro
BEFORE_KFUNCS = "5.12"  # commit e6ac2450d6de ("bpf: Support bpf program calling kernel function") (in v5.13)
LAST = {2: 6, 3: 19, 4: 20, 5: 19, 6: 19}  # the last release of each major number


class Gate(NamedTuple):
    """An option that compiles kfuncs in, and the release that brought it: nothing that needs it is older."""

    option: str
    since: str


# kernel/sched/build_policy.c, commit f0e1a0643a59 ("sched_ext: Implement BPF extensible scheduler class") (in v6.12)
_SCX = Gate("CONFIG_SCHED_CLASS_EXT", "6.12")
# net/sched/Makefile, commit c8240344956e ("bpf: net_sched: Support implementation of Qdisc_ops in bpf") (in v6.16)
_QDISC = Gate("CONFIG_NET_SCH_BPF", "6.16")
# drivers/hid/bpf/Makefile, commit f5c27da4e3c8 ("HID: initial BPF implementation") (in v6.3)
_HID = Gate("CONFIG_HID_BPF", "6.3")
_GATES = {  # by how a kfunc's name begins
    "scx_": _SCX, "__scx_": _SCX, "bpf_iter_scx_": _SCX, "hid_bpf_": _HID,
    "bpf_qdisc_": _QDISC, "bpf_kfree_skb": _QDISC, "bpf_skb_get_hash": _QDISC,
}  # fmt: skip
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
_NAME = re.compile(r"^\s*([A-Za-z_]\w*)\s*(?:=\s*([^,]+?)\s*)?$")
_HELPER = re.compile(r"\bFN\(\s*(\w+)\s*(?:,\s*(\d+)[^)]*)?\)")
_NO_NAME = re.compile(r"_*MAX_|__|unspec$|.*_UNSPEC$")


@dataclass(frozen=True, slots=True)
class Header:
    """The names of one release's uapi header, by kind; of helpers with their ids.

    `source` says where it is from.  `builds` are the releases (`6.12.95+deb12-cloud-amd64`) of kernels whose kfuncs
    were looked at, which no header has; a kfunc's value are those that have it.  `off` are the options of _GATES that
    one of these does not set.
    """

    series: str
    source: str
    names: Mapping[str, Mapping[str, Any]]
    builds: tuple[str, ...] = ()
    off: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table: the release, its source, and the newest release before that was looked at and lacks it.

    `until` is the first release from which on all that was looked at lack it again, by `gone`.
    """

    version: str
    source: str
    after: str = ""
    until: str = ""
    gone: str = ""


Table = Mapping[str, Mapping[str, Row]]


def read_header(series: str, source: str, text: str) -> Header:
    """The enums, helpers and flags of include/uapi/linux/bpf.h; ConfigError where one is not found in it.

    Flags that are macros there are left out: no kernel's BTF tells of them, so nobody could say that a build lacks one.
    """
    code = _COMMENT.sub(" ", text)
    names = {kind: dict(_enum(code, enum)) for kind, enum in ENUMS.items() if kind != "helpers"}
    names["helpers"] = dict(_helpers(code))
    flags = re.findall(r"(?:^|[{,])\s*(BPF_F_[A-Z0-9_]+)(?=\s*[=,}])", code, re.M)
    names["flags"] = dict.fromkeys((flag for flag in flags if flag not in ONCE_MACROS), 0)
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
    """The names in the list of helpers, with their ids; in older headers an id is a place in it."""
    listed = _HELPER.findall(code)
    numbered = [(name, number) for name, number in listed if number] or [(n, at) for at, (n, _) in enumerate(listed)]
    yield from ((name, int(number)) for name, number in numbered if not _NO_NAME.match(name))


def read_seed(raw: Mapping[str, Any], helpers: Mapping[str, int]) -> dict[str, dict[str, Row]]:
    """A seed's kinds as name → row; helpers come as ranges of ids, of which `helpers` has the names.

    `source` says where the rows are from; `by_date` has further ones, less certain, with a source of their own.
    """
    by_id = {number: name for name, number in helpers.items()}
    found: dict[str, dict[str, Row]] = {kind: {} for kind in PREFIXES}
    for part in (raw, raw.get("by_date", {})):
        for kind in PREFIXES:
            for release, text in part.get(kind, {}).items():
                words = _of_ids(text, by_id) if kind == "helpers" else text.split()
                row = Row(release, str(part["source"]))
                found[kind].update((full_name(kind, word), row) for word in words)
    return found


def _of_ids(text: str, by_id: Mapping[int, str]) -> list[str]:
    first, _, last = text.partition("-")
    return [by_id[n] for n in range(int(first), int(last or first) + 1)]


def of_builds(series: str, builds: Sequence[Build]) -> Header:
    """What the builds of a release have, for where no header of it can be had; flags stand in the header alone."""
    names: dict[str, dict[str, Any]] = {
        kind: {n: v for build in builds for n, v in build.names(kind).items()} for kind in ENUMS
    }
    releases = tuple(sorted({build.release for build in builds}))
    every = sorted({name for build in builds for name in build.kfuncs})
    names["kfuncs"] = {n: tuple(sorted({b.release for b in builds if n in b.kfuncs})) for n in every}
    off = {b.release: frozenset(g.option for g in _GATES.values() if b.option(g.option) == "n") for b in builds}
    return Header(series, _btf_of(releases), names, releases, off)


def _btf_of(releases: Sequence[str]) -> str:
    return f"BTF of {', '.join(releases)}"


def flavour(release: str) -> str:
    """`cloud-amd64` of `6.12.95+deb12-cloud-amd64`: what a flavour leaves out, no release of it has."""
    return re.sub(r"^[0-9][0-9.]*(\+deb\d+)?(-\d+)?-?", "", release)


def with_kfuncs(header: Header, builds: Header | None) -> Header:
    """A header beside the builds of its release: no header has kfuncs."""
    if builds is None:
        return header
    names = {**header.names, "kfuncs": builds.names["kfuncs"]}
    return replace(header, names=names, builds=builds.builds, off=builds.off)


def make(headers: Sequence[Header], seed: Table) -> dict[str, dict[str, Row]]:
    """The table of all names in the headers, which come oldest first; ConfigError for a seed that one contradicts."""
    found: dict[str, dict[str, Row]] = {}
    for kind in PREFIXES:
        those = [header for header in headers if kind in header.names]
        every = dict.fromkeys(name for header in those for name in header.names[kind])
        said = seed.get(kind, {})
        _check_known(kind, every, said)
        rows = {name: _row(kind, name, those, said.get(name)) for name in every} | {
            name: row
            for name, row in said.items()
            if name not in every  # of modules: no vmlinux has it
        }
        found[kind] = {name: _ended(kind, name, those, row) for name, row in rows.items() if row}
    return found


def _check_known(kind: str, every: Mapping[str, None], said: Mapping[str, Row]) -> None:
    lost = next((name for name in said if name not in every), None)
    if lost is not None and kind != "kfuncs":
        raise ConfigError(f"since: {kind} {lost}: the seed has it, and no header has", hint="correct since_seed.toml")


def _row(kind: str, name: str, headers: Sequence[Header], said: Row | None) -> Row | None:
    first = next(n for n, header in enumerate(headers) if name in header.names[kind])
    header = headers[first]
    before, source = headers[first - 1].series if first else "", header.source
    if kind == "kfuncs":
        before, source = _of_kfunc(name, headers, first)
    if said and not (version(before or "0.0") < version(said.version) <= version(header.series)):
        hint = f"what was looked at before is {before or 'nothing'}: correct since_seed.toml"
        raise ConfigError(f"since: {kind} {name}: the seed says {said.version}, the first to have it is {source}", hint)
    if before and is_next(before, header.series):
        return Row(header.series, source)
    if said:
        return said
    if not before and kind in ENUMS:  # older than all that was looked at
        raise ConfigError(f"since: {kind} {name}: no header is without it, and the seed has no row")
    return Row(header.series, source, before) if before else None


def _of_kfunc(name: str, headers: Sequence[Header], first: int) -> tuple[str, str]:
    """The newest release before that was looked at and lacks a kfunc, and the builds that have it and lack it.

    Only a build of a flavour that has it later tells that upstream had not, and only with its option set.
    """
    has = headers[first].names["kfuncs"][name]
    for header in reversed(headers[:first]):
        lacks = _lacking(header, name, has)
        if lacks:
            return header.series, f"{_btf_of(has)}; not in that of {', '.join(lacks)}"
    known = gate(name)
    if known is not None:
        said = f"no older one with {known.option} was looked at, which came with {known.since}"
        return _before(known.since), f"{_btf_of(has)}; {said}"
    return BEFORE_KFUNCS, f"{_btf_of(has)}; no older one of its flavour was looked at, and 5.13 brought kfuncs"


def _before(release: str) -> str:
    major, minor = version(release)
    return f"{major}.{minor - 1}" if minor else f"{major - 1}.{LAST[major - 1]}"


def _lacking(header: Header, name: str, has: Sequence[str]) -> list[str]:
    """The builds that would have a kfunc if upstream had it: of a flavour of those that have it, and its option set."""
    wanted, known = {flavour(release) for release in has}, gate(name)
    off = {b for b in header.builds if known and known.option in header.off.get(b, ())}
    return [b for b in header.builds if flavour(b) in wanted and b not in off]


def gate(name: str) -> Gate | None:
    """What a kernel may be compiled without, and then lacks this kfunc; None where we know of nothing."""
    return next((known for prefix, known in _GATES.items() if name.startswith(prefix)), None)


def _ended(kind: str, name: str, headers: Sequence[Header], row: Row) -> Row:
    """A row with its end, where all releases from one on lack the name; ConfigError for what is never taken away."""
    last = max((n for n, header in enumerate(headers) if name in header.names[kind]), default=len(headers))
    for header in headers[last + 1 :]:
        if kind != "kfuncs":
            raise ConfigError(f"since: {kind} {name}: {header.source} no longer has it, and it is part of the uapi")
        lacks = _lacking(header, name, headers[last].names[kind][name])
        if lacks:
            return replace(row, until=header.series, gone=_btf_of(lacks))
    return row


def is_next(old: str, new: str) -> bool:
    """True for two releases without one between."""
    (major, minor), wanted = version(old), version(new)
    return wanted == ((major + 1, 0) if LAST.get(major) == minor else (major, minor + 1))


def unordered(table: Table, ids: Mapping[str, int]) -> list[str]:
    """Helpers whose release is before that of one with a smaller id: ids were given in the order of merging."""
    ordered = sorted((number, name) for name, number in ids.items())
    return [
        f"{name} #{number}: {table['helpers'][name].version}, and {below} #{lower} {table['helpers'][below].version}"
        for (lower, below), (number, name) in pairwise(ordered)
        if version(table["helpers"][name].version) < version(table["helpers"][below].version)
    ]


def _listed(row: Row, place: Mapping[str, int]) -> list[str | int]:
    end = [row.after, row.until, place[row.gone]] if row.until else [row.after] if row.after else []
    return [row.version, place[row.source], *end]


def rendered(table: Table) -> bytes:
    """The table as JSON, of `rows` by kind and name; a source is its place in `sources`.

    A row is [version, source], [version, source, after], or [version, source, after or "", until, gone].
    """
    every = [row for rows in table.values() for row in rows.values()]
    sources = list(dict.fromkeys([*(row.source for row in every), *(row.gone for row in every if row.gone)]))
    place = {source: n for n, source in enumerate(sources)}
    rows = {kind: {n: _listed(row, place) for n, row in found.items()} for kind, found in table.items()}
    head = {"about": "written by `doit since`; do not edit it", "sources": sources}
    body = ",\n".join(
        f" {json.dumps(kind)}: {{\n"
        + ",\n".join(f"  {json.dumps(n)}: {json.dumps(row)}" for n, row in found.items())
        + "\n }"
        for kind, found in rows.items()
    )
    return (json.dumps(head, indent=1)[:-2] + ',\n "rows": {\n' + body + "\n }\n}\n").encode()
