"""docs/causes.md: its tables, from the table of causes and what is written about each, with real reports as examples.

Pure.  What a row means is in data/causes.toml; its answer and how sure it is are the classifier's own; an example is
what a real kernel said, as a golden file of the tests keeps it.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import toml

from bpfcompat.causes import CAUSES, Certainty
from bpfcompat.errors import ConfigError
from bpfcompat.explanation import BESIDE
from bpfcompat.model import Answer
from bpfcompat.voice import clean

BEGIN, END = "<!-- causes: {} -->", "<!-- end of causes -->"
EXAMPLES = "examples"
MAX_EXAMPLE = 8  # lines of evidence
_HEAD = "| cause | answer | how sure | what it means | decisive evidence | what to do | example |"
# The answers of causes that no row of CAUSES gives.
_ANSWERS = {
    Answer.INCOMPATIBLE: ("kernel-crash", "kernel-hang", "kernel-splat", "behaviour-failed", "no-variant",
                          "loader-exit"),
    Answer.INCONCLUSIVE: ("contradictory", "behaviour-not-attempted", "declaration-unfit", "loader-not-started",
                          "loader-timed-out", "loader-out-of-memory"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class About:
    """What is written of a cause, for people."""

    slug: str
    group: str
    means: str
    evidence: str
    change: str
    example: str
    none: str = ""  # why no real log of it is kept


def about() -> tuple[About, ...]:
    """All that is written, in the page's order."""
    text = (resources.files("bpfcompat") / "data" / "causes.toml").read_text("utf-8")
    return tuple(About(**row) for row in toml.loads(text)["cause"])


def answer_of(slug: str) -> tuple[Answer, Certainty]:
    """The answer that a cause leads to, and how sure it is at best."""
    for cause in CAUSES:
        if cause.slug == slug:
            return cause.answer, cause.certainty
    return next(answer for answer, slugs in _ANSWERS.items() if slug in slugs), BESIDE[slug]


def current(page: str, goldens: Mapping[str, Mapping[str, Any]]) -> str:
    """The page as it must be now; `goldens`: name → content of a golden file.  ConfigError for a page without marks."""
    rows = about()
    for group in dict.fromkeys(row.group for row in rows):
        page = _replaced(page, group, _table(row for row in rows if row.group == group))
    return _replaced(page, EXAMPLES, _examples(rows, goldens))


def _replaced(page: str, part: str, lines: Iterable[str]) -> str:
    begin = BEGIN.format(part)
    before, found, rest = page.partition(begin)
    _, end, after = rest.partition(END)
    if not found or not end:
        raise ConfigError(f"docs/causes.md: expected the lines {begin!r} and {END!r}", hint="put them back")
    return f"{before}{begin}\n\n" + "\n".join(lines) + f"\n\n{END}{after}"


def _table(rows: Iterable[About]) -> Iterator[str]:
    yield _HEAD
    yield "|---" * 7 + "|"
    for row in rows:
        answer, sure = answer_of(row.slug)
        cells = (f"`{row.slug}`", str(answer), str(sure), row.means, row.evidence, row.change, row.example)
        yield f"| {' | '.join(cells)} |"


def _examples(rows: Iterable[About], goldens: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """For each cause what a real kernel said, the newest kernel's where several did."""
    best: dict[str, tuple[list[int], str]] = {}
    for name, kept in sorted(goldens.items()):
        slug, release = kept["expect"]["cause"], str(kept["report"]["guest"].get("release", ""))
        mark = [int(n) for n in re.findall(r"\d+", release)[:3]]
        if slug and (slug not in best or mark > best[slug][0]):
            best[slug] = mark, name
    for row in rows:
        if row.slug in best:
            yield from _example(row.slug, goldens[best[row.slug][1]])
    yield "Of these no report of a real kernel is kept:"
    yield ""
    yield from (f"- `{row.slug}`: {row.none}." for row in rows if row.slug not in best)


def _example(slug: str, kept: Mapping[str, Any]) -> Iterator[str]:
    yield f"**`{slug}`**: `{kept['object']}` on `{kept['kernel']}`"
    yield ""
    yield "```"
    yield clean(kept["sentence"])
    yield from (f"  {clean(line)}" for line in kept["evidence"][:MAX_EXAMPLE])
    yield "```"
    yield ""


def goldens_of(texts: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Golden files by name, from their texts."""
    return {name: json.loads(text) for name, text in texts.items()}
