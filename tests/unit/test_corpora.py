"""The corpora: cutting objects out of files, reading bpftool's answers, and the reasons for differences."""

import gzip
import io
import json
import re
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.corpora import theirs
from bench.corpora.compare import (
    REASONS,
    UNANSWERED,
    UNEXPLAINED,
    Compared,
    Reason,
    explain,
    pair_from_json,
    pair_to_json,
    read_reasons,
)
from bench.corpora.index import Origin, Shelf
from bench.corpora.ours import Ours, ProgramOf, ask_all, outcome_of
from bench.corpora.page import page
from bench.corpora.sources import unpack
from bench.corpora.theirs import Theirs, batches, told
from bpfcompat.carve import MAX_FOUND, objects_in
from bpfcompat.digest import digest_bytes
from bpfcompat.errors import BuildError, ConfigError
from bpfcompat.model import Answer, Verdict
from bpfcompat.plan import Pair
from tests.making import make_elf, make_tar
from tests.unit.test_elf import elf, sample

ROOT = Path(__file__).resolve().parents[2]
NOISE = b"\x7fELF" + b"noise" * 20


# --- cutting out


@pytest.mark.parametrize("order", ["<", ">"])
def test_embedded(order: str) -> None:
    """An object inside a program is cut out to its last byte, in either byte order; what is around it is not."""
    one = sample(order)
    found = list(objects_in(NOISE + one + NOISE + one + b"tail"))
    assert [cut.data for cut in found] == [one, one]
    assert [cut.offset for cut in found] == [len(NOISE), 2 * len(NOISE) + len(one)]


def test_whole_file() -> None:
    """A file that begins with an object is the object, with whatever stands behind it."""
    assert [cut.data for cut in objects_in(sample() + b"tail")] == [sample() + b"tail"]


def test_not_an_object() -> None:
    """Neither another machine's ELF nor one that is no relocatable object is taken."""
    executable = bytearray(sample())
    struct.pack_into("<H", executable, 16, 2)
    assert list(objects_in(NOISE + make_elf({".text": b"x"}) + bytes(executable))) == []


def test_cut_short() -> None:
    """An object that its file does not hold whole is passed over, and the next one is found."""
    one = sample()
    table = struct.unpack_from("<Q", one, 40)[0]
    beyond = bytearray(one)
    struct.pack_into("<Q", beyond, table + 64 + 32, 1 << 40)  # the first section's size
    assert list(objects_in(NOISE + one[:-1])) == []
    assert [cut.data for cut in objects_in(NOISE + bytes(beyond) + one)] == [one]


def test_bounded() -> None:
    """However many objects a file holds, so many are taken."""
    assert sum(1 for _ in objects_in(b"-" + elf([]) * (MAX_FOUND + 5))) == MAX_FOUND


@settings(max_examples=300)
@given(st.data())
def test_any_bytes(data: st.DataObject) -> None:
    """No bytes whatever make the search fail, and what it finds lies within them."""
    one = bytearray(sample())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(one) - 8))
        one[at : at + 8] = data.draw(st.binary(min_size=8, max_size=8))
    whole = b"-" + bytes(one)
    assert all(cut.offset + len(cut.data) <= len(whole) for cut in objects_in(whole))


# --- the index


def test_each_once(tmp_path: Path) -> None:
    """Equal bytes are one object with all the places that they came from, and the index is read back as written."""
    shelf, places = Shelf(tmp_path), [Origin("packages", "p", v, "usr/sbin/opensnoop", 64) for v in ("1", "2")]
    assert [shelf.add(sample(), place) for place in places] == [True, False]
    assert shelf.add(b"\x7fELFnone", Origin("packages", "q", "1", "x.bpf.o"))
    items = shelf.write({})
    assert items == shelf.read() and len(items) == 2
    found = next(i for i in items if i.digest == digest_bytes(sample()))
    assert found.origins == tuple(places) and found.name.startswith("opensnoop-") and found.programs
    assert shelf.path(found).read_bytes() == sample()
    assert next(i for i in items if i is not found).fault
    again = Shelf(tmp_path)
    again.keep(lambda origin: origin.package == "p")
    assert again.write({}) == (found,)


def test_unpack(tmp_path: Path) -> None:
    """Only what matches leaves a source tarball, and no name climbs out."""
    tar = make_tar([("top/progs/a.c", b"1"), ("top/progs/../../evil.c", b"2"), ("top/other/b.c", b"3")])
    assert unpack(io.BytesIO(gzip.compress(tar)), r"progs/[\w.-]+\.c|progs/\.\./\.\./[\w]+\.h", tmp_path / "out") == 1
    assert [p.name for p in (tmp_path / "out").rglob("*.c")] == ["a.c"]


# --- bpftool's words


def test_told() -> None:
    """Exit 0 loads, anything else is a refusal with its words; pinning comes after loading; a kill is no answer."""
    said = b"begin a\nobject a 0 \nbegin b\nobject b 255 libbpf: no\x1fError: failed to load object file\x1f\n"
    said += b"begin c\nobject c 255 Error: failed to pin all programs\nbegin d\nobject d 137 \ndone\n"
    found = told(said, "k", "")
    assert [(t.object, t.outcome) for t in found] == [
        ("a", "loads"),
        ("b", "refused"),
        ("c", "loads"),
        ("d", "no-answer"),
    ]
    assert found[1].words == "libbpf: no\nError: failed to load object file"


def test_told_death() -> None:
    """The object that a guest was lost at is named; without a death nothing is said of a line that is not there."""
    said = b"begin a\nobject a 0 \nbegin b\n"
    assert told(said, "k", "kernel panic")[-1] == Theirs("b", "k", "dies", "kernel panic")
    assert [t.object for t in told(said, "k", "")] == ["a"]


def test_batches(tmp_path: Path) -> None:
    """Guests get objects in order, no more than they have room for, and every object once."""
    shelf = Shelf(tmp_path)
    for n in range(theirs.BATCH + 3):
        shelf.add(b"x%d" % n, Origin("packages", "p", "1", f"o{n:04}"))
    items = [*shelf.write({})]
    items[5] = replace(items[5], size=theirs.BATCH_BYTES)
    found = list(batches(items))
    assert [i for batch in found for i in batch] == items
    assert all(len(b) <= theirs.BATCH and (len(b) == 1 or sum(i.size for i in b) <= theirs.BATCH_BYTES) for b in found)


def test_closure_names_what_is_missing() -> None:
    """A library that no package has is an error that names it."""
    own = Path("/bin/sh").resolve().read_bytes()
    with pytest.raises(BuildError, match=r"needs libc\.so\.6"):
        theirs.closure(own, {})


# --- comparing


def ours(outcome: str, cause: str = "", words: str = "") -> Ours:
    return Ours("o-1", "k", outcome, cause, words, 0.2, (ProgramOf("p", "xdp", "xdp", True, "attached", "", ""),))


def pair(outcome: str, other: str, said: str = "", cause: str = "", second: str = "") -> Compared:
    return Compared(
        ours(outcome, cause), Theirs("o-1", "k", other, said), Theirs("o-1", "k", second, "") if second else None
    )


@pytest.mark.parametrize(
    ("answer", "cause", "outcome"),
    [
        (Answer.COMPATIBLE, "", "loads"),
        (Answer.INCOMPATIBLE, "verifier-rejected", "refused"),
        (Answer.INCOMPATIBLE, "kernel-crash", "dies"),
        (Answer.INCONCLUSIVE, "needs-declaration", "undeclared"),
    ],
)
def test_outcome(answer: Answer, cause: str, outcome: str) -> None:
    """A verdict is put in words that two loaders share; inconclusive is never a refusal."""
    assert outcome_of(Verdict(answer, cause, "")) == outcome


def test_asked_again_with_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what the usual guest had no memory for is asked of a larger one; what that says counts."""

    def ask(asker: object, pair: Pair) -> Ours:
        fits = asker == "larger" or pair.object != "large"
        words = "" if fits else "killed: Out of memory: Killed process 7 (init)"
        return Ours(pair.object, f"{asker}", "loads" if fits else "no-answer", "", words, 0.0)

    monkeypatch.setattr("bench.corpora.ours.ask", ask)
    answers = ask_all("usual", ["large", "small"], ["k"], larger="larger")  # type: ignore[arg-type]
    assert [(a.object, a.kernel, a.outcome) for a in answers] == [
        ("large", "larger", "loads"),
        ("small", "usual", "loads"),
    ]
    (alone,) = ask_all("usual", ["large"], ["k"])  # type: ignore[arg-type]
    assert alone.outcome == "no-answer"


def test_same() -> None:
    """Both load, both refuse, both die: nothing to explain.  Two that did not answer are not the same."""
    assert [explain(pair(o, o), ()) for o in ("loads", "refused", "dies")] == ["", "", ""]
    assert explain(pair("no-answer", "no-answer"), ()) == UNANSWERED


def test_undeclared_is_a_difference() -> None:
    """`undeclared` beside `refused` is a difference, and needs its reason."""
    found = pair("undeclared", "refused", cause="needs-declaration")
    assert explain(found, ()) == UNEXPLAINED
    assert explain(found, read_reasons()) == "needs-declaration"


def test_no_reason_for_silence() -> None:
    """A pair that one side did not answer is not answered, whatever a reason asks for."""
    assert explain(pair("loads", "no-answer"), [Reason("all", "takes anything")]) == UNANSWERED


@pytest.mark.parametrize(
    "row",
    [
        {"ours": "refused"},
        {"theirs": "loads"},
        {"cause": "unknown"},
        {"words": "not there"},
        {"said": "^other"},
        {"second": "as-ours"},
        {"second": "refused"},
        {"objects": ("x-.*",)},
    ],
)
def test_every_part_must_hold(row: dict[str, str]) -> None:
    """A reason explains a pair only when each thing that it asks for is so."""
    found = pair("loads", "refused", said="libbpf: no\nError", second="")
    assert explain(found, [Reason("r", "t")]) == "r"
    assert explain(found, [Reason("r", "t", **row)]) == UNEXPLAINED  # type: ignore[arg-type]


def test_newer_libbpf_is_asked() -> None:
    """An older libbpf is the reason only where a bpftool with ours was asked on that kernel and says what we say."""
    reasons = read_reasons()
    assert explain(pair("loads", "refused", second="loads"), reasons) == "older-libbpf"
    assert explain(pair("loads", "refused", second="refused"), reasons) == UNEXPLAINED
    assert explain(pair("loads", "refused"), reasons) == UNEXPLAINED


def test_reasons_are_checked(tmp_path: Path) -> None:
    """A misspelt or empty row would explain everything: it is refused."""
    (tmp_path / "r.toml").write_text('[[reason]]\nname = "a"\ntext = "b"\nsaids = "c"\n')
    with pytest.raises(ConfigError, match="unknown key saids"):
        read_reasons(tmp_path / "r.toml")
    (tmp_path / "r.toml").write_text('[[reason]]\nname = "a"\ntext = "b"\n')
    with pytest.raises(ConfigError, match="expected a name, a text and what it asks for"):
        read_reasons(tmp_path / "r.toml")


def test_no_reason_takes_all() -> None:
    """No row of the repository explains a pair of which nothing is known."""
    strange = pair("refused", "loads", said="?", cause="?")
    assert explain(strange, read_reasons(REASONS)) == UNEXPLAINED


def test_pairs_are_kept() -> None:
    """What is kept of a pair is all of it."""
    for found in (pair("loads", "refused", "x", second="loads"), pair("refused", "refused")):
        assert pair_from_json(json.loads(json.dumps(pair_to_json(found)))) == found


# --- the page


def test_page(tmp_path: Path) -> None:
    """The page counts each pair once, under what became of it, and names what nothing explains."""
    shelf = Shelf(tmp_path)
    shelf.add(sample(), Origin("packages", "pkg", "1", "o"))
    items = [replace(i, name="o-1") for i in shelf.write({})]
    about = {
        "date": "2026-01-02",
        "commit": "abc",
        "libbpf": "1.5.0",
        "kernels": {"k": "6.1"},
        "bpftool": {"bookworm": "7.1"},
    }
    pairs = [pair("loads", "loads"), pair("refused", "refused", cause="unknown"), pair("refused", "loads", "| odd")]
    pairs.append(pair("undeclared", "refused", cause="needs-declaration"))
    found = page(about, items, pairs, read_reasons(), "abc", [ours("loads")])
    assert "| k | 6.1 | 4 | 1 | 1 | 0 | 1 | 1 | 0 |" in found
    assert "| o-1@k | unexplained | refused | loads | \\| odd |" in found
    assert "`unknown` is 1 of 2 causes given, 50.0 %" in found
    assert "| xdp | 1 | 1 | 0 | 0 | 100.0 % |" in found


def test_page_of_the_repository() -> None:
    """docs/agreement.md is of a run in which every reason is one of the table, and no pair was left unexplained."""
    text = (ROOT / "docs/agreement.md").read_text("utf-8")
    part = text.partition("## Reasons for differences")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `([\w.-]+)` \|", part, re.M)
    assert named and set(named) <= {r.name for r in read_reasons()}
    assert "| unexplained |" not in text
