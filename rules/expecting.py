"""`bpfcompat expect` and `bpfcompat flakes`: what the project expects against what its store knows; boots nothing."""

import difflib
import fnmatch
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bpfcompat.config import FILE, MAX_BYTES
from bpfcompat.errors import ConfigError, Exit, did_you_mean
from bpfcompat.expected import governing, inherited, whole
from bpfcompat.expecting import Change, changes, edited, is_short, value_of
from bpfcompat.files import read_bounded, write_atomic
from bpfcompat.gate import Row
from bpfcompat.plan import Pair
from bpfcompat.rules.roots import sessions_of
from bpfcompat.rules.session import Session
from bpfcompat.store import Quarantine
from bpfcompat.voice import clean


def expect(root: Path, names: Sequence[str], write: bool) -> tuple[Exit, list[str]]:
    """Lines on what differs and what would be, or is now, written; 1 where the file is not what today's answers say.

    `names` are patterns of objects or pairs, none for all.  3 where nothing differs and a required pair has no answer.
    """
    codes, lines = [Exit.OK], []
    for session in sessions_of(root):
        code, said = _one(session, chosen(session, names), write)
        codes.append(code)
        lines += said
    return max(codes), lines


def chosen(session: Session, names: Sequence[str]) -> list[Pair]:
    """The pairs that patterns of objects or pairs name; ConfigError with the nearest for one that names none."""
    if not names:
        return list(session.matrix.pairs)
    known = [*session.matrix.rows, *map(str, session.matrix.pairs)]
    for name in names:
        if not fnmatch.filter(known, name):
            hint = did_you_mean(name, known, "OBJECT or OBJECT@KERNEL, patterns too")
            raise ConfigError(f"{name[:100]}: no object or pair of this matrix", hint=hint)
    return [p for p in session.matrix.pairs
            if any(fnmatch.fnmatchcase(p.object, n) or fnmatch.fnmatchcase(str(p), n) for n in names)]  # fmt: skip


def _one(session: Session, pairs: Sequence[Pair], write: bool) -> tuple[Exit, list[str]]:
    from bpfcompat.reports import differences

    asked, objects = set(pairs), {p.object for p in pairs}
    every = [session.row(p) for p in session.matrix.pairs if p.object in objects]
    rows = [row for row in every if row.pair in asked]
    silent = [r for r in rows if r.verdict is None and not r.not_to_be_had]
    proposed = changes(every, session.matrix.objects, asked)
    lines = [_head(rows, silent), *differences([r for r in rows if r.verdict is not None])]
    lines += [f"  {r.pair}: no answer, nothing recorded: {clean(r.trouble, 200)}" for r in silent[:MOST]]
    lines += [f"  and {len(silent) - MOST} more without an answer"] if len(silent) > MOST else []
    lines += [f"  {clean(words, 300)}" for words in idle(session)]
    if proposed:
        lines += _written(session, proposed, write)
        return Exit.OK if write else Exit.UNEXPECTED, lines
    required = any(r.required for r in silent)
    return Exit.INCONCLUSIVE if required else Exit.OK, [*lines, f"{FILE}: nothing to record"]


MOST = 20


def _head(rows: Sequence[Row], silent: Sequence[Row]) -> str:
    differ = sum(bool(r.difference) for r in rows if r.verdict is not None)
    as_expected = len(rows) - differ - len(silent)
    return f"{len(rows)} pairs: {as_expected} as expected, {differ} not, {len(silent)} without an answer"


def idle(session: Session) -> Iterator[str]:
    """Patterns that no pair of this matrix answers to: of another selection, or left behind."""
    matrix, patterns, speak = session.matrix, session.config.expect, set[str]()
    for name, asked in matrix.rows.items():
        spec = matrix.objects[name]
        used = {governing(whole(spec), kernel) for kernel in asked}
        for pattern in spec.expect:
            if pattern not in used and pattern != "*":
                yield f"[objects.{name}] expect: {pattern!r} speaks for no pair of this matrix"
        speak.update(p for k, p in inherited(patterns, name).items() if k in used and k not in spec.expect)
    yield from (f"[expect] {p!r} speaks for no pair of this matrix" for p in patterns if p not in speak)


def _written(session: Session, proposed: Sequence[Change], write: bool) -> list[str]:
    place = (session.config.root / FILE).resolve()  # a link stays one
    before = _text(place)
    ours = [c for c in proposed if c.object in session.config.objects]
    lines = [
        f"  {c.object}: declared in Python, so write there: expect = {value_of(c.after, is_short(before))}"
        for c in proposed
        if c.object not in session.config.objects
    ]
    after = edited(before, ours)
    diff = difflib.unified_diff(before.splitlines(), after.splitlines(), FILE, FILE, n=1, lineterm="")
    lines += [clean(line, 4000) for line in diff]
    if not write:
        return [*lines, "nothing was written: bpfcompat expect --write records this; then review and commit it"]
    if _text(place) != before:
        raise ConfigError(f"{place}: changed during this run", hint="run the same command again")
    write_atomic(place, after.encode(), place.stat().st_mode & 0o777)
    return [*lines, f"{FILE}: written: {len(ours)} objects; review and commit it"]


def _text(place: Path) -> str:
    return read_bounded(place, MAX_BYTES, ConfigError).decode("utf-8")


# --- the flake ledger


def flakes(root: Path, as_json: bool) -> list[str]:
    """Every pair that was answered in two ways, and every one whose guests were lost before one answered."""
    found = [entry for session in sessions_of(root) for entry in _flakes(session)]
    if as_json:
        return [json.dumps({"format": 1, "flakes": found}, indent=1, sort_keys=True)]
    if not found:
        return ["no pair was ever answered in two ways, and no guest was lost on the way to an answer"]
    return [_flake_line(entry) for entry in found]


def _flakes(session: Session) -> Iterator[dict[str, Any]]:
    here = {str(pair) for pair in session.matrix.pairs}
    store = session.asker.shop.store
    for one in (*store.released(), *store.quarantines()):
        yield {**_quarantined(one), "in_matrix": one.name in here}
    yield from _retried(session.row(pair) for pair in session.matrix.pairs)


def _quarantined(one: Quarantine) -> dict[str, Any]:
    since, until = (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(s)) if s else "" for s in (one.since, one.until))
    kept = [] if until else list(one.outputs)
    return {
        "pair": one.name,
        "kind": "two-answers",
        "words": one.words,
        "since": since,
        "until": until,
        "reports": kept,
    }


def _retried(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    for row in rows:
        if row.run and (row.run.deaths or row.run.attempts > 1):
            words = ", ".join(row.run.deaths) or f"asked {row.run.attempts} times"
            yield {"pair": str(row.pair), "kind": "retried", "words": words, "attempts": row.run.attempts,
                   "in_matrix": True}  # fmt: skip


def _flake_line(entry: dict[str, Any]) -> str:
    if entry["kind"] == "retried":
        return f"{entry['pair']:42} answered at attempt {entry['attempts']}, after: {clean(entry['words'], 300)}"
    away = "" if entry["in_matrix"] else " (not in this matrix)"
    words, name = clean(entry["words"], 300), clean(entry["pair"], 200)
    if entry["until"]:
        return f"{name:42} two answers, from {entry['since']}, forgotten {entry['until']}{away}: {words}"
    return f"{name:42} two answers, since {entry['since']}{away}: {words}; doit forget probe:{name} asks anew"
