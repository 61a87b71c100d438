"""The tables of an object that say what its own loader does before it loads: checked, and read into values.

Strict, and without the object's bytes: that a name is in the object is checked in fitting.py, before a guest starts.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from bpfcompat.config import check_keys
from bpfcompat.declared import (
    HELD,
    TRIAL,
    Alternative,
    Constant,
    Declared,
    Entries,
    InnerMap,
    MapChange,
    ProgramChange,
    VariantGroup,
)
from bpfcompat.errors import ConfigError, did_you_mean
from bpfcompat.model import AttachMode, ShippedFile

PAGE = 4096  # the least that any kernel has; only to bound what `pages:N` may ask for
U32 = (1 << 32) - 1
MAX_SETTINGS, MAX_GROUPS, MAX_ALTERNATIVES, MAX_PROGRAMS = 4096, 64, 64, 1024
MAX_CONSTANT = 64 << 10  # numbers in one constant


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# libbpf's own words, as of 1.7; a library that does not know one yet says so in the guest
MAP_TYPES = _words(
    "hash array prog_array perf_event_array percpu_hash percpu_array stack_trace cgroup_array lru_hash "
    "lru_percpu_hash lpm_trie array_of_maps hash_of_maps devmap devmap_hash sockmap cpumap xskmap sockhash "
    "cgroup_storage reuseport_sockarray percpu_cgroup_storage queue stack sk_storage struct_ops ringbuf "
    "inode_storage task_storage bloom_filter user_ringbuf cgrp_storage arena insn_array"
)
PROGRAM_TYPES = _words(
    "socket_filter kprobe sched_cls sched_act tracepoint xdp perf_event cgroup_skb cgroup_sock lwt_in lwt_out "
    "lwt_xmit sock_ops sk_skb cgroup_device sk_msg raw_tracepoint cgroup_sock_addr lwt_seg6local lirc_mode2 "
    "sk_reuseport flow_dissector cgroup_sysctl raw_tracepoint_writable cgroup_sockopt tracing struct_ops ext lsm "
    "sk_lookup syscall netfilter"
)
ATTACH_TYPES = _words(
    "cgroup_inet_ingress cgroup_inet_egress cgroup_inet_sock_create cgroup_inet_sock_release cgroup_sock_ops "
    "cgroup_device cgroup_inet4_bind cgroup_inet6_bind cgroup_inet4_connect cgroup_inet6_connect "
    "cgroup_unix_connect cgroup_inet4_post_bind cgroup_inet6_post_bind cgroup_inet4_getpeername "
    "cgroup_inet6_getpeername cgroup_unix_getpeername cgroup_inet4_getsockname cgroup_inet6_getsockname "
    "cgroup_unix_getsockname cgroup_udp4_sendmsg cgroup_udp6_sendmsg cgroup_unix_sendmsg cgroup_sysctl "
    "cgroup_udp4_recvmsg cgroup_udp6_recvmsg cgroup_unix_recvmsg cgroup_getsockopt cgroup_setsockopt "
    "sk_skb_stream_parser sk_skb_stream_verdict sk_skb_verdict sk_msg_verdict lirc_mode2 flow_dissector "
    "trace_raw_tp trace_fentry trace_fexit modify_return lsm_mac lsm_cgroup sk_lookup trace_iter xdp_devmap "
    "xdp_cpumap xdp sk_reuseport_select sk_reuseport_select_or_migrate perf_event trace_kprobe_multi struct_ops "
    "netfilter tcx_ingress tcx_egress trace_uprobe_multi netkit_primary netkit_peer trace_kprobe_session "
    "trace_uprobe_session trace_fsession"
)

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.$]{0,511}")  # a C identifier, and what compilers append to one
_SECTION = re.compile(r"[!-~]{1,255}")
_PATH = re.compile(r"[A-Za-z_]\w{0,127}(\.[A-Za-z_]\w{0,127}){0,15}", re.ASCII)
# A function or MODULE:FUNCTION, a pattern of functions, CATEGORY/NAME; a place in a file: which fits, fitting.py knows.
_TARGET = re.compile(
    r"(?:[A-Za-z0-9_-]{1,64}:)?[A-Za-z_][A-Za-z0-9_.$]{0,127}|[A-Za-z0-9_.*?]{1,128}"
    r"|[A-Za-z0-9_-]{1,64}/[A-Za-z0-9_-]{1,128}|/[!-9;-~]{1,400}(?::[!-9;-~]{1,120}){1,2}"
)
_PAGES = re.compile(r"pages:([1-9][0-9]{0,9})")
_FILE = re.compile(r"[^\x00-\x1f]{1,1000}")
_OBJECT = re.compile(r"[!-~]{1,255}")
_OTHERS = ("target_file", "target_object")
_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_KCONFIG = re.compile(r"CONFIG_[A-Za-z0-9_]{1,120}")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")

Check = Callable[[Any, str], Any]


def declared(table: Mapping[str, Any], where: str) -> Declared:
    """The declarations in an object's table; ConfigError that says what was expected, and what came."""
    found = Declared(
        maps=tuple(_map(n, t, w) for n, t, w in _tables(table, "maps", _NAME, where)),
        programs=tuple(_program(n, t, w) for n, t, w in _tables(table, "programs", _SECTION, where)),
        variants=tuple(_groups(table.get("variants", ()), f"{where}: variants")),
        constants=tuple(sorted(_constants(_table(table.get("constants", {}), f"{where}: constants"), where))),
        kconfig=tuple(sorted(_kconfig(_table(table.get("kconfig", {}), f"{where}: kconfig"), f"{where}: kconfig"))),
    )
    _check_groups(found, where)
    count = len(found.maps) + len(found.programs) + len(found.constants) + len(found.kconfig)
    if count > MAX_SETTINGS:
        raise ConfigError(f"{where}: {count} settings declared, at most {MAX_SETTINGS} expected")
    return found


# --- maps


def _map(name: str, table: Mapping[str, Any], where: str) -> MapChange:
    return MapChange(name, **_checked(table, _MAP, where))


def _entries(value: Any, where: str) -> Entries:
    pages = _PAGES.fullmatch(value) if isinstance(value, str) else None
    if value == "cpus" or (pages and int(pages[1]) * PAGE <= U32):
        return str(value)
    if not pages and not isinstance(value, str):
        return _number(value, where, 1, U32, ' or "cpus" or "pages:N"')
    raise _not(where, f'a whole number from 1 to {U32}, "cpus", or "pages:N" with N up to {U32 // PAGE}', value)


def _inner(value: Any, where: str) -> InnerMap:
    found = _checked(_table(value, where), _INNER, where)
    return InnerMap(**found)


# --- programs


def _program(name: str, table: Mapping[str, Any], where: str) -> ProgramChange:
    found = _checked(table, _PROGRAM, where)
    others = [key for key in _OTHERS if found.pop(key, None) is not None]
    if len(others) > 1:
        raise ConfigError(f"{where}: target_object: target_file says where it is", hint="leave one of them out")
    if others and "target_program" not in found:
        raise ConfigError(f"{where}: {others[0]}: which program of it?", hint='add target_program = "FUNCTION"')
    return ProgramChange(name, **found, target_file=place_of(name) if others else None)


def place_of(name: str) -> str:
    """Where the object that holds a program's target lies below the guest's /files."""
    return "targets/" + re.sub(r"[^A-Za-z0-9_]", "_", name)[:100] + ".bpf.o"


def target_files(table: Mapping[str, Any], root: Path) -> tuple[ShippedFile, ...]:
    """The files that an object's programs have their targets in; the table has been checked."""
    programs = table.get("programs", {})
    found = {place_of(n): root / p["target_file"] for n, p in programs.items() if "target_file" in p}
    return tuple(ShippedFile(place, path) for place, path in sorted(found.items()))


def target_objects(table: Mapping[str, Any]) -> dict[str, str]:
    """The same for those that are objects of the project: place below /files → the object's name."""
    programs = table.get("programs", {})
    found = {place_of(n): p["target_object"] for n, p in programs.items() if "target_object" in p}
    return dict(sorted(found.items()))


# --- variants


def _groups(value: Any, where: str) -> Iterator[VariantGroup]:
    if not isinstance(value, list | tuple) or len(value) > MAX_GROUPS:
        got = f"{len(value)} of them" if isinstance(value, list | tuple) else value
        raise _not(where, f"at most {MAX_GROUPS} tables [[…variants]]", got)
    found = sorted((_group(_table(v, f"{where}[{n}]"), f"{where}[{n}]") for n, v in enumerate(value)),
                   key=lambda group: group.name)  # fmt: skip
    twice = [a.name for a, b in pairwise(found) if a.name == b.name]
    if twice:
        raise ConfigError(f"{where}: {twice[0]!r}: two groups of this name")
    yield from found


def _group(table: Mapping[str, Any], where: str) -> VariantGroup:
    check_keys(table, ("name", "programs", "companions", "optional"), where)
    name = _matching(_GROUP, "a name of letters, digits, _ . -")(table.get("name"), f"{where}: name")
    where = f"{where} {name!r}"
    given = table.get("programs")
    if not isinstance(given, list | tuple) or not 1 <= len(given) <= MAX_ALTERNATIVES:
        raise _not(f"{where}: programs", f"a list of 1 to {MAX_ALTERNATIVES} alternatives", given)
    alternatives = tuple(_alternative(_table(v, f"{where}: programs[{n}]"), f"{where}: programs[{n}]")
                         for n, v in enumerate(given))  # fmt: skip
    certain = next((n for n, one in enumerate(alternatives[:-1]) if not one.needs), None)
    if certain is not None:
        raise ConfigError(f"{where}: programs[{certain}]: needs nothing, so what follows it is never chosen",
                          hint="put it last, or say what it needs")  # fmt: skip
    companions = tuple(_names(table.get("companions", []), f"{where}: companions"))
    return VariantGroup(name, alternatives, companions, _flag(table.get("optional", False), f"{where}: optional"))


def _alternative(table: Mapping[str, Any], where: str) -> Alternative:
    check_keys(table, ("program", "programs", "needs", "maps"), where)
    if ("program" in table) == ("programs" in table):
        raise ConfigError(f"{where}: expected exactly one of program and programs")
    names = [table["program"]] if "program" in table else table["programs"]
    programs = tuple(_names(names, where))
    if not programs:
        raise _not(f"{where}: programs", "at least one program", names)
    maps = tuple(_names(table.get("maps", []), f"{where}: maps", "maps"))
    return Alternative(programs, _needs(table["needs"], f"{where}: needs") if "needs" in table else "", maps)


def _names(value: Any, where: str, what: str = "programs") -> Iterator[str]:
    if not isinstance(value, list | tuple) or len(value) > MAX_PROGRAMS:
        raise _not(where, f"a list of at most {MAX_PROGRAMS} {what}", value)
    for name in value:
        yield _matching(_SECTION, f"names of {what} as the object has them")(name, where)


def _needs(value: Any, where: str) -> str:
    if value == TRIAL:
        return TRIAL
    kind, _, name = value.partition(":") if isinstance(value, str) else ("", "", "")
    if kind not in HELD:
        raise _not(where, ", ".join(f"{k}:NAME" for k in HELD) + f" or {TRIAL}", value)
    listed = {"prog-type": PROGRAM_TYPES, "map-type": MAP_TYPES}.get(kind)
    if listed:
        _one_of(listed)(name, where)
    elif not _WORD.fullmatch(name):
        raise _not(where, f"a name after {kind}:", name)
    return f"{kind}:{name}"


def _check_groups(found: Declared, where: str) -> None:
    """A program whose autoload two places decide would be on or off by accident."""
    owner: dict[str, str] = {p.name: "programs" for p in found.programs if p.autoload is not None}
    for group in found.variants:
        for name in {name for one in group.alternatives for name in one.programs}:
            if name in owner:
                raise ConfigError(f"{where}: variants {group.name!r}: {name}: {owner[name]} decides on it too",
                                  hint="declare it in one place")  # fmt: skip
            owner[name] = f"variants {group.name!r}"


# --- constants and configuration


def _constants(table: Mapping[str, Any], where: str, above: str = "") -> Iterator[tuple[str, Constant]]:
    """Names with their values; a table is a structure, of which only the members that it names are set."""
    for key, value in table.items():
        name = f"{above}{key}"
        if not _PATH.fullmatch(name):
            raise _not(f"{where}: constants", "the name of a variable", name)
        if isinstance(value, Mapping):
            yield from _constants(value, where, f"{name}.")
        else:
            yield name, _constant(value, f"{where}: constants: {name}")


def _constant(value: Any, where: str, left: int = MAX_CONSTANT, depth: int = 8) -> Constant:
    if isinstance(value, str) and len(value) <= left and "\0" not in value:
        return value
    if isinstance(value, list | tuple) and 0 < len(value) <= left and depth:
        return tuple(_constant(item, where, left // len(value), depth - 1) for item in value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 64:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise _not(where, f"true, false, a number, a text, or a list of at most {MAX_CONSTANT} of them", value)


def _kconfig(table: Mapping[str, Any], where: str) -> Iterator[tuple[str, bool | int | str]]:
    for name, value in table.items():
        if not _KCONFIG.fullmatch(str(name)):
            raise _not(where, "a name such as CONFIG_HZ", name)
        number = isinstance(value, int) and -(1 << 63) <= value < 1 << 64
        text = isinstance(value, str) and len(value) <= 256 and value.isascii() and value.isprintable()
        if not number and not (text and '"' not in value):
            raise _not(f"{where}: {name}", "true, false, a whole number, or a short text without quotes", value)
        yield str(name), value


# --- checks


def _tables(
    table: Mapping[str, Any], key: str, name: re.Pattern[str], where: str
) -> Iterable[tuple[str, Mapping[str, Any], str]]:
    """Name, table and breadcrumbs of each table below a key, by name: the key's JSON has no order either."""
    found = _table(table.get(key, {}), f"{where}: {key}")
    for given in sorted(found):
        if not name.fullmatch(given):
            raise _not(f"{where}: {key}", "a name as the object has it", given)
        inner = _table(found[given], f"{where}: {key}.{given}")
        if not inner:
            raise ConfigError(f"{where}: {key}.{given}: declares nothing", hint="leave the table out")
        yield given, inner, f"{where}: {key}.{given}"


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _not(where, "a table", value)
    return value


def _checked(table: Mapping[str, Any], checks: Mapping[str, Check], where: str) -> dict[str, Any]:
    check_keys(table, checks, where)
    return {name: checks[name](value, f"{where}: {name}") for name, value in table.items()}


def _number(value: Any, where: str, low: int, high: int, more: str = "") -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise _not(where, f"a whole number from {low} to {high}{more}", value)
    return value


def _size(value: Any, where: str) -> int:
    return _number(value, where, 0, 1 << 30)


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise _not(where, "true or false", value)
    return value


def _off(value: Any, where: str) -> bool:
    if value is not False:
        raise _not(where, "false (as the object says is the default)", value)
    return False


def _one_of(words: tuple[str, ...]) -> Check:
    def check(value: Any, where: str) -> str:
        if not isinstance(value, str):
            raise _not(where, "one of " + ", ".join(words), value)
        if value not in words:
            hint = did_you_mean(value, words, "one of " + ", ".join(words))
            raise ConfigError(f"{where}: unknown value {value[:80]!r}", hint=hint)
        return value

    return check


def _matching(pattern: re.Pattern[str], expected: str) -> Check:
    def check(value: Any, where: str) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise _not(where, expected, value)
        return value

    return check


def _not(where: str, expected: str, got: object) -> ConfigError:
    return ConfigError(f"{where}: expected {expected}, got {repr(got)[:80]}")


_INNER: Mapping[str, Check] = {
    "type": _one_of(MAP_TYPES),
    "key_size": _size,
    "value_size": _size,
    "max_entries": _entries,
}
_MAP: Mapping[str, Check] = {**_INNER, "pinning": _off, "autocreate": _off, "inner": _inner}
_PROGRAM: Mapping[str, Check] = {
    "type": _one_of(PROGRAM_TYPES),
    "attach_type": _one_of(ATTACH_TYPES),
    "target": _matching(_TARGET, "a function, MODULE:FUNCTION, a pattern, CATEGORY/NAME, or /FILE:FUNCTION"),
    "target_program": _matching(_SECTION, "a program's function or section"),
    "target_file": _matching(_FILE, "a path below the project"),
    "target_object": _matching(_OBJECT, "the name of an object of this project"),
    "attach": _one_of(tuple(AttachMode)),
    "autoload": _flag,
}
