"""Rows to text: readable, parseable, and nothing hostile unescaped."""

import json
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat import reports
from bpfcompat.gate import Row
from tests.rows import ANY, HOSTILE, NO, UNKNOWN, YES, expects, row

ROWS = [
    row(YES, name="a@k1", ran=True),
    row(NO, "helper-missing", expects(YES), name="a@k2", evidence=("unknown func bpf_x#1",)),
    row(None, name="b@k1", trouble="no report within 60 s"),
    row(None, name="b@k2", not_to_be_had=True, trouble="404"),
    row(NO, "x", expects(YES), name="c@k1", required=False),
]

NEWS = row(YES, "", expects(NO))

# --- for people


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (ROWS[0], "compatible  (ran, 2.25 s tcg cold)"),
        (row(YES), "compatible  (cached)"),
        (ROWS[1], "incompatible: helper-missing  (cached)  << expected compatible"),
        (ROWS[2], "inconclusive  (cached)  no report within 60 s  << expected any"),
        (ROWS[3], "not to be had: 404"),
        (ROWS[4], "incompatible: x  (cached)  << expected compatible (optional)"),
        (NEWS, "compatible  (cached)  << expected incompatible: it passes, which is news"),
    ],
)
def test_line(made: Row, said: str) -> None:
    """One pair in one line: answer, cause, whether it ran, and a mark where it is not as expected."""
    assert reports.line(made) == f"{made.pair!s:42} {said}"


def test_table() -> None:
    """Objects down, kernels across; a pair that is not in the matrix is a dash."""
    assert reports.table(ROWS).splitlines() == [
        "object  k1      k2",
        "------  ------  -------------------",
        "a       yes     NO helper-missing !",
        "b       ? !     not to be had",
        "c       NO x !  -",
    ]


def test_notes() -> None:
    """A compatible pair with a note is never plain: it is marked, and the note is in the Markdown and the JSON."""
    rows = [*ROWS[1:], row(YES, name="a@k1", notes=("f is inactive",))]
    assert "yes *" in reports.table(rows) and reports.table(rows).endswith("\n\n" + reports.LEGEND)
    assert r"✅ \*" in reports.as_markdown(rows) and "- `a@k1: f is inactive`\n" in reports.as_markdown(rows)
    assert json.loads(reports.as_json(rows))["pairs"][-1]["notes"] == ["f is inactive"]


def test_nothing() -> None:
    """No rows are no traceback, in any format."""
    assert reports.table([]).splitlines() == ["object", "------"]
    assert reports.summary([]).startswith("0 pairs")
    assert json.loads(reports.as_json([]))["pairs"] == []
    assert ElementTree.fromstring(reports.as_junit([])).get("tests") == "0"
    assert reports.as_markdown([]).startswith("| object |")


def test_summary() -> None:
    """Counts, what ran, and each required row that is not as expected with both words."""
    lines = reports.summary(ROWS).splitlines()
    assert lines[0] == (
        "5 pairs: 1 compatible, 2 incompatible, 1 inconclusive, 1 not to be had; "
        "1 ran, 2 already proved, 2 without an answer"
    )
    assert lines[1:] == [
        "2 not as expected:",
        "  a@k2: expected compatible, got incompatible:helper-missing",
        "  b@k1: expected any, got no answer: no report within 60 s",
        "why: bpfcompat explain a@k2",
        "1 optional, not as expected:",
        "  c@k1: expected compatible, got incompatible:x",
    ]
    assert reports.summary(ROWS[:1]) == "1 pairs: 1 compatible; 1 ran, 0 already proved; all as expected"


def test_summary_sorts_news() -> None:
    """What fails comes first, then what passes unexpectedly, marked as news, then another cause; pairs are gathered."""
    rows = [row(NO, "y", expects(NO, "x")), NEWS, row(YES, "", expects(NO), "z@k"), row(NO, "x", expects(YES))]
    assert reports.summary(rows).splitlines()[2:-1] == [
        "  x@k: expected compatible, got incompatible:x",
        "  x@k, z@k: expected incompatible, got compatible (news: it passes now)",
        "  x@k: expected incompatible:x, got incompatible:y (another cause)",
    ]
    assert "**unexpected pass**" in reports.as_markdown(rows)
    said = [p["difference"] for p in json.loads(reports.as_json(rows))["pairs"]]
    assert said == ["other-cause", "unexpected-pass", "unexpected-pass", "unexpected-fail"]


def test_summary_is_short() -> None:
    """A thousand pairs with one trouble are one line that says how many."""
    lines = reports.summary([row(None, name=f"o{n}@k", trouble="no QEMU") for n in range(1000)]).splitlines()
    assert len(lines) == 3 and lines[1] == "1000 not as expected:" and "and 996 more" in lines[2]


# --- hostile


def hostile_rows(text: str) -> list[Row]:
    """Rows that carry a stranger's text wherever a row can carry one."""
    failed = row(NO, "verifier-rejected", expects(YES), name="a@k", evidence=(text, text), notes=(text,), sentence=text)
    return [
        failed,
        row(YES, name="b@k", trouble=text, evidence=(text,)),
        row(None, name="c@k", trouble=text),
        row(None, name="d@k", trouble=text, not_to_be_had=True),
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_terminal_is_safe(text: str) -> None:
    """Lines, table and summary are printable whatever a guest said."""
    rows = hostile_rows(text)
    for shown in (*map(reports.line, rows), reports.table(rows), reports.summary(rows)):
        assert all(line.isprintable() for line in shown.split("\n"))
    assert all("\n" not in reports.line(r) for r in rows)


@pytest.mark.parametrize("text", HOSTILE)
def test_junit_is_well_formed(text: str) -> None:
    """JUnit parses, with as many cases as rows, and no element of a stranger's making."""
    root = ElementTree.fromstring(reports.as_junit(hostile_rows(text)).encode("utf-8"))
    assert [c.tag for c in root] == ["testcase"] * 4
    assert [[e.tag for e in case] for case in root] == [["failure"], [], ["error"], ["skipped"]]
    assert all(len(e) == 0 for case in root for e in case)


@given(st.text(max_size=40))
def test_junit_any_text(text: str) -> None:
    """JUnit parses whatever the text is, in names as well, and says the counts it has."""
    rows = [row(NO, text, expects(YES, text), name="a@k", evidence=(text,)), row(None, trouble=text)]
    root = ElementTree.fromstring(reports.as_junit(rows).encode("utf-8"))
    counted = {tag: len(root.findall(f"testcase/{tag}")) for tag in ("failure", "error", "skipped")}
    assert counted == {"failure": 1, "error": 1, "skipped": 0}
    assert [root.get(a) for a in ("tests", "failures", "errors", "skipped")] == ["2", "1", "1", "0"]


def test_junit_content() -> None:
    """A case is kernel and object, with the guest's seconds when it ran; a failure has expectation and evidence."""
    root = ElementTree.fromstring(reports.as_junit(ROWS))
    first, second = root[0], root[1]
    assert (first.get("classname"), first.get("name"), first.get("time")) == ("k1", "a", "2.250")
    failure = second.find("failure")
    assert failure is not None and failure.text == "unknown func bpf_x#1"
    assert failure.get("message") == "expected compatible, got incompatible:helper-missing"


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_is_inert(text: str) -> None:
    """In a pull request nothing of a stranger is a link, an image, a heading, a row or HTML: it is inside code."""
    shown = reports.as_markdown(hostile_rows(text))
    assert len(shown.splitlines()) == len(reports.as_markdown(hostile_rows("x")).splitlines())
    outside = re.sub(r"`[^`\n]*`", "", shown)
    assert not re.search(r"[<>\[\]#]|&lt;|https?:", outside)
    assert shown.count("`") % 2 == 0


def test_markdown_table() -> None:
    """Each row of the table has as many cells as its head."""
    lines = [line for line in reports.as_markdown(ROWS).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 3
    assert {line.count("|") for line in lines} == {4}
    assert lines[2] == "| a | ✅ | ❌ `helper-missing` **unexpected** |"
    assert lines[3] == "| b | ❔ **unexpected** | ➖ not to be had |"


@pytest.mark.parametrize("text", HOSTILE)
def test_json_keeps_evidence(text: str) -> None:
    """JSON is ASCII, parses, and has the evidence as it was: machines do their own escaping."""
    shown = reports.as_json(hostile_rows(text))
    assert shown.isascii()
    assert json.loads(shown)["pairs"][0]["evidence"] == [text, text]


def test_json_content() -> None:
    """What a machine reads: the answer, what was expected, why it ran, and how to ask again."""
    whole = json.loads(reports.as_json(ROWS))
    assert (whole["format"], whole["as_expected"]) == (1, False)
    assert sum(whole["counts"].values()) == len(ROWS) == len(whole["pairs"])
    wrong = whole["pairs"][1]
    assert (wrong["object"], wrong["kernel"], wrong["answer"], wrong["cause"]) == (
        "a", "k2", "incompatible", "helper-missing",
    )  # fmt: skip
    assert (wrong["expected"], wrong["as_expected"], wrong["required"]) == ("compatible", False, True)
    assert wrong["reproduce"] == "doit forget probe:a@k2 && doit probe:a@k2"
    assert json.loads(reports.as_json(ROWS[:1]))["as_expected"] is True


def test_json_of_no_answer() -> None:
    """A pair without an answer is inconclusive, with the trouble as its sentence, and never compatible."""
    (made,) = json.loads(reports.as_json([row(None, trouble="lost", expected=ANY)]))["pairs"]
    assert (made["answer"], made["sentence"], made["as_expected"]) == (str(UNKNOWN), "lost", False)


def test_repeatable() -> None:
    """Equal rows give equal bytes."""
    for make in (reports.as_json, reports.as_junit, reports.as_markdown, reports.table):
        assert make(ROWS) == make(list(ROWS))


# --- a matrix that no terminal can show


@pytest.mark.parametrize(("objects", "kernels"), [(101, 1), (1, 31), (400, 250)])
def test_large(objects: int, kernels: int) -> None:
    """Of a large matrix as expected there is its size; otherwise a table of what is not, bounded."""
    rows = [row(YES, name=f"o{o}@k{k}") for o in range(objects) for k in range(kernels)]
    assert reports.table(rows) == f"{objects} objects on {kernels} kernels; the reports show every pair"
    wrong = [row(NO, "x", expects(YES), name=str(r.pair)) if n in (0, 7) else r for n, r in enumerate(rows)]
    assert reports.table(wrong).count(" x !") == 2
    every = [row(NO, "x", expects(YES), name=str(r.pair)) for r in rows]
    assert len(reports.table(every)) < 100_000
