"""What a registry lends beside answers: a validator by the lock's digest, and the inputs of a verdict by its own."""

import shutil
from pathlib import Path

import pytest

from bpfcompat.envelope import parse
from bpfcompat.statement import parse_verdict_statement
from tests.scenarios.conftest import PAIRS, Repo, copy

pytestmark = pytest.mark.scenario
REGISTRY = ".bpfcompat/registry"
OTHER_CC = """#!/bin/sh
case "$*" in
--version) echo "cc of another make 1.0" ;;
-dumpmachine | -print-file-name=*) exec cc "$@" ;;
*) exit 1 ;;
esac
"""


@pytest.fixture
def lender(proved: Repo) -> Repo:
    """A, which has named its validator in the lock and lends all that it can."""
    proved.settings(lambda s: s.update(serve={"lend": ["validators", "inputs"]}))
    proved.doit("validators:lock")
    assert "   lent: " in proved.doit("matrix").out
    return proved


@pytest.fixture
def borrower(plain: Repo, lender: Repo, tmp_path: Path) -> Repo:
    """B, whose compiler is another and can compile nothing; with A's lock and public key, and an empty store."""
    made = copy(plain, tmp_path / "borrower")
    shutil.rmtree(made.root / ".bpfcompat")
    shutil.copy(lender.root / "bpfcompat.lock", made.root)
    shutil.copy(lender.root / "keys/signing.pem.pub", made.root / "keys/a.pub")
    (made.root / "tools/cc").write_text(OTHER_CC)
    (made.root / "tools/cc").chmod(0o755)
    given = {"url": [str(lender.root / REGISTRY)], "keys": ["keys/a.pub"], "borrow": ["verdicts", "validators"]}
    made.settings(lambda s: s.update(build={"cc": str(made.root / "tools/cc")}, substituters=given))
    return made


def archive(lender: Repo) -> Path:
    """A's validator in its registry: the only blob that begins as one."""
    (found,) = (p for p in (lender.root / REGISTRY / "blobs").iterdir() if p.read_bytes().startswith(b'{"libbpf"'))
    return found


def test_validator(lender: Repo, borrower: Repo) -> None:
    """Who has another compiler borrows the validator that the lock names, and then every answer that rests on it."""
    ran = borrower.doit("matrix")
    assert f"bytes borrowed from {lender.root / REGISTRY}" in ran.out
    assert "9 borrowed; all as expected" in ran.out
    assert borrower.boots() == {}
    (ours,), theirs = (repo.entries("validator").values() for repo in (borrower, lender))
    assert ours["outputs"]["validator"] in [entry["outputs"]["validator"] for entry in theirs]
    assert lender.bpfcompat("fsck", REGISTRY).code == 0


def test_not_asked_for(borrower: Repo) -> None:
    """Without "validators" in `borrow` none is taken: the compiler here is asked, and fails."""
    borrower.settings(lambda s: s["substituters"].update(borrow=["verdicts"]))
    ran = borrower.doit("matrix", code=3)
    assert "bytes borrowed" not in ran.out and "9 pairs: 9 inconclusive" in ran.out


def test_damaged(lender: Repo, borrower: Repo) -> None:
    """Bytes that are not what their name says are told and not used, and fsck names them."""
    place = archive(lender)
    place.write_bytes(place.read_bytes()[:-9] + b"x" * 9)
    ran = borrower.doit("matrix", code=3)
    assert "its bytes are not what its name says" in ran.out and "9 pairs: 9 inconclusive" in ran.out
    assert f"blobs/{place.name}: its bytes are not what its name says" in lender.bpfcompat("fsck", REGISTRY, code=4).out


def test_other_sources(lender: Repo, borrower: Repo) -> None:
    """A lock that names the validator of other sources names none for these."""
    lock = borrower.root / "bpfcompat.lock"
    text = lock.read_text()
    at = text.index('"recipe": "') + len('"recipe": "')
    lock.write_text(text[:at] + "0" * 64 + text[at + 64 :])
    assert "bytes borrowed" not in borrower.doit("matrix", code=3).out


def test_reproduced_without_a_project(lender: Repo, tmp_path: Path) -> None:
    """A verdict is asked again where there is no project: object, kernel and initramfs come by its digests."""
    (tmp_path / "nowhere").mkdir()
    stranger = Repo(tmp_path / "nowhere")
    asked = dict.fromkeys(PAIRS)
    for path in (lender.root / REGISTRY / "bundles").glob("*.json"):
        claim = parse_verdict_statement(parse(path.read_bytes()).payload)
        asked[f"{claim.object_name}@{claim.kernel_name}"] = path.stem
    settings = [f"BPFCOMPAT_GUEST_QEMU={lender.root}/tools/qemu", "BPFCOMPAT_GUEST_USER=same"]
    command = ["reproduce", str(asked["beta@k-b"]), "--key", str(lender.root / "keys/signing.pem.pub")]
    registry = ["--registry", str(lender.root / REGISTRY)]
    ran = stranger.run("env", *settings, "BPFCOMPAT_GUEST_ACCELERATOR=tcg", "bpfcompat", *command, *registry)
    assert ran.code == 0, ran.says
    assert "beta@k-b: signed by" in ran.out and "agrees: the report is the same, byte for byte" in ran.out
    assert lender.boots() == {"beta@k-b": 1}
    shutil.rmtree(lender.root / REGISTRY / "blobs")
    ran = stranger.run("env", *settings, "bpfcompat", *command, *registry)
    assert ran.code == 2 and "no bpfcompat.toml here" in ran.err
