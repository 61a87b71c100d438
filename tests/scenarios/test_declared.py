"""What a dodo.py declares, and what becomes of it under doit without our lines in pyproject.toml."""

import pytest

from tests.scenarios.conftest import KERNELS, OBJECTS, PAIRS, Repo

pytestmark = pytest.mark.scenario
DODO = """from bpfcompat.rules import bpf_matrix, bpf_object, kernel

delta = bpf_object("delta", prebuilt="objects/delta.bpf.o", kernels=["k-z"], expect="compatible")
newest = kernel("k-z", dir="kernels/k-z", about="declared here")


def task_bpf():
    yield from bpf_matrix(delta, newest)
"""


@pytest.fixture
def plain_doit(repo: Repo) -> Repo:
    """A monorepo without [tool.doit]: doit's own loader and commands."""
    (repo.root / "pyproject.toml").unlink()
    return repo


def test_declared(repo: Repo) -> None:
    """Objects and kernels of dodo.py take part beside those of bpfcompat.toml."""
    repo.object("delta", "compatible delta")
    repo.kernel("k-z", KERNELS["k-c"], code=b"\xcc")
    (repo.root / "dodo.py").write_text(DODO)
    ran = repo.doit("matrix")
    assert "13 pairs: 8 compatible, 5 incompatible; 13 ran" in ran.out
    assert ran.out.count(" delta@") == 1
    assert "delta@k-z" in ran.out


def test_declared_where_it_is(repo: Repo) -> None:
    """Paths in dodo.py are relative to it, wherever doit was started."""
    ran = repo.run("doit", "-f", str(repo.root / "dodo.py"), "-d", str(repo.root), "probe:alpha@k-a")
    assert ran.code == 0, ran.says
    assert repo.boots() == {"alpha@k-a": 1}


def test_own_tasks(repo: Repo) -> None:
    """Other tasks of the same dodo.py run, are named as doit names them, and give doit's own exit code."""
    own = '\n\ndef task_own():\n    return {"actions": ["echo made > own.txt"], "targets": ["own.txt"]}\n'
    with (repo.root / "dodo.py").open("a") as dodo:
        dodo.write(own + '\n\ndef task_bad():\n    return {"actions": ["false"]}\n')
    assert ".  own" in repo.doit("own").out
    assert (repo.root / "own.txt").read_text() == "made\n"
    repo.doit("own.txt")
    repo.doit("bad", code=1)
    assert repo.boots() == {}


def test_plain(plain_doit: Repo) -> None:
    """Under doit's own loader the same tasks are there, and a bare `doit` asks every pair once."""
    assert f"probe:{PAIRS[0]}" in plain_doit.doit("list", "--all").out
    ran = plain_doit.doit()
    assert plain_doit.boots() == dict.fromkeys(PAIRS, 1)
    assert "9 ran, 0 already proved; all as expected" in ran.out
    assert (plain_doit.root / ".bpfcompat/registry/matrix.json").is_file()


def test_plain_again(plain_doit: Repo) -> None:
    """Under doit's own loader, too, nothing is asked twice, and deleting doit's database changes nothing."""
    plain_doit.doit("matrix")
    for place in plain_doit.root.glob(".doit.db*"):
        place.unlink()
    plain_doit.forget_boots()
    assert "0 ran, 9 already proved" in plain_doit.doit("matrix").out
    assert plain_doit.boots() == {}


@pytest.mark.parametrize("answer", ["rejected", "panic"])
def test_plain_fails(answer: str, plain_doit: Repo) -> None:
    """Under doit's own commands a gate that is not met, or a guest that is lost, makes doit fail."""
    plain_doit.only(alpha=f"{answer} alpha")
    ran = plain_doit.doit("matrix", code=1)
    assert "alpha@k-" in ran.out


def test_plain_optional(plain_doit: Repo) -> None:
    """Under doit's own commands an optional kernel that is not to be had fails nothing."""
    plain_doit.settings(lambda s: s["kernels"].update({"k-c": {"dir": "nowhere", "optional": True}}))
    assert "3 not to be had" in plain_doit.doit("matrix").out


def test_plain_processes(plain_doit: Repo) -> None:
    """Under doit's own commands `-n 2` starts processes: each pair is asked once all the same."""
    plain_doit.doit("-n", "2", "matrix")
    assert plain_doit.boots() == dict.fromkeys(PAIRS, 1)


def test_loader_alone(repo: Repo) -> None:
    """With our loader but doit's own commands, a gate that is not met makes doit fail."""
    (repo.root / "pyproject.toml").write_text('[tool.doit]\nloader = "bpfcompat"\n')
    repo.only(alpha="rejected alpha")
    repo.doit("matrix", code=1)


def test_processes(repo: Repo) -> None:
    """`-P process` is threads all the same: a child process would keep its troubles to itself."""
    repo.only(alpha="panic alpha")
    repo.doit("matrix", "-P", "process", "run.retries=0", code=3)
    assert len(OBJECTS) == 3
