"""An explanation as text for a terminal.  Pure; nothing from outside passes unescaped."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from bpfcompat.explanation import Explanation, Source
from bpfcompat.model import Answer
from bpfcompat.voice import clean

WIDTH = 100
LABEL = 12
_SIGNS = {Answer.COMPATIBLE: "yes", Answer.INCOMPATIBLE: "NO", Answer.INCONCLUSIVE: "?"}


def as_text(found: Explanation) -> str:
    """All of it, what matters first."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Explanation) -> Iterator[str]:
    slug = f"  {found.slug}" if found.slug else ""
    yield f"{found.object}@{found.kernel}  {_SIGNS[found.answer]} {found.answer}{slug}"
    yield ""
    yield from _wrapped("", [found.cause])
    yield ""
    yield from _wrapped("about", _about(found))
    yield from _wrapped("where", _where(found.source))
    yield from _wrapped("since", _since(found))
    yield from _wrapped("here", found.on_this_kernel)
    yield from _wrapped("passes", passes(asdict(found.nearest_pass)))
    yield from _evidence(found)
    yield from _wrapped("change", [f"{n}. {text}" for n, text in enumerate(found.fix, 1)])
    yield from _wrapped("also", found.others)
    yield from _wrapped("note", found.notes)
    yield from _wrapped("sure", [f"{found.confidence}: {found.because}"] if found.slug else [])
    yield from _wrapped("kernel", [f"{found.release}, asked by {found.loader}"])
    yield f"{'again':{LABEL}}{clean(found.reproduce)}"  # whole: the half of a command is another command


def _wrapped(label: str, texts: Sequence[str]) -> Iterator[str]:
    head, pad = label.ljust(LABEL) if label else "", " " * (LABEL if label else 0)
    for text in texts:
        rows = textwrap.wrap(clean(text), WIDTH - len(pad), break_long_words=False, break_on_hyphens=False)
        for row in rows:
            yield f"{head}{row}"
            head = pad


def _about(found: Explanation) -> list[str]:
    subject, words = found.subject, []
    if subject.program:
        words.append(f"program {subject.program} (section {subject.section})")
    for name in ("map", "helper", "kfunc", "relocation", "target"):
        value = getattr(subject, name)
        words += [f"{name} {value}"] if value else []
    return words


def _where(source: Source | None) -> list[str]:
    if source is None:
        return []
    place = f"{source.file}:{source.line}" if source.line else source.file
    inner = f"in {source.function}" if source.function else ""
    insn = f"instruction {source.instruction}" if source.instruction is not None else ""
    return [", ".join(p for p in (place, inner, insn) if p), *([f"    {source.text}"] if source.text else [])]


def _since(found: Explanation) -> list[str]:
    if not found.since:
        return []
    what = found.since if found.since.startswith("libbpf") else f"upstream Linux {found.since}"
    return [f"{what} ({found.since_source})"]


def passes(found: Mapping[str, Any]) -> list[str]:
    """Where it passes, in words, from the JSON of a NearestPass: a line for the range, and one for each flip."""
    oldest, newest, asked = found["oldest"], found["newest"], found["asked"]
    if not asked:
        return ["no kernel has answered yet"]
    if oldest is None or newest is None:
        return [f"on none of the {asked} kernels asked here"]
    between = "" if oldest == newest else f", newest {_on(newest)}"
    lines = [f"oldest {_on(oldest)}{between}; {asked} kernels asked"]
    return lines + [f"flips between {_flip(a)} and {_flip(b)}" for a, b in found["flips"]]


def _on(result: Mapping[str, Any]) -> str:
    return f"{result['kernel']} ({result['release']})"


def _flip(result: Mapping[str, Any]) -> str:
    sign = _SIGNS[Answer(result["answer"])]
    return f"{result['kernel']} {result['release']} ({sign}{' ' + result['cause'] if result['cause'] else ''})"


def _evidence(found: Explanation) -> Iterator[str]:
    lines = found.evidence.lines
    yield from _wrapped("evidence", [evidence_head(found)] if lines or found.evidence.errno else [])
    width = max((len(str(line.number)) for line in lines if line.number), default=1)
    for line in lines:
        number = str(line.number).rjust(width) if line.number else " " * width
        yield f"{' ' * LABEL}{number} | {clean(line.text)}"


def evidence_head(found: Explanation) -> str:
    """Whose log, the errno, the log's digest: `verifier, program 'x'; EINVAL; log sha256:…`."""
    parts = [
        found.evidence.log,
        found.evidence.errno,
        f"log {found.evidence.digest[:19]}" if found.evidence.digest else "",
    ]
    return "; ".join(part for part in parts if part) or "of the report"
