"""`doit matrix`: every pair is asked once, and asked again only when something that it rests on has changed."""

import shutil
from pathlib import Path

import pytest

from bpfcompat.digest import digest_file, short
from tests.scenarios.conftest import KERNELS, OBJECTS, PAIRS, Ran, Repo, copy

pytestmark = pytest.mark.scenario


def test_first(first_run: tuple[Repo, Ran]) -> None:
    """The first run asks every pair once, says each one's answer, and ends with 0 when all is as expected."""
    repo, ran = first_run
    assert ran.code == 0, ran.says
    assert repo.boots() == dict.fromkeys(PAIRS, 1)
    assert all(any(f" {pair} " in line and "(ran, " in line for line in ran.out.splitlines()) for pair in PAIRS)
    assert "9 pairs: 5 compatible, 4 incompatible; 9 ran, 0 already proved; all as expected" in ran.out


def test_second(proved: Repo, first_run: tuple[Repo, Ran]) -> None:
    """A second run boots nothing, says the same of every pair, and that each is already proved."""
    said, first = proved.doit("matrix").out.splitlines(), first_run[1].out.splitlines()
    assert said[-1] == first[-1].replace("9 ran, 0 already", "0 ran, 9 already")
    assert all(line.endswith("nothing to do: proved before, and no input changed") for line in said[:-1])
    assert proved.boots() == {}


def test_differences(proved: Repo) -> None:
    """The gate prints what is not as expected and no other pair, with how to learn why; again, from the store."""
    proved.settings(lambda s: s["objects"]["alpha"].update(expect={"*": "pass", "k-b": "fail:helper-missing"}))
    for _ in range(2):
        said = proved.doit("matrix", code=1).out.splitlines()
        place = next(n for n, line in enumerate(said) if line.endswith("0 ran, 9 already proved"))
        assert said[place + 1 :] == [
            "1 not as expected:",
            "  alpha@k-b: expected incompatible:helper-missing, got compatible (news: it passes now)",
            "why: bpfcompat explain alpha@k-b",
        ]
        assert not any(line.startswith(("object", "alpha", "beta")) for line in said)


def test_table(proved: Repo) -> None:
    """`doit table` prints what every pair answered, judges nothing, and boots nothing where all is proved."""
    proved.settings(lambda s: s["objects"]["alpha"].update(expect="fail"))
    said = proved.doit("table").out.splitlines()
    assert said[0].split() == ["object", *KERNELS]
    assert [line.split()[0] for line in said[2:]] == list(OBJECTS)
    assert said[2].count("yes !") == 3 and proved.boots() == {}


def test_bare(proved: Repo) -> None:
    """`doit` alone is `doit matrix`."""
    assert "9 pairs: " in proved.doit().out


def test_no_database(proved: Repo) -> None:
    """Deleting doit's own database re-runs nothing."""
    for place in (proved.root / ".bpfcompat").glob("doit.db*"):
        place.unlink()
    assert "0 ran, 9 already proved" in proved.doit("matrix").out
    assert proved.boots() == {}


def test_touched(proved: Repo) -> None:
    """Touching every file of the repository re-runs nothing."""
    for place in (proved.root / p for p in ("objects", "kernels", "tools", "keys", ".bpfcompat/store")):
        for file in filter(Path.is_file, place.rglob("*")):
            file.touch()
    assert "0 ran, 9 already proved" in proved.doit("matrix").out
    assert proved.boots() == {}


def test_copy(proved: Repo, tmp_path: Path) -> None:
    """A copy in another folder, every file new, boots nothing."""
    other = copy(proved, tmp_path / "another/place")
    assert "0 ran, 9 already proved" in other.doit("matrix").out
    assert other.boots() == {}


def test_shared_store(proved: Repo, plain: Repo, tmp_path: Path) -> None:
    """Another checkout that shares the store boots nothing, and writes reports and a registry of its own."""
    repo = copy(plain, tmp_path / "another")
    repo.settings(lambda s: s.update(paths={"store": str(proved.store.root)}))
    assert "0 ran, 9 already proved" in repo.doit("matrix").out
    assert (repo.boots(), proved.boots()) == ({}, {})
    assert (repo.root / ".bpfcompat/reports/matrix.json").is_file()
    assert (repo.root / ".bpfcompat/registry/matrix.json").is_file()


def test_probe_lost(proved: Repo) -> None:
    """A probe's entry that is deleted re-runs exactly that pair."""
    proved.drop("probe", "beta@k-b")
    ran = proved.doit("matrix")
    assert proved.boots() == {"beta@k-b": 1}
    assert "1 ran, 8 already proved" in ran.out
    assert "because its store entry is missing or damaged" in ran.out


def test_report_lost(proved: Repo) -> None:
    """A report whose bytes are gone re-runs the pairs that had it, although their entries are still there."""
    before = {e["key"] for e in proved.entries("probe").values()}
    action = next(p for p, e in proved.entries("probe").items() if e["inputs"]["object"] == digest(proved, "gamma"))
    report = proved.entries("probe")[action]["outputs"]["report"]
    sharing = [e for e in proved.entries("probe").values() if e["outputs"]["report"] == report]
    proved.store.blob_path(report["digest"]).unlink()
    proved.doit("matrix")
    assert sum(proved.boots().values()) == len(sharing)
    assert {e["key"] for e in proved.entries("probe").values()} == before


def test_verdict_lost(proved: Repo) -> None:
    """A verdict's entry that is deleted is classified again, without a boot."""
    proved.drop("verdict", "alpha@k-c")
    count = len(proved.entries("verdict"))
    proved.doit("matrix")
    assert proved.boots() == {}
    assert len(proved.entries("verdict")) == count + 1


def test_object_lost(proved: Repo) -> None:
    """An object's entry that is deleted is made again; the same bytes boot nothing."""
    proved.drop("object", "alpha")
    assert "0 ran, 9 already proved" in proved.doit("matrix").out
    assert proved.boots() == {}


@pytest.mark.parametrize("kind", ["kernel", "guest", "validator", "matrix", "report", "publish"])
def test_step_lost(kind: str, proved: Repo) -> None:
    """Every other entry that is deleted costs its own step and no boot."""
    if kind == "validator":
        pytest.skip("building the validator takes ten seconds; tests/unit/test_validator_build.py holds its bytes")
    shutil.rmtree(proved.store.root / "actions" / kind)
    assert "0 ran, 9 already proved" in proved.doit("matrix").out
    assert proved.boots() == {}


def digest(repo: Repo, name: str) -> str:
    """The digest of an object's file."""
    return digest_file(repo.root / f"objects/{name}.bpf.o")


def test_object_changed(proved: Repo) -> None:
    """One byte of one object re-asks that object only; run and `why` name the input with old and new digest."""
    old = digest(proved, "alpha")
    (proved.root / "objects/alpha.bpf.o").write_text(OBJECTS["alpha"] + " ")
    change = f"{short(old)} -> {short(digest(proved, 'alpha'))}"
    why = proved.doit("why", "probe:alpha@k-b")
    assert f"file changed: {change}" in why.out
    assert proved.boots() == {}
    ran = proved.doit("matrix")
    assert proved.boots() == {f"alpha@{k}": 1 for k in KERNELS}
    assert ran.out.count(f"because object changed: {change}") == len(KERNELS)
    assert "3 ran, 6 already proved" in ran.out


def test_object_changed_back(proved: Repo) -> None:
    """An object that is what it was before is not asked again."""
    place = proved.root / "objects/alpha.bpf.o"
    before = place.read_text()
    place.write_text(before + " ")
    proved.doit("probe:alpha@k-a")
    proved.forget_boots()
    place.write_text(before)
    assert "0 ran, 9 already proved" in proved.doit("matrix").out
    assert proved.boots() == {}


def test_kernel_changed(proved: Repo) -> None:
    """Another build of one kernel re-asks that column only, and says so."""
    old = digest_file(proved.root / "kernels/k-b/vmlinuz")
    proved.kernel("k-b", KERNELS["k-b"], code=b"\xcc")
    change = f"{short(old)} -> {short(digest_file(proved.root / 'kernels/k-b/vmlinuz'))}"
    assert f"files.vmlinuz changed: {change}" in proved.doit("why", "probe:alpha@k-b").out
    ran = proved.doit("matrix")
    assert proved.boots() == {f"{o}@k-b": 1 for o in OBJECTS}
    assert ran.out.count(f"because kernel.vmlinuz changed: {change}") == len(OBJECTS)


def test_setting_changed(proved: Repo) -> None:
    """A setting that could change an answer re-asks; one that could not does not."""
    assert "0 ran, 9 already proved" in proved.doit("matrix", "guest.deadline_s=99").out
    assert proved.boots() == {}
    ran = proved.doit("probe:alpha@k-a", "guest.memory_mb=300")
    assert proved.boots() == {"alpha@k-a": 1}
    assert "because machine.memory_mb changed: 256 -> 300" in ran.out


def test_new_object(proved: Repo) -> None:
    """An object that is added is asked; the others are not."""
    proved.object("delta", "compatible delta", expect="compatible")
    assert "3 ran, 9 already proved" in proved.doit("matrix").out
    assert proved.boots() == {f"delta@{k}": 1 for k in KERNELS}


def test_same_bytes(proved: Repo) -> None:
    """An object that equals another boots nothing: equal work under two names is done once."""
    proved.object("twin", OBJECTS["alpha"], expect="compatible")
    assert "0 ran, 12 already proved" in proved.doit("matrix").out
    assert proved.boots() == {}


def test_parallel(repo: Repo) -> None:
    """`-n 2` asks each pair once as well."""
    assert "9 ran, 0 already proved" in repo.doit("matrix", "-n", "2").out
    assert repo.boots() == dict.fromkeys(PAIRS, 1)


def test_publish_apart(proved: Repo) -> None:
    """With publish=False the matrix signs nothing; bpf_publish makes that a step of its own, which asks and judges."""
    rules = "from bpfcompat.rules import bpf_matrix, bpf_publish\n\n"
    matrix = "def task_bpf():\n    yield from bpf_matrix(publish=False)\n\n"
    (proved.root / "dodo.py").write_text(rules + matrix + "def task_release():\n    yield from bpf_publish()\n")
    shutil.rmtree(proved.root / ".bpfcompat/registry")
    proved.doit("matrix")
    assert not (proved.root / ".bpfcompat/registry").exists()
    proved.doit("publish")
    assert "trusted, and as expected" in proved.doit("verify").out
    assert proved.boots() == {}
