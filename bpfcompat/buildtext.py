"""Inventories as people read them: one kernel on a screen, or what changed between two.  Values in, text out."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bpfcompat.builds import ENUMS, Build, Change, differences, to_json
from bpfcompat.digest import canonical
from bpfcompat.since import Since, since, table

WIDTH = 112
_LABEL = 17
_PREFIXES = ("BPF_PROG_TYPE_", "BPF_MAP_TYPE_", "BPF_LINK_TYPE_", "BPF_")
# What of a configuration says what BPF programs can do here, beside all options with BPF or BTF in their name.
_TELLING = (
    "CONFIG_CGROUPS", "CONFIG_DEBUG_INFO_BTF", "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS", "CONFIG_FPROBE",
    "CONFIG_FTRACE_SYSCALLS", "CONFIG_FUNCTION_ERROR_INJECTION", "CONFIG_KPROBES", "CONFIG_LSM", "CONFIG_NETKIT",
    "CONFIG_NET_SCH_INGRESS", "CONFIG_SCHED_CLASS_EXT", "CONFIG_SECURITY_LOCKDOWN_LSM", "CONFIG_UPROBES",
    "CONFIG_XDP_SOCKETS",
)  # fmt: skip
KINDS = (*ENUMS, "kfuncs", "flags", "options")
# What is too long for a screen is counted, and listed when it is asked for by name.
_MOST = 24
_COUNTED = ("helpers", "flags", "options", "kfuncs", "commands")


def short_name(name: str) -> str:
    """`xdp` for BPF_PROG_TYPE_XDP: as program and map types are named everywhere but in C."""
    prefix = next((p for p in _PREFIXES if name.startswith(p) and not name.startswith("BPF_F_")), "")
    return name.removeprefix(prefix).lower() if prefix else name


def title(kind: str) -> str:
    """`program types` for `program_types`."""
    return kind.replace("_", " ")


def telling(build: Build) -> dict[str, str]:
    """The options of a build that concern BPF, those that are not set among them; none where nobody has them."""
    if build.options is None:
        return {}
    found = {name for name in build.options if "BPF" in name or "BTF" in name}
    return {name: build.option(name) for name in sorted(found | set(_TELLING) | {"CONFIG_BPF_LIRC_MODE2"})}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a booted guest of a kernel said: of itself (its hello frame), and which helpers each program type may call.

    None for a type that the kernel does not have.
    """

    hello: Mapping[str, Any]
    abilities: Mapping[str, tuple[str, ...] | None]


def show(name: str, about: str, build: Build, modules: Mapping[str, str] | None, kinds: Iterable[str] = (),
         asked: Asked | None = None) -> str:  # fmt: skip
    """One kernel; of the `kinds` that are named everything.  `modules`: kfunc → module, None where nobody looked."""
    head = [f"{name}  {build.release}", *([about] if about else []), ""]
    wanted = tuple(kinds)
    if wanted:
        return "\n".join([*head, *(line for kind in wanted for line in _whole(kind, build, modules or {}, asked))])
    lines = [line for kind in KINDS for line in _brief(kind, build, modules)]
    more = f"bpfcompat kernel show {name} KIND lists one kind whole: {', '.join(KINDS)}"
    return "\n".join([*head, *_facts(build), "", *lines, "", *_in_guest(name, asked), "", more])


def _in_guest(name: str, asked: Asked | None) -> Iterator[str]:
    """What no file says: how the kernel runs, and how many helpers each program type may call."""
    if asked is None:
        yield _entry("in a guest", f"not asked: bpfcompat kernel show {name} --boot")
        return
    hello = asked.hello
    yield _entry("in a guest", f"lockdown {hello.get('lockdown')}; security modules {' '.join(hello.get('lsm') or ())}")
    yield _entry("sysctls", "  ".join(f"{n} = {value}" for n, value in dict(hello.get("sysctls") or {}).items()))
    able = {kind: names for kind, names in asked.abilities.items() if names is not None}
    yield _entry("may call helpers", "  ".join(f"{kind} {len(names)}" for kind, names in able.items()))
    unable = [kind for kind, names in asked.abilities.items() if names is None]
    yield _entry("", f"does not load: {' '.join(unable) or '-'}")


def _facts(build: Build) -> Iterator[str]:
    yield _entry("BTF", f"{build.btf_size / (1 << 20):.1f} MiB")
    if build.options is None:
        yield _entry("configuration", "there is none to be had")
        return
    yield _entry("security modules", " ".join(build.lsm) or "none by default")
    values = telling(build)
    yield _entry("not set", " ".join(n.removeprefix("CONFIG_") for n, value in values.items() if value == "n") or "-")


def _brief(kind: str, build: Build, modules: Mapping[str, str] | None) -> Iterator[str]:
    if kind == "options":
        return
    names = build.names(kind)
    off = [f"{short_name(n)} ({option})" for n in names if (option := build.switched_off(kind, n))]
    missing = f"; compiled out: {', '.join(off)}" if off else ""
    more = _in_modules(modules) if kind == "kfuncs" else ""
    shown = "" if kind in _COUNTED else ": " + " ".join(short_name(n) for n in names)
    yield _entry(title(kind), f"{len(names)}{more}{shown}{missing}")
    yield from (_entry("", line) for line in _beside_upstream(kind, build, (modules or {}) if kind == "kfuncs" else {}))


def _beside_upstream(kind: str, build: Build, modules: Mapping[str, str]) -> Iterator[str]:
    """What newer releases have and this build and its modules lack, and what it has that upstream had later."""
    rows = {name: row for (of, name), row in table().items() if of == kind and name not in modules}
    absent = {n: row for n, row in rows.items() if n not in build.names(kind) and "DEPRECATED" not in n}
    early = {n: row for n, row in rows.items() if n in build.names(kind) and row.newer_than(build.release)}
    for label, found in (("not here", absent), ("taken back from newer Linux", early)):
        if len(found) > _MOST:
            yield f"{label}: {len(found)} that upstream's releases have"
        elif found:
            yield f"{label}: {', '.join(_dated(n, row) for n, row in found.items())}"


def _dated(name: str, row: Since) -> str:
    return f"{short_name(name)} ({'by ' if row.after else ''}{row.version})"


def _in_modules(modules: Mapping[str, str] | None) -> str:
    if modules is None:
        return " in vmlinux; its modules were not read"
    return f" in vmlinux, {len(modules)} in modules"


def _callers(helper: str, asked: Asked) -> str:
    """The types that may call a helper; the others where that is shorter."""
    able = {kind: helper in names for kind, names in asked.abilities.items() if names is not None}
    may, may_not = ([kind for kind, can in able.items() if can is wanted] for wanted in (True, False))
    if len(may) <= len(may_not):
        return " ".join(may) or "-"
    return f"all but {' '.join(may_not)}" if may_not else "all"


def _whole(kind: str, build: Build, modules: Mapping[str, str], asked: Asked | None) -> Iterator[str]:
    """Every name of a kind, one a line: its number, flags or value, since which Linux; of a helper who may call it."""
    if kind == "options":
        yield from (f"{name}={value}" for name, value in telling(build).items())
        return
    for name, value in build.names(kind).items():
        row = since(kind, name)
        dated = f"{'by' if row.after else 'since'} {row.version}" if row else ""
        said = " ".join(sorted(value)) if kind == "kfuncs" else str(value)
        yield f"{name:44} {said:{32 if kind == 'kfuncs' else 6}} {dated:14} {_more(kind, name, build, asked)}".rstrip()
    if kind == "kfuncs":
        yield from (f"{n:44} in module {module}" for n, module in sorted(modules.items()) if n not in build.kfuncs)


def _more(kind: str, name: str, build: Build, asked: Asked | None) -> str:
    off = build.switched_off(kind, name)
    if off:
        return f"compiled out: {off} is not set"
    return _callers(name, asked) if kind == "helpers" and asked else ""


def _entry(label: str, text: str) -> str:
    indent = " " * (_LABEL + 2)
    lines = textwrap.wrap(text, WIDTH - len(indent), break_long_words=False, break_on_hyphens=False) or [""]
    return "\n".join([f"{label:{_LABEL}}  {lines[0]}", *(indent + line for line in lines[1:])])


# --- two of them


def show_difference(old: tuple[str, Build], new: tuple[str, Build], whole: bool = False) -> str:
    """What the second kernel has and the first has not, and the other way round; `whole` with every option."""
    found = differences(old[1], new[1])
    lines = [f"{old[0]} {old[1].release}  ->  {new[0]} {new[1].release}", ""]
    for kind in (*KINDS, "lsm"):
        if kind in found:
            lines += _changed(kind, found[kind], whole)
    return "\n".join(lines if found else [*lines, "no difference in what they have"])


def _changed(kind: str, change: Change, whole: bool) -> Iterator[str]:
    """The entries of one kind; only the first has its name before it."""
    lines = list(_changes(kind, change, whole))
    yield from (_entry(title(kind) if n == 0 else "", line) for n, line in enumerate(lines))


def _changes(kind: str, change: Change, whole: bool) -> Iterator[str]:
    left_out = 0
    if kind == "options" and not whole:
        change, left_out = _about_bpf(change)
    for sign, names in (("+", change.added), ("-", change.removed)):
        if names:
            yield f"{sign}{len(names)}: {' '.join(map(short_name, names))}"
    if kind == "kfuncs":
        yield from (f"{words}: {' '.join(names)}" for words, names in _by_words(change).items())
    else:
        yield from (f"{short_name(n)}: {a or '-'} -> {b or '-'}" for n, (a, b) in change.changed.items())
    if left_out:
        yield f"and {left_out} options that do not name BPF or BTF (--all)"


def _by_words(change: Change) -> dict[str, list[str]]:
    """Functions by what came and went of their flags: one change of the kernel's is of many at once."""
    found: dict[str, list[str]] = {}
    for name, (old, new) in change.changed.items():
        before, after = set(old.split()), set(new.split())
        words = [*(f"-{w}" for w in sorted(before - after)), *(f"+{w}" for w in sorted(after - before))]
        found.setdefault(" ".join(words), []).append(name)
    return found


def _about_bpf(change: Change) -> tuple[Change, int]:
    """The options that concern BPF, and how many others differ."""

    def tells(name: str) -> bool:  # the order of the security modules is told apart
        return ("BPF" in name or "BTF" in name or name in _TELLING) and name != "CONFIG_LSM"

    kept = Change(
        tuple(filter(tells, change.added)),
        tuple(filter(tells, change.removed)),
        {name: pair for name, pair in change.changed.items() if tells(name)},
    )
    every = (*change.added, *change.removed, *change.changed)
    return kept, sum(not tells(name) for name in every)


# --- as JSON


def as_json(name: str, build: Build, modules: Mapping[str, str] | None, asked: Asked | None = None) -> dict[str, Any]:
    """One kernel as JSON values: the inventory, which module holds which further kfunc, what a guest said; or null."""
    guest = None if asked is None else _said(asked)
    return {
        "kernel": name,
        **to_json(build),
        "module_kfuncs": None if modules is None else dict(modules),
        "guest": guest,
    }


def said_bytes(asked: Asked) -> bytes:
    """What guests said of a kernel as canonical JSON: `hello`, and `helpers` by program type."""
    return canonical(_said(asked))


def _said(asked: Asked) -> dict[str, Any]:
    return {"hello": dict(asked.hello), "helpers": dict(asked.abilities)}


def difference_as_json(old: tuple[str, Build], new: tuple[str, Build]) -> dict[str, Any]:
    """Two kernels' names and releases, and what changed by kind."""
    ends = {side: {"kernel": n, "release": b.release} for side, (n, b) in (("old", old), ("new", new))}
    return {**ends, "changes": {kind: asdict(change) for kind, change in differences(old[1], new[1]).items()}}
