"""A matrix with another libbpf: columns, tasks, reasons, reports and the registry name the loader of each answer."""

import json
from typing import Any

import pytest

from tests.scenarios.conftest import Repo, Seed, seed_of, sow

pytestmark = pytest.mark.scenario


@pytest.fixture(scope="session")
def second() -> Seed:
    """The validator of another libbpf."""
    return seed_of("1.1")


@pytest.fixture
def repo(repo: Repo, second: Seed) -> Repo:
    """A monorepo in which nothing was run yet, with both validators."""
    sow(second, repo)
    return repo


@pytest.fixture
def proved(proved: Repo, second: Seed) -> Repo:
    """A monorepo in which every pair was asked already, with both validators."""
    sow(second, proved)
    return proved


def ask_with(loader: str, **fields: Any) -> Any:
    """A change of the settings: alpha is asked with this loader too, on one kernel."""
    table = {"libbpf": [loader], "kernels": ["k-a"], **fields}
    return lambda s: s.update(objects={"alpha": {**s["objects"]["alpha"], **table}})


def test_beside(repo: Repo) -> None:
    """The object is asked once with each loader; a null run asks nothing; what is published is trusted."""
    repo.settings(ask_with("1.1"))
    repo.doit("matrix")
    assert repo.boots() == {"alpha@k-a": 2}
    shown = repo.doit("table").out
    assert [line.split() for line in shown.splitlines() if line.startswith("alpha")] == [
        ["alpha", "yes"], ["alpha+libbpf-1.1", "yes"],
    ]  # fmt: skip
    assert "alpha: libbpf 1.1.2 or newer (k-a)" in shown
    assert "0 ran, 2 already proved" in repo.doit("matrix").out
    pairs = json.loads((repo.root / ".bpfcompat/reports/matrix.json").read_text())["pairs"]
    assert {(p["kernel"], p["libbpf"]) for p in pairs} == {("k-a", "1.5.0"), ("k-a+libbpf-1.1", "1.1.2")}
    verified = repo.bpfcompat("verify", ".bpfcompat/registry", "--key", "keys/signing.pem.pub")
    assert "alpha@k-a+libbpf-1.1" in verified.out
    probes = [e["inputs"] for e in repo.entries("probe").values()]
    differing = {name for name in probes[0] if probes[0][name] != probes[1][name]}
    assert differing == {"initramfs", "validator"}


def test_plain_keys_stay(proved: Repo) -> None:
    """Asking with another loader asks nothing again that was asked with the project's own."""
    proved.settings(lambda s: s["objects"]["alpha"].update(libbpf=["1.1"]))
    assert "9 proved, 3 to ask" in proved.doit("plan").out
    proved.doit("matrix")
    assert proved.boots() == {f"alpha@k-{k}": 1 for k in "abc"}


def test_tasks(repo: Repo) -> None:
    """Each validator is a task of its own, and `why` explains a pair and a validator by the loader's name."""
    repo.settings(ask_with("1.1"))
    names = {line.split()[0] for line in repo.doit("list", "--all").out.splitlines() if line.strip()}
    assert {"validator", "validator:own", "validator:1.1", "probe:alpha@k-a+libbpf-1.1"} <= names
    repo.doit("probe:alpha@k-a+libbpf-1.1")
    assert repo.boots() == {"alpha@k-a": 1}
    assert "validator:1.1: up to date" in repo.doit("why", "validator:1.1").out
    assert "validator:own: up to date" in repo.doit("why", "validator:own").out
    assert "must run: key" in repo.doit("why", "probe:alpha@k-a").out
    repo.doit("forget", "probe:alpha@k-a+libbpf-1.1")
    assert "alpha@k-a+libbpf-1.1: must run" in repo.doit("why", "probe:alpha@k-a+libbpf-1.1").out


def test_expected(repo: Repo) -> None:
    """An expectation that names the loader is held against that column alone."""
    repo.settings(ask_with("1.1", expect={"*": "compatible", "*+libbpf-1.1": "inconclusive:loader-unsupported"}))
    ran = repo.doit("matrix", code=1)
    assert "alpha@k-a+libbpf-1.1: expected inconclusive:loader-unsupported, got compatible" in ran.out


def test_not_locked(repo: Repo) -> None:
    """A loader that the lock does not have leaves its column without an answer, and says what to do."""
    repo.settings(ask_with("1.5"))
    ran = repo.doit("matrix", code=2)
    assert "libbpf-1.5: not in bpfcompat.lock (hint: doit kernels:lock)" in ran.out
    assert repo.boots() == {"alpha@k-a": 1}
