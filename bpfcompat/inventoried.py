"""What this very kernel has in place of what a cause is about: from its own BTF and configuration, never its number.

Pure.  An inventory that lacks the thing proves a cause that was only read from a table; one that has it makes the cause
a guess, and says so.  `since` is upstream's first release with it, for people: distributions backport.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bpfcompat.builds import Build
from bpfcompat.causes import (
    LOADED_SINCE,
    Case,
    Certainty,
    Phase,
    attach_since,
    clip,
    missing_type,
    older,
    reason,
    section_since,
)
from bpfcompat.likeness import renamed, similar
from bpfcompat.nearby import Near
from bpfcompat.since import since as upstream
from bpfcompat.verdict import Refusal


@dataclass(frozen=True, slots=True)
class Here:
    """What there is instead.  `certainty` is None where the inventory has no say, and `because` then "".

    `option` is the one of the configuration that switches it off; `closest` are names that resemble it.
    """

    lines: tuple[str, ...] = ()
    certainty: Certainty | None = None
    because: str = ""
    since: str = ""
    since_source: str = ""
    option: str = ""
    near: Near | None = None
    closest: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """Whom to ask: the build, its BTF (by CO-RE specification, by function), libbpf (by section)."""

    build: Build | None
    near: Callable[[str], Near | None]
    functions: Callable[[str], tuple[str, ...]]
    attach_type: Callable[[str], str]


def here(refusal: Refusal, asked: Asked) -> Here:
    """What this kernel has, for the causes of which an inventory knows something."""
    row = _ROWS.get(refusal.cause.slug)
    return row(refusal.case, clip(refusal.finding.subject), asked) if row else Here()


_PROVEN = "this kernel's own inventory says it"
_AGAINST = "this kernel's own inventory has it, so something else may be the reason"
_TABLE = "bpfcompat's table of releases"


def _since(kind: str, name: str, otherwise: str = "") -> tuple[str, str]:
    """The first upstream release with a name, and who says so; `otherwise` is that of a table of ours."""
    found = upstream(kind, name)
    if found is None:
        return otherwise, _TABLE if otherwise else ""
    ends = [f"not in {found.after}"] if found.after else []
    ends += [f"gone by {found.until}"] if found.until else []
    return f"{found.version} ({', '.join(ends)})" if ends else found.version, found.source


def _backported(kind: str, name: str, release: str) -> str:
    found = upstream(kind, name)
    return f", backported: upstream has it in {found.words}" if found and found.newer_than(release) else ""


def _listed(build: Build | None, kind: str, name: str, otherwise: str, option: str = "") -> Here:
    """A name of an enum: absent, switched off, or there after all."""
    since, source = _since(kind, name, otherwise)
    if build is None or not build.names(kind):
        return Here(since=since, since_source=source)
    what, shown = kind.replace("_", " "), f"bpf_{name}" if kind == "helpers" else name
    if name not in build.names(kind):
        line = f"absent: {shown} is not among the {len(build.names(kind))} {what} of this build"
        return Here((line,), Certainty.PROVEN, _PROVEN, since, source)
    off = build.switched_off(kind, name) or (option if option and build.option(option) == "n" else "")
    if off:
        line = f"switched off: {shown} is known to this build, and {off} is not set"
        return Here((line,), Certainty.PROVEN, _PROVEN, since, source, off)
    line = f"present: {shown} is among the {what} of this build{_backported(kind, name, build.release)}"
    return Here((line,), Certainty.GUESSED, _AGAINST, since, source)


def _helper(case: Case, name: str, asked: Asked) -> Here:
    return _listed(asked.build, "helpers", name.removeprefix("bpf_"), "")


def _helper_elsewhere(case: Case, name: str, asked: Asked) -> Here:
    has = asked.build is not None and name.removeprefix("bpf_") in asked.build.helpers
    kind = case.program.type if case.program else "this type"
    return Here((f"present: this build has {name}, and does not give it to programs of type {kind}",) if has else ())


def _map(case: Case, name: str, asked: Asked) -> Here:
    found = next((m for m in case.maps if m.name == name), None)
    if found is None:
        return Here()
    return _listed(asked.build, "map_types", f"BPF_MAP_TYPE_{found.type.upper()}", "")


def _map_refused(case: Case, name: str, asked: Asked) -> Here:
    found = _map(case, name, asked)
    if found.certainty is Certainty.PROVEN:
        return found
    return Here(found.lines, None, "", found.since, found.since_source)  # the type is there: the cause says so too


def _program_type(case: Case, _: str, asked: Asked) -> Here:
    kind = case.program.type if case.program else ""
    return _listed(asked.build, "program_types", f"BPF_PROG_TYPE_{kind.upper()}", "")


def _attach_type(case: Case, section: str, asked: Asked) -> Here:
    if section.removeprefix("?").startswith("xdp.frags") and case.phase is Phase.LOAD:
        return Here(since=LOADED_SINCE["xdp.frags"])  # of a macro no inventory says whether it is there
    name, since = asked.attach_type(section), attach_since(section) or ""
    return _listed(asked.build, "attach_types", name, since) if name else Here(since=since)


def _disabled(case: Case, section: str, asked: Asked) -> Here:
    if any(m.name == section for m in case.maps):
        return _map(case, section, asked)
    if section.startswith("bpf_"):
        return _helper(case, section, asked)
    return (_program_type if case.phase is Phase.LOAD else _attach_type)(case, section, asked)


def _kfunc(case: Case, name: str, asked: Asked) -> Here:
    since, source = _since("kfuncs", name)
    if asked.build is None or not asked.build.kfuncs or not re.fullmatch(r"\w+", name) or name.isdigit():
        return Here(since=since, since_source=source)
    if name in asked.build.kfuncs:
        line = f"present: {name} is among the kfuncs of this build{_backported('kfuncs', name, asked.build.release)}"
        return Here((line,), Certainty.GUESSED, _AGAINST, since, source)
    close = similar(name, asked.build.kfuncs)
    lines = [f"absent: {name} is not among the {len(asked.build.kfuncs)} kfuncs of this build's vmlinux"]
    lines += [f"in module {case.homes[name]}, which is not loaded"] if name in case.homes else []
    lines += [f"closest kfuncs: {', '.join(close)}"] if close else []
    kin = tuple(filter(None, [renamed(name, close)]))
    return Here(tuple(lines), Certainty.PROVEN, _PROVEN, since, source, closest=kin)


def _kfunc_elsewhere(case: Case, name: str, asked: Asked) -> Here:
    has = asked.build is not None and name in asked.build.kfuncs
    kind = case.program.type if case.program else "this type"
    return Here((f"present: this build has {name}, and does not give it to programs of type {kind}",) if has else ())


def _relocation(_case: Case, spec: str, asked: Asked) -> Here:
    found = asked.near(spec) if spec else None
    if found is None:
        return Here()
    if not found.missing:
        line = f"present: {found.where} has all of it; its kind or its size differs"
        return Here((line,), Certainty.INFERRED, "the names are all there in this kernel's BTF", near=found)
    what = f"{found.where} has no '{found.missing}'" if found.where else f"there is no {found.missing}"
    lines = [f"absent: {what} in this build's BTF"]
    lines += [f"likely renamed to: {found.renamed}"] if found.renamed else []
    rest = [n for n in found.closest if n != found.renamed]
    lines += [f"closest there: {', '.join(rest)}"] if rest else []
    return Here(tuple(lines), Certainty.PROVEN, "both BTFs say it", near=found, closest=found.closest)


# Kinds of struct_ops that an option compiles in, with the first upstream release: 'n' says nothing of an older kernel.
# Commit f0e1a0643a59 ("sched_ext: Implement BPF extensible scheduler class") (in v6.12)
_STRUCT_OPS = {"sched_ext_ops": ("CONFIG_SCHED_CLASS_EXT", "6.12")}
_BY_FUNCTION = ("kprobe", "kretprobe", "ksyscall", "kretsyscall", "fentry", "fexit", "fmod_ret", "fsession")


def _target(case: Case, name: str, asked: Asked) -> Here:
    family = (case.program.section if case.program else "").removeprefix("?").partition("/")[0].partition(".")[0]
    if family == "struct_ops":
        return _struct_ops(name, asked.build)
    if family not in _BY_FUNCTION or not re.fullmatch(r"[\w.]{3,128}", name):
        return Here()
    close = asked.functions(name)
    if name in close:
        line = f"present: {name} is a function of this build's BTF; it may be inlined, notrace or in no list of probes"
        return Here((line,), Certainty.GUESSED if case.phase is Phase.ATTACH else Certainty.INFERRED, _AGAINST)
    lines = (f"closest functions: {', '.join(close)}",) if close else ()
    kin = tuple(n for n in close if name in n or n == renamed(name, close))
    return Here(lines, closest=kin)


def _struct_ops(name: str, build: Build | None) -> Here:
    option, since = _STRUCT_OPS.get(name, ("", ""))
    off = build is not None and option and build.option(option) == "n" and not older({"release": build.release}, since)
    source = _TABLE if since else ""
    if not off:
        return Here(since=since, since_source=source)
    line = f"switched off: {option} is not set, which brings {name}"
    return Here((line,), Certainty.PROVEN, _PROVEN, since, source, option)


def _injection(case: Case, _name: str, asked: Asked) -> Here:
    """The list of error injection holds functions that may sleep, or be modified; newer kernels know more of them."""
    option, said = "CONFIG_FUNCTION_ERROR_INJECTION", reason(case.verifier)
    listed = re.match(r"[^\s']{1,128} is not (sleepable|modifiable)$", said)
    if not listed or not case.program or case.program.type != "tracing" or asked.build is None:
        return Here()
    if asked.build.option(option) != "n":
        return Here()
    return Here((f"switched off: {option} is not set, which lists functions as {listed[1]}",), option=option)


def _btf(_case: Case, _name: str, asked: Asked) -> Here:
    build, option = asked.build, "CONFIG_DEBUG_INFO_BTF"
    if build is None or build.option(option) != "n":
        return Here()
    return Here((f"switched off: {option} is not set",), Certainty.PROVEN, _PROVEN, option=option)


def _extern(_case: Case, name: str, asked: Asked) -> Here:
    if asked.build is None or not name.startswith("CONFIG_") or asked.build.option(name) != "n":
        return Here()
    return Here((f"absent: {name} is not set in this build's configuration",), Certainty.PROVEN, _PROVEN)


def _permission(case: Case, _name: str, _asked: Asked) -> Here:
    lockdown = str(case.guest.get("lockdown") or "none")
    sysctls = case.guest.get("sysctls") or {}
    lines = [f"lockdown: {clip(lockdown, 32)}"]
    lines += [f"{name} = {sysctls[name]}" for name in ("kernel.unprivileged_bpf_disabled",) if name in sysctls]
    return Here(tuple(lines))


def _old_loader(case: Case, _name: str, _asked: Asked) -> Here:
    said = missing_type(case.libbpf)
    since = section_since(said[2]) if said else None
    return Here(since=f"libbpf {since}", since_source=_TABLE) if since else Here()


_ROWS: Mapping[str, Callable[[Case, str, Asked], Here]] = {
    "helper-missing": _helper,
    "helper-not-allowed": _helper_elsewhere,
    "locked-down": _permission,
    "map-type-missing": _map,
    "map-create-failed": _map_refused,
    "prog-type-missing": _program_type,
    "attach-type-missing": _attach_type,
    "config-disabled": _disabled,
    "attach-target-missing": _target,
    "kfunc-missing": _kfunc,
    "kfunc-not-allowed": _kfunc_elsewhere,
    "core-relocation-unresolved": _relocation,
    "kernel-btf-absent": _btf,
    "extern-unresolved": _extern,
    "permission": _permission,
    "loader-unsupported": _old_loader,
    "verifier-sleepable": _injection,
    "verifier-rejected": _injection,
}
