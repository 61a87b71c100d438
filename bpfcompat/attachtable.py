"""The validator's attach table as a page: its rows are the C code's, its results are from real reports.  Pure."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bpfcompat.causes import errno_name
from bpfcompat.model import Attach, ProgramReport

START = "<!-- made from the code and from reports by `doit attach_page`; do not edit what follows -->"
END = "<!-- end of what is made -->"
Asked = Mapping[str, Sequence[ProgramReport]]  # version of libbpf, "" for the project's own → programs
HEAD = ["section", "type", "how", "needs", "proof", "modules"]


@dataclass(frozen=True, slots=True)
class AttachRow:
    """One section name as libbpf knows it (`kprobe+` is also `kprobe/…`), its program type, and words for people.

    `modules` are names of kernel modules that attaching may need; `since` is the version of libbpf that knows the
    section, where that is a newer one than the project's own.
    """

    section: str
    type: str
    how: str
    needs: str
    proof: str
    modules: tuple[str, ...]
    since: str = ""

    @property
    def shown(self) -> str:
        """The section for people."""
        return f"`{self.section}` (libbpf {self.since})" if self.since else f"`{self.section}`"

    def matches(self, section: str, kind: str) -> bool:
        """True for a program of this section and type, by the rule of validator/attach.c."""
        stem, plus, _ = self.section.partition("+")
        return kind == self.type and (section == stem or (plus != "" and section.startswith(f"{stem}/")))


def attach_rows(table: str) -> tuple[AttachRow, ...]:
    """What `validator --table` prints; ValueError when it is something else."""
    lines = list(csv.reader(table.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    if not lines or lines[0] != HEAD or any(len(line) != len(HEAD) for line in lines):
        raise ValueError(f"attach table: expected the columns {', '.join(HEAD)}")
    return tuple(
        AttachRow(section, kind, how, needs, proof, tuple(modules.split()))
        for section, kind, how, needs, proof, modules in lines[1:]
    )


def newer_rows(known: Sequence[AttachRow], tables: Mapping[str, str]) -> tuple[AttachRow, ...]:
    """The rows of other loaders' tables (version → table, oldest first) for sections that nothing before them knows."""
    seen, found = {row.section for row in known}, []
    for since, table in tables.items():
        new = [replace(row, since=since) for row in attach_rows(table) if row.section not in seen]
        seen.update(row.section for row in new)
        found += new
    return tuple(found)


def result(programs: Iterable[ProgramReport]) -> str:
    """What a kernel did with the programs of one row: the best of their results, in a word or two."""
    found = sorted(_ranked(program) for program in programs)
    return found[0][1] if found else ""


def _ranked(program: ProgramReport) -> tuple[int, str]:
    if program.load_errno:
        return 3, f"does not load: {errno_name(program.load_errno)}"
    if program.attach is Attach.ATTACHED:
        return 0, "yes, inactive" if "inactive" in program.attach_reason else "yes"
    if program.attach is Attach.FAILED:
        return 1, f"no: {errno_name(program.attach_errno)}"
    return 2, f"not attempted: {program.attach_reason}"


def page_part(rows: Sequence[AttachRow], kernels: Mapping[str, Asked]) -> str:
    """The two tables: how each family is attached, and what each kernel did (name → what was asked, by loader)."""
    return "\n".join([START, "", *_families(rows), "", *_measured(rows, kernels), "", END])


def replaced(page: str, part: str) -> str:
    """The page with its made part changed; ValueError when it has none."""
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"expected a line {START!r} and a line {END!r}")
    return before + part + after


def _families(rows: Sequence[AttachRow]) -> list[str]:
    grouped: dict[tuple[object, ...], list[str]] = {}
    for row in rows:
        grouped.setdefault((row.how, row.needs, row.proof, row.modules), []).append(row.shown)
    lines = ["| sections | attached how | what must exist | what proves it | modules |", "|---|---|---|---|---|"]
    for (how, needs, proof, modules), sections in grouped.items():
        named = ", ".join(f"`{name}`" for name in modules) if isinstance(modules, tuple) and modules else "–"
        lines.append(f"| {', '.join(sections)} | {how} | {needs} | {proof} | {named} |")
    return lines


def _measured(rows: Sequence[AttachRow], kernels: Mapping[str, Asked]) -> list[str]:
    notes: dict[str, int] = {}
    lines = [f"| section | type | {' | '.join(kernels)} |", "|---" * (len(kernels) + 2) + "|"]
    for row in rows:
        asked = [programs.get(row.since, ()) for programs in kernels.values()]
        found = [result(p for p in programs if row.matches(p.section, p.type)) for programs in asked]
        cells = " | ".join(_cell(text, notes) for text in found)
        lines.append(f"| {row.shown} | {row.type} | {cells} |")
    return [*lines, "", *(f"{number}. {reason}" for reason, number in notes.items())]


def _cell(text: str, notes: dict[str, int]) -> str:
    kind, _, reason = text.partition(": ")
    if kind != "not attempted":
        return text or "not measured"
    return f"not attempted ({notes.setdefault(reason, len(notes) + 1)})"
