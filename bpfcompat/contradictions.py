"""Where a verdict and an inventory of the same build say what cannot both be so: one of the two has a fault.

What is held is the cause of the object, of each program and of each map.  Pure.  The kernel's answer stands either way;
a line here is work for us, never a change of a verdict.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from bpfcompat.builds import Build
from bpfcompat.causes import loaded_since, older
from bpfcompat.model import Attach, Creation, Report
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


@dataclass(frozen=True, slots=True)
class Around:
    """What a build is held with: kfunc → module, and the attach type that libbpf gives to a section ("" for none)."""

    modules: Mapping[str, str] = field(default_factory=dict)
    attach_type: Callable[[str], str] = lambda section: ""


@dataclass(frozen=True, slots=True)
class Said:
    """A cause that is claimed: of whom (a breadcrumb, "" for the object), and what it is about."""

    who: str
    cause: str
    subject: str


def contradictions(build: Build, said: Iterable[Said], report: Report, around: Around) -> list[str]:
    """Each contradiction in words, once."""
    of_causes, of_report = (_of_cause, _of_attach_type, _of_option), (_of_release, _of_types, _of_attached)
    found = [
        f"{claim.who}: {line}" if claim.who else line
        for claim in said
        for rule in of_causes
        for line in rule(build, claim, report, around)
    ]
    return list(dict.fromkeys([*found, *(line for rule in of_report for line in rule(build, report, around))]))


def _of_release(build: Build, report: Report, _around: Around) -> Iterator[str]:
    told = report.guest.get("release")
    if told is not None and told != build.release:
        yield f"the guest is {told}, the inventory is of {build.release}"


def _of_cause(build: Build, said: Said, report: Report, around: Around) -> Iterator[str]:
    absent, present = _ABSENT.get(said.cause), _PRESENT.get(said.cause)
    kind = absent or present
    if not kind or not said.subject:
        return
    name = full_name(kind, _type_of(said, report) if kind in ("map_types", "program_types") else said.subject)
    there = name in build.names(kind)
    if absent and there and not build.switched_off(kind, name) and not (kind == "kfuncs" and name in around.modules):
        yield f"{said.cause}: the build has {name}"
    if present and not there and name not in around.modules:
        yield f"{said.cause}: the build has no {name}"


def _of_attach_type(build: Build, said: Said, _report: Report, around: Around) -> Iterator[str]:
    """A way to attach that is missing: its type is not in the build or compiled out, or it is too old for a flag."""
    name = _attach_type(around, said.subject) if said.cause == "attach-type-missing" else ""
    first = loaded_since(said.subject)
    if first is not None and older({"release": build.release}, first):
        return
    if name in build.attach_types and not build.switched_off("attach_types", name):
        yield f"{said.cause}: the build has {name}"


def _of_option(build: Build, said: Said, report: Report, around: Around) -> Iterator[str]:
    """What is said to be compiled out, and is not: the option is set, or the build has never heard of it."""
    if said.cause != "config-disabled":
        return
    if any(m.name == said.subject for m in report.maps):
        kind, name = "map_types", full_name("map_types", _type_of(said, report))
    elif said.subject.startswith("bpf_"):
        kind, name = "helpers", full_name("helpers", said.subject)
    elif "." in said.subject or "/" in said.subject:
        kind, name = "attach_types", _attach_type(around, said.subject)
    else:
        kind, name = "program_types", full_name("program_types", said.subject)
    if name and not build.switched_off(kind, name):
        yield f"{said.cause}: no option of the build switches {name} off"


def _attach_type(around: Around, section: str) -> str:
    """A section's attach type.  libbpf has the number 0 for sections that need none, and 0 has a name of its own."""
    name = around.attach_type(section)
    return "" if name == "BPF_CGROUP_INET_INGRESS" and not section.removeprefix("?").startswith("cgroup") else name


def _type_of(said: Said, report: Report) -> str:
    """The subject of a missing map type may be the map."""
    return next((m.type for m in report.maps if m.name == said.subject), said.subject)


def _of_types(build: Build, report: Report, _around: Around) -> Iterator[str]:
    """What was created or loaded must be of a type that the build has."""
    used = {("map_types", m.type) for m in report.maps if m.outcome is Creation.CREATED}
    used |= {("program_types", p.type) for p in report.programs if p.autoload and p.load_errno == 0}
    for kind, short in sorted(used):
        name = full_name(kind, short)
        if name not in build.names(kind):
            yield f"{name} works there, and the build has no such type"
        elif (option := build.switched_off(kind, name)) is not None:
            yield f"{name} works there, and {option} is not set"


def _of_attached(build: Build, report: Report, around: Around) -> Iterator[str]:
    """What attached did so by a type that the build has; libbpf does without one that an older kernel lacks."""
    for program in report.programs:
        name = _attach_type(around, program.section) if program.attach is Attach.ATTACHED else ""
        option = build.switched_off("attach_types", name) if name else None
        if option is not None:
            yield f"{program.name} attaches as {name}, and {option} is not set"
