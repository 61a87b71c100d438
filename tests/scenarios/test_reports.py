"""The files of a run: there, parseable, and whole."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.scenarios.conftest import KERNELS, OBJECTS, PAIRS, Repo

pytestmark = pytest.mark.scenario


def reports(repo: Repo) -> Path:
    """Where they lie."""
    return repo.root / ".bpfcompat/reports"


def test_json(proved: Repo) -> None:
    """matrix.json tells each pair with its answer, what was expected, and how to ask again."""
    body = json.loads((reports(proved) / "matrix.json").read_text())
    assert body["as_expected"] is True
    assert sorted(p["reproduce"] for p in body["pairs"]) == [f"doit forget probe:{p} && doit probe:{p}" for p in PAIRS]
    gamma = next(p for p in body["pairs"] if (p["object"], p["kernel"]) == ("gamma", "k-a"))
    assert (gamma["answer"], gamma["cause"], gamma["release"]) == ("incompatible", "helper-missing", KERNELS["k-a"])
    assert gamma["expected"] == "incompatible:helper-missing"


def test_junit(proved: Repo) -> None:
    """junit.xml is XML: a case a pair, and a failure where the answer was not expected."""
    suite = ElementTree.parse(reports(proved) / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("9", "0", "0")
    proved.settings(lambda s: s["objects"]["beta"].update(expect="compatible"))
    proved.doit("matrix", code=1)
    suite = ElementTree.parse(reports(proved) / "junit.xml").getroot()
    assert {c.get("name") for c in suite if c.find("failure") is not None} == {"beta"}
    assert suite.get("failures") == "3"


def test_junit_lost(repo: Repo) -> None:
    """A pair that could not be asked is an error in junit.xml, not a failure."""
    repo.only(alpha=f"compatible alpha {KERNELS['k-a']}=panic")
    repo.doit("matrix", "run.retries=0", code=3)
    suite = ElementTree.parse(reports(repo) / "junit.xml").getroot()
    assert (suite.get("failures"), suite.get("errors")) == ("0", "1")


def test_page(proved: Repo) -> None:
    """matrix.html is one page without a script, and fetches nothing."""
    page = (reports(proved) / "matrix.html").read_text()
    assert all(o in page for o in OBJECTS) and all(k in page for k in KERNELS)
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")


def test_markdown(proved: Repo) -> None:
    """matrix.md has a row an object."""
    text = (reports(proved) / "matrix.md").read_text()
    assert all(f"| {o} |" in text for o in OBJECTS)


def test_lost(proved: Repo) -> None:
    """A report file that was deleted or changed is written again, without a boot."""
    before = proved.digests(".bpfcompat/reports")
    (reports(proved) / "junit.xml").unlink()
    (reports(proved) / "matrix.md").write_text("edited")
    proved.doit("matrix")
    after = proved.digests(".bpfcompat/reports")
    assert (set(after), proved.boots()) == (set(before), {})
    assert "edited" not in after["matrix.md"].decode()


def test_alone(proved: Repo) -> None:
    """`doit report` writes the files and signs nothing."""
    for place in reports(proved).iterdir():
        place.unlink()
    before = proved.digests(".bpfcompat/registry")
    proved.doit("report")
    assert len(list(reports(proved).iterdir())) == 4
    assert proved.digests(".bpfcompat/registry") == before


def test_cannot_be_written(proved: Repo) -> None:
    """Reports that cannot be written fail the run, although every pair is as expected."""
    proved.settings(lambda s: s.update(paths={"reports": "dodo.py/reports"}))
    ran = proved.doit("matrix", code=2)
    assert "!! report: " in ran.out
    assert "9 already proved; all as expected" in ran.out
