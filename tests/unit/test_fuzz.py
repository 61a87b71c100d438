"""The readers of what strangers made: fuzzed for a few seconds, and held to everything that was found before."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.__main__ import NAMES, fuzz
from tests.fuzz.targets import TARGETS, seeds

FOUND = Path(__file__).parents[1] / "fuzz" / "found"
SECONDS = 2
# the rest has hypothesis in tests of its own, and `doit fuzz`
IN_TESTS = ("object", "elf", "core", "btf", "build", "log", "note", "request", "root")


def test_names() -> None:
    """Every target is fuzzed."""
    assert set(NAMES) == set(TARGETS)


@pytest.mark.parametrize("name", NAMES)
def test_seeds(name: str) -> None:
    """A target has seeds, and takes them."""
    there = list(seeds(name))
    assert len(there) >= 3
    for seed in there:
        TARGETS[name](seed)


@pytest.mark.parametrize("path", [p for p in sorted(FOUND.rglob("*")) if p.is_file()], ids=lambda p: p.name)
def test_found(path: Path) -> None:
    """What once broke a reader no longer does."""
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("name", IN_TESTS)
def test_fuzz(name: str, tmp_path: Path) -> None:
    """Nothing that a coverage-guided fuzzer makes in a few seconds gets past the errors that a reader promises."""
    pytest.importorskip("atheris", reason="there is no atheris for this Python")
    good, said = fuzz(name, tmp_path, SECONDS)
    assert good, said
    assert " 0 inputs" not in said and "?" not in said, said


def test_fuzz_finds(tmp_path: Path) -> None:
    """The fuzzer sees an error that no reader promises: a target that breaks at one byte is found broken."""
    pytest.importorskip("atheris", reason="there is no atheris for this Python")
    broken = "import tests.fuzz.targets as t\ndef bad(data):\n    assert data[:1] != b'!'\nt.TARGETS = {'log': bad}\n"
    argv = ["log", str(tmp_path), "-max_total_time=5"]
    program = f"import sys, runpy\nsys.argv = ['x', *{argv!r}]\n{broken}runpy.run_module('tests.fuzz.one')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert done.returncode != 0
    assert b"AssertionError" in done.stdout + done.stderr
