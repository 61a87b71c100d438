"""What is said of an object before any boot, as text and as JSON.  Pure.

Everything about a kernel here is a prediction; it says so wherever it stands.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from itertools import takewhile
from typing import Any, NamedTuple

from bpfcompat.anatomy import Anatomy, Map, Program
from bpfcompat.corelo import Local, Outcome, Resolved
from bpfcompat.errors import ObjectError
from bpfcompat.insns import Reference, To, isa
from bpfcompat.predicting import NOTICE, Obstacle, Prediction, Target, Word, helper_name, predict, resolve, upstream
from bpfcompat.sections import printable

FORMAT = 1
MOST_NAMES = 12  # of a list in one line
MOST_OBSTACLES = 8
MAX_LINE = 2000


class Look(NamedTuple):
    """An object looked at: what is in it, what each kernel has of it, and who was not looked at and why."""

    title: str
    size: int
    anatomy: Anatomy
    kernels: tuple[tuple[Target, Prediction, tuple[Resolved, ...]], ...]
    absent: Mapping[str, str]


def look(title: str, size: int, anatomy: Anatomy, targets: Iterable[Target], declared: bool = False,
         absent: Mapping[str, str] | None = None) -> Look:  # fmt: skip
    """Look at an object, and at it with each kernel; ObjectError for one that cannot be read."""
    seen = []
    for target in targets:
        resolved = resolve(anatomy, target)
        seen.append((target, predict(anatomy, target, declared, resolved), resolved))
    return Look(title, size, anatomy, tuple(sorted(seen, key=lambda s: release_key(s[0].release))), absent or {})


def release_key(release: str) -> tuple[int, ...]:
    """Orders releases by their leading numbers: 5.10.0 before 6.1.0."""
    found = re.match(r"\d{1,6}(?:\.\d{1,6}){0,3}", release)
    return tuple(int(part) for part in found[0].split(".")) if found else (0,)


def oldest(looked: Look) -> Target | None:
    """The oldest kernel of these that could work."""
    return next((target for target, found, _ in looked.kernels if found.word is not Word.IMPOSSIBLE), None)


# --- text


def text(looked: Look) -> str:
    """For people: the object, then each kernel."""
    lines = [_head(looked), *_programs(looked.anatomy), *_maps(looked.anatomy), *_needs(looked.anatomy)]
    lines += _upstream(looked.anatomy)
    lines += _kernels(looked)
    return "".join(f"{printable(line[:MAX_LINE])}\n" for line in lines)


def _head(looked: Look) -> str:
    found = looked.anatomy
    features = {feature for f in found.code.functions for feature in f.features}
    btf = "no BTF" if found.debug.types is None else "BTF with source lines" if found.debug.ext.has_lines else "BTF"
    order = "" if found.byte_order == "little" else f", {found.byte_order}-endian"
    said = (
        f"{looked.title}: {looked.size:,} bytes, licence {found.licence or 'none'}, {btf}, -mcpu={isa(features)}{order}"
    )
    return said + (f"; damaged: {found.debug.fault}" if found.debug.fault else "")


def _programs(anatomy: Anatomy) -> Iterator[str]:
    yield f"{_count(anatomy.programs, 'program')}"
    for program in anatomy.programs:
        functions = anatomy.functions(program)
        more = f" in {len(functions)} functions" if len(functions) > 1 else ""
        kind = program.type.lower() or "no type that is known here"
        optional = "" if program.autoload else ", only loaded when asked for"
        insns = sum(f.insns for f in functions)
        yield f"  {program.function.section:36} {program.name:28} {kind}, {insns:,} instructions{more}{optional}"
        yield from (f"    {line}" for line in _calls(anatomy, program))


def _calls(anatomy: Anatomy, program: Program) -> Iterator[str]:
    found = [reference for _, reference in anatomy.references(program)]
    helpers = sorted(anatomy.helpers(program))
    if helpers:
        yield f"helpers: {_few(f'{helper_name(number)} ({number})' for number in helpers)}"
    for to, words in ((To.KFUNC, "kfuncs"), (To.MAP, "maps"), (To.EXTERN, "kernel's values")):
        names = dict.fromkeys(_weakly(r) for r in found if r.to is to)
        if names:
            yield f"{words}: {_few(names)}"


def _weakly(reference: Reference) -> str:
    return f"{reference.name} (may be missing)" if reference.weak else reference.name


def _maps(anatomy: Anatomy) -> Iterator[str]:
    yield _count(anatomy.maps, "map")
    for found in anatomy.maps:
        yield f"  {found.name:36} {_declared(found)}"


def _declared(found: Map) -> str:
    if found.legacy:
        return "of section 'maps': libbpf 1.x does not take it"
    sizes = (("key", found.key_size), ("value", found.value_size), ("entries", found.max_entries))
    return ", ".join([found.type, *(f"{name} {number:,}" for name, number in sizes if number)])


def _needs(anatomy: Anatomy) -> Iterator[str]:
    found = anatomy.relocations
    specs = dict.fromkeys(f"{r.word} {r.spec}" for r in found)
    yield _count(found, "CO-RE relocation") + (f" of {_count(specs, 'thing')}" if found else "")


def _upstream(anatomy: Anatomy) -> Iterator[str]:
    rows = upstream(anatomy)
    first = next(rows, None)
    if first is not None:
        newest = [first, *takewhile(lambda row: row[1].version == first[1].version, rows)]
        last = _few(need.short for need, _ in newest)
        yield f"upstream: {first[1].words} has all that it surely needs ({last} came last)"


def _kernels(looked: Look) -> Iterator[str]:
    if looked.kernels:
        yield f"kernels: {NOTICE}"
    for target, found, resolved in looked.kernels:
        missing = [r for r in resolved if r.outcome is not Outcome.FOUND]
        relocated = f"; {len(resolved) - len(missing)} of {len(resolved)} relocations found" if resolved else ""
        yield f"  {target.name:24} {target.release:32} {found.word}{relocated}"
        yield from (f"    {line}" for line in _obstacles(found.obstacles))
    yield from (f"  {name:24} not looked at: {why}" for name, why in looked.absent.items())
    first = oldest(looked)
    if looked.kernels:
        yield f"oldest of these that could work: {first.name if first else 'none'}"


def _obstacles(obstacles: Sequence[Obstacle]) -> Iterator[str]:
    for obstacle in obstacles[:MOST_OBSTACLES]:
        mark = "NO" if obstacle.certain else "- " if obstacle.guarded else "? "
        instead = f" (it has {', '.join(obstacle.instead)})" if obstacle.instead else ""
        yield f"{mark} {obstacle.cause}: {obstacle.words}{instead}"
    if len(obstacles) > MOST_OBSTACLES:
        yield f"   and {len(obstacles) - MOST_OBSTACLES} more: --json has them"


def _count(things: Sized, word: str) -> str:
    return f"{len(things) or 'no'} {word}{'' if len(things) == 1 else 's'}"


def _few(names: Iterable[str]) -> str:
    there = list(names)
    more = f" and {len(there) - MOST_NAMES} more" if len(there) > MOST_NAMES else ""
    return ", ".join(there[:MOST_NAMES]) + more


# --- JSON


def to_json(looked: Look) -> dict[str, Any]:
    """For machines: all of it, nothing left out."""
    anatomy = looked.anatomy
    features = sorted({feature for f in anatomy.code.functions for feature in f.features})
    return {
        "format": FORMAT,
        "object": {
            "name": looked.title,
            "size": looked.size,
            "byte_order": anatomy.byte_order,
            "licence": anatomy.licence,
            "btf": anatomy.debug.types is not None,
            "lines": anatomy.debug.ext.has_lines,
            "fault": anatomy.debug.fault,
            "isa": isa(features),
            "features": features,
            "sections": [{"name": s.name, "size": s.size} for s in anatomy.code.elf.sections if s.name],
            "programs": [_program_json(anatomy, p) for p in anatomy.programs],
            "maps": [_map_json(m) for m in anatomy.maps],
            "externs": [{"name": name, "weak": weak} for name, weak in anatomy.externs],
            "relocations": [_local_json(r) for r in anatomy.relocations],
        },
        "upstream": [
            {"kind": need.kind, "name": need.name, "since": row.version, "after": row.after, "source": row.source}
            for need, row in upstream(anatomy)
        ],
        "notice": NOTICE,
        "kernels": [_kernel_json(*seen) for seen in looked.kernels],
        "not_looked_at": dict(looked.absent),
        "oldest_that_could_work": first.name if (first := oldest(looked)) else None,
    }


def _program_json(anatomy: Anatomy, program: Program) -> dict[str, Any]:
    found = [reference for _, reference in anatomy.references(program)]
    return {
        "name": program.name,
        "section": program.function.section,
        "type": program.type.lower(),
        "attach_type": program.attach_type.lower(),
        "target": program.target,
        "autoload": program.autoload,
        "functions": [{"name": f.name, "insns": f.insns} for f in anatomy.functions(program)],
        "helpers": {str(n): helper_name(n) for n in sorted(anatomy.helpers(program))},
        **{
            key: sorted({r.name for r in found if r.to is to})
            for key, to in (("kfuncs", To.KFUNC), ("maps", To.MAP), ("externs", To.EXTERN))
        },
    }


def _map_json(found: Map) -> dict[str, Any]:
    return {
        "name": found.name,
        "type": "" if found.legacy else found.type,
        "key_size": found.key_size,
        "value_size": found.value_size,
        "max_entries": found.max_entries,
        "legacy": found.legacy,
    }


def _local_json(local: Local) -> dict[str, Any]:
    return {"function": local.function, "insn": local.insn, "kind": local.word, "spec": local.spec}


def _kernel_json(target: Target, found: Prediction, resolved: Sequence[Resolved]) -> dict[str, Any]:
    return {
        "name": target.name,
        "release": target.release,
        "prediction": str(found.word),
        "obstacles": [
            {
                "cause": o.cause,
                "subject": o.subject,
                "program": o.program,
                "certain": o.certain,
                "guarded": o.guarded,
                "words": o.words,
                "instead": list(o.instead),
            }
            for o in found.obstacles
        ],
        "relocations": [
            {
                "outcome": str(r.outcome),
                "found": list(r.values) if r.values and not r.poisoned else None,
                "where": r.where,
                "wanted": r.wanted,
                "closest": list(r.closest),
                "fault": r.fault,
            }
            for r in resolved
        ],
    }


def names_in(error: ObjectError, title: str) -> ObjectError:
    """The same error, with the object's name before it."""
    return ObjectError(f"{title}: {error.message}", error.hint)
