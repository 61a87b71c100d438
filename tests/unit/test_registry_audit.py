"""Audits: a claim's standing and its answer are two things, and what is missing is said."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bpfcompat.digest import digest_bytes
from bpfcompat.envelope import parse, sign
from bpfcompat.errors import ConfigError, Exit
from bpfcompat.manifest import Matrix, Row, matrix_payload, parse_matrix_statement
from bpfcompat.model import Answer, Expectation
from bpfcompat.note import cosign
from bpfcompat.policy import Policy, VerdictKey
from bpfcompat.registry import layout
from bpfcompat.registry.audit import Audit, Evidence, Selection, Standing, audit
from bpfcompat.registry.client import Folder
from bpfcompat.registry.publish import Published
from bpfcompat.registry.witness import add_line
from bpfcompat.rootdoc import Key, Root
from tests.claims import BAD, KEY, LOG, NOW, OTHER, POLICY, claim, item, put, registry, row, two_claims
from tests.histories import EYES, WITNESSES
from tests.roots import HOLDERS

GOOD, OLD = two_claims()
SILENT = Row("ringbuf", None, "debian-99", "9.9", None, None, None, Answer.INCONCLUSIVE, "no-answer",
             Expectation(Answer.COMPATIBLE))  # fmt: skip


def looked(folder: Path, policy: Policy = POLICY, **more: object) -> Audit:
    """An audit now."""
    return audit(Folder(folder), policy, **{"now": NOW, **more})  # type: ignore[arg-type]


def bundle(folder: Path, made: Row) -> Path:
    """The file of a row's bundle."""
    return folder / layout.bundle_path(made.bundle or "")


def published(folder: Path, *rows: Row) -> Published:
    """GOOD and OLD, with these rows beside theirs."""
    return put(folder, [item(GOOD), item(OLD)], [row(GOOD), row(OLD), *rows])


def test_verified_is_not_compatible(tmp_path: Path) -> None:
    """An incompatible verdict that is signed and logged is verified, and incompatible."""
    published(tmp_path / "r")
    found = looked(tmp_path / "r")
    assert [(p.standing, p.answer) for p in found.pairs] == [
        (Standing.VERIFIED, Answer.COMPATIBLE),
        (Standing.VERIFIED, Answer.INCOMPATIBLE),
    ]
    assert [(p.index, p.evidence) for p in found.pairs] == [(0, Evidence.THERE), (1, Evidence.THERE)]
    assert (found.exit_code, found.gaps, found.problems) == (Exit.OK, (), ())


def test_no_log_key(tmp_path: Path) -> None:
    """Who was told no log's key calls nothing verified, and gives no place in the log."""
    published(tmp_path / "r")
    found = looked(tmp_path / "r", Policy(POLICY.verdict))
    assert {(p.standing, p.index) for p in found.pairs} == {(Standing.SIGNED, None)}
    assert found.log is None


def test_no_answer_without_a_claim(tmp_path: Path) -> None:
    """Where a bundle is missing or damaged there is no answer, whatever the matrix says."""
    published(tmp_path / "r")
    bundle(tmp_path / "r", row(GOOD)).unlink()
    place = bundle(tmp_path / "r", row(OLD))
    place.write_bytes(place.read_bytes().replace(b"eyJ", b"eyK", 1))
    found = looked(tmp_path / "r")
    assert [(p.standing, p.answer) for p in found.pairs] == [(Standing.MISSING, None), (Standing.REFUSED, None)]
    assert (found.exit_code, len(found.problems)) == (Exit.UNTRUSTED, 2)
    assert [gap.what for gap in found.gaps] == ["bundle"]


def test_row_and_bundle_differ(tmp_path: Path) -> None:
    """A row that names another pair's bundle is refused, and has no answer."""
    swapped = replace(row(GOOD), bundle=row(OLD).bundle)
    registry(tmp_path / "r", GOOD, OLD)
    before = parse_matrix_statement(parse((tmp_path / "r" / layout.MATRIX).read_bytes()).payload)
    payload = matrix_payload(Matrix((swapped,), NOW, NOW + 60, before.log))
    (tmp_path / "r" / layout.MATRIX).write_bytes(sign(payload, KEY))
    (pair,) = looked(tmp_path / "r").pairs
    assert (pair.standing, pair.answer) == (Standing.REFUSED, None)
    assert "the matrix says" in pair.why


def test_two_answers(tmp_path: Path) -> None:
    """Two signed answers are no answer, though both claims are verified."""
    published(tmp_path / "r")
    put(tmp_path / "r", [item(claim(verdict=BAD))], [row(GOOD), row(OLD)])
    first = looked(tmp_path / "r").pairs[0]
    assert (first.standing, first.answer, first.conflict) == (Standing.VERIFIED, None, True)
    assert looked(tmp_path / "r").exit_code is Exit.UNEXPECTED


GONE: dict[str, tuple[Callable[[Path], object], str, Exit]] = {
    "evidence": (lambda folder: (folder / layout.evidence_path(GOOD.report)).unlink(), "evidence", Exit.INCONCLUSIVE),
    "bundle": (lambda folder: bundle(folder, row(GOOD)).unlink(), "bundle", Exit.UNTRUSTED),
    "leaf": (lambda folder: bundle(folder, row(LATER)).unlink(), "leaf", Exit.UNTRUSTED),
}
LATER = claim(kernel_name="debian-13", vmlinuz=digest_bytes(b"later"))


@pytest.mark.parametrize("name", GONE)
def test_missing(tmp_path: Path, name: str) -> None:
    """Evidence, a bundle, and the bundle of a leaf that no row names: what is gone is named."""
    take, what, code = GONE[name]
    put(tmp_path / "r", [item(LATER)], [row(LATER)])
    published(tmp_path / "r")
    take(tmp_path / "r")
    found = looked(tmp_path / "r")
    assert [gap.what for gap in found.gaps] == [what]
    assert found.exit_code is code


def test_no_verdict(tmp_path: Path) -> None:
    """A required pair without a verdict is a gap and exit 3, one that nobody expects to have one is a gap alone."""
    published(tmp_path / "r", SILENT)
    found = looked(tmp_path / "r")
    assert found.gaps == (("verdict", "ringbuf@debian-99", "no-answer", True, False),)
    assert found.exit_code is Exit.INCONCLUSIVE
    expected = replace(SILENT, cause="needs-declaration", expected=Expectation(Answer.INCONCLUSIVE))
    published(tmp_path / "s", expected)
    assert [gap.expected for gap in looked(tmp_path / "s").gaps] == [True]
    assert looked(tmp_path / "s").exit_code is Exit.OK


def test_wrong_answer_wins_over_a_missing_one(tmp_path: Path) -> None:
    """A wrong answer is certain, a missing one is not: exit 1."""
    put(tmp_path / "r", [item(OLD)], [row(OLD, "compatible"), SILENT])
    assert looked(tmp_path / "r").exit_code is Exit.UNEXPECTED


def test_damaged_evidence(tmp_path: Path) -> None:
    """Evidence with other bytes than its name is a reason not to believe, named once."""
    published(tmp_path / "r")
    (tmp_path / "r" / layout.evidence_path(GOOD.report)).write_bytes(b"{}")
    found = looked(tmp_path / "r")
    assert found.pairs[0].evidence is Evidence.DAMAGED
    assert len(found.problems) == 1 and found.exit_code is Exit.UNTRUSTED

    class Blind(Folder):
        """A source that cannot list, like a server."""

        def names(self, folder: str) -> None:
            """As Source.names."""

    assert len(audit(Blind(tmp_path / "r"), POLICY, now=NOW).problems) == 1


def test_only_a_witness_gives_a_time(tmp_path: Path) -> None:
    """There is a time for leaves where a witness that is listed signed, and none that is to come."""
    published(tmp_path / "r")
    policy = replace(POLICY, witnesses=(WITNESSES[0],))
    log = looked(tmp_path / "r", policy).log
    assert log is not None and (log.seen, log.witnesses) == (None, ())
    text = (tmp_path / "r" / layout.CHECKPOINT).read_bytes().partition(b"\n\n")[0] + b"\n"
    for time, seen in ((NOW + 86400, None), (NOW - 5, NOW - 5)):
        add_line(tmp_path / "r", cosign(text, WITNESSES[0].name, EYES[0], time), WITNESSES[0])
        log = looked(tmp_path / "r", policy).log
        assert log is not None and log.seen == seen
        unlisted = looked(tmp_path / "r").log
        assert unlisted is not None and (unlisted.seen, unlisted.witnesses) == (None, ())


def test_selection(tmp_path: Path) -> None:
    """Objects are chosen by name or by a file's bytes; pairs without a verdict go with the object of their name."""
    other = claim(object_name="other", object_digest=digest_bytes(b"other"))
    put(tmp_path / "r", [item(GOOD), item(other)], [row(GOOD), row(other), SILENT])

    def labels(selection: Selection) -> list[str]:
        return [pair.row.label for pair in looked(tmp_path / "r", selection=selection).pairs]

    assert labels(Selection(["other"])) == ["other@debian-12"]
    assert labels(Selection(files={GOOD.object_digest: "x.o"})) == ["ringbuf@debian-12", "ringbuf@debian-99"]
    with pytest.raises(ConfigError, match="no object of the matrix"):
        labels(Selection(["othr"]))
    found = looked(tmp_path / "r", selection=Selection(files={digest_bytes(b"new build"): "new.o"}))
    assert (found.exit_code, found.pairs) == (Exit.UNTRUSTED, ())
    assert "these bytes were not asked about" in found.problems[0]


def test_nothing_to_believe(tmp_path: Path) -> None:
    """Without a matrix that holds there is a report that says why, and no pair."""
    published(tmp_path / "r")
    (tmp_path / "r" / layout.CHECKPOINT).unlink()
    found = looked(tmp_path / "r")
    assert (found.pairs, found.exit_code) == ((), Exit.UNTRUSTED)
    assert "checkpoint: is missing" in found.problems[0]
    shutil.rmtree(tmp_path / "r")
    (tmp_path / "r").mkdir()
    assert looked(tmp_path / "r").exit_code is Exit.UNTRUSTED


def test_keys(tmp_path: Path) -> None:
    """The report names every key that it believes, from a root document with role, name and limits."""
    published(tmp_path / "r")
    pinned = looked(tmp_path / "r", replace(POLICY, witnesses=(WITNESSES[0],))).keys
    assert [(key.role, key.name) for key in pinned] == [
        ("verdict", ""), ("log", LOG.name), ("witness", WITNESSES[0].name),
    ]  # fmt: skip
    holders = tuple(h.public_key() for h in HOLDERS[:2])
    keys = (Key("verdict", "runner", KEY.public_key(), NOW - 9, below=2), Key("log", LOG.name, LOG.key, NOW - 9))
    root = Root(LOG.name, 1, NOW + 99, 2, holders, keys)
    found = looked(tmp_path / "r", root.policy(NOW), root=root)
    assert [(key.role, key.name, key.below, key.current) for key in found.keys] == [
        ("root", LOG.name, None, True), ("root", LOG.name, None, True),
        ("verdict", "runner", 2, False), ("log", LOG.name, None, True),
    ]  # fmt: skip


def test_revoked(tmp_path: Path) -> None:
    """What a revoked key signed beyond its last index is refused in its own pair, and why is said there."""
    published(tmp_path / "r")
    put(tmp_path / "r", [], [row(GOOD), row(OLD)], OTHER)
    keys = (replace(POLICY.verdict[0], below=1), VerdictKey(OTHER.public_key()))
    found = looked(tmp_path / "r", replace(POLICY, verdict=keys))
    assert [pair.standing for pair in found.pairs] == [Standing.VERIFIED, Standing.REFUSED]
    assert "holds only below log index 1" in found.pairs[1].why
    assert found.exit_code is Exit.UNTRUSTED
