"""Programs that an object has twice for the same target, by a newer and by an older way: its application loads one set.

And functions that stand for one that an application chooses.  Pure; told from the names of sections alone.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bpfcompat.tomledit import quoted

if TYPE_CHECKING:  # it takes 50 ms to load, and a section's name is all that is needed before a guest runs
    from bpfcompat.elf import ObjectFacts

TWINS = {"fentry": "kprobe", "tp_btf": "raw_tp"}  # and fexit goes with fentry, kretprobe with kprobe
_PLACEHOLDER = re.compile(r"(?:dummy|placeholder)\w*|foo|func|tc")  # as bcc, xdp-tools, ksnoop and pwru write them
_FAMILIES = {"raw_tracepoint": "raw_tp", "raw_tracepoint.w": "raw_tp.w", "tp": "tracepoint"}


def split(section: str) -> tuple[str, str]:
    """Family and target of a section: `?fentry.s/vfs_read` is `fentry` and `vfs_read`."""
    family, _, target = section.removeprefix("?").partition("/")
    family = family.removesuffix(".s")
    return _FAMILIES.get(family, family), target


def twins(facts: "ObjectFacts", new: str) -> tuple[list[str], list[str]]:
    """Functions of the newer family, and of the older one, whose targets both have; both empty where there are none."""
    pairs = [(new, TWINS[new])] + ([("fexit", "kretprobe")] if new == "fentry" else [])
    newer: list[str] = []
    older: list[str] = []
    for one, other in pairs:
        mine, theirs = _of(facts, one), _of(facts, other)
        common = {t for _, t in mine} & {t for _, t in theirs}
        newer += [name for name, t in mine if t in common]
        older += [name for name, t in theirs if t in common]
    return newer, older


def placeholder(section: str) -> str:
    """The function in a section's name when it only stands for one that an application chooses; else ""."""
    function = split(section)[1].rpartition(":")[2].partition("+")[0]
    return function if _PLACEHOLDER.fullmatch(function) else ""


def _of(facts: "ObjectFacts", family: str) -> list[tuple[str, str]]:
    return [(p.name, target) for p in facts.programs for f, target in (split(p.section),) if f == family and target]


def has_twin(facts: "ObjectFacts", name: str) -> bool:
    """True for a program of a newer family that is there in an older one too."""
    return any(name in twins(facts, new)[0] for new in TWINS)


def listed(names: Sequence[str]) -> str:
    """Names as a list of TOML."""
    return "[" + ", ".join(map(quoted, names)) + "]"


def variant_line(facts: "ObjectFacts", new: str) -> str:
    """The group of variants to declare, on one line with `; ` for each new one; "" where there are no twins."""
    newer, older = twins(facts, new)
    if not newer:
        return ""
    first = f'{{ programs = {listed(newer)}, needs = "trial-load" }}'
    return f'[[objects.NAME.variants]] name = "{new}"; programs = [{first}, {{ programs = {listed(older)} }}]'
