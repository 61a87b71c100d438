"""A question with two signed answers, and a publisher or mirror that shows one of them: who reads the log sees both.

Readers are asked over HTTP's terms: nothing lists the files, and only the matrix and the log say what there is.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bpfcompat import envelope
from bpfcompat.digest import digest_bytes
from bpfcompat.errors import Exit
from bpfcompat.keys import fingerprint
from bpfcompat.manifest import MAX_MATRIX_BYTES, matrix_payload, parse_matrix_statement
from bpfcompat.policy import Policy, VerdictKey
from bpfcompat.registry import borrow as borrowing
from bpfcompat.registry import layout, leaves
from bpfcompat.registry.borrow import Lender, Told, borrow
from bpfcompat.registry.client import Folder
from bpfcompat.registry.log import opened
from bpfcompat.registry.pack import pack
from bpfcompat.registry.state import Memory
from bpfcompat.registry.verify import Trust, Verification, format_verification, verify
from bpfcompat.statement import pair_id
from tests.claims import BAD, GOOD, KEY, LOG, NOW, OTHER, POLICY, claim, item, put, registry, report, row, signer

pytestmark = pytest.mark.hostile
FAILED, PASSED = claim(verdict=BAD), claim(verdict=GOOD)
THIRD = claim(kernel_name="debian-13", kernel_release="6.12.0", vmlinuz="sha256:" + "7" * 64)
PAIR = pair_id(PASSED)
WANTED = {PAIR: "ringbuf@debian-12"}


class Served(Folder):
    """A folder as a server gives it: it lists nothing; what was asked for is in `asked`."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: list[str] = []

    def read(self, path: str, limit: int) -> bytes | None:
        """As Source.read."""
        self.asked.append(path)
        return super().read(path, limit)

    def names(self, folder: str) -> tuple[str, ...] | None:
        """As Source.names."""
        return None


def ask(folder: Path, state: Path | None = None, policy: Policy = POLICY) -> Told:
    """What a borrower is told; with `state` one who remembers."""
    remember = (lambda: Memory(state, [LOG])) if state else None
    return borrow([Lender("there", Served(folder), Trust(policy, NOW), NOW, remember)], WANTED, 1)


def check(folder: Path, state: Path | None = None, policy: Policy = POLICY) -> Verification:
    """What `bpfcompat verify` finds, without --all."""
    return verify(Served(folder), policy, now=NOW, memory=Memory(state, [LOG]) if state else None)


def bundle(folder: Path, of: object) -> Path:
    """Where the bundle of a claim lies."""
    return folder / layout.bundle_path(row(of).bundle or "")  # type: ignore[arg-type]


def silent(folder: Path) -> Path:
    """The publisher signs a matrix that does not tell of its second answers, and drops the indexes that do."""
    shutil.rmtree(folder / "pairs")
    data = (folder / layout.MATRIX).read_bytes()
    said = parse_matrix_statement(envelope.parse(data, MAX_MATRIX_BYTES).payload)
    payload = matrix_payload(replace(said, conflicts=()))
    (folder / layout.MATRIX).write_bytes(envelope.sign(payload, KEY, MAX_MATRIX_BYTES))
    return folder


def lying(folder: Path) -> Path:
    """The same, with a row that passes the first answer off for that of another question; the pack has both."""
    data = (folder / layout.MATRIX).read_bytes()
    said = parse_matrix_statement(envelope.parse(data, MAX_MATRIX_BYTES).payload)
    lie = replace(row(FAILED), pair="ab" * 32, kernel_name="other")
    whole = pack([(bundle(folder, of).read_bytes(), report(of)) for of in (PASSED, FAILED)]) or b""
    (folder / layout.pack_path(digest_bytes(whole))).write_bytes(whole)
    payload = matrix_payload(replace(said, rows=(row(PASSED), lie), pack=digest_bytes(whole)))
    (folder / layout.MATRIX).write_bytes(envelope.sign(payload, KEY, MAX_MATRIX_BYTES))
    return folder


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """A registry that answered no first, and then yes."""
    registry(tmp_path / "both", FAILED)
    registry(tmp_path / "both", PASSED)
    return tmp_path / "both"


def test_the_matrix_tells(both: Path) -> None:
    """V31: an honest publisher signs which of its questions have two answers: nobody borrows one of them."""
    told = ask(both, policy=Policy(POLICY.verdict))
    assert (told.loans, told.problems) == ({}, [])
    assert told.conflicts == {PAIR: "ringbuf@debian-12: there's matrix says that it signed two answers"}
    shutil.rmtree(both / "pairs")
    found = check(both, policy=Policy(POLICY.verdict))
    assert (found.trusted, found.exit_code) == (True, Exit.UNEXPECTED)
    assert "signed as compatible, and otherwise, as the matrix says" in format_verification(found)


def test_the_log_tells(both: Path) -> None:
    """V31: where the matrix is silent, the log has the other answer: it is shown, and nothing is borrowed."""
    told = ask(silent(both))
    assert (told.loans, told.problems) == ({}, [])
    assert told.conflicts == {PAIR: "ringbuf@debian-12: there says compatible, and incompatible in leaf 0 of its log"}
    found = check(both)
    assert (found.trusted, found.exit_code) == (True, Exit.UNEXPECTED)
    assert "signed as compatible and as incompatible" in "".join(found.conflicts)
    assert ask(both, policy=Policy(POLICY.verdict)).loans, "without the log's key nobody can know"


@pytest.mark.parametrize("few", [0, 3])
def test_a_row_that_lies(both: Path, tmp_path: Path, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a leaf answers is its bundle's to say: a row about it is not believed, by pack and file by file."""
    monkeypatch.setattr(borrowing, "FEW", few)
    lying(silent(both))
    told = ask(both, tmp_path / "borrower")
    assert told.loans == {} and told.conflicts[PAIR].endswith("incompatible in leaf 0 of its log")
    assert check(both, tmp_path / "auditor").exit_code is Exit.UNTRUSTED
    put(both, [item(PASSED)], [row(PASSED)])
    silent(both)
    for state in ("borrower", "auditor"):
        found = check(both, tmp_path / state)
        assert (found.trusted, len(found.conflicts)) == (True, 1), "and nobody remembers the lie"


def test_taken_away(both: Path) -> None:
    """A leaf whose bundle is gone, or is another's, and the registry lends nothing and is not trusted."""
    silent(both)
    for damage in (Path.unlink, lambda path: path.write_bytes(bundle(both, PASSED).read_bytes())):
        damage(bundle(both, FAILED))
        told = ask(both)
        assert told.loans == {} and "leaf 0 of the log: is " in "".join(told.problems)
        assert check(both).exit_code is Exit.UNTRUSTED


def test_a_returning_reader_knows_it_already(both: Path, tmp_path: Path) -> None:
    """Who saw the first answer when it was new needs no bundle of it: it can be replaced and deleted in vain."""
    registry(tmp_path / "then", FAILED)
    borrower, auditor = tmp_path / "borrower", tmp_path / "auditor"
    mirror = Path(shutil.copytree(tmp_path / "then", tmp_path / "now"))
    shutil.copytree(tmp_path / "then.records", tmp_path / "now.records")
    assert ask(tmp_path / "then", borrower).loans and check(tmp_path / "then", auditor).trusted
    put(mirror, [item(PASSED)], [row(PASSED)])
    silent(mirror)
    bundle(mirror, FAILED).unlink()
    told = ask(mirror, borrower)
    assert told.loans == {}
    assert told.conflicts[PAIR].endswith("there says compatible, and incompatible in leaf 0 of its log")
    assert ask(mirror, borrower).loans == {}, "and it stays so"
    assert check(mirror, auditor).exit_code is Exit.UNTRUSTED


def test_looked_at_once(both: Path, tmp_path: Path) -> None:
    """A leaf that no row names is fetched at the first visit; a later one reads no leaf, and knows as much."""
    put(both, [item(THIRD)], [row(THIRD), row(PASSED)])
    silent(both)
    asked = []
    for _ in range(2):
        source = Served(both)
        verify(source, POLICY, now=NOW, memory=Memory(tmp_path / "state", [LOG]))
        asked.append([path for path in source.asked if path.startswith("tile/entries")])
        told = ask(both, tmp_path / "state")
        assert list(told.conflicts) == [PAIR]
    assert [len(paths) for paths in asked] == [1, 0]


def test_what_a_thief_left_is_no_answer(both: Path, tmp_path: Path) -> None:
    """A revoked key's verdict, or what is no verdict at all, stays in the log and speaks against nothing."""
    folder = tmp_path / "stolen"
    put(folder, [item(FAILED)], [row(FAILED)], OTHER)
    put(folder, [item(PASSED)], [row(PASSED)])
    silent(folder)
    revoked = VerdictKey(OTHER.public_key(), below=0)
    policy = Policy((VerdictKey(KEY.public_key()), revoked), log=(LOG,))
    assert ask(folder, policy=policy).loans and not check(folder, policy=policy).conflicts
    assert ask(folder).conflicts, "a stranger's other answer is a reason to ask here"
    junk = envelope.parse(envelope.sign(b'{"no":"verdict"}', OTHER))
    with opened(folder, signer(folder)) as log:
        log.append([envelope.leaf_of(junk, OTHER.public_key())])
    (folder / layout.bundle_path(junk.digest)).write_bytes(envelope.bundle_bytes(junk))
    put(folder, [item(THIRD)], [row(THIRD), row(PASSED)])
    silent(folder)
    assert ask(folder, policy=policy).loans and junk.keyid == fingerprint(OTHER.public_key())


def test_more_leaves_than_one_visit_looks_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a visit costs is bounded: the rest is told, and the next visits go on until all was looked at."""
    folder, state = tmp_path / "long", tmp_path / "state"
    others = [claim(object_name=f"o{n}", object_digest=f"sha256:{n:064x}") for n in range(5)]
    put(folder, list(map(item, [*others, FAILED])), [row(others[0])])
    put(folder, [item(PASSED)], [row(PASSED)])
    silent(folder)
    monkeypatch.setattr(leaves, "MAX_BUNDLES", 2)
    said = [ask(folder, state) for _ in range(4)]
    left = ["".join(told.problems).partition(" leaves")[0] for told in said]
    assert left == ["there: 5", "there: 3", "there: 1", ""]
    assert [list(told.conflicts) for told in said] == [[], [], [PAIR], [PAIR]]
    assert check(folder).unseen == 5 and "5 leaves of the log were not looked at" in format_verification(check(folder))


@pytest.mark.parametrize("data", [b"x", b"x" * 64, b"x" * 200])
def test_a_damaged_memory(both: Path, tmp_path: Path, data: bytes) -> None:
    """A memory of leaves that is cut short is read as far as it goes; one of other bytes hides no leaf."""
    silent(both)
    ask(both, tmp_path / "state")
    (kept,) = (tmp_path / "state").glob("*.leaves")
    whole = kept.read_bytes()
    kept.write_bytes(whole[: -len(data)])
    assert list(ask(both, tmp_path / "state").conflicts) == [PAIR]
    assert kept.read_bytes() == whole
