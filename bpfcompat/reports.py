"""Rows to text: a table for people, Markdown, JSON and JUnit for machines.  Pure; nothing hostile passes unescaped."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bpfcompat import libbpfs
from bpfcompat.as_declared import is_remark, toml_lines
from bpfcompat.behaviour import TestVerdict
from bpfcompat.explanation import again
from bpfcompat.gate import Difference, Row, decide
from bpfcompat.model import Answer, Attach, Creation, Measures, ProgramVerdict, Verdict
from bpfcompat.voice import clean, clean_lines

LEGEND = (
    "* with a note: a program was not attached, is inactive, or is optional and refused, or another loader was asked; "
    "matrix.md has it"
)
NEEDED = "which libbpf is needed:"
MOST_OBJECTS, MOST_KERNELS, MOST_WRONG = 100, 30, 12  # of what a table in a terminal can be read
MARKS = {Answer.COMPATIBLE: "yes", Answer.INCOMPATIBLE: "NO", Answer.INCONCLUSIVE: "?"}


def line(row: Row) -> str:
    """One pair in one line: answer, cause, ran or cached, seconds, and the mark when it is not as expected."""
    if row.not_to_be_had:
        return f"{row.pair!s:42} not to be had: {clean(row.trouble, 200)}"
    cause = f": {row.verdict.cause}" if row.verdict and row.verdict.cause else ""
    how = _how(row)
    trouble = f"  {clean(row.trouble, 400)}" if row.trouble else ""
    news = ": it passes, which is news" if row.difference is Difference.PASSES else ""
    wrong = "" if row.as_expected else f"  << expected {row.expected}{news}" + ("" if row.required else " (optional)")
    declared = ", as declared" if row.declared else ""
    return f"{row.pair!s:42} {row.answer}{cause}{declared}  ({how}){trouble}{wrong}"


def to_declare(row: Row) -> tuple[str, ...]:
    """The lines of bpfcompat.toml that an object which needs declarations needs."""
    notes = row.verdict.notes if row.verdict else ()
    return tuple(clean(text, 8000) for note in notes for text in toml_lines(note, row.pair.object))


def _remarked(row: Row) -> bool:
    return row.verdict is not None and any(map(is_remark, row.verdict.notes))


def grid(rows: Sequence[Row]) -> tuple[dict[str, str], list[str], dict[tuple[str, str], Row]]:
    """Lines with their headings, columns, and cells of a table: a loader is a line, so that columns stay kernels."""
    order = {o: n for n, o in enumerate(dict.fromkeys(r.pair.object for r in rows))}
    lines = {_line(r): _line(r) + (" (as declared)" if r.declared else "") for r in rows}
    if any(libbpfs.MARK in name for name in lines):
        place = {name: libbpfs.split(name) for name in lines}
        ordered = sorted(lines, key=lambda n: (order[place[n][0]], libbpfs.version(place[n][1])))
        lines = {name: lines[name] for name in ordered}
    return lines, list(dict.fromkeys(map(_kernel, rows))), {(_line(r), _kernel(r)): r for r in rows}


def _line(row: Row) -> str:
    """The object, and once more for each other loader that it is asked with: `tcx+libbpf-1.1`."""
    return libbpfs.column(row.pair.object, libbpfs.split(row.pair.kernel)[1])


def _kernel(row: Row) -> str:
    return libbpfs.split(row.pair.kernel)[0]


def needs(rows: Sequence[Row]) -> dict[str, list[tuple[libbpfs.Need, list[str]]]]:
    """Which libbpf each object needs that was asked with several: what was found, and the kernels of which it holds."""
    several = dict.fromkeys(r.pair.object for r in rows if libbpfs.MARK in r.pair.kernel)
    told: dict[str, dict[str, list[libbpfs.Told]]] = {name: {} for name in several}
    for row in rows:
        if row.pair.object in told:
            told[row.pair.object].setdefault(_kernel(row), []).append(_told(row))
    return {name: _grouped(kernels) for name, kernels in told.items()}


def _told(row: Row) -> libbpfs.Told:
    libbpf = row.libbpf or libbpfs.split(row.pair.kernel)[1] or libbpfs.OWN
    found = row.verdict
    return libbpfs.Told(libbpf, found.answer if found else None, found.cause if found else "")


def _grouped(told: Mapping[str, Sequence[libbpfs.Told]]) -> list[tuple[libbpfs.Need, list[str]]]:
    groups: dict[libbpfs.Need, list[str]] = {}
    for kernel, answers in told.items():
        groups.setdefault(libbpfs.need(answers), []).append(kernel)
    return list(groups.items())


def needs_lines(rows: Sequence[Row]) -> list[str]:
    """The same in words, a line for each object and each answer: `tcx: libbpf 1.4.6 or newer (debian-12, …)`."""
    found = needs(rows).items()
    return [f"{o}: {libbpfs.in_words(n)} ({_names(kernels, 8)})" for o, parts in found for n, kernels in parts]


def _how(row: Row) -> str:
    run = row.run
    if run is not None and run.lender:
        return f"borrowed from {clean(run.lender, 200)}"
    if not row.ran or run is None:
        return "ran" if row.ran else "cached"
    attempts = f", attempt {run.attempts}" if run.attempts > 1 else ""
    deaths = f" after {', '.join(run.deaths)}" if run.deaths else ""
    guests = f", {run.guests} guests" if run.guests > 1 else ""
    return f"ran, {run.seconds:.2f} s {run.accelerator} {run.start}{guests}{attempts}{deaths}"


def table(rows: Sequence[Row]) -> str:
    """Objects down, kernels across: `yes`, `NO cause`, `?`; `!` marks what is not as expected.

    Of a matrix that no terminal can show: the objects and kernels that have a pair not as expected, as far as they fit.
    """
    down, across = (len({n(r) for r in rows}) for n in (_line, _kernel))
    if down <= MOST_OBJECTS and across <= MOST_KERNELS:
        return _table(rows)
    wrong = [r for r in rows if not r.as_expected]
    objects = list(dict.fromkeys(map(_line, wrong)))[:MOST_OBJECTS]
    kernels = list(dict.fromkeys(map(_kernel, wrong)))[:MOST_WRONG]
    size = f"{down} objects on {across} kernels; the reports show every pair"
    if not wrong:
        return size
    shown = [r for r in rows if _line(r) in objects and _kernel(r) in kernels]
    return f"{_table(shown)}\n\n{size}; the table has what is not as expected, as far as it fits"


def _table(rows: Sequence[Row]) -> str:
    labels, kernels, found = grid(rows)
    cells = {place: _cell(row) for place, row in found.items()}
    lines = [["object", *kernels], *([labels[o], *(cells.get((o, k), "-") for k in kernels)] for o in labels)]
    widths = [max(len(x[i]) for x in lines) for i in range(len(kernels) + 1)]
    text = ["  ".join(c.ljust(w) for c, w in zip(x, widths, strict=True)).rstrip() for x in lines]
    text.insert(1, "  ".join("-" * w for w in widths))
    legend = ["", LEGEND] if any(map(_remarked, rows)) else []
    needed = [f"  {line}" for line in needs_lines(rows)]
    return "\n".join([*text, *legend, *(["", NEEDED, *needed] if needed else [])])


def _cell(row: Row) -> str:
    cause = f" {row.verdict.cause}" if row.verdict and row.verdict.cause else ""
    note = " *" if _remarked(row) else ""
    base = "not to be had" if row.not_to_be_had else MARKS[row.answer] + cause + note
    return base + ("" if row.as_expected else " !")


def summary(rows: Sequence[Row]) -> str:
    """The last lines of a run: counts, and what the gate holds against it."""
    decision = decide(rows)
    counts = ", ".join(f"{n} {kind}" for kind, n in sorted(decision.counts.items()))
    ran = sum(r.ran for r in rows)
    silent = sum(r.verdict is None for r in rows)
    lent = sum(bool(r.run and r.run.lender) for r in rows)
    head = f"{len(rows)} pairs: {counts}; {ran} ran, {len(rows) - ran - silent - lent} already proved"
    head += f", {lent} borrowed" if lent else ""
    head += f", {silent} without an answer" if silent else ""
    tolerated = [f"{len(decision.tolerated)} optional, not as expected:"] if decision.tolerated else []
    tolerated += differences(decision.tolerated)
    if not decision.failed:
        return "\n".join([head + "; all as expected", *tolerated])
    answered = next((r for r in decision.failed if r.verdict is not None), None)
    why = [f"why: bpfcompat explain {answered.pair}"] if answered else []
    return "\n".join(
        [head, f"{len(decision.failed)} not as expected:", *differences(decision.failed), *why, *tolerated]
    )


NEWS = {Difference.PASSES: " (news: it passes now)", Difference.CAUSE: " (another cause)"}
_ORDER = (Difference.FAILS, Difference.PASSES, Difference.CAUSE, Difference.UNANSWERED)


def differences(rows: Sequence[Row]) -> list[str]:
    """A line for each way in which rows are not as expected, with their names: first what fails, then what passes."""
    groups: dict[str, list[str]] = {}
    for row in sorted((r for r in rows if r.difference), key=lambda r: _ORDER.index(r.difference)):
        what = f"expected {row.expected}, got {_got(row)}{NEWS.get(row.difference, '')}"
        groups.setdefault(what, []).append(str(row.pair))
    return [f"  {_names(pairs)}: {what}" for what, pairs in groups.items()]


def _names(pairs: Sequence[str], most: int = 4) -> str:
    more = len(pairs) - most
    return ", ".join(pairs[:most]) + (f" and {more} more" if more > 0 else "")


def _got(row: Row) -> str:
    if row.verdict is None:
        return f"no answer: {clean(row.trouble, 400)}"
    return str(row.verdict.answer) + (f":{row.verdict.cause}" if row.verdict.cause else "")


def as_json(rows: Sequence[Row]) -> str:
    """The whole result as JSON; documented in docs/reports.md."""
    decision = decide(rows)
    body = {
        "format": 1,
        "as_expected": not decision.failed,
        "counts": dict(decision.counts),
        "pairs": [_json(r) for r in rows],
    }
    needed = needs(rows)
    if needed:
        body["libbpf"] = {o: [_need_json(n, kernels) for n, kernels in parts] for o, parts in needed.items()}
    return json.dumps(body, indent=1, sort_keys=True) + "\n"


def _need_json(found: libbpfs.Need, kernels: list[str]) -> dict[str, Any]:
    return {
        "kernels": kernels,
        "oldest": found.oldest,
        "asked": list(found.asked),
        "refused": dict(found.refused),
        "no_answer": list(found.unasked),
    }


def _json(row: Row) -> dict[str, Any]:
    found = row.verdict
    return {
        "object": row.pair.object,
        "kernel": row.pair.kernel,
        "release": row.release,
        "libbpf": row.libbpf,
        "answer": str(row.answer),
        "cause": found.cause if found else "",
        "sentence": found.sentence if found else row.trouble,
        "hint": found.hint if found else "",
        "errno": found.errno if found else "",
        "evidence": list(found.evidence) if found else [],
        "notes": list(found.notes) if found else [],
        "declared": row.declared,
        "to_declare": list(to_declare(row)),
        "tests": [_test_json(t) for t in found.tests] if found else [],
        "programs": [asdict(p) for p in found.programs] if found else [],
        "maps": [asdict(m) for m in found.maps] if found else [],
        "expected": str(row.expected),
        "as_expected": row.as_expected,
        "difference": str(row.difference),
        "required": row.required,
        "not_to_be_had": row.not_to_be_had,
        "ran": row.ran,
        "why": list(row.why),
        "reproduce": again(str(row.pair)),
    }


MOST_PROGRAMS = 12  # of a pair that is asked for by name; the page has all


def programs(verdict: Verdict) -> list[str]:
    """Lines on the programs and maps of a pair that was asked for by name: what does not work first, then the dear."""
    found = sorted(verdict.programs, key=_weight)
    lines = [_program_line(p) for p in found[:MOST_PROGRAMS]]
    if len(found) > MOST_PROGRAMS:
        loaded = sum(p.loaded for p in found)
        attached = sum(p.attach is Attach.ATTACHED for p in found)
        more = len(found) - MOST_PROGRAMS
        lines.append(f"and {more} more; of all {len(found)} programs, {loaded} load and {attached} attach")
    refused = [m for m in verdict.maps if m.outcome is not Creation.CREATED]
    lines += [f"map {clean(m.name, 40)}: {m.outcome} {m.errno}{clean(m.detail, 200)}".rstrip() for m in refused[:4]]
    return lines + ([f"and {len(refused) - 4} more maps"] if len(refused) > 4 else [])


def _weight(program: ProgramVerdict) -> tuple[bool, bool, int]:
    measures = program.measures
    return program.loaded, program.attach is not Attach.FAILED, -(measures.verified or 0 if measures else 0)


def _program_line(program: ProgramVerdict) -> str:
    how = f": {clean(program.how, 80)}" if program.how else ""
    state = f"{program.attach}{how}" if program.loaded else f"not loaded: {program.cause}"
    cost = f"; {costs_of(program.measures)}" if program.measures and program.measures.verified is not None else ""
    return f"{clean(program.name, 40)} ({clean(program.section, 60)}): {state}{cost}"


def costs_of(measures: Measures | None) -> str:
    """`12 instructions, 11 verified, 3 states, stack 16+0`, as far as it is known; "" for nothing."""
    if measures is None:
        return ""
    words = [f"{measures.insns:,} instructions"]
    words += [f"{measures.verified:,} verified"] if measures.verified is not None else []
    words += [f"{measures.states:,} states"] if measures.states is not None else []
    words += [f"stack {'+'.join(map(str, measures.stack))}"] if any(measures.stack) else []
    return ", ".join(words)


def _test_json(test: TestVerdict) -> dict[str, Any]:
    return {"name": test.name, "required": test.required, "outcome": str(test.outcome), "detail": list(test.detail)}


def as_markdown(rows: Sequence[Row]) -> str:
    """A table for a pull request, and a section for each pair that is not as expected."""
    labels, kernels, found = grid(rows)
    cells = {place: _markdown_cell(row) for place, row in found.items()}
    lines = ["| object | " + " | ".join(kernels) + " |", "|---" * (len(kernels) + 1) + "|"]
    lines += [f"| {labels[o]} | " + " | ".join(cells.get((o, k), "–") for k in kernels) + " |" for o in labels]
    head, *wrong = summary(rows).split("\n")
    lines += ["", head, *(_markdown_item(w.strip()) if w.startswith(" ") else f"\n{w}\n" for w in wrong)]
    notes = [_markdown_item(f"{r.pair}: {clean(n)}") for r in rows if r.verdict for n in r.verdict.notes]
    needed = [_markdown_item(line) for line in needs_lines(rows)]
    lines += ["", NEEDED.capitalize(), "", *needed] if needed else []
    lines += ["", "Notes (\\*):", "", *notes] if notes else []
    return "\n".join(lines) + "\n"


def _markdown_item(text: str) -> str:
    return "- `" + text.replace("`", "'") + "`"  # as code, so that nothing in it is a link or an image


def _markdown_cell(row: Row) -> str:
    sign = {"yes": "✅", "NO": "❌", "?": "❔"}[MARKS[row.answer]]
    cause = f" `{row.verdict.cause}`" if row.verdict and row.verdict.cause else ""
    note = " \\*" if _remarked(row) else ""
    base = "➖ not to be had" if row.not_to_be_had else sign + cause + note
    news = " **unexpected pass**" if row.difference is Difference.PASSES else " **unexpected**"
    return base if row.as_expected else base + news


def as_junit(rows: Sequence[Row]) -> str:
    """JUnit XML: one case a pair; a failure is a row that is not as expected, an error one that could not be asked."""
    cases = "".join(_junit_case(r) for r in rows)
    failures = sum(not r.as_expected and r.verdict is not None for r in rows)
    errors = sum(not r.as_expected and r.verdict is None for r in rows)
    skipped = sum(r.not_to_be_had for r in rows)
    counts = f'tests="{len(rows)}" failures="{failures}" errors="{errors}" skipped="{skipped}"'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<testsuite name="bpfcompat" {counts}>\n{cases}</testsuite>\n'


def _junit_case(row: Row) -> str:
    from xml.sax.saxutils import escape, quoteattr  # here: it loads an HTTP client, in every run

    seconds = row.run.seconds if row.run and row.ran else 0
    head = f'  <testcase classname={quoteattr(row.pair.kernel)} name={quoteattr(row.pair.object)} time="{seconds:.3f}">'
    if row.not_to_be_had:
        inner = f"<skipped message={quoteattr(clean(row.trouble))}/>"
    elif row.as_expected:
        inner = ""
    else:
        tag = "failure" if row.verdict else "error"
        evidence = "\n".join(clean(e) for e in row.verdict.evidence) if row.verdict else row.trouble
        message = quoteattr(clean(f"expected {row.expected}, got {_got(row)}"))
        inner = f"<{tag} message={message}>{escape(clean_lines(evidence, 2000))}</{tag}>"
    return f"{head}{inner}</testcase>\n"
