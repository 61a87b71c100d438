"""What a report tells beside the answer: what programs cost, which maps there are, which relocations found nothing.

Pure; nothing here decides an answer.
"""

from collections.abc import Iterator
from typing import Any

from bpfcompat.causes import clip, errno_name
from bpfcompat.model import MapVerdict, Measures, ProgramReport, Report

NEAR = 0.8  # of the instructions that the verifier would process: from here on it is worth a word
MOST = 8
_NUMBERS = ("verified", "limit", "states", "peak_states")


def map_verdicts(report: Report) -> tuple[MapVerdict, ...]:
    """One row a map, none left out."""
    return tuple(
        MapVerdict(clip(m.name), clip(m.type, 64), m.outcome, errno_name(m.errno), clip(m.reason)) for m in report.maps
    )


def notes(report: Report) -> Iterator[str]:
    """What people should know of an object whatever the answer is."""
    if report.load_errno == 0 and not any(program.autoload for program in report.programs):
        yield "NOTHING WAS VERIFIED: no program of this object is loaded by default"
    yield from _near_the_limit(report)
    yield from _guarded(report)
    if report.types is not None and report.types.errno:
        yield f"the kernel does not take the object's BTF ({errno_name(report.types.errno)}); libbpf goes on without"


def _near_the_limit(report: Report) -> Iterator[str]:
    near = [p for p in report.programs if _share(p) > NEAR]
    for program in sorted(near, key=_share, reverse=True)[:MOST]:
        found = program.measures
        if found is not None and found.verified is not None and found.limit is not None:
            yield clip(f"program '{program.name}': verified {found.verified:,} of {found.limit:,} instructions")
    if len(near) > MOST:
        yield f"and {len(near) - MOST} more programs near the verifier's limit"


def _share(program: ProgramReport) -> float:
    found = program.measures
    return found.verified / found.limit if found and found.verified and found.limit else 0.0


def _guarded(report: Report) -> Iterator[str]:
    """Accesses that this kernel has no match for, in programs that it takes all the same."""
    loaded = {program.name for program in report.programs if not program.load_errno}
    found = list(dict.fromkeys(r.spec for r in report.relocations if r.found is None and r.function in loaded))
    if found:
        more = f" and {len(found) - MOST} more" if len(found) > MOST else ""
        yield clip(f"CO-RE: not in this kernel, and guarded: {', '.join(clip(s, 80) for s in found[:MOST])}{more}", 600)


def measures_from_json(value: Any) -> Measures | None:
    """Measures of a verdict's JSON; KeyError or TypeError if they are none."""
    if value is None:
        return None
    known = {name: None if value[name] is None else _whole(value[name]) for name in _NUMBERS}
    stack = tuple(_whole(depth) for depth in value["stack"])
    if set(value) != {*_NUMBERS, "insns", "line_info", "stack"}:
        raise KeyError("measures: more names than there are")
    return Measures(_whole(value["insns"]), _whole(value["line_info"]), stack=stack, **known)


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"expected a number, got {type(value).__name__}")
    return value
