"""Answers against what was expected, guests that are lost, and kernels that are not to be had."""

import shutil

import pytest

from tests.scenarios.conftest import KERNELS, Repo

pytestmark = pytest.mark.scenario


def test_unexpected(repo: Repo) -> None:
    """An answer that was not expected ends with 1, and names the pair, what was expected and what came."""
    repo.settings(lambda s: s["objects"]["beta"].update(expect="compatible"))
    ran = repo.doit("matrix", code=1)
    assert "beta@k-a, beta@k-b, beta@k-c: expected compatible, got incompatible:verifier-rejected" in ran.out
    assert "3 not as expected" in ran.out


def test_unexpected_again(proved: Repo) -> None:
    """Another expectation is judged without a boot, and by every later run."""
    proved.settings(lambda s: s["objects"]["beta"].update(expect="compatible"))
    for _ in range(2):
        assert "got incompatible:verifier-rejected" in proved.doit("matrix", code=1).out
    assert proved.boots() == {}


def test_compatible_unexpected(proved: Repo) -> None:
    """An object that loads although it should not is not as expected either."""
    proved.settings(lambda s: s["objects"]["alpha"].update(expect="incompatible"))
    assert "expected incompatible, got compatible" in proved.doit("matrix", code=1).out


def test_other_cause(proved: Repo) -> None:
    """An incompatible object with another cause than the one that was named is not as expected."""
    proved.settings(lambda s: s["objects"]["beta"].update(expect="incompatible:helper-missing"))
    ran = proved.doit("matrix", code=1)
    assert "expected incompatible:helper-missing, got incompatible:verifier-rejected" in ran.out


def test_optional_object(repo: Repo) -> None:
    """An optional object is shown, and does not fail the gate."""
    repo.settings(lambda s: s["objects"]["beta"].update(expect="compatible", optional=True))
    ran = repo.doit("matrix")
    assert "<< expected compatible (optional)" in ran.out
    assert "all as expected" in ran.out


def test_expect_by_kernel(repo: Repo) -> None:
    """`expect` may differ by kernel, and each is held."""
    repo.settings(lambda s: s["objects"]["gamma"].update(expect={"*": "incompatible", "k-[bc]": "compatible"}))
    repo.doit("matrix")
    repo.settings(lambda s: s["objects"]["gamma"].update(expect={"*": "compatible"}))
    assert "gamma@k-a: expected compatible, got incompatible:helper-missing" in repo.doit("matrix", code=1).out


def test_incompatible_is_a_result(repo: Repo) -> None:
    """An incompatible object is a good result: its task succeeds, and it is not asked again."""
    repo.doit("probe:beta@k-a")
    assert "proved before" in repo.doit("probe:beta@k-a").out
    assert repo.boots() == {"beta@k-a": 1}


def test_lost(repo: Repo) -> None:
    """A guest that is lost is asked again as often as configured; then the pair is inconclusive, exit code 3."""
    repo.object("alpha", f"compatible alpha {KERNELS['k-b']}=panic")
    ran = repo.doit("matrix", code=3)
    assert repo.boots()["alpha@k-b"] == 2
    assert "asking again (1 of 1)" in ran.out
    assert "alpha@k-b: expected compatible, got no answer: " in ran.out
    assert "Kernel panic - not syncing: as the object wished" in ran.out
    assert ran.out.count("!! probe:alpha@k-b") == 1


def test_lost_leaves_nothing(repo: Repo) -> None:
    """A lost guest stores nothing and nothing is published; the next run asks that pair again, and only that one."""
    repo.object("alpha", f"compatible alpha {KERNELS['k-b']}=panic")
    repo.doit("matrix", code=3)
    assert len(repo.entries("probe")) == 8
    assert not (repo.root / ".bpfcompat/registry").exists()
    repo.forget_boots()
    repo.doit("matrix", code=3)
    assert repo.boots() == {"alpha@k-b": 2}
    (repo.root / "tools/instead").write_text("compatible")
    repo.doit("matrix")
    assert (repo.root / ".bpfcompat/registry/matrix.json").is_file()


def test_lost_once(repo: Repo) -> None:
    """A guest that answers when it is asked again has answered."""
    repo.object("alpha", f"compatible alpha {KERNELS['k-b']}=panic-once")
    ran = repo.doit("matrix")
    assert repo.boots()["alpha@k-b"] == 2
    assert "9 ran, 0 already proved; all as expected" in ran.out


def test_no_retries(repo: Repo) -> None:
    """`run.retries=0` asks once."""
    repo.object("alpha", "panic alpha")
    repo.doit("probe:alpha@k-b", "run.retries=0", code=3)
    assert repo.boots() == {"alpha@k-b": 1}


def test_lost_and_wrong(repo: Repo) -> None:
    """Where one pair is lost and another is wrong, the run ends with 1: a wrong answer is certain."""
    repo.only(alpha=f"compatible alpha {KERNELS['k-b']}=panic", beta="rejected beta")
    ran = repo.doit("matrix", "run.retries=0", code=1)
    assert "alpha@k-b: expected compatible, got no answer" in ran.out
    assert "beta@k-a, beta@k-b, beta@k-c: expected compatible, got incompatible:verifier-rejected" in ran.out


def test_optional_object_lost(repo: Repo) -> None:
    """A lost guest of an optional object does not fail the run, and is asked again next time."""
    repo.object("alpha", "panic alpha")
    repo.settings(lambda s: s["objects"]["alpha"].update(optional=True))
    ran = repo.doit("matrix", "run.retries=0", "matrix.kernels=k-a")
    assert "all as expected" in ran.out
    repo.forget_boots()
    repo.doit("matrix", "run.retries=0", "matrix.kernels=k-a")
    assert repo.boots() == {"alpha@k-a": 1}


def test_optional_kernel(repo: Repo) -> None:
    """An optional kernel that is not to be had is shown as such, and is nobody's failure."""
    repo.settings(lambda s: s["kernels"]["k-c"].update(optional=True))
    shutil.rmtree(repo.root / "kernels/k-c")
    ran = repo.doit("matrix")
    assert "9 pairs: 3 compatible, 3 incompatible, 3 not to be had" in ran.out
    assert repo.doit("table").out.count("not to be had\n") == 3
    assert (repo.root / ".bpfcompat/registry/matrix.json").is_file()
    assert not any(p.endswith("@k-c") for p in repo.boots())


def test_required_kernel(repo: Repo) -> None:
    """A required kernel that is not to be had ends with 3 and is named once; the others are asked all the same."""
    shutil.rmtree(repo.root / "kernels/k-c")
    ran = repo.doit("matrix", code=3)
    assert ran.out.count("!! ") == 1
    assert "!! kernel:k-c: kernel 'k-c': " in ran.out
    assert "alpha@k-c, gamma@k-c: expected compatible, got no answer: kernel 'k-c'" in ran.out
    assert len(repo.boots()) == 6


def test_damaged_kernel(repo: Repo) -> None:
    """A kernel that is none ends with 3 and says what was expected."""
    (repo.root / "kernels/k-c/vmlinuz").write_bytes(b"not a kernel")
    assert "kernel 'k-c': vmlinuz: expected an x86 bzImage" in repo.doit("matrix", code=3).out
