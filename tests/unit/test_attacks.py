"""What `python -m bench trust` makes of the tests that it runs: how each ended, and which numbers it is of."""

import xml.etree.ElementTree as Xml

import pytest

from bench import attacks
from bench.attacks import Case

ENDS = {
    "": "held",
    '<failure message="AssertionError: assert 0 == 4"/>': "accepted",
    '<failure message="assert 0 == 4"/>': "accepted",
    '<failure message="Failed: DID NOT RAISE &lt;class TrustError&gt;"/>': "accepted",
    '<failure message="KeyError: 1"/>': "crashed",
    '<failure message="Failed: nginx is absent, and BPFCOMPAT_NO_SKIP is set"/>': "crashed",
    '<error message="failed on setup"/>': "crashed",
    '<skipped message="nginx is absent"/>': "skipped",
}


@pytest.mark.parametrize(("inside", "end"), ENDS.items())
def test_how_it_ended(inside: str, end: str) -> None:
    """Only a test without a word held: an assertion that failed accepted an attack, all else is a crash or a skip."""
    text = f'<testcase file="tests/hostile/test_list.py" name="test_list[V1 payload]">{inside}</testcase>'
    found = attacks._case(Xml.fromstring(text))
    assert found == Case("hostile/test_list.py::test_list", "V1 payload", end, {})


def test_which_numbers_it_is_of() -> None:
    """A case is of the numbers that name its test, and where its parameter has numbers, of those alone."""
    listed = Case("hostile/test_list.py::test_list", "V1 payload", "held", {})
    assert [n for n in attacks.TESTS if listed.is_of(n)] == ["V1"]
    both = Case("hostile/test_borrow.py::test_lying_rows", "pack-V28 V30 another question", "held", {})
    assert [n for n in attacks.TESTS if both.is_of(n)] == ["V28", "V30"]
    plain = Case("hostile/test_serve.py::test_other_paths", "/../outside.json", "held", {})
    assert [n for n in attacks.TESTS if plain.is_of(n)] == ["H1", "H2", "H3", "H4", "H19"]


def test_counts() -> None:
    """What a test counted is read."""
    text = '<testcase file="tests/a.py" name="b"><properties><property name="steps" value="9"/></properties></testcase>'
    assert attacks._case(Xml.fromstring(text)).counts == {"steps": 9}
