"""A matrix as a statement: rows in columns, one spelling, nothing beside them."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfcompat.digest import canonical, digest_bytes, hex_of
from bpfcompat.errors import TrustError
from bpfcompat.manifest import (
    FORMAT,
    NONE,
    NOT_TO_BE_HAD,
    Known,
    Matrix,
    Row,
    Rows,
    matrix_payload,
    parse_expectation,
    parse_matrix_statement,
    row_of,
)
from bpfcompat.model import Answer, Expectation
from tests.claims import BAD, NOW, OBJECT, VMLINUZ, claim, row, two_claims

ABSENT = Row("ringbuf", digest_bytes(OBJECT), "sid", "", None, None, None, Answer.INCONCLUSIVE, NOT_TO_BE_HAD,
             Expectation(Answer.COMPATIBLE))  # fmt: skip
DIGEST = digest_bytes(b"inventory")


def test_matrix_round_trip() -> None:
    """A matrix comes back as it was; every object is a subject once."""
    matrix = Matrix((*(row(c) for c in two_claims()), ABSENT), NOW, NOW + 60)
    payload = matrix_payload(matrix)
    assert parse_matrix_statement(payload) == matrix
    assert payload == canonical(json.loads(payload))
    statement = json.loads(payload)
    assert [s["name"] for s in statement["subject"]] == ["ringbuf"]
    assert statement["predicate"]["expires"] == "2027-01-15T08:01:00Z"


@pytest.mark.parametrize(
    "known",
    [
        (Known("b", DIGEST), Known("a", DIGEST)),
        (Known("a", DIGEST), Known("a", DIGEST, DIGEST)),
        (Known("c", DIGEST),),
        (Known("a", "sha256:x"),),
        (Known("a", DIGEST, "x"),),
    ],
)
def test_known(known: tuple[Known, ...]) -> None:
    """Inventories come back as they were; kernels without a row, out of order or twice, and no digests are refused."""
    rows = tuple(replace(ABSENT, kernel_name=name) for name in ("b", "a"))
    good = Matrix(rows, NOW, NOW + 60, known=(Known("a", DIGEST), Known("b", DIGEST, DIGEST)))
    assert parse_matrix_statement(matrix_payload(good)) == good
    with pytest.raises((TrustError, ValueError)):
        matrix_payload(replace(good, known=known))
    payload = matrix_payload(good)
    for old, new in ((b'"said":null', b'"said":1'), (b'"said":null', b'"said":"x"'), (b'"known":[', b'"known":[1,')):
        with pytest.raises(TrustError):
            parse_matrix_statement(payload.replace(old, new))


def test_as_expected() -> None:
    """The gate's rule: required rows decide; absence of an optional kernel is nobody's failure; not knowing is."""
    good, bad = two_claims()
    assert Matrix((row(good), row(bad), ABSENT), 0, 1).as_expected
    assert not Matrix((row(bad, "compatible"),), 0, 1).as_expected
    assert Matrix((row(bad, "compatible", required=False),), 0, 1).as_expected
    assert not replace(ABSENT, cause="deadline").as_expected
    assert row_of(bad, parse_expectation("any")).as_expected
    assert row_of(bad, parse_expectation("incompatible:helper-missing")).as_expected
    assert not row_of(bad, parse_expectation("incompatible:btf-missing")).as_expected


@pytest.mark.parametrize("text", ["", "yes", "Compatible", "any:", "compatible:", ":x", "pass", "any:x", "unknown:x"])
def test_expectation_has_one_spelling(text: str) -> None:
    """Only what an Expectation prints is read as one."""
    with pytest.raises(ValueError):
        parse_expectation(text)


@pytest.mark.parametrize("text", ["any", "may-fail", "may-fail:helper-missing", "unknown", "inconclusive:x"])
def test_expectation_round_trip(text: str) -> None:
    """Every expectation is read back as it was printed."""
    assert str(parse_expectation(text)) == text


BROKEN_ROWS = {
    "no bundle for an answer": replace(row(claim()), bundle=None),
    "a bundle without an answer": replace(row(claim()), answer=Answer.INCONCLUSIVE, cause="x"),
    "no pair": replace(row(claim()), pair=None),
    "bad digest": replace(row(claim()), vmlinuz="sha256:x"),
    "bad pair": replace(row(claim()), pair="../x"),
}


@pytest.mark.parametrize("broken", BROKEN_ROWS.values(), ids=BROKEN_ROWS.keys())
def test_broken_rows(broken: Row) -> None:
    """A row that could not be checked is never stated."""
    with pytest.raises(TrustError):
        matrix_payload(Matrix((broken,), 0, 1))


def test_pair_twice_or_none() -> None:
    """A matrix without rows, or with a pair twice, is none."""
    for rows in ((), (row(claim()), row(claim(verdict=BAD)))):
        with pytest.raises(TrustError, match="no pair twice"):
            matrix_payload(Matrix(rows, 0, 1))


def test_conflicts() -> None:
    """Pairs with a second answer are named, and then nothing is as expected; others than its answered rows are none."""
    rows = tuple(map(row, two_claims()))
    pairs = sorted(r.pair or "" for r in rows)
    made = Matrix(rows, NOW, NOW + 60, conflicts=tuple(pairs))
    assert parse_matrix_statement(matrix_payload(made)) == made and not made.as_expected
    for wrong in (pairs[::-1], [pairs[0]] * 2, ["ab" * 32], [pairs[0].upper()], [""]):
        with pytest.raises(TrustError, match="conflicts"):
            matrix_payload(replace(made, conflicts=tuple(wrong)))


Changes = dict[str, Callable[[dict[str, Any]], object]]


def _index(name: str, digits: str) -> Callable[[dict[str, Any]], object]:
    return lambda p: p["rows"].update({name: digits})


MATRIX_CHANGES: Changes = {
    "as_expected flipped": lambda p: p.update(as_expected=False),
    "rows dropped": lambda p: p["rows"].clear(),
    "no row": lambda p: p["rows"].update(dict.fromkeys(p["rows"], "")),
    "local time": lambda p: p.update(expires="2027-01-15T08:01:00+01:00"),
    "expires missing": lambda p: p.pop("expires"),
    "newer format": lambda p: p.update(format=FORMAT + 1),
    "a field beside the known": lambda p: p.update(more=1),
    "a column beside the known": lambda p: p["rows"].update(note=""),
    "a member beside a name": lambda p: p["objects"][0].update(note=""),
    "required is text": lambda p: p["wanted"][0].update(required="no"),
    "unknown answer": lambda p: p["outcomes"][0].update(answer="maybe"),
    "an answer without a bundle": lambda p: p["rows"].update(bundle=NONE.hex() * 2),
    "an answer without a pair": lambda p: p["rows"].update(pair=NONE.hex() * 2),
    "an answer on no kernel": lambda p: p["kernels"][0].update(vmlinuz=None),
    "no conflict": lambda p: p.update(conflicts=[]),
    "conflicts are text": lambda p: p.update(conflicts="x"),
    "a conflict of no row": lambda p: p.update(conflicts=["ab" * 32], as_expected=False),
    "rows are a list": lambda p: p.update(rows=[]),
    "upper case": lambda p: p["rows"].update(bundle=p["rows"]["bundle"].upper()),
    "a blank among the digits": lambda p: p["rows"].update(pair=p["rows"]["pair"][:64] + " " + p["rows"]["pair"][64:]),
    "a column is shorter": lambda p: p["rows"].update(pair=p["rows"]["pair"][:64]),
    "a pair twice": _index("kernel", "00000000"),
    "beyond its table": _index("kernel", "00000002"),
    "not in order of use": _index("kernel", "00010000"),
    "half an index": _index("kernel", "000000010"),
    "three digits": _index("kernel", "000001"),
    "no digits": _index("kernel", "000x0001"),
    "numbers": lambda p: p["rows"].update(kernel=[0, 1]),
    "a table's value twice": lambda p: p.update(kernels=[p["kernels"][0]] * 2),
    "a table's value unused": lambda p: p["outcomes"].append({"answer": "compatible", "cause": "x"}),
}


@pytest.mark.parametrize("change", MATRIX_CHANGES.values(), ids=MATRIX_CHANGES.keys())
def test_strict_matrix(change: Any) -> None:
    """A matrix that is not what we write for some rows is refused."""
    statement = json.loads(matrix_payload(Matrix(tuple(map(row, two_claims())), NOW, NOW + 60)))
    assert parse_matrix_statement(canonical(statement))
    change(statement["predicate"])
    with pytest.raises(TrustError, match="matrix"):
        parse_matrix_statement(canonical(statement))


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{", b'{"_type":1}', b'{"_type":"\\ud800"}', b"[" * 100_000])
def test_no_matrix(data: bytes) -> None:
    """What is no matrix at all is refused."""
    with pytest.raises(TrustError):
        parse_matrix_statement(data)


def test_one_matrix_spelling() -> None:
    """The same statement with blanks, in another order of members, or with an escape is refused."""
    payload = matrix_payload(Matrix((row(claim()),), NOW, NOW + 60))
    value = json.loads(payload)
    for other in (json.dumps(value).encode(), payload.replace(b"ringbuf", b"\\u0072ingbuf"), payload + b" "):
        with pytest.raises(TrustError, match="spelling"):
            parse_matrix_statement(other)


def test_names_are_data() -> None:
    """A name may look like what stands for the columns: refused with NUL, kept with quotes and braces."""
    odd = claim(object_name='","rows":{"pair":"')
    assert parse_matrix_statement(matrix_payload(Matrix((row(odd),), 0, 1))).rows[0].object_name == odd.object_name
    with pytest.raises((TrustError, ValueError)):
        matrix_payload(Matrix((row(claim(object_name="\0rows")),), 0, 1))


CAUSES = st.sampled_from(["helper-missing", "verifier-rejected"])


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.one_of(st.none(), CAUSES), st.booleans()),
                min_size=1, max_size=12, unique_by=lambda t: t[:2]))  # fmt: skip
def test_any_rows_come_back(told: list[tuple[int, int, str | None, bool]]) -> None:
    """Rows in any order come back one by one, equal, with their digests."""
    rows = []
    for number, kernel, cause, required in told:
        digest = digest_bytes(b"%d %d" % (number, kernel))
        answer = Answer.INCOMPATIBLE if cause else Answer.COMPATIBLE
        rows.append(Row(f"o{number}", digest_bytes(b"%d" % number), f"k{kernel}", "6.1", digest, hex_of(digest), digest,
                        answer, cause or "", Expectation(None), required))  # fmt: skip
    found = parse_matrix_statement(matrix_payload(Matrix(tuple(rows), 0, 1)))
    assert list(found.rows) == rows
    assert found.rows[-1] == rows[-1]
    assert found.rows[:2] == tuple(rows[:2])
    assert found.as_expected == all(r.as_expected for r in rows if r.required)


def test_columns_are_compared_with_rows() -> None:
    """Rows that were read equal rows that are to be written, and no others."""
    one, other = map(row, two_claims())
    assert Rows.of((one, other)) == (one, other)
    assert Rows.of((one, other)) != (other, one)
    assert Rows.of((one,)) != (replace(one, pair="x"),)
    assert Rows.of((one,)) != 7


def test_what_a_verdict_has_to_say() -> None:
    """By the name of its bundle an answer is found at once; a row that has none is not among them."""
    good, bad = two_claims()
    rows = Rows.of((row(good), ABSENT, row(bad)))
    assert {name.hex(): rows.outcomes[at] for name, at in rows.by_bundle.items()} == {
        hex_of(row(good).bundle or ""): (Answer.COMPATIBLE, ""),
        hex_of(row(bad).bundle or ""): (Answer.INCOMPATIBLE, "helper-missing"),
    }
    assert [rows[at].label for at in rows.answered] == [row(good).label, row(bad).label]


def test_golden() -> None:
    """The format, byte by byte."""
    made = row(claim(verdict=BAD))
    payload = matrix_payload(
        Matrix((replace(made, pair="ab" * 32, bundle="sha256:" + "cd" * 32), ABSENT), NOW, NOW + 60)
    )
    object_, kernel = hex_of(digest_bytes(OBJECT)), hex_of(digest_bytes(VMLINUZ))
    pair, bundle, none = "ab" * 32, "cd" * 32, "00" * 32
    assert payload.decode() == (
        '{"_type":"https://in-toto.io/Statement/v1","predicate":{"as_expected":true,"expires":"2027-01-15T08:01:00Z",'
        f'"format":2,"kernels":[{{"name":"debian-12","release":"6.1.0-30-cloud-amd64","vmlinuz":"sha256:{kernel}"}},'
        '{"name":"sid","release":"","vmlinuz":null}],"not_before":"2027-01-15T08:00:00Z",'
        f'"objects":[{{"digest":"sha256:{object_}","name":"ringbuf"}}],'
        '"outcomes":[{"answer":"incompatible","cause":"helper-missing"},'
        '{"answer":"inconclusive","cause":"not-to-be-had"}],'
        f'"rows":{{"bundle":"{bundle}{none}","kernel":"00000001","object":"00000000","outcome":"00000001",'
        f'"pair":"{pair}{none}","wanted":"00000001"}},'
        '"wanted":[{"expected":"incompatible","required":true},{"expected":"compatible","required":true}]},'
        '"predicateType":"urn:bpfcompat:matrix:v2",'
        f'"subject":[{{"digest":{{"sha256":"{object_}"}},"name":"ringbuf"}}]}}'
    )
