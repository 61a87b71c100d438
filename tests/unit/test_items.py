"""The lists V and H: every number is acted out by tests, which exist and are about it."""

import importlib
import inspect
import re

import pytest

from tests.hosting import ROOT
from tests.items import TESTS, H, V, named

NUMBERS = [f"V{n}" for n in range(1, 47)] + [f"H{n}" for n in range(1, 21)]


def test_every_number_has_a_test() -> None:
    """V1 to V46 and H1 to H20 have words and tests, and nothing else has."""
    assert [f"V{n}" for n in V] + [f"H{n}" for n in H] == NUMBERS
    assert sorted(TESTS) == sorted(NUMBERS) and all(map(named, NUMBERS))


@pytest.mark.parametrize("number", NUMBERS)
def test_the_tests_are_there(number: str) -> None:
    """A test that a number names is there; one that acts out many numbers has a parameter of this one."""
    for test in named(number):
        path, _, name = test.partition("::")
        module = importlib.import_module(f"tests.{path.removesuffix('.py').replace('/', '.')}")
        assert inspect.isfunction(getattr(module, name, None)), test
        marks = [mark for mark in getattr(getattr(module, name), "pytestmark", []) if mark.name == "parametrize"]
        keys = " ".join(str(key) for mark in marks for key in mark.kwargs.get("ids", mark.args[1]))
        if re.search(r"\b[VH][0-9]+\b", keys):
            assert re.search(rf"\b{number}\b", keys), f"{test}: no parameter of {number}"


def test_no_number_in_the_tests_is_unknown() -> None:
    """A number that a test's words or parameters speak of is one of the lists."""
    text = "".join(path.read_text() for path in (ROOT / "tests/hostile").glob("test_*.py"))
    assert set(re.findall(r"\b[VH][0-9]{1,2}\b(?=[ :,])", text)) <= set(NUMBERS)
