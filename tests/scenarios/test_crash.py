"""Runs that are killed, told to stop, or meet each other: nothing is lost, asked twice, or left behind."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.hosting import tmpfs
from tests.scenarios.conftest import KERNELS, Repo, soon

pytestmark = pytest.mark.scenario
SLOW = {f"slow{n}": f"slow slow{n}" for n in range(4)}
COUNT = len(SLOW) * len(KERNELS)


def verdicts(repo: Repo) -> int:
    """How many pairs the store has proved."""
    return len(repo.entries("verdict"))


@pytest.mark.parametrize("proved", [0, 1, 5])
def test_killed(proved: int, repo: Repo) -> None:
    """`kill -9` of doit ends its guests within two seconds; the next run repeats at most the running pairs."""
    repo.only(**SLOW)
    run = repo.start("matrix", "-n", "2")
    assert soon(lambda: repo.guests() and verdicts(repo) >= proved)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    assert soon(lambda: not repo.guests(), 2)
    asked, kept = sum(repo.boots().values()), len(repo.entries("probe"))
    again = repo.doit("matrix", "-n", "4")
    assert f"{COUNT - kept} ran, " in again.out or f"{COUNT} pairs" in again.out
    assert sum(repo.boots().values()) == asked + COUNT - kept
    assert asked - kept <= 2
    assert "trusted, and as expected" in repo.doit("verify").out


def test_killed_while_it_publishes(repo: Repo) -> None:
    """Killed at any moment of the end of a run, the next run publishes what is missing, and boots nothing."""
    repo.doit("matrix")
    for delay in (0.2, 0.3, 0.4, 0.5, 0.6):
        shutil.rmtree(repo.root / ".bpfcompat/registry", ignore_errors=True)
        run = repo.start("matrix")
        time.sleep(delay)
        run.send_signal(signal.SIGKILL)
        run.communicate()
        repo.forget_boots()
        repo.doit("matrix")
        assert repo.boots() == {}
        assert "trusted, and as expected" in repo.doit("verify").out


def test_told_to_stop(repo: Repo) -> None:
    """SIGTERM ends guests and run in order, with 130 and one line; what was proved is kept."""
    repo.only(**SLOW)
    run = repo.start("matrix", "-n", "2")
    assert soon(lambda: verdicts(repo) >= 2)
    run.send_signal(signal.SIGTERM)
    _, err = run.communicate(timeout=10)
    assert (run.returncode, "Traceback" in err) == (130, False)
    assert "what was proved is kept" in err
    assert soon(lambda: not repo.guests(), 2)
    kept = len(repo.entries("probe"))
    assert kept >= 2
    repo.forget_boots()
    repo.doit("matrix", "-n", "4")
    assert sum(repo.boots().values()) == COUNT - kept


def test_two_at_once(repo: Repo) -> None:
    """Two runs on one store ask each pair once between them, and both end with 0."""
    repo.only(**SLOW)
    runs = [repo.start("matrix", "-n", "2") for _ in range(2)]
    said = [run.communicate(timeout=60) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert sum(repo.boots().values()) == COUNT
    assert any("waits for pid" in out for out, _ in said)
    assert "trusted, and as expected" in repo.doit("verify").out


def test_full_disk(repo: Repo, tmp_path: Path) -> None:
    """A store that fills up is one clear error and nothing half-written; with room the next run carries on."""
    place = tmp_path / "small"
    with tmpfs(place, "size=9m"):
        shutil.copytree(repo.store.root, place / "store")
        filler = place / "filler"
        room = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
        filler.write_bytes(bytes(max(0, room - (64 << 10))))
        repo.settings(lambda s: s.update(paths={"store": str(place / "store")}))
        full = repo.doit("matrix", code=None)
        assert full.code in (2, 3), full.says
        assert "No space left on device" in full.out + full.err
        assert "free some space" in full.out + full.err
        filler.unlink()
        assert "all as expected" in repo.doit("matrix").out


def test_no_qemu(repo: Repo) -> None:
    """A QEMU that is not there is said once, with what to install; every pair is inconclusive and none is stored."""
    repo.settings(lambda s: s["guest"].update(qemu="tools/nobody"))
    ran = repo.doit("matrix", code=3)
    assert ran.out.count("program not found") >= 1
    assert "qemu-system-x86" in ran.out
    assert repo.entries("probe") == {}
    repo.settings(lambda s: s["guest"].update(qemu="tools/qemu"))
    repo.doit("matrix")


def test_no_clang(repo: Repo) -> None:
    """A compiler that is not there costs only the objects that need it, and its name and package are said."""
    (repo.root / "own.bpf.c").write_text("int x;\n")
    own = {"source": "own.bpf.c", "expect": "any"}
    repo.settings(lambda s: (s["objects"].update(own=own), s.update(build={"clang": "nobody-clang", "vmlinux": "k-a"})))
    ran = repo.doit("matrix", code=3)
    assert "nobody-clang: program not found" in ran.out
    assert "alpha@k-a" in ran.out
    assert len(repo.entries("probe")) == 9


def test_without_our_loader(repo: Repo) -> None:
    """With doit's own loader and commands the rules work too, and a gate that fails makes doit fail."""
    (repo.root / "pyproject.toml").unlink()
    assert "9 pairs" in repo.doit("matrix").out
    repo.object("alpha", "rejected alpha")
    ran = repo.run("doit", "matrix")
    assert ran.code != 0
    assert "alpha@k-a" in ran.out
