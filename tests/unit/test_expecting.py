"""Today's answers as expectations: the least change of a table, and of the file that has it."""

import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat.errors import ConfigError
from bpfcompat.expected import expectation, expected_on
from bpfcompat.expecting import Change, changes, edited, renewed
from bpfcompat.gate import Row
from bpfcompat.model import Expectation, ObjectSpec
from bpfcompat.plan import Pair
from bpfcompat.tomledit import quoted, statements
from tests.rows import NO, YES, row

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ("k-a", "k-b", "k-c")


def table(**said: str) -> dict[str, Expectation]:
    """A table of expectations; `every` is the pattern *, and _ a dash."""
    return {"*" if p == "every" else p.replace("_", "-"): expectation(text, "x") for p, text in said.items()}


Table = dict[str, Expectation]


def rows(before: Table, *answers: str, below: Table | None = None) -> list[Row]:
    """The rows of one object on k-a, k-b, …: `pass`, `fail:x`, or "" for no answer."""
    found = []
    for kernel, answer in zip(KERNELS, answers, strict=False):
        wanted = expected_on(ObjectSpec("x", expect=before, below=below or {}), kernel)
        cause = answer.partition(":")[2]
        known = {"pass": YES, "fail": NO, "": None}[answer.partition(":")[0]]
        found.append(row(known, cause, wanted, f"x@{kernel}"))
    return found


def everything(before: Table, answers: Sequence[str], below: Table | None = None) -> Table:
    """The new table when all pairs are recorded."""
    found = rows(before, *answers, below=below)
    return renewed(ObjectSpec("x", expect=before, below=below or {}), found, {r.pair for r in found})


@pytest.mark.parametrize(
    ("before", "answers", "after"),
    [
        ({}, ("pass", "pass", "pass"), {"every": "pass"}),
        ({}, ("pass", "fail:unknown", "pass"), {"every": "pass", "k_b": "fail:unknown"}),
        ({}, ("pass", "", "pass"), {"k_a": "pass", "k_c": "pass"}),  # * would speak for what nobody answered
        ({}, ("", "", ""), {}),
        ({"every": "pass"}, ("pass", "pass", "fail:unknown"), {"every": "pass", "k_c": "fail:unknown"}),
        ({"every": "pass"}, ("fail:unknown",) * 3, {"every": "fail:unknown"}),
        ({"every": "pass"}, ("fail:unknown", "", "fail:unknown"),
         {"every": "pass", "k_a": "fail:unknown", "k_c": "fail:unknown"}),
        ({"every": "pass", "k_a": "fail:unknown"}, ("pass", "pass", "pass"), {"every": "pass"}),
        ({"every": "any"}, ("pass", "fail:unknown", "pass"), {"every": "any"}),
        ({"every": "may-fail:permission"}, ("pass", "fail:permission", "pass"), {"every": "may-fail:permission"}),
        ({"every": "unknown"}, ("pass", "pass", "pass"), {"every": "pass"}),
        ({"k_a": "unknown", "every": "pass"}, ("fail:unknown", "pass", "pass"),
         {"k_a": "fail:unknown", "every": "pass"}),
        ({"k_a": "pass"}, ("pass", "fail:unknown", ""), {"k_a": "pass", "k_b": "fail:unknown"}),
        ({"k-[ab]": "fail", "every": "pass"}, ("pass", "pass", "pass"), {"every": "pass"}),
        ({"k-[ab]": "fail", "every": "pass"}, ("fail:x", "pass", "pass"),
         {"k-[ab]": "fail", "every": "pass", "k_b": "pass"}),
    ],
)  # fmt: skip
def test_renewed(before: dict[str, str], answers: tuple[str, ...], after: dict[str, str]) -> None:
    """What holds stays; a pattern changes where all under it did, else a kernel is named; no answer is no change."""
    old = table(**before)
    assert everything(old, answers) == table(**after)


@pytest.mark.parametrize(
    ("below", "before", "answers", "after"),
    [
        ({"k_a": "may-fail"}, {"every": "pass"}, ("fail:x", "pass", "pass"), {"every": "pass"}),  # it holds
        ({"k_a": "pass"}, {"every": "pass"}, ("fail:x", "pass", "pass"), {"every": "pass", "k_a": "fail:x"}),
        ({"k_a": "unknown"}, {"every": "pass"}, ("pass", "pass", "pass"), {"every": "pass", "k_a": "pass"}),
        ({"k_a": "may-fail"}, {}, ("fail:x", "pass", "pass"), {"every": "pass"}),  # * is for what nothing speaks of
        ({"k_a": "may-fail"}, {}, ("fail:x", "pass", ""), {"k_b": "pass"}),
        ({"every": "fail"}, {}, ("pass", "fail:x", "fail:x"), {"k_a": "pass"}),
        ({"k_a": "pass", "every": "may-fail"}, {"k_a": "fail:unknown"}, ("pass", "pass", "pass"), {}),
    ],
)  # fmt: skip
def test_renewed_below(
    below: dict[str, str], before: dict[str, str], answers: tuple[str, ...], after: dict[str, str]
) -> None:
    """A pattern of [expect] that holds is left to speak; where it does not, the object names the kernel itself."""
    assert everything(table(**before), answers, table(**below)) == table(**after)


ANSWERS = st.sampled_from(["pass", "fail:unknown", "fail:permission", ""])
WANTED = st.sampled_from(["pass", "fail", "fail:unknown", "may-fail", "unknown", "any"])
PATTERNS = st.sampled_from(["*", "k-*", "k-a", "k-b", "k-[bc]"])


TABLES = st.dictionaries(PATTERNS, WANTED.map(lambda text: expectation(text, "x")), max_size=4)


@given(TABLES, TABLES, st.lists(ANSWERS, min_size=3, max_size=3))
def test_recorded_is_expected(old: Table, below: Table, answers: list[str]) -> None:
    """After recording every pair with an answer is as expected, what had none keeps what it had, and once is enough."""
    new = everything(old, answers, below)
    for was, now in zip(rows(old, *answers, below=below), rows(new, *answers, below=below), strict=True):
        if was.verdict is None:
            assert now.expected == was.expected
        else:
            assert now.as_expected and now.expected.word != "unknown"
    assert everything(new, answers, below) == new


@given(TABLES, TABLES, st.lists(ANSWERS, min_size=3, max_size=3), st.sets(st.sampled_from(KERNELS)))
def test_only_the_chosen(old: Table, below: Table, answers: list[str], chosen: set[str]) -> None:
    """Of pairs that were not chosen nothing else is expected afterwards, whatever their patterns are."""
    spec, before = ObjectSpec("x", expect=old, below=below), rows(old, *answers, below=below)
    new = renewed(spec, before, {Pair("x", k) for k in chosen})
    for was, now in zip(before, rows(new, *answers, below=below), strict=True):
        if was.pair.kernel not in chosen:
            assert now.expected == was.expected
        elif now.verdict is not None:
            assert now.as_expected


FILE = """# top
[objects.one]   # the first
source = "a.bpf.c"          # its source
expect = "compatible"       # since ever

[[objects.one.tests]]
name = "expect = 'not this'"

[objects.two]
source = 'b.bpf.c'
[objects.two.expect]
"*" = "compatible"   # most
"k-a" = "incompatible"
# the end
[matrix]
kernels = [
  "k-*", # ] "
]
[objects."th.ree"]
source = \"\"\"
c.bpf.c\"\"\"  # no expectation yet"""


def test_edited() -> None:
    """Comments, order and all other lines stay; a string, a table of its own and nothing at all are each edited."""
    after = edited(FILE, [
        Change("one", table(every="pass"), table(every="pass", k_a="fail:helper-missing")),
        Change("two", table(every="pass", k_a="fail"), table(every="may-fail", k_b="fail")),
        Change("th.ree", {}, table(every="pass")),
    ])  # fmt: skip
    wanted = FILE.replace(
        'expect = "compatible"       #',
        'expect = { "*" = "compatible", "k-a" = "incompatible:helper-missing" }       #',
    )
    wanted = wanted.replace('"*" = "compatible"   # most\n"k-a" = "incompatible"\n',
                            '"*" = "may-fail"   # most\n"k-b" = "incompatible"\n')  # fmt: skip
    assert after == wanted + '\nexpect = "compatible"'


@pytest.mark.parametrize("full", [True, False])
def test_spelling(full: bool) -> None:
    """A new expectation is spelt as most of the file is."""
    text = FILE if full else FILE.replace('"compatible"', '"pass"').replace('"incompatible"', '"fail"')
    after = edited(text, [Change("one", table(every="pass"), table(every="fail"))])
    assert f'expect = "{"incompatible" if full else "fail"}"' in after


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("objects = { one = { source = 'a' } }", "no table of its own here"),
        ("[objects]\none = { source = 'a', expect = 'any' }", "no table of its own here"),
    ],
)
def test_not_edited(text: str, said: str) -> None:
    """What cannot be edited line by line is left alone, and the words to write by hand are said."""
    with pytest.raises(ConfigError, match=said) as caught:
        edited(text, [Change("one", {}, table(every="pass"))])
    assert 'expect = "pass"' in str(caught.value)


def test_windows_lines() -> None:
    """Line ends stay what they are."""
    text = "[objects.one]\r\nsource = 'a' # it\r\n[matrix]\r\n"
    assert edited(text, [Change("one", {}, table(every="pass"))]) == (
        "[objects.one]\r\nsource = 'a' # it\r\nexpect = \"pass\"\r\n[matrix]\r\n"
    )


def test_scanner_on_our_own_settings() -> None:
    """In this repository's settings the scanner finds for every assignment the value that a TOML reader finds."""
    text = (ROOT / "bpfcompat.toml").read_text()
    known, compared = tomllib.loads(text), 0
    for found in statements(text):
        value = known
        for name in found.path:
            value = value[name] if isinstance(value, dict) else [v.get(name) for v in value]
        if not found.header and not isinstance(value, list):
            assert tomllib.loads(f"x = {text[slice(*found.value)]}")["x"] == value, found.path
            compared += 1
    assert compared > 200


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_quoted(text: str) -> None:
    """Any text survives as a TOML string, and the scanner finds its end."""
    line = f"x = {quoted(text)} # y"
    (found,) = statements(line)
    assert line[slice(*found.value)] == quoted(text)
    assert tomllib.loads(line)["x"] == text


def test_changes() -> None:
    """Only objects whose table changes are named."""
    old = {"x": table(every="pass"), "y": table(every="pass")}
    made = [row(NO, "unknown", old["x"]["*"], "x@k"), row(YES, "", old["y"]["*"], "y@k")]
    found = changes(made, {n: ObjectSpec(n, expect=e) for n, e in old.items()}, {r.pair for r in made})
    assert [(c.object, c.after) for c in found] == [("x", table(every="fail:unknown"))]
