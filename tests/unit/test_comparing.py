"""Two sets of answers side by side: what is told, in which order, and with which exit code."""

import csv
import io
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bpfcompat import reports, veristat
from bpfcompat.comparing import Cell, CostChange, Kind, Side, as_json, as_markdown, as_text, compare
from bpfcompat.errors import ConfigError, Exit, TrustError
from bpfcompat.model import Answer, Attach, Measures, ProgramVerdict
from bpfcompat.rules import comparing
from bpfcompat.voice import clean
from tests import claims
from tests.rows import HOSTILE, NO, UNKNOWN, YES, row


def program(name: str = "p", loaded: bool = True, attach: Attach = Attach.ATTACHED, **measures: Any) -> ProgramVerdict:
    """A program's verdict, with what it cost."""
    cost = Measures(10, limit=1_000_000, **measures) if measures else None
    return ProgramVerdict(name, "xdp", "xdp", loaded, attach if loaded else Attach.NOT_ATTEMPTED, measures=cost)


def cell(answer: Answer | None = YES, cause: str = "", *programs: ProgramVerdict, release: str = "6.1.0-1") -> Cell:
    """What one side says."""
    return Cell(release, answer, cause, programs)


def sides(**pairs: tuple[Cell | None, Cell | None]) -> tuple[Side, Side]:
    """Two sides from the cells of each key."""
    a, b = ({k: c[n] for k, c in pairs.items() if c[n] is not None} for n in (0, 1))
    return Side("a", a), Side("b", b)  # type: ignore[arg-type]


LOST = cell(None)
BROKEN, FIXED = (cell(YES), cell(NO, "x")), (cell(NO, "x"), cell(YES))
CAUSE, SILENT = (cell(NO, "x"), cell(NO, "y")), (cell(YES), LOST)
PROGRAM = (cell(YES, "", program()), cell(YES, "", program(attach=Attach.FAILED)))
UNTRIED = (cell(YES, "", program()), cell(YES, "", program(attach=Attach.NOT_ATTEMPTED)))


def test_order() -> None:
    """What fails now comes first, then what passes, then a program; another cause and no answer are no flips."""
    found = compare(
        *sides(f=SILENT, e=CAUSE, d=PROGRAM, c=FIXED, b=BROKEN, a=(cell(), None), g=(None, cell()), h=UNTRIED)
    )
    assert [(f.kind, f.key) for f in found.flips] == [(Kind.BROKEN, "b"), (Kind.FIXED, "c"), (Kind.PROGRAM, "d")]
    assert [f.key for f in found.others] == ["e", "f", "h", "g", "a"]
    assert found.common == 6


@pytest.mark.parametrize(
    ("cells", "flips", "near", "any_"),
    [
        ((cell(), cell()), 0, 0, 0),
        (BROKEN, 1, 1, 1),
        (FIXED, 1, 1, 1),
        (PROGRAM, 1, 1, 1),
        (CAUSE, 0, 0, 1),
        (SILENT, 3, 3, 1),
        ((LOST, LOST), 0, 0, 0),
        ((cell(UNKNOWN, "needs-declaration"), cell(NO, "x")), 3, 3, 1),
        ((cell(YES, "", program(verified=700_000)), cell(YES, "", program(verified=900_000))), 0, 1, 1),
        ((cell(YES, "", program(verified=900_000)), cell(YES, "", program(verified=900_000))), 0, 0, 0),
        ((cell(YES, "", program(verified=900_000)), cell(YES, "", program(verified=910_000))), 0, 0, 1),
        ((cell(YES, "", program(states=1)), cell(YES, "", program(states=2))), 0, 0, 1),
    ],
)
def test_exit_code(cells: tuple[Cell, Cell], flips: int, near: int, any_: int) -> None:
    """1 for a flip, either way; for costs only where they are asked for; 3 for an answer on one side only."""
    found = compare(*sides(x=cells))
    assert [found.exit_code(on) for on in ("flips", "near", "any")] == [flips, near, any_]


def test_exit_code_of_what_one_side_lacks() -> None:
    """A pair that only one side has an answer for is no success, nor is it to have compared nothing at all."""
    for cells in ((cell(), None), (None, cell(NO, "x"))):
        assert compare(*sides(x=cells, y=(cell(), cell()))).exit_code() is Exit.INCONCLUSIVE
    assert compare(*sides(x=(LOST, None), y=(cell(), cell()))).exit_code() is Exit.OK
    assert compare(*sides()).exit_code() is Exit.INCONCLUSIVE


def test_costs() -> None:
    """What comes newly near a limit is first, then what is near, then the rest by how much of itself it changed."""
    before = [program("new", verified=1), program("old", verified=990_000), program("s", stack=(8, 500))]
    before += [program("r", verified=10), program("t", states=10), program("n"), program("c", False, verified=9)]
    after = [program("new", verified=800_000), program("old", verified=990_001), program("s", stack=(8, 500))]
    after += [program("r", verified=15), program("t", states=30), program("n", verified=5), program("c", verified=1)]
    a, b = cell(YES, "", *before), cell(YES, "", *after)
    found = compare(*sides(x=(a, b)))
    assert [c.program for c in found.near] == ["new", "old", "s"]
    assert [c.program for c in found.rest] == ["t", "r"]
    assert "x new: verified instructions: 1 -> 800,000 of 1,000,000" in as_text(found)
    assert CostChange("x", "p", "m", None, 3).ratio == 0


def test_two_builds_of_one_series() -> None:
    """A flip between two builds of one series is named for what it is; between 6.1 and 6.12 it is not."""
    one, other = cell(YES), cell(NO, "x", release="6.1.0-2")
    assert "are builds of one series" in as_text(compare(*sides(x=(one, other))))
    for release in ("6.12.1", "6.1.0-2-rt-amd64", "6.1.9+deb12-cloud-amd64"):
        assert "one series" not in as_text(compare(*sides(x=(one, cell(NO, "x", release=release)))))
    one, other = (cell(a, "", release=f"6.{n}+deb13-rt-amd64") for a, n in ((YES, "12.1"), (NO, "12.117")))
    assert "are builds of one series" in as_text(compare(*sides(x=(one, other))))


def test_formats_have_no_duration() -> None:
    """Text, Markdown and JSON agree on the counts, and nothing that hangs on the host is in any of them."""
    found = compare(*sides(**{f"o{n:02}": BROKEN for n in range(30)}))
    text, made = as_text(found), json.loads(json.dumps(as_json(found)))
    assert "flips: 30" in text and "and 10 more" in text and len(made["flips"]) == 30
    assert "### Flips: 30" in as_markdown(found)
    assert not any(word in f"{text}{made}" for word in ("usec", "seconds", "duration", "jited"))


# --- veristat


def test_veristat() -> None:
    """Each line has veristat's own names and words, no field is empty, and what no kernel answered is left out."""
    side = Side("a", {
        "x@k": cell(YES, "", program("p", verified=12, states=3, peak_states=2), program("q", False)),
        "y,\n@k": cell(NO, "z", program("", False, verified=7)),
        "lost@k": LOST, "untold@k": cell(UNKNOWN, "needs-declaration", program()),
    })  # fmt: skip
    text = veristat.as_csv(side)
    assert list(csv.DictReader(io.StringIO(text))) == [
        _line("x@k", "p", "success", 12, 3, 2),
        _line("x@k", "q", "failure", 0, 0, 0),
        _line("y__@k", "_", "failure", 7, 0, 0),
    ]  # fmt: skip
    assert veristat_reads(text) == 3


def _line(file: str, name: str, verdict: str, *counts: int) -> dict[str, str]:
    return dict(zip(veristat.COLUMNS, (file, name, verdict, *map(str, counts)), strict=True))


# What parse_stats_csv() of libbpf/veristat accepts: fields parted by strtok, so that an empty one would vanish.
KNOWN = {"file_name", "prog_name", "verdict", "duration", "total_insns", "total_states", "peak_states",
         "max_states_per_insn", "max_mark_read_len"}  # fmt: skip


def veristat_reads(text: str) -> int:
    """How many rows veristat would read, or an assertion where it would stop."""
    head, *lines = text.splitlines()
    names = head.split(",")
    assert set(names) <= KNOWN and {"file_name", "prog_name"} <= set(names)
    for line in lines:
        fields = [f for f in line.split(",") if f]
        assert len(fields) == len(names) and len(line) < 4096
        told = dict(zip(names, fields, strict=True))
        assert told["verdict"] in ("success", "failure")
        assert all(told[n].isdecimal() for n in names if n not in ("file_name", "prog_name", "verdict"))
    return len(lines)


@pytest.mark.parametrize("text", HOSTILE)
def test_veristat_hostile(text: str) -> None:
    """No name of a program or object breaks a line or a field."""
    assert veristat_reads(veristat.as_csv(Side("a", {text: cell(YES, "", program(text))}))) == 1


# --- where sides come from


def run_file(folder: Path, *rows: Any) -> str:
    """A run's matrix.json."""
    folder.mkdir(exist_ok=True)
    (folder / "matrix.json").write_text(reports.as_json(rows))
    return str(folder)


def test_runs(tmp_path: Path) -> None:
    """Two runs are compared by their reports, given as a folder or as the file; a lost guest is no answer."""
    a = run_file(tmp_path / "a", row(YES), row(YES, name="y@k"), row(None, name="z@k"))
    b = run_file(
        tmp_path / "b", row(NO, "helper-missing"), row(UNKNOWN, "needs-declaration", name="y@k"), row(None, name="z@k")
    )
    found = comparing.run(tmp_path, a, f"{b}/matrix.json", [], [])
    assert [(f.key, f.after) for f in found.flips] == [("x@k", "incompatible:helper-missing")]
    assert [f.kind for f in found.others] == [Kind.UNANSWERED]
    assert comparing.run(tmp_path, a, b, [], ["y@*"]).exit_code() is Exit.INCONCLUSIVE


def test_unmatched_pattern(tmp_path: Path) -> None:
    """A pattern that matches no pair of the two is refused with the nearest name; one side's pair is enough."""
    a, b = run_file(tmp_path / "a", row(YES)), run_file(tmp_path / "b", row(YES), row(YES, name="minimal@k"))
    assert comparing.run(tmp_path, a, b, [], ["minimal@*"]).exit_code() is Exit.INCONCLUSIVE
    with pytest.raises(ConfigError, match="--only minmal@k: matches nothing") as caught:
        comparing.run(tmp_path, a, b, [], ["x@*", "minmal@k"])
    assert caught.value.hint == "did you mean minimal@k?" and caught.value.exit_code is Exit.INPUT


BROKEN_RUNS: Mapping[str, str] = {
    "no JSON": "{", "a list": "[]", "another format": '{"format": 2, "pairs": []}', "no pairs": '{"format": 1}',
    "deep": "[" * 100_000, "pairs of text": '{"format": 1, "pairs": ["x"]}',
    "an odd answer": '{"format": 1, "pairs": [{"object": "o", "kernel": "k", "answer": "maybe", "programs": []}]}',
}  # fmt: skip


@pytest.mark.parametrize("text", BROKEN_RUNS.values(), ids=BROKEN_RUNS)
def test_broken_run(tmp_path: Path, text: str) -> None:
    """A file that is no run's is refused by name, whatever it is."""
    (tmp_path / "matrix.json").write_text(text)
    with pytest.raises(ConfigError, match=r"matrix\.json: (not a run's|format 2)"):
        comparing.sides(tmp_path, str(tmp_path), str(tmp_path), [])


def test_registries(tmp_path: Path) -> None:
    """Registries are compared by what is signed; with a key every signature counts, without one that is said."""
    for name in ("a", "b"):
        claims.registry(tmp_path / name, now=int(time.time()))
    a, b = (str(tmp_path / name) for name in ("a", "b"))
    found = comparing.run(tmp_path, a, b, [], [])
    assert found.common and not found.flips and "signatures were not checked" in as_text(found)
    checked = comparing.run(tmp_path, a, b, [claims.KEY.public_key()], [])
    assert not checked.notes and checked.a.cells == found.a.cells
    with pytest.raises(TrustError, match="trusted"):
        comparing.run(tmp_path, a, b, [claims.OTHER.public_key()], [])


@pytest.mark.parametrize("name", [text for text in HOSTILE if "\ud800" not in text])
def test_hostile_registry(tmp_path: Path, name: str) -> None:
    """What a stranger's objects call their programs is cleaned before it is shown: it moves no cursor."""
    for place, attach in (("a", Attach.ATTACHED), ("b", Attach.FAILED)):
        verdict = replace(claims.GOOD, programs=(program(name, attach=attach),))
        claims.registry(tmp_path / place, claims.claim(verdict=verdict), now=int(time.time()))
    found = comparing.run(tmp_path, str(tmp_path / "a"), str(tmp_path / "b"), [], [])
    assert len(found.flips) == 1
    for text in (as_text(found), as_markdown(found)):
        assert all(line.isprintable() for line in text.split("\n"))
        assert clean(name).replace("`", "'") in text.replace("`", "'")


def test_damaged_bundle(tmp_path: Path) -> None:
    """A bundle that holds another statement than its name says is not believed, key or not."""
    claims.registry(tmp_path / "a", now=int(time.time()))
    bundles = sorted((tmp_path / "a/bundles").glob("*.json"))
    bundles[0].chmod(0o644)
    bundles[0].write_bytes(bundles[1].read_bytes())
    with pytest.raises(TrustError, match="another statement"):
        comparing.run(tmp_path, str(tmp_path / "a"), str(tmp_path / "a"), [], [])


def test_not_of_one_kind(tmp_path: Path) -> None:
    """A run is not compared with a name."""
    with pytest.raises(ConfigError, match=r"neither a run's matrix\.json nor a registry"):
        comparing.sides(tmp_path, run_file(tmp_path / "a"), "debian-12", [])
