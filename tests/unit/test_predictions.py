"""Predictions against what kernels said of the corpora's objects, as tests/golden/predictions.json keeps it."""

import pytest

from bench.corpora.ours import KERNELS, session_of
from bench.measure import ROOT
from bench.predictions import GOLDEN, Kept, counts, gathered, kept, refuted, too_pessimistic, written
from bpfcompat.errors import BpfcompatError
from bpfcompat.foreseeing import predicted
from bpfcompat.model import Answer, Attach, Log, ProgramReport, Report
from bpfcompat.predicting import Obstacle, Prediction, Word
from bpfcompat.voice import Silent

DIGEST = "sha256:" + "ab" * 32


def test_never_more_pessimistic() -> None:
    """Of all objects that were asked about, none that was called impossible was compatible; most others are right."""
    pairs = kept()
    assert len({p.digest for p in pairs}) >= 100
    assert [p for p in pairs if too_pessimistic(p.word, p.answer)] == []
    sure = [p for p in pairs if p.answer is not Answer.INCONCLUSIVE and p.word is not Word.DOUBTFUL]
    right = [p for p in sure if (p.word is Word.POSSIBLE) == (p.answer is Answer.COMPATIBLE)]
    assert len(right) / len(sure) >= 0.8
    assert "\n".join(counts((p.word, p.answer) for p in pairs)) in (ROOT / "docs/inspect.md").read_text()


def test_today() -> None:
    """The same holds of what is predicted now, where the objects and the kernels lie here.

    CI gathers no objects; tests/guest asks it of this repository's own, and of programs that must fail.
    """
    shelf, items = gathered()
    answers = {(p.digest, p.kernel): p.answer for p in kept()}
    known = {i.name: i.digest for i in items if i.digest in {digest for digest, _ in answers}}
    if not known:
        pytest.skip("python -m bench.corpora --fetch gathers the objects")
    try:
        asker = session_of(ROOT, shelf, [i for i in items if i.name in known], Silent()).asker
        found = list(predicted(asker))
    except BpfcompatError as error:
        pytest.skip(f"the kernels are not here: {error}")
    held = [(found.word, answers.get((known[pair.object], pair.kernel))) for pair, found in found]
    assert held
    assert (Word.IMPOSSIBLE, Answer.COMPATIBLE) not in held


def test_refuted() -> None:
    """A kernel refutes a prediction by taking the object, or a program that cannot load; a guarded need binds none."""
    said = Log("")
    programs = tuple(
        ProgramReport(n, "xdp", "xdp", True, e, said, Attach.NOT_ATTEMPTED) for n, e in (("a", 0), ("b", 22), ("c", 0))
    )
    report = Report({}, 0, said, 22, said, programs)
    sure = [Obstacle("helper-missing", "x", name, True, "no x") for name in ("a", "b")]
    asked = [Obstacle("helper-missing", "x", "c", True, "no x", guarded=True), Obstacle("x", "", "c", False, "")]
    found = Prediction("k", "6.1", Word.IMPOSSIBLE, (*sure, *asked))
    assert refuted(found, Answer.INCOMPATIBLE, report) == ["program 'a' loads: no x"]
    assert refuted(found, Answer.COMPATIBLE, Report({}, 0, said, 0, said)) == ["the object is compatible"]


def test_kept_as_written() -> None:
    """What is kept is read as it was written, a pair that nobody asked about left out; and a wrong one is seen."""
    pairs = (Kept(DIGEST, KERNELS[1], Word.POSSIBLE, Answer.INCONCLUSIVE),)
    assert written(kept()) == GOLDEN.read_text()
    assert f'"{"ab" * 32}": "-- pn -- --"' in written(pairs)
    assert too_pessimistic(Word.IMPOSSIBLE, Answer.COMPATIBLE)
    assert not too_pessimistic(Word.DOUBTFUL, Answer.COMPATIBLE)
