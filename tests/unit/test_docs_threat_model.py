"""docs/threat-model.md: every attack on a reader names tests that act it out, and they exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "threat-model.md").read_text("utf-8")
NAMED = re.findall(r"`(tests/[a-z_/]+\.py)::(test_[a-z_0-9]+)`", PAGE)


def rows(heading: str) -> list[list[str]]:
    """The cells of the table that begins with this line."""
    table = PAGE.partition(heading)[2].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def test_each_attack_is_acted_out() -> None:
    """The attacks of the table of promises, and those of the table of tests, are the same, in the same order."""
    promised = [cells[0] for cells in rows("| attack | signature | + log and a reader's memory |")]
    acted = rows("| attack | test |")
    assert [cells[0] for cells in acted] == promised and len(promised) > 10
    assert all("::test_" in cells[1] for cells in acted)


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED)))
def test_the_test_exists(path: str, name: str) -> None:
    """A test that the page names is there."""
    assert re.search(rf"^def {name}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE)
