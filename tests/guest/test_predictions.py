"""Predictions of programs that must fail, held against what two default kernels say of them: CI has no corpora."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.labels import capture
from bench.predictions import foretold, refuted
from bpfcompat.asking import Asker
from bpfcompat.foreseeing import predicted
from bpfcompat.voice import Silent
from tests.guest.conftest import KERNELS, ROOT

pytestmark = pytest.mark.guest
ASKED = (KERNELS[0], KERNELS[-1])  # the oldest, which lacks most, and the newest; a guest for each object


@pytest.fixture(scope="module")
def sources(vmlinuz: dict[str, Path]) -> Iterator[Asker]:
    """Steps over the programs of bench/labels/sources."""
    yield capture.session_of(ROOT, Silent()).asker


def test_never_more_pessimistic(sources: Asker) -> None:
    """No kernel takes an object, or a program asked alone, that cannot load there by what is predicted."""
    foreseen, asked, wrong = 0, 0, []
    for pair, found in predicted(sources):
        if pair.kernel in ASKED:
            report = sources.report(pair)
            wrong += [f"{pair}: {line}" for line in refuted(found, sources.verdict(pair).answer, report)]
            foreseen += sum(p.name in foretold(found) for p in report.programs)
            asked += len(report.programs)
    assert wrong == []
    assert (foreseen >= 30, asked >= 200) == (True, True)
