"""Where a verdict and an inventory of the same build say what cannot both be so: one of the two has a fault.

Pure.  The kernel's answer stands either way; a line here is work for us, never a change of a verdict.
"""

from collections.abc import Callable, Iterator, Mapping

from bpfcompat.builds import Build
from bpfcompat.model import Creation, Report, Verdict
from bpfcompat.since import full_name

# Causes that say something is not there, and the kind of a Build that would have it.
_ABSENT = {
    "helper-missing": "helpers",
    "map-type-missing": "map_types",
    "prog-type-missing": "program_types",
    "kfunc-missing": "kfuncs",
}
# Causes that say something is there, but not for this caller.
_PRESENT = {"helper-not-allowed": "helpers", "locked-down": "helpers", "kfunc-not-allowed": "kfuncs"}


def contradictions(build: Build, verdict: Verdict, report: Report, modules: Mapping[str, str]) -> list[str]:
    """Each contradiction in words; `modules` are kfuncs that modules of this build have."""
    rules: tuple[Callable[[Build, Verdict, Report, Mapping[str, str]], Iterator[str]], ...] = (
        _of_release, _of_cause, _of_types,
    )  # fmt: skip
    return [line for rule in rules for line in rule(build, verdict, report, modules)]


def _of_release(build: Build, _verdict: Verdict, report: Report, _modules: Mapping[str, str]) -> Iterator[str]:
    said = report.guest.get("release")
    if said is not None and said != build.release:
        yield f"the guest is {said}, the inventory is of {build.release}"


def _of_cause(build: Build, verdict: Verdict, report: Report, modules: Mapping[str, str]) -> Iterator[str]:
    absent, present = _ABSENT.get(verdict.cause), _PRESENT.get(verdict.cause)
    kind = absent or present
    if not kind or not verdict.subject:
        return
    name = full_name(kind, _type_of(verdict, report) if kind in ("map_types", "program_types") else verdict.subject)
    there = name in build.names(kind)
    if absent and there and not build.switched_off(kind, name) and not (kind == "kfuncs" and name in modules):
        yield f"{verdict.cause}: the build has {name}"
    if present and not there and name not in modules:
        yield f"{verdict.cause}: the build has no {name}"


def _type_of(verdict: Verdict, report: Report) -> str:
    """The subject of a missing map type may be the map."""
    return next((m.type for m in report.maps if m.name == verdict.subject), verdict.subject)


def _of_types(build: Build, _verdict: Verdict, report: Report, _modules: Mapping[str, str]) -> Iterator[str]:
    """What was created or loaded must be of a type that the build has."""
    used = {("map_types", m.type) for m in report.maps if m.outcome is Creation.CREATED}
    used |= {("program_types", p.type) for p in report.programs if p.autoload and p.load_errno == 0}
    for kind, short in sorted(used):
        name = full_name(kind, short)
        if name not in build.names(kind):
            yield f"{name} works there, and the build has no such type"
        elif (option := build.switched_off(kind, name)) is not None:
            yield f"{name} works there, and {option} is not set"
