"""Two loaders' answers side by side, and the written reason for each difference.  Pure, but for reading reasons.toml.

A reason is a row that a person wrote and another can check: what we said, what bpftool said, words that must be
there, and often what a second bpftool, with a newer libbpf, says.  What no row explains is a fault to hunt.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import toml

from bench.corpora.ours import Ours, from_json
from bench.corpora.theirs import Theirs
from bpfcompat.errors import ConfigError

REASONS = Path(__file__).with_name("reasons.toml")
SAME = ("loads", "refused", "dies")
UNEXPLAINED = "unexplained"
UNANSWERED = "no-answer"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why two loaders may differ.

    `text` is for people.  All that is given must hold: `ours` and `theirs` are outcomes, `cause` a pattern for our
    cause, `words` and `said` patterns somewhere in our and their words, `second` the other bpftool's outcome, or
    `as-ours` or `as-theirs`; `objects` are patterns for the object's name or digest.
    """

    name: str
    text: str
    ours: str = ""
    theirs: str = ""
    cause: str = ""
    words: str = ""
    said: str = ""
    second: str = ""
    objects: tuple[str, ...] = ()

    def explains(self, pair: "Compared") -> bool:
        """True when everything that this row asks for is so."""
        second = pair.second.outcome if pair.second else ""
        wanted = {"as-ours": pair.ours.outcome, "as-theirs": pair.theirs.outcome}.get(self.second, self.second)
        return (
            self.ours in ("", pair.ours.outcome)
            and self.theirs in ("", pair.theirs.outcome)
            and re.fullmatch(self.cause or ".*", pair.ours.cause) is not None
            and re.search(self.words, pair.ours.words, re.M) is not None
            and re.search(self.said, pair.theirs.words, re.M) is not None
            and wanted in ("", second)
            and (not self.objects or any(re.match(p, n) for p in self.objects for n in (pair.ours.object, pair.digest)))
        )


@dataclass(frozen=True, slots=True)
class Compared:
    """One pair, asked of us and of bpftool, perhaps of a second bpftool too; `digest` is the object's."""

    ours: Ours
    theirs: Theirs
    second: Theirs | None = None
    digest: str = ""

    @property
    def same(self) -> bool:
        """Both load it, both refuse it, or the kernel dies of both."""
        return self.ours.outcome == self.theirs.outcome and self.ours.outcome in SAME

    @property
    def answered(self) -> bool:
        """Both came back with an answer."""
        return UNANSWERED not in (self.ours.outcome, self.theirs.outcome)


def read_reasons(path: Path = REASONS) -> tuple[Reason, ...]:
    """The reviewed table, in its order."""
    known = {f.name for f in fields(Reason)}
    found = []
    for row in toml.loads(path.read_text("utf-8"))["reason"]:
        if unknown := row.keys() - known:
            raise ConfigError(f"{path.name}: {row.get('name')}: unknown key {', '.join(sorted(unknown))}")
        if len(row) < 3 or not row.get("name") or not row.get("text"):
            raise ConfigError(f"{path.name}: {row.get('name')}: expected a name, a text and what it asks for")
        found.append(Reason(**{**row, "objects": tuple(row.get("objects", ()))}))
    return tuple(found)


def explain(pair: Compared, reasons: Sequence[Reason]) -> str:
    """ "" where both say the same, the name of the first reason that explains a difference, else UNEXPLAINED."""
    if pair.same:
        return ""
    if not pair.answered:
        return UNANSWERED
    return next((r.name for r in reasons if r.explains(pair)), UNEXPLAINED)


def pair_to_json(pair: Compared) -> dict[str, Any]:
    """As JSON values; pair_from_json() gives an equal one back."""
    return asdict(pair)


def pair_from_json(value: Mapping[str, Any]) -> Compared:
    """The other way."""
    second = value["second"] and Theirs(**value["second"])
    return Compared(from_json(value["ours"]), Theirs(**value["theirs"]), second, value["digest"])


def joined(
    ours: Iterable[Ours], theirs: Mapping[tuple[str, str], Theirs], second: Mapping[tuple[str, str], Theirs],
    digests: Mapping[str, str],
) -> tuple[Compared, ...]:  # fmt: skip
    """The pairs that both were asked about."""
    return tuple(
        Compared(o, theirs[o.object, o.kernel], second.get((o.object, o.kernel)), digests.get(o.object, ""))
        for o in ours
        if (o.object, o.kernel) in theirs
    )
