"""What is said of declarations: in a verdict what was set and chosen, where they did not fit, and what to declare.

Pure.  A verdict that rests on declarations says so in its notes; an undeclared one that needs some says which lines.
"""

from collections.abc import Collection, Iterator, Sequence

from bpfcompat.causes import (
    Finding,
    clip,
    errno_name,
    is_placeless,
    missing_caller,
    missing_function,
    missing_inner,
    missing_program,
    missing_target,
    missing_type,
    place_line,
    unsized,
)
from bpfcompat.declared import (
    TRIAL,
    SettingReport,
    TriedReport,
    VariantReport,
    inner_line,
    off_line,
    program_line,
    size_line,
    target_line,
    toml_key,
    type_line,
)
from bpfcompat.elf import ObjectFacts
from bpfcompat.model import Answer, AttachMode, ProgramReport, Report
from bpfcompat.tame import tamed
from bpfcompat.twins import TWINS, variant_line

UNFIT, NO_VARIANT = "declaration-unfit", "no-variant"
SLUGS = (UNFIT, NO_VARIANT)
SET, CHOSEN, TO_DECLARE = "declared: ", "variant ", "declare: "
# What the kernel itself may refuse while the settings are made: then that is the refusal of the load.
_THE_KERNELS = {("program", "target"), ("program", "target_program"), ("program", "target_file"), ("map", "inner")}

_PLACES = frozenset(("kprobe", "kprobe_multi", "ksyscall", "raw_tp", "tracepoint", "uprobe"))  # validator/wire.md


def notes(report: Report) -> Iterator[str]:
    """One line for each thing that was set, and for each choice with its reason."""
    if report.declared is None:
        return
    for setting in report.declared.settings:
        refused = f" ({errno_name(setting.errno)})" if setting.errno else ""
        yield clip(f"{SET}{_shown(setting)}{refused}", 600)
    for group in report.declared.variants:
        yield clip(f"{CHOSEN}{group.group}: {_choice(group)}", 600)


def attach_mode(report: Report, program: ProgramReport, otherwise: AttachMode) -> AttachMode:
    """How far a program was asked to go: as declared for it, or as for the whole object."""
    mode = _set_of(report, program, ("attach",))
    return AttachMode(mode) if mode in tuple(AttachMode) else otherwise


def place(report: Report, program: ProgramReport) -> str:
    """What a program was declared to be attached to, where that is looked up when it is attached; else ""."""
    return _set_of(report, program, _PLACES)


def _set_of(report: Report, program: ProgramReport, keys: Collection[str]) -> str:
    """The value of the first of these settings of a program, "" where none was declared."""
    settings = report.declared.settings if report.declared else ()
    mine = (s for s in settings if (s.subject, s.name) == ("program", program.name))
    return next((s.value for s in mine if s.key in keys), "")


def is_remark(note: str) -> bool:
    """False for a note that only tells what was declared, which an object's row tells already."""
    return not note.startswith((SET, CHOSEN))


def objection(report: Report) -> tuple[str, Answer, Finding] | None:
    """Why what was declared cannot lead to an answer, or cannot be had on this kernel: slug, answer, words."""
    if report.declared is None:
        return None
    for setting in report.declared.settings:
        if setting.errno and (setting.subject, setting.key) not in _THE_KERNELS:
            return UNFIT, Answer.INCONCLUSIVE, _unfit(setting, report)
    for group in report.declared.variants:
        asked = next((one for one in group.tried if one.errno and _needs(one) != TRIAL), None)
        if asked is not None:
            return UNFIT, Answer.INCONCLUSIVE, _undecided(group, asked)
    missing = next((group for group in report.declared.variants if group.chosen is None), None)
    return (NO_VARIANT, Answer.INCOMPATIBLE, _no_variant(missing, report)) if missing else None


def to_declare(report: Report, facts: ObjectFacts | None) -> Iterator[str]:
    """The lines that an object which needs declarations needs, each with a value to choose."""
    odd = facts.odd if facts else ()
    for line in (*_map_lines(report, odd), *_program_lines(report, odd)):
        yield clip(TO_DECLARE + line, 600)
    for new in TWINS if facts else ():
        if facts and (line := variant_line(facts, new)):
            yield clip(TO_DECLARE + line, 8000)


def to_place(report: Report) -> Iterator[str]:
    """The lines for programs whose tracepoint their loader chooses: until it is declared, no one attaches them."""
    for program in report.programs:
        if program.autoload and is_placeless(program):
            yield clip(TO_DECLARE + place_line(program), 600)


def _map_lines(report: Report, odd: Sequence[str]) -> Iterator[str]:
    for found in report.maps:
        if unsized(found):
            yield size_line(found.name, found.type, found.value_size)
        elif missing_inner(tamed(report.load_log.text, odd), found):
            yield inner_line(found.name)


def _program_lines(report: Report, odd: Sequence[str]) -> Iterator[str]:
    for program in report.programs:
        said = tamed(program.libbpf.text, odd) if program.autoload else ""
        if missing_type(said):
            yield type_line(program.name, program.section)
        elif missing_target(said):
            yield target_line(program.name, program.section)
        elif missing_program(said):
            yield program_line(program.name)
        elif missing_function(said, program.section):
            yield target_line(program.name, program.section)
        elif missing_caller(said):
            yield off_line(program.name)


def named(text: str, name: str) -> str:
    """The same with an object's own name in each line to declare."""
    return text.replace("[objects.NAME.", f"[objects.{toml_key(name)}.")


def toml_lines(note: str, name: str) -> tuple[str, ...]:
    """A `declare:` note as lines of bpfcompat.toml for the object of this name; () for any other note."""
    if not note.startswith(TO_DECLARE):
        return ()
    head, _, rest = note.removeprefix(TO_DECLARE).partition("] ")
    return (named(f"{head}]", name), *rest.split("; "))


def _shown(setting: SettingReport) -> str:
    if setting.subject == "constant":
        return f"constants.{setting.name} = bytes {setting.value}"
    return str(setting)


def _choice(group: VariantReport) -> str:
    if group.chosen is None:
        return f"none is on: {'; '.join(map(_reason, group.tried))}"
    on = group.tried[group.chosen]
    off = [name for one in group.tried for name in one.programs if name not in on.programs]
    why = "; ".join(_reason(one) for one in group.tried[: group.chosen + 1])
    rest = f"; off: {', '.join(dict.fromkeys(off))}" if off else ""
    return f"on: {_programs(on)}; because {why}{rest}"


def _programs(one: TriedReport) -> str:
    return "none" if one.programs == ("-",) else ", ".join(one.programs)


def _reason(one: TriedReport) -> str:
    needs = _needs(one)
    if needs == "always":
        return f"{_programs(one)} needs nothing"
    if needs == TRIAL:
        return (
            f"{_programs(one)} {'loads on trial' if one.held else f'does not load on trial ({errno_name(one.errno)})'}"
        )
    return f"{needs} {'is there' if one.held else 'is not there'}"


def _needs(one: TriedReport) -> str:
    """The condition as declared; the guest knows a helper by its number too."""
    return one.needs.rpartition(":")[0] if one.needs.startswith("helper:") else one.needs


def _unfit(setting: SettingReport, report: Report) -> Finding:
    version = clip(str(report.guest.get("libbpf", "?")), 20)
    return Finding(
        f"object: libbpf {version} does not take the declared {clip(_shown(setting))} ({errno_name(setting.errno)})",
        (clip(f"{SET}{_shown(setting)}: {errno_name(setting.errno)}"),),
        "correct the declaration",
        setting.name,
    )


def _undecided(group: VariantReport, one: TriedReport) -> Finding:
    code = errno_name(one.errno)
    return Finding(
        f"object: variants {clip(group.group)}: whether {clip(_needs(one))} holds could not be asked ({code})",
        (clip(f"{one.needs}: {code}"),),
        "name another condition, such as trial-load",
        group.group,
    )


def _no_variant(group: VariantReport, report: Report) -> Finding:
    release = clip(str(report.guest.get("release", "?")), 64)
    return Finding(
        f"object: no variant of '{clip(group.group)}' can be used on this kernel ({release})",
        tuple(clip(_reason(one)) for one in group.tried),
        "add an alternative for such kernels, or declare the group optional",
        group.group,
    )
