"""Registries that lie, are damaged, or say nothing: no answer is taken from them, and each is told of."""

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bpfcompat import envelope
from bpfcompat.digest import canonical, digest_bytes
from bpfcompat.errors import TrustError
from bpfcompat.manifest import MAX_MATRIX_BYTES, Matrix, Row, matrix_payload, parse_matrix_statement
from bpfcompat.model import Answer
from bpfcompat.policy import Policy, VerdictKey
from bpfcompat.registry import borrow as borrowing
from bpfcompat.registry import layout
from bpfcompat.registry.borrow import Lender, Told, borrow
from bpfcompat.registry.client import Folder
from bpfcompat.registry.pack import pack as packed
from bpfcompat.registry.pack import unpack
from bpfcompat.registry.state import Memory
from bpfcompat.registry.verify import Trust
from bpfcompat.statement import pair_id
from tests.claims import BAD, GOOD, KEY, LOG, NOW, OTHER, POLICY, item, put, registry, report, row, two_claims

pytestmark = pytest.mark.hostile
CLAIMS = two_claims()
WANTED = {pair_id(made): f"{made.object_name}@{made.kernel_name}" for made in CLAIMS}
BOTH = Policy((VerdictKey(KEY.public_key()), VerdictKey(OTHER.public_key())), log=(LOG,))


class Counting:
    """A folder that counts what is read of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = Folder(folder)
        self.read_paths: list[str] = []

    def read(self, path: str, limit: int) -> bytes | None:
        """As Folder.read."""
        self.read_paths.append(path)
        return self._folder.read(path, limit)

    def names(self, folder: str) -> tuple[str, ...] | None:
        """As a server."""
        return None


def lender(folder: Path, policy: Policy = POLICY, now: int = NOW) -> Lender:
    """A registry in a folder, asked by a reader with this policy."""
    return Lender(folder.name, Counting(folder), Trust(policy, now), now)


def ask(*folders: Path, needed: int = 1, policy: Policy = POLICY, now: int = NOW) -> Told:
    """What these registries say of both questions."""
    return borrow([lender(folder, policy, now) for folder in folders], WANTED, needed)


@pytest.fixture(params=["pack", "files"])
def good(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An honest registry, read by its pack and file by file."""
    if request.param == "pack":
        monkeypatch.setattr(borrowing, "FEW", 0)
    registry(tmp_path / "good")
    return tmp_path / "good"


def test_honest(good: Path) -> None:
    """What an honest registry says is taken, each with the report that it rests on and the key that signed it."""
    told = ask(good)
    assert {pair: (loan.outcome, loan.report, loan.url) for pair, (loan,) in told.loans.items()} == {
        pair_id(made): ((made.verdict.answer, made.verdict.cause), report(made), "good") for made in CLAIMS
    }
    assert (told.problems, told.conflicts) == ([], {})
    assert {loan.signer for (loan,) in told.loans.values()} == {envelope.parse(bundle(good)).keyid}


def bundle(folder: Path) -> bytes:
    """The bundle of the first claim."""
    return (folder / layout.bundle_path(row(CLAIMS[0]).bundle or "")).read_bytes()


def matrix_of(folder: Path) -> Matrix:
    """What is published."""
    data = (folder / layout.MATRIX).read_bytes()
    return parse_matrix_statement(envelope.parse(data, MAX_MATRIX_BYTES).payload)


def sign(folder: Path, *rows: Row, **changes: object) -> None:
    """Another matrix, signed by KEY, whatever it says."""
    matrix = replace(matrix_of(folder), rows=rows or matrix_of(folder).rows, **changes)
    (folder / layout.MATRIX).write_bytes(envelope.sign(matrix_payload(matrix), KEY, MAX_MATRIX_BYTES))


def repack(folder: Path, change: Callable[[list[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]]) -> None:
    """Another pack, which the signed matrix names; and the same in single files."""
    old = matrix_of(folder).pack
    assert old is not None
    items = change(list(unpack((folder / layout.pack_path(old)).read_bytes(), 2)))
    data = packed(items)
    assert data is not None
    (folder / layout.pack_path(digest_bytes(data))).write_bytes(data)
    for made, (one, two) in zip(CLAIMS, items, strict=True):
        (folder / layout.bundle_path(row(made).bundle or "")).write_bytes(one)
        (folder / layout.evidence_path(made.report)).write_bytes(two)
    sign(folder, pack=digest_bytes(data))


def nothing_of(folder: Path, words: str, pairs: int = 2, **more: object) -> None:
    """No answer of so many is taken, and the reason is told."""
    told = ask(folder, **more)  # type: ignore[arg-type]
    assert len(told.loans) == 2 - pairs
    assert words in "\n".join(told.problems)


first, second = (row(made) for made in CLAIMS)
LIES: dict[str, tuple[tuple[Row, ...], str]] = {
    "V27 another object's verdict": ((first, replace(second, bundle=first.bundle, pair=second.pair)), ""),
    "V28 V30 another question": ((replace(first, pair=second.pair), replace(second, pair=first.pair)), "in leaf 0"),
    "V32 another answer": ((first, replace(second, answer=Answer.COMPATIBLE, cause="")), "in leaf 1 of its log"),
    "V32 another cause": ((first, replace(second, cause="btf-missing")), "another answer"),
    "no such bundle": ((first, replace(second, bundle=digest_bytes(b"x"))), ""),
}


@pytest.mark.parametrize("lie", LIES)
def test_lying_rows(good: Path, lie: str) -> None:
    """A signed matrix whose rows are not what the bundles say: each row must be proved by its bundle."""
    rows, words = LIES[lie]
    sign(good, *rows)
    told = ask(good)
    wrong = [r.pair for r, true in zip(rows, (first, second), strict=True) if r != true]
    assert not told.loans.keys() & set(wrong)
    reasons = [*told.problems, *told.conflicts.values()]
    assert len(reasons) >= 1
    assert words in "\n".join(reasons)
    unlogged = ask(good, policy=Policy(POLICY.verdict))
    assert not unlogged.loans.keys() & set(wrong) and unlogged.problems, "without the log's key each bundle tells"


def test_no_row_no_answer(good: Path) -> None:
    """A matrix without a row for the question gives no answer, and that is no fault."""
    sign(good, first)
    told = ask(good)
    assert (list(told.loans), told.problems) == ([first.pair], [])


def test_inconclusive_is_never_borrowed(good: Path) -> None:
    """A row that says inconclusive gives no answer."""
    sign(good, replace(first, answer=Answer.INCONCLUSIVE, cause="no-answer", bundle=None), second)
    assert first.pair not in ask(good).loans


def test_two_answers_in_one_matrix(good: Path) -> None:
    """V32: a question that one matrix answers in two ways has no answer."""
    both = replace(second, kernel_name="again", answer=Answer.COMPATIBLE, cause="")
    sign(good, first, second, both)
    assert second.pair not in ask(good).loans


DAMAGE: dict[str, tuple[Callable[[list[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]], str]] = {
    "bundles swapped": (lambda i: [(i[1][0], i[0][1]), (i[0][0], i[1][1])], "its name says"),
    "reports swapped": (lambda i: [(i[0][0], i[1][1]), (i[1][0], i[0][1])], "report"),
    "report changed": (lambda i: [(i[0][0], i[0][1] + b" "), (i[1][0], i[1][1] + b" ")], "report"),
    "signature flipped": (lambda i: [(b.replace(b'"sig":"ME', b'"sig":"MF'), r) for b, r in i], "bundle"),
    "signed by another": (lambda i: [(_resigned(b), r) for b, r in i], "signed by"),
    "not in the log": (lambda i: [(envelope.sign(envelope.parse(b).payload, KEY), r) for b, r in i], "log"),
    "garbage": (lambda i: [(b"{}", b"{}")] * 2, "bundle"),
}


def _resigned(data: bytes) -> bytes:
    return envelope.sign(envelope.parse(data).payload, OTHER)


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_items(good: Path, damage: str) -> None:
    """Whatever the signed matrix names, each bundle and report must hold by itself."""
    change, words = DAMAGE[damage]
    repack(good, change)
    nothing_of(good, words)


def test_damaged_matrix(good: Path) -> None:
    """A matrix that is missing, changed, expired, from the future, of another key or in no log gives nothing."""
    data = (good / layout.MATRIX).read_bytes()
    nothing_of(good, "expired", now=NOW + 10**8)
    nothing_of(good, "not valid before", now=NOW - 10**6)
    nothing_of(good, "signed by", policy=Policy((VerdictKey(OTHER.public_key()),), log=(LOG,)))
    sign(good, log=None)
    nothing_of(good, "log")
    for wrong in (b"", b"[]", data[:-1], data.replace(b'"sig":"M', b'"sig":"N'), b"\xff" * 100):
        (good / layout.MATRIX).write_bytes(wrong)
        nothing_of(good, "good: ")
    (good / layout.MATRIX).unlink()
    nothing_of(good, "is missing")


def test_matrix_by_a_verdict(good: Path) -> None:
    """A verdict in the matrix's place is refused by its predicate type."""
    (good / layout.MATRIX).write_bytes(bundle(good))
    nothing_of(good, "predicateType")


ODD = {"empty": b"", "cut": b"\x1f\x8b", "empty lines": gzip.compress(b"\n" * 10), "many": gzip.compress(b"a\nb\n" * 9)}


@pytest.mark.parametrize("data", ODD.values(), ids=ODD.keys())
def test_signed_but_odd_packs(tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack that the matrix names by digest and that is none is refused, whoever signed for it."""
    monkeypatch.setattr(borrowing, "FEW", 0)
    registry(tmp_path / "good")
    (tmp_path / "good" / layout.pack_path(digest_bytes(data))).write_bytes(data)
    sign(tmp_path / "good", pack=digest_bytes(data))
    nothing_of(tmp_path / "good", "good: ")


def test_pack_under_a_wrong_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack whose bytes are not what its name says is not unpacked; without a pack, many pairs are not fetched."""
    monkeypatch.setattr(borrowing, "FEW", 0)
    registry(tmp_path / "good")
    path = tmp_path / "good" / layout.pack_path(matrix_of(tmp_path / "good").pack or "")
    path.write_bytes(path.read_bytes() + b"x")
    nothing_of(tmp_path / "good", "its bytes are not what its name says")
    path.unlink()
    nothing_of(tmp_path / "good", "is missing")
    sign(tmp_path / "good", pack=None)
    nothing_of(tmp_path / "good", "has no pack")


def test_few_requests(tmp_path: Path) -> None:
    """Matrix and log; then the pack, or two files a pair where few are wanted; no more where none is there."""
    registry(tmp_path)
    for few, wanted, paths in (
        (0, WANTED, ["matrix.json", "checkpoint", "tile", "tile", "packs"]),
        (3, WANTED, ["matrix.json", "checkpoint", "tile", "tile", *["bundles"] * 2, *["evidence"] * 2]),
        (3, {"ab" * 32: "x@k"}, ["matrix.json", "checkpoint"]),
    ):
        source = Counting(tmp_path)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(borrowing, "FEW", few)
            borrow([Lender("x", source, Trust(POLICY, NOW), NOW)], wanted, 1)
        assert [path.split("/")[0] for path in source.read_paths] == paths


def test_disagreement(tmp_path: Path) -> None:
    """Two registries that disagree: both are named and neither is believed, whatever their order."""
    registry(tmp_path / "one")
    lies = [replace(made, verdict=GOOD if made.verdict is BAD else BAD, report="") for made in CLAIMS]
    lies = [replace(made, report=digest_bytes(report(made))) for made in lies]
    put(tmp_path / "two", [item(c) for c in lies], [row(c) for c in lies], OTHER)
    for names in (("one", "two"), ("two", "one")):
        told = ask(*(tmp_path / name for name in names), policy=BOTH)
        assert told.loans == {}
        assert sorted(told.conflicts) == sorted(WANTED)
        assert all("one says " in words and "two says " in words for words in told.conflicts.values())


def test_needed(tmp_path: Path) -> None:
    """With two needed, two registries must say the same under two keys; the same key twice is one."""
    registry(tmp_path / "one")
    registry(tmp_path / "same")
    registry(tmp_path / "other", key=OTHER)
    one, same, other = (tmp_path / name for name in ("one", "same", "other"))
    assert ask(one, same, needed=2, policy=BOTH).loans == {}
    assert ask(one, needed=2, policy=BOTH).loans == {}
    found = ask(one, same, other, needed=2, policy=BOTH).loans
    assert [[loan.url for loan in loans] for loans in found.values()] == [["one", "other"]] * 2


def test_first_that_holds(tmp_path: Path) -> None:
    """V45: one registry is damaged and the other good: the answers come from the good one, and the damage is told."""
    for name in ("bad", "good"):
        registry(tmp_path / name)
    for path in (tmp_path / "bad/evidence").iterdir():
        path.write_bytes(b"{}")
    told = ask(tmp_path / "bad", tmp_path / "good")
    assert [loan.url for (loan,) in told.loans.values()] == ["good", "good"]
    assert all(line.startswith("bad: ") for line in told.problems)
    assert len(told.problems) == 2


def test_problems_are_bounded(good: Path) -> None:
    """Of many problems of one registry a few are told in full, and none can move a terminal's cursor."""
    one = lender(good)
    one.problems.extend(["\x1b[2J"] * 9)
    one._problem(TrustError("\x1b[2J" * 1000))
    told = borrow([one], {}, 1)
    assert len(told.problems) == borrowing.SHOWN + 1
    assert told.problems[-1] == "good: and 7 more problems"
    assert "\x1b" not in one.problems[-1] and len(one.problems[-1]) < 2000


def test_plain_json(good: Path) -> None:
    """The pack is named in the matrix beside the log it was cut from."""
    payload = json.loads(envelope.parse((good / layout.MATRIX).read_bytes(), MAX_MATRIX_BYTES).payload)
    assert payload["predicate"]["pack"] == matrix_of(good).pack
    assert canonical(payload) == matrix_payload(matrix_of(good))


def remembered(folder: Path, state: Path) -> Told:
    """The same question by a reader who remembers the log in `state`."""
    return borrow([Lender("x", Counting(folder), Trust(POLICY, NOW), NOW, lambda: Memory(state, [LOG]))], WANTED, 1)


def test_history_that_was_rewritten_lends_nothing(tmp_path: Path) -> None:
    """A registry that had another history, or more of it, when it was last seen is told of, and not borrowed from."""
    registry(tmp_path / "honest")
    registry(tmp_path / "anew", *reversed(CLAIMS))
    registry(tmp_path / "old", CLAIMS[0])
    assert len(remembered(tmp_path / "honest", tmp_path / "state").loans) == 2
    for name, why in (("anew", "fork: two roots for 2 leaves"), ("old", "rollback: 1 leaves now, 2 when")):
        told = remembered(tmp_path / name, tmp_path / "state")
        assert told.loans == {} and why in "".join(told.problems)
        assert len(remembered(tmp_path / name, tmp_path / name / "first").loans) > 0, "who never saw it cannot know"


def test_a_memory_that_cannot_be_kept_lends_nothing(tmp_path: Path) -> None:
    """Trouble with this machine's own memory is told, and the kernel is asked here."""
    registry(tmp_path / "honest")
    (tmp_path / "state").write_text("in the way")
    told = remembered(tmp_path / "honest", tmp_path / "state")
    assert told.loans == {} and "--state DIR" in "".join(told.problems)
