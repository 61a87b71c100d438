"""A signed verdict asked again: it agrees, differs, or could not be asked, and each has its exit code."""

import shutil
from pathlib import Path

import pytest

from bpfcompat.envelope import parse
from bpfcompat.statement import parse_verdict_statement
from tests.scenarios.conftest import Repo, copy

pytestmark = pytest.mark.scenario
REGISTRY = ".bpfcompat/registry"
KEY = ("--key", "keys/a.pub")


@pytest.fixture
def other(plain: Repo, first_run: tuple[Repo, object], tmp_path: Path) -> Repo:
    """A monorepo that asked nothing, with the registry and the public key of one that did."""
    made, lender = copy(plain, tmp_path / "other"), first_run[0]
    shutil.copytree(lender.root / REGISTRY, made.root / "theirs")
    shutil.copy(lender.root / "keys/signing.pem.pub", made.root / "keys/a.pub")
    return made


def bundle(repo: Repo, label: str) -> str:
    """The bundle of a pair."""
    for path in (repo.root / "theirs/bundles").iterdir():
        claim = parse_verdict_statement(parse(path.read_bytes()).payload)
        if f"{claim.object_name}@{claim.kernel_name}" == label:
            return str(path.relative_to(repo.root))
    raise AssertionError(label)


def test_agrees(other: Repo) -> None:
    """A guest here says the same, byte for byte: 0; nothing is stored, and the pair is still to be asked."""
    ran = other.bpfcompat("reproduce", bundle(other, "beta@k-a"), *KEY)
    assert "which is trusted" in ran.out
    assert "agrees: the report is the same, byte for byte" in ran.out
    assert other.boots() == {"beta@k-a": 1}
    assert other.entries("probe") == {}


def test_without_a_key(other: Repo) -> None:
    """Without a key the signature is not checked, and the command says so; a wrong key is refused before any boot."""
    assert "its signature was not checked" in other.bpfcompat("reproduce", bundle(other, "alpha@k-a")).out
    other.forget_boots()
    other.bpfcompat("keygen", "keys/mine")
    other.bpfcompat("reproduce", bundle(other, "alpha@k-a"), "--key", "keys/mine.pub", code=4)
    assert other.boots() == {}


def test_differs(other: Repo) -> None:
    """A guest here says something else: 1, and what differs is shown."""
    (other.root / "tools/instead").write_text("rejected")
    ran = other.bpfcompat("reproduce", bundle(other, "alpha@k-b"), *KEY, code=1)
    assert "there  compatible" in ran.out and "here   incompatible: verifier-rejected" in ran.out
    assert "programs" in ran.out and ran.out.rstrip().endswith("differs")
    digest = Path(bundle(other, "alpha@k-b")).stem
    alone = other.root / f"{digest}.json"
    shutil.copy(other.root / bundle(other, "alpha@k-b"), alone)
    assert "their report is not here" in other.bpfcompat("reproduce", alone.name, code=1).out
    assert "programs" in other.bpfcompat("reproduce", digest, "--registry", "theirs", code=1).out


def test_could_not(other: Repo) -> None:
    """Another object, another kernel, another recipe: 3, naming what is not as it was; no guest is started."""
    other.kernel("k-b", "6.1.0-b", code=b"\xcc")
    assert "none of this project's kernels" in other.bpfcompat("reproduce", bundle(other, "alpha@k-b"), code=3).err
    other.settings(lambda s: s["objects"]["beta"].update(attach="load"))
    said = other.bpfcompat("reproduce", bundle(other, "beta@k-c"), code=3).err
    assert "spec.attach changed: attach -> load" in said
    other.object("gamma", "compatible other")
    assert "is not in this project" in other.bpfcompat("reproduce", bundle(other, "gamma@k-c"), code=3).err
    assert other.boots() == {}


def test_given_object(other: Repo) -> None:
    """An object that the project does not have is given as a file, which must be that very object."""
    file = other.root / "objects/gamma.bpf.o"
    shutil.copy(file, other.root / "given.o")
    other.settings(lambda s: s["objects"].pop("gamma"))
    other.bpfcompat("reproduce", bundle(other, "gamma@k-b"), "--object", "given.o")
    (other.root / "given.o").write_text("other")
    other.bpfcompat("reproduce", bundle(other, "gamma@k-b"), "--object", "given.o", code=2)


def test_input(other: Repo) -> None:
    """What is no bundle is an input error, or not trusted."""
    other.bpfcompat("reproduce", "nothing", code=2)
    (other.root / "x.json").write_text("{}")
    other.bpfcompat("reproduce", "x.json", code=4)
    other.bpfcompat("reproduce", "ab" * 32, "--registry", "theirs", code=4)
    other.bpfcompat("reproduce", "x.json", "--log-key", "x.json", code=2)
