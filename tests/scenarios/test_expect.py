"""`bpfcompat expect` and `bpfcompat flakes` on whole small projects."""

import json
import tomllib

import pytest

from tests.scenarios.conftest import Repo

pytestmark = pytest.mark.scenario


def test_record(proved: Repo) -> None:
    """Without --write the change is shown and nothing is written; with it the gate passes, once is enough, no boot."""
    place = proved.root / "bpfcompat.toml"
    text = place.read_text().replace('expect = "incompatible:verifier-rejected"', 'expect = "compatible"  # mine')
    place.write_text(text)
    shown = proved.bpfcompat("expect", code=1).out
    assert "9 pairs: 6 as expected, 3 not, 0 without an answer" in shown
    assert "beta@k-a, beta@k-b, beta@k-c: expected compatible, got incompatible:verifier-rejected" in shown
    assert '+expect = "incompatible:verifier-rejected"  # mine' in shown
    assert place.read_text() == text
    assert "+expect" in proved.bpfcompat("expect", "--write").out
    assert place.read_text() == text.replace('"compatible"  # mine', '"incompatible:verifier-rejected"  # mine')
    assert "nothing to record" in proved.bpfcompat("expect", "--write").out
    assert "all as expected" in proved.doit("matrix").out
    assert proved.boots() == {}


def test_news(proved: Repo) -> None:
    """An unexpected pass fails the gate as news; may-fail and an optional kernel do not."""
    proved.settings(lambda s: s["objects"]["alpha"].update(expect={"*": "pass", "k-a": "fail:helper-missing"}))
    assert "alpha@k-a: expected incompatible:helper-missing, got compatible (news: it passes now)" in (
        proved.doit("matrix", code=1).out
    )
    proved.settings(lambda s: s["objects"]["alpha"].update(optional=["k-a"]))
    assert "1 optional, not as expected:" in proved.doit("matrix").out
    proved.settings(lambda s: s["objects"]["alpha"].update(expect={"*": "pass", "k-a": "may-fail"}, optional=False))
    assert "all as expected" in proved.doit("matrix").out


def test_patterns(proved: Repo) -> None:
    """[expect] speaks for many objects; what it allows is as expected, and --write leaves it and names what differs."""
    proved.settings(lambda s: s.update(expect={"[ab]*@k-b": "may-fail", "*@k-c": "pass"}))
    for table in ("alpha", "beta"):
        proved.settings(lambda s, name=table: s["objects"][name].update(expect="pass"))
    assert "beta@k-a, beta@k-c: expected compatible, got incompatible" in proved.doit("matrix", code=1).out
    assert "[expect] '*@k-c' speaks for no pair" not in proved.bpfcompat("expect", "--write").out
    written = tomllib.loads((proved.root / "bpfcompat.toml").read_text())
    assert written["expect"] == {"[ab]*@k-b": "may-fail", "*@k-c": "pass"}
    no = "fail:verifier-rejected"
    assert written["objects"]["beta"]["expect"] in ({"*": no, "k-c": no}, {"*": f"in{no}", "k-c": f"in{no}"})
    assert "all as expected" in proved.doit("matrix").out and proved.boots() == {}
    proved.settings(lambda s: s["expect"].update({"alpha@k-b": "pass", "beta@k-b": "may-fail"}))
    assert "[expect] '[ab]*@k-b' speaks for no pair" in proved.bpfcompat("expect").out
    proved.settings(lambda s: s["expect"].update({"alhpa@*": "pass"}))
    assert "no object is named 'alhpa' (hint: did you mean alpha" in proved.bpfcompat("expect", code=2).err


def test_no_answer_records_nothing(repo: Repo) -> None:
    """A pair that was not asked is no expectation, and its absence is an exit code; a lost guest is in the ledger."""
    assert "9 pairs: 0 as expected, 0 not, 9 without an answer" in repo.bpfcompat("expect", "--write", code=3).out
    repo.only(alpha="panic-once alpha")
    repo.doit("matrix", "matrix.kernels=k-a")
    (entry,) = json.loads(repo.bpfcompat("flakes", "--json").out)["flakes"]
    assert (entry["pair"], entry["kind"], entry["attempts"]) == ("alpha@k-a", "retried", 2)
    assert "alpha@k-a" in repo.bpfcompat("flakes").out


def test_names_nothing(proved: Repo) -> None:
    """A pattern, a cause and a kernel that are nobody's are errors with the nearest name."""
    assert "did you mean alpha" in proved.bpfcompat("expect", "alhpa", code=2).err
    proved.settings(lambda s: s["objects"]["alpha"].update(expect="fail:helper-mising"))
    assert (
        "no cause is named 'helper-mising' (hint: did you mean helper-missing" in proved.bpfcompat("expect", code=2).err
    )


def test_compare(proved: Repo) -> None:
    """Two kernels and two objects are compared from the store, and veristat's files are written, without a boot."""
    ran = proved.bpfcompat("compare", "k-a", "k-b", "--veristat", "csv", code=1)
    assert "k-a against k-b: 3 compared, 1 flip" in ran.out
    assert "gamma: now passes: incompatible:helper-missing -> compatible" in ran.out
    assert (proved.root / "csv/a.csv").read_text().splitlines()[1] == "alpha,handle,success,0,0,0"
    made = json.loads(proved.bpfcompat("compare", "alpha", "beta", "--format", "json", code=1).out)
    assert [f["key"] for f in made["flips"]] == ["k-a", "k-b", "k-c"]
    (proved.root / "old.bpf.o").write_bytes((proved.root / "objects/gamma.bpf.o").read_bytes())
    proved.object("gamma", "rejected gamma-of-today")
    proved.doit("matrix", code=1)
    proved.forget_boots()
    ran = proved.bpfcompat("compare", "old.bpf.o", "gamma", code=1)
    assert "k-b: now fails: compatible -> incompatible:verifier-rejected" in ran.out
    assert "k-a: another cause: incompatible:helper-missing -> incompatible:verifier-rejected" in ran.out
    assert "did you mean k-a" in proved.bpfcompat("compare", "k-a", "k-aa", code=2).err
    proved.bpfcompat("compare", ".bpfcompat/reports", ".bpfcompat/registry")
    assert proved.boots() == {}


def test_search_without_builds(proved: Repo) -> None:
    """Without a mirror only the lock's kernels are known; an object and a build that are nobody's are errors."""
    assert "did you mean alpha" in proved.bpfcompat("floor", "alhpa", "--offline", code=2).err
    ran = proved.bpfcompat("bisect", "alpha", "--offline", "--good", "5.4", "--bad", "6.1", code=2)
    assert "5.4: no build here has this name" in ran.err
    assert proved.boots() == {}
