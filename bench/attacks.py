"""What counts in numbers of attacks and not in seconds: the lists V and H, vectors, kills, and cosign's word.

The attacks are the tests' own; here they are run and counted, so that a table can say how many there were.
"""

import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as Xml
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.measure import ROOT, Row, environ
from bench.registries import KEY, LOG_KEY, ORIGIN, items, place, put
from bpfcompat.envelope import pae_digest
from bpfcompat.errors import BuildError
from bpfcompat.logentry import trusted_root
from bpfcompat.note import NoteKey
from bpfcompat.registry import layout
from bpfcompat.statement import verdict_payload
from tests import independent
from tests.items import TESTS, named

VECTORS = ("unit/test_wycheproof.py", "unit/test_edwards.py")
EDGES = "unit/test_edwards.py::test_no_edge_loads"  # a parameter for each
KILLED = ("hostile/test_kill.py::test_killed_at_every_step",)


@dataclass(frozen=True, slots=True)
class Case:
    """One test that was run: `file::test` below tests/, its parameter, how it ended, and what it counted."""

    test: str
    parameter: str
    end: str  # held, accepted (an assertion did not hold), crashed (anything else), skipped
    counts: Mapping[str, int]

    def is_of(self, number: str) -> bool:
        """Whether it acts out this number of the lists: where a parameter names numbers, this one is among them."""
        numbers = re.findall(r"\b[VH][0-9]+\b", self.parameter)
        return self.test in named(number) and (not numbers or number in numbers)


def run(tests: Sequence[str]) -> tuple[float, list[Case]]:
    """Seconds, and each case of these tests, on all cores; BuildError when pytest could not run them."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told.xml"
        argv = [sys.executable, "-m", "pytest", "-q", "-n", "auto", "--dist", "loadfile", "-o", "junit_family=xunit1",
                f"--junitxml={told}", *(f"tests/{test}" for test in tests)]  # fmt: skip
        began = time.perf_counter()
        done = subprocess.run(argv, cwd=ROOT, env=environ(), capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1):
            raise BuildError(f"pytest: {(done.stdout + done.stderr)[-300:]}")
        return time.perf_counter() - began, [_case(found) for found in Xml.parse(told).iter("testcase")]


def _case(found: Xml.Element) -> Case:
    name, _, parameter = found.get("name", "").partition("[")
    counts = {p.get("name", ""): int(p.get("value", "0")) for p in found.iter("property")}
    return Case(f"{found.get('file', '').removeprefix('tests/')}::{name}", parameter[:-1], _end(found), counts)


def _end(found: Xml.Element) -> str:
    if found.find("skipped") is not None:
        return "skipped"
    failure = found.find("failure")
    if failure is not None:
        said = failure.get("message", "")
        return "accepted" if said.startswith(("AssertionError", "assert ", "Failed: DID NOT RAISE")) else "crashed"
    return "crashed" if found.find("error") is not None else "held"


def lists(quick: bool) -> Iterator[Row]:
    """Every number of the lists V and H, by every test that acts it out."""
    seconds, cases = run(sorted({test for number in TESTS for test in named(number)}))
    for letter in "VH":
        numbers = [number for number in TESTS if number.startswith(letter)]
        of = {number: [case for case in cases if case.is_of(number)] for number in numbers}
        whole = sum(bool(found) and all(case.end == "held" for case in found) for found in of.values())
        ends = [case.end for case in cases if any(case in found for found in of.values())]  # each once
        told = ", ".join(f"{ends.count(end)} {end}" for end in ("accepted", "crashed", "skipped"))
        yield Row(f"list {letter}", (seconds,), note=f"{told} of {len(ends)} attacks; "
                  f"{whole} of {len(numbers)} numbers hold; seconds of both lists")  # fmt: skip


def vectors(quick: bool) -> Iterator[Row]:
    """Other people's vectors of signatures and keys, and keys of small order."""
    seconds, cases = run(VECTORS)
    counts = {name: value for case in cases for name, value in case.counts.items()}
    counts["edge keys"] = sum(case.test == EDGES for case in cases)
    told = ", ".join(f"{value} {name}" for name, value in sorted(counts.items()))
    yield Row("vectors", (seconds,), note=f"{_ends(cases)}; {told}")


def killed(quick: bool) -> Iterator[Row]:
    """A publish that is killed at each of its steps on the file system."""
    seconds, cases = run(KILLED)
    steps = ", ".join(f"{case.counts.get('steps', 0)} steps of {case.parameter}" for case in cases)
    yield Row("publish: kills", (seconds,), note=f"{_ends(cases)}; killed at each of {steps}")


def _ends(cases: Sequence[Case]) -> str:
    failed = [case.test for case in cases if case.end in ("accepted", "crashed")]
    skipped = sum(case.end == "skipped" for case in cases)
    return f"{len(failed)} of {len(cases)} tests failed, {skipped} skipped{': ' + ', '.join(failed) if failed else ''}"


def offline(quick: bool) -> Iterator[Row]:
    """cosign, without a network and with inclusion in our log required, about every bundle of a registry."""
    with place() as folder:
        sizes = (1, 2, 5, 20) if quick else (1, 2, 3, 5, 20, 60, 150, 300)  # of its log, one publish after another
        for size in sizes:
            put(folder, items(size))
        beside = folder.parent
        (beside / "root.json").write_bytes(trusted_root(NoteKey(ORIGIN, LOG_KEY.public_key())))
        key = independent.public_pem_file(beside, KEY.public_key())
        seconds, held = [], 0
        try:
            for item in items(sizes[-1]):
                bundle = folder / layout.bundle_path(pae_digest(verdict_payload(item.claim)))
                (beside / "object").write_bytes(item.claim.object_name.encode())
                began = time.perf_counter()
                done = independent.cosign(bundle, key, beside / "root.json", beside / "object")
                seconds.append(time.perf_counter() - began)
                held += done.code == 0
        except pytest.skip.Exception as why:
            yield Row("cosign", note=str(why))
            return
    yield Row("cosign", tuple(seconds), note=f"{held} of {sizes[-1]} bundles of {len(sizes)} publishes: "
              f"{held / sizes[-1]:.0%} verified offline with inclusion; seconds of one")  # fmt: skip
