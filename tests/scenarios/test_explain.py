"""`bpfcompat explain` on a whole small project: from the store alone, as text and as JSON, and in the pages."""

import json

import pytest

from tests.scenarios.conftest import Repo

pytestmark = pytest.mark.scenario


def test_explain(proved: Repo) -> None:
    """A refused pair is explained without a boot, in both forms alike; a pair that passes says where."""
    text = proved.bpfcompat("explain", "beta@k-a").out
    assert text.startswith("beta@k-a  NO incompatible  verifier-rejected\n")
    assert (
        "on none of the 3 kernels asked here" in text
        and "again       doit forget probe:beta@k-a && doit probe:beta@k-a" in text
    )
    told = json.loads(proved.bpfcompat("explain", "beta@k-a", "--json").out)
    assert (told["format"], told["slug"], told["confidence"]) == (1, "verifier-rejected", "inferred")
    assert told["cause"] in text.replace("\n", " ")
    assert "compatible" in proved.bpfcompat("explain", "alpha@k-a").out
    assert proved.boots() == {}


def test_nothing_to_explain(proved: Repo) -> None:
    """A pair that is none or was not asked, and a program that is not there, are the user's input, with a hint."""
    assert "no kernel of the matrix is named 'nowhere'" in proved.bpfcompat("explain", "beta@nowhere", code=2).err
    assert "no program 'nobody'" in proved.bpfcompat("explain", "beta@k-a", "nobody", code=2).err
    proved.doit("forget", "probe:beta@k-a")
    found = proved.bpfcompat("explain", "beta@k-a", code=2)
    assert "not asked yet" in found.err and "doit probe:beta@k-a" in found.err


def test_pages_explain(proved: Repo) -> None:
    """The pages of the run and of the registry have the explanation of what was refused."""
    page = (proved.root / ".bpfcompat/reports/matrix.html").read_text()
    assert "read from the errno and a table" in page
    registry = [p.read_text() for p in (proved.root / ".bpfcompat/registry/pair").glob("*.html")]
    pairs = json.loads((proved.root / ".bpfcompat/reports/matrix.json").read_text())["pairs"]
    refused = [p for p in pairs if p["answer"] == "incompatible"]
    assert sum("this explanation is not" in text for text in registry) == len(refused) > 0
