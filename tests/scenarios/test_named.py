"""Tasks by name: just that one, and nearest names for one that is nobody's."""

import pytest

from tests.making import make_elf, make_vmlinuz
from tests.scenarios.conftest import KERNELS, PAIRS, Repo
from tests.unit.test_builds import sample

pytestmark = pytest.mark.scenario


def test_one_pair(repo: Repo) -> None:
    """`doit probe:X@K` asks just that pair, and writes no report and no registry."""
    ran = repo.doit("probe:alpha@k-b")
    assert repo.boots() == {"alpha@k-b": 1}
    assert "alpha@k-b" in ran.out
    assert not (repo.root / ".bpfcompat/reports").exists()
    assert not (repo.root / ".bpfcompat/registry").exists()


def test_up_to_date(proved: Repo) -> None:
    """A named pair that was proved before says so."""
    assert "probe:alpha@k-b: nothing to do: proved before" in proved.doit("probe:alpha@k-b").out
    assert proved.boots() == {}


def test_glob(repo: Repo) -> None:
    """A glob asks all pairs that it matches."""
    repo.doit("probe:*@k-a")
    assert repo.boots() == {p: 1 for p in PAIRS if p.endswith("@k-a")}


def test_group(repo: Repo) -> None:
    """The name of a group is all of its tasks."""
    repo.doit("probe")
    assert repo.boots() == dict.fromkeys(PAIRS, 1)


def test_steps(repo: Repo) -> None:
    """A step below a pair can be asked for by its name, and boots nothing."""
    repo.doit("kernel:k-a", "guest:k-a", "object:alpha")
    assert repo.boots() == {}
    assert all(len(repo.entries(kind)) == 1 for kind in ("kernel", "guest", "object"))


def test_always(proved: Repo) -> None:
    """`-a` runs the task of a proved pair, which finds its answer in the store; forgetting is what asks again."""
    proved.doit("-a", "probe:alpha@k-b")
    assert proved.boots() == {}


def test_list(proved: Repo) -> None:
    """`doit list --all` names every task, and boots nothing."""
    names = {line.split()[0] for line in proved.doit("list", "--all").out.splitlines() if line.strip()}
    pairs = {f"{kind}:{p}" for kind in ("probe", "verdict") for p in PAIRS}
    steps = {f"{kind}:{k}" for kind in ("kernel", "guest") for k in KERNELS}
    assert pairs | steps | {"matrix", "report", "publish", "validator", "object:alpha", "verify", "serve"} <= names
    assert proved.boots() == {}


def test_list_status(proved: Repo) -> None:
    """`doit list --all --status` shows what the store knows."""
    assert "U probe:alpha@k-a" in proved.doit("list", "--all", "--status").out
    proved.drop("probe", "alpha@k-a")
    assert "R probe:alpha@k-a" in proved.doit("list", "--all", "--status").out


def test_info(proved: Repo) -> None:
    """`doit info` tells a task's state; doit's own exit code is 1 for one that would run."""
    assert "up-to-date" in proved.doit("info", "probe:alpha@k-b").out
    proved.drop("probe", "alpha@k-b")
    assert "run" in proved.doit("info", "probe:alpha@k-b", code=1).out


def test_forget(proved: Repo) -> None:
    """`doit forget` of a pair makes the next run ask exactly that pair."""
    proved.doit("forget", "probe:alpha@k-b")
    proved.doit("matrix")
    assert proved.boots() == {"alpha@k-b": 1}


def test_forget_glob(proved: Repo) -> None:
    """`doit forget` of a group forgets all of its pairs, and nothing below them."""
    proved.doit("forget", "probe")
    assert proved.entries("probe") == {}
    assert len(proved.entries("kernel")) == len(KERNELS)


def test_clean(proved: Repo) -> None:
    """`doit clean` of a pair drops its entry; of everything, what was made here; the next run makes it again."""
    proved.doit("clean", "probe:alpha@k-b")
    proved.doit("matrix")
    assert proved.boots() == {"alpha@k-b": 1}
    proved.doit("clean", "report")
    assert list((proved.root / ".bpfcompat/reports").iterdir()) == []


def test_clean_all(proved: Repo) -> None:
    """`doit clean` drops every pair and every report, and leaves the registry, which never forgets."""
    proved.doit("clean")
    assert proved.entries("probe") == {}
    assert (proved.root / ".bpfcompat/registry/matrix.json").is_file()


def test_clean_dry(proved: Repo) -> None:
    """`doit clean -n` drops nothing."""
    proved.doit("clean", "-n", "probe:alpha@k-b")
    assert len(proved.entries("probe")) == len(PAIRS)


def test_ignore(proved: Repo) -> None:
    """`doit ignore` leaves a pair out until it is forgotten."""
    proved.drop("probe", "alpha@k-b")
    proved.doit("ignore", "probe:alpha@k-b")
    proved.doit("probe:alpha@k-b")
    assert proved.boots() == {}


def test_why(proved: Repo) -> None:
    """`doit why` of a proved pair says that nothing changed, and of a task that looks at others that it always runs."""
    assert "up to date" in proved.doit("why", "probe:alpha@k-b").out
    assert "always asked" in proved.doit("why", "matrix").out


@pytest.mark.parametrize(
    ("args", "near"),
    [
        (("matrx",), "matrix"),
        (("probe:alhpa@k-b",), "probe:alpha@k-b"),
        (("why", "probe:alhpa@k-b"), "probe:alpha@k-b"),
        (("info", "probe:alpha@k-d"), "probe:alpha@k-"),
        (("forget", "probe:alpha@k-d"), "probe:alpha@k-"),
        (("clean", "object:alpa"), "object:alpha"),
    ],
)
def test_mistyped(args: tuple[str, ...], near: str, proved: Repo) -> None:
    """A name that is no task's ends with 2, in one line with the nearest names."""
    ran = proved.doit(*args, code=2)
    assert f"{args[-1]}: no task has this name (hint: did you mean " in ran.err
    assert near in ran.err.partition("did you mean")[2]
    assert len(ran.err.splitlines()) == 1
    assert proved.boots() == {}


def test_abilities(repo: Repo) -> None:
    """What only guests say of a kernel is a task like the others: asked once, kept, and forgotten by its name."""
    vmlinux = make_elf({".BTF": sample("bpf_kfunc")[0].data()})
    (repo.root / "kernels/k-a/vmlinuz").write_bytes(make_vmlinuz(vmlinux, KERNELS["k-a"]))
    first = repo.doit("abilities:k-a")
    assert ".  abilities:k-a  (made" in first.out
    made = repo.entries("abilities")
    assert len(made) == 1
    assert "abilities:k-a: nothing to do" in repo.doit("abilities:k-a").out
    assert repo.entries("abilities") == made
    repo.doit("forget", "abilities:k-a")
    assert repo.entries("abilities") == {}
    assert "did you mean abilities:k-" in repo.doit("abilities:k-x", code=2).err
