"""An object's bytes in, a proposed [objects.NAME] table out: what its own loader probably does before it loads.

Pure, and a proposal: each line has its reason as a comment, and whoever knows the application decides.  What is
declared is taken by the settings as it is; what is only likely stands in comments.
"""

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bpfcompat.btftypes import Kind, Type, Types
from bpfcompat.causes import SIZED_BY_ITSELF
from bpfcompat.declared import FRAMES, example_target, toml_key
from bpfcompat.elf import ObjectFacts, ProgramFacts, read_object, section_of
from bpfcompat.errors import ObjectError
from bpfcompat.fitting import NAMED_LATE
from bpfcompat.sections import printable
from bpfcompat.twins import TWINS, listed, placeholder, split, twins

MAX_COMMENTS = 40

# enum bpf_map_type of linux/bpf.h, in its order from 1
_MAP_TYPES = (
    "hash array prog_array perf_event_array percpu_hash percpu_array stack_trace cgroup_array lru_hash lru_percpu_hash "
    "lpm_trie array_of_maps hash_of_maps devmap sockmap cpumap xskmap sockhash cgroup_storage reuseport_sockarray "
    "percpu_cgroup_storage queue stack sk_storage devmap_hash struct_ops ringbuf inode_storage task_storage "
    "bloom_filter user_ringbuf cgrp_storage arena insn_array"
)
# Sections whose name alone gives libbpf no type are told from these; the guest's libbpf has the last word.
_SECTIONS = re.compile(
    r"\??(socket|sk_reuseport|kprobe|uprobe|kretprobe|uretprobe|ksyscall|kretsyscall|usdt|tc|classifier|action|tcx"
    r"|netkit|tracepoint|tp|raw_tracepoint|raw_tp|tp_btf|fentry|fexit|fmod_ret|fentry\.s|freplace|lsm|lsm\.s|lsm_cgroup"
    r"|iter|iter\.s|syscall|xdp|xdp\.frags|perf_event|lwt_\w+|sk_skb|sk_msg|sockops|flow_dissector|lirc_mode2|cgroup"
    r"|cgroup_skb|struct_ops|sk_lookup|netfilter)(\.\w+)*(\.s)?(\+|$|/.*)"
)
_DECLARABLE = re.compile(r"[!#-\[\]-~]{1,255}")  # printable ASCII without a blank, a quote and a backslash
_BY_BTF = ("fentry", "fexit", "fmod_ret")
_SIZES = {"ringbuf": '"pages:64"', "user_ringbuf": '"pages:64"', "arena": "256", "devmap": "64", "devmap_hash": "64",
          "array": '"cpus"', "cpumap": '"cpus"', "xskmap": "64", "percpu_array": "1"}  # fmt: skip
_LIKELY = {"write": "vfs_write", "open": "vfs_open", "sync": "vfs_fsync", "getattr": "vfs_getattr"}
_SETTING = re.compile(r"(targ|target|filter|enable|use|min|max|my|is|has|do|cfg|config|opt|param)_|_(only|ms|ns|pid)$")


@dataclass(frozen=True, slots=True)
class Around:
    """What is known beside the object: each kernel's functions by its name, and modules by the kfunc they have."""

    functions: Mapping[str, frozenset[str]]
    modules: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Map:
    name: str
    type: str
    max_entries: int
    pinned: bool
    inner: "_Map | None"
    has_inner: bool
    has_value: bool


def propose(name: str, origin: Sequence[str], data: bytes, around: Around) -> str:
    """The table for an object; `origin` are the lines that say where it is.  ObjectError when it cannot be read."""
    try:
        return _proposed(name, origin, data, around)
    except struct.error as error:
        raise ObjectError(f"{name}: its BTF is damaged: {error}") from None


def _proposed(name: str, origin: Sequence[str], data: bytes, around: Around) -> str:
    facts = read_object(data)
    btf = section_of(data, ".BTF")
    types = Types(btf) if btf else None
    head = f"[objects.{toml_key(name)}]"
    parts = [[head, *origin, *_modules(facts, around), *_externs(facts, around)]]
    parts += [list(lines) for lines in (_maps(name, facts, types), _programs(name, facts, around))]
    parts += [list(_variants(name, facts)), list(_constants(name, facts, types))]
    # whatever the object calls its things, a line stays one: the text is for somebody's settings
    return "\n\n".join("\n".join(map(printable, lines)) for lines in parts if lines) + "\n"


def _can_be_declared(name: str) -> bool:
    """False for a name that the settings refuse, or that would end the quotation it stands in."""
    return _DECLARABLE.fullmatch(name) is not None


# --- maps


def _maps(name: str, facts: ObjectFacts, types: Types | None) -> Iterator[str]:
    found = list(_map_definitions(types)) if types else []
    lines = [line for one in found if _can_be_declared(one.name) for line in _map_lines(one)]
    if lines:
        yield f"[objects.{toml_key(name)}.maps]"
        yield from lines
    for legacy in facts.legacy_maps[:MAX_COMMENTS]:
        yield f"# {legacy}: of section 'maps', which libbpf 1.x does not load: another loader is needed"


def _map_lines(one: _Map) -> Iterator[str]:
    key = toml_key(one.name)
    if not one.max_entries and one.type not in SIZED_BY_ITSELF:
        size = _SIZES.get(one.type, "10240")
        yield f"{key}.max_entries = {size}  # {one.type} of 0 entries: its application sizes it"
    if one.type == "stack_trace" and not one.has_value:
        yield f"{key}.value_size = {FRAMES}  # how deep a stack is, is its application's choice; 8 bytes a frame"
    if one.type.endswith("_of_maps") and not one.has_inner:
        yield (f'{key}.inner = {{ type = "hash", key_size = 4, value_size = 8, max_entries = 1024 }}'
               "  # no prototype of the maps inside: its application sets one")  # fmt: skip
    elif one.inner is not None and not one.inner.max_entries and one.inner.type not in SIZED_BY_ITSELF:
        size = _SIZES.get(one.inner.type, "1024")
        yield f"{key}.inner = {{ max_entries = {size} }}  # the {one.inner.type} inside has 0 entries"
    if one.pinned:
        yield f"# {key}.pinning = false  # it is pinned by its name; so if its application turns that off"


def _map_definitions(types: Types) -> Iterator[_Map]:
    for name, number in types.variables(".maps").items():
        _, of = types.resolved(number)
        if of.kind is Kind.STRUCT:
            yield _map_definition(types, name, of)


def _map_definition(types: Types, name: str, of: Type, depth: int = 1) -> _Map:
    """A map as `__uint()` and its like write it: a number is the length of an array that a member points to."""
    numbers, inner, has_inner, has_value = {}, None, False, False
    for member in types.members(of):
        has_value = has_value or member.name in ("value", "value_size")
        _, kind = types.resolved(member.type)
        if member.name == "values" and kind.kind is Kind.ARRAY:
            inner, has_inner = _inner_definition(types, name, kind, depth), True
        elif kind.kind is Kind.PTR and kind.size_or_type and types.resolved(kind.size_or_type)[1].kind is Kind.ARRAY:
            numbers[member.name] = types.element(types.resolved(kind.size_or_type)[1])[1]
    words = _MAP_TYPES.split()
    number = numbers.get("type", 0)
    word = words[number - 1] if 0 < number <= len(words) else "unknown"
    entries, pinned = numbers.get("max_entries", 0), numbers.get("pinning", 0) == 1
    return _Map(name, word, entries, pinned, inner, has_inner, has_value)


def _inner_definition(types: Types, name: str, values: Type, depth: int) -> _Map | None:
    element, _ = types.element(values)
    _, pointer = types.resolved(element)
    of = types.resolved(pointer.size_or_type)[1] if pointer.kind is Kind.PTR and pointer.size_or_type else None
    return _map_definition(types, name, of, depth - 1) if of and of.kind is Kind.STRUCT and depth else None


# --- programs


def _programs(name: str, facts: ObjectFacts, around: Around) -> Iterator[str]:
    named = [program for program in facts.programs if _can_be_declared(program.name)]
    lines = [line for program in named for line in _program_lines(program, around)]
    if lines:
        yield f"[objects.{toml_key(name)}.programs]"
        yield from lines


def _program_lines(program: ProgramFacts, around: Around) -> Iterator[str]:
    key, (family, target) = toml_key(program.name), split(program.section)
    if not _SECTIONS.fullmatch(program.section):
        kind = "xdp" if "xdp" in program.section else "socket_filter"
        yield f'{key}.type = "{kind}"  # section "{program.section}" says no type: its application sets one'
    elif family == "freplace":
        yield f'# {key}.target_program = "main"  # it replaces a function of a program that its application chooses'
    elif family in _BY_BTF and not target:
        why = f'section "{program.section}" names no function: its application does'
        yield f'{key}.target = "{_guess(program.name)}"  # {why}'
    elif family in NAMED_LATE and not target:
        example, what = example_target(program.section)
        example = _guess(program.name) if example == "vfs_read" else example
        yield f'{key}.target = "{example}"  # section "{program.section}" names no {what}: its application does'
    elif family in (*_BY_BTF, "kprobe", "kretprobe") and target and _nowhere(target, around):
        why = f'no kernel here has "{target}": a placeholder, or another kernel\'s'
        yield f'{key}.target = "{_guess(target)}"  # {why}'


def _guess(name: str) -> str:
    """A function that every kernel has, of the kind that the name speaks of."""
    return next((function for word, function in _LIKELY.items() if word in name), "vfs_read")


def _nowhere(target: str, around: Around) -> bool:
    """No kernel that was looked at has the function; without any, names that say so themselves."""
    function = target.rpartition(":")[2].partition("+")[0]
    if not around.functions:
        return bool(placeholder(f"fentry/{function}"))
    return not any(function in known for known in around.functions.values())


# --- twins


def _variants(name: str, facts: ObjectFacts) -> Iterator[str]:
    """Programs of which each has a twin with the same target in an older family: one set or the other is loaded."""
    for new, old in TWINS.items():
        newer, older = twins(facts, new)
        if newer and all(map(_can_be_declared, newer + older)):
            why = f"the same targets twice, by {new} and by {old}: one or the other"
            yield f"[[objects.{toml_key(name)}.variants]]  # {why}"
            yield f'name = "{new}"'
            yield "programs = ["
            yield f'  {{ programs = {listed(newer)}, needs = "trial-load" }},'
            yield f"  {{ programs = {listed(older)} }},"
            yield "]"


# --- modules, and the rest as comments


def _modules(facts: ObjectFacts, around: Around) -> Iterator[str]:
    """A kfunc may be in one module of one kernel and in another of the next: all are named."""
    held = {e: around.modules[e] for e in facts.externs if e in around.modules}
    if held:
        names = ", ".join(f'"{name}"' for name in sorted({n for names in held.values() for n in names}))
        yield f"modules = [{names}]  # if its loader loads them: they hold {', '.join(sorted(held))[:200]}"


def _externs(facts: ObjectFacts, around: Around) -> Iterator[str]:
    for extern in facts.externs[:MAX_COMMENTS]:
        if extern.startswith(("CONFIG_", "LINUX_")):
            continue
        missing = [kernel for kernel, known in around.functions.items() if extern not in known]
        if extern in around.modules:
            continue
        if missing and len(missing) == len(around.functions):
            yield f"# extern {extern}: no kernel here has it built in: a module's, or newer than all of them"
        elif missing:
            yield f"# extern {extern}: not on {', '.join(missing)}"


def _constants(name: str, facts: ObjectFacts, types: Types | None) -> Iterator[str]:
    found = [v for v in facts.variables if v.section.startswith(".rodata") and _SETTING.search(v.name)]
    if not types or not found:
        return
    yield f"# [objects.{toml_key(name)}.constants]  # these look like settings of its application"
    for variable in found[:MAX_COMMENTS]:
        number = types.variables(variable.section).get(variable.name)
        if number is not None:
            yield f"# {variable.name} = {_example(types, number)}"


def _example(types: Types, number: int) -> str:
    _, of = types.resolved(number)
    if of.kind is Kind.INT:
        return "false" if types.integer(of)[1] else f"0  # {of.name}"
    if of.kind is Kind.ARRAY:
        element, count = types.element(of)
        text = types.resolved(element)[1]
        return (
            f'""  # up to {count - 1} bytes' if text.kind is Kind.INT and text.size_or_type == 1 else f"[]  # {count}"
        )
    return f"0  # {of.kind.name.lower()} {of.name}".rstrip()
