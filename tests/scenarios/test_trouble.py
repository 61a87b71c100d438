"""Trouble of this machine and of the moment: said once, with an exit code, and over when its cause is gone."""

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfcompat.config import load
from bpfcompat.errors import BpfcompatError
from bpfcompat.rules.session import Session
from bpfcompat.voice import Silent
from tests.hosting import remount_read_only, tmpfs
from tests.scenarios.conftest import KERNELS, Repo, copy

pytestmark = pytest.mark.scenario


def test_read_only_store(repo: Repo, tmp_path: Path) -> None:
    """A store that cannot be written is one clear error; one that has everything needs no writing."""
    with tmpfs(tmp_path / "small", "size=64m") as place:
        shutil.copytree(repo.store.root, place / "store")
        repo.settings(lambda s: s.update(paths={"store": str(place / "store")}))
        repo.doit("matrix")
        remount_read_only(place)
        assert "0 ran, 9 already proved" in repo.doit("matrix").out
        repo.object("alpha", "compatible alpha changed")
        ran = repo.doit("matrix", code=2)
        assert "the file system is read-only: choose another place in [paths]" in ran.out
        assert repo.boots()["alpha@k-a"] == 1


def test_full_disk(repo: Repo, tmp_path: Path) -> None:
    """A disk that is full for everything is said without a traceback; with room the next run carries on."""
    with tmpfs(tmp_path / "small", "size=24m") as place:
        small, filler = copy(repo, place / "repo"), place / "filler"
        with contextlib.suppress(OSError):
            filler.write_bytes(bytes(64 << 20))
        ran = small.doit("matrix", code=2)
        assert "hint: free some space" in ran.out + ran.err
        filler.unlink()
        assert "9 ran, 0 already proved" in small.doit("matrix").out


def test_no_store(repo: Repo) -> None:
    """A store that cannot be made is one line, and nothing is begun."""
    repo.settings(lambda s: s.update(paths={"store": "dodo.py/store"}))
    ran = repo.doit("matrix", code=2)
    assert ran.err.startswith("bpfcompat: ") and len(ran.err.splitlines()) == 1
    assert (ran.out, repo.boots()) == ("", {})


def test_other_format(proved: Repo) -> None:
    """A store of another format is left alone."""
    (proved.store.root / "format").write_text("99\n")
    assert "store format '99', expected 1" in proved.doit("matrix", code=2).err
    assert len(proved.entries("probe")) == 9


@pytest.mark.parametrize("kind", ["probe", "verdict", "kernel", "object", "report"])
def test_damaged_entries(kind: str, proved: Repo) -> None:
    """Entries that were cut short are made again; only the pairs of damaged probes are asked."""
    shutil.rmtree(proved.store.root / "actions/matrix")  # or the summary would vouch for them
    for place in proved.entries(kind):
        Path(place).write_bytes(Path(place).read_bytes()[:40])
    proved.doit("matrix")
    assert sum(proved.boots().values()) == (9 if kind == "probe" else 0)


def test_damaged_registry(proved: Repo) -> None:
    """A bundle that was damaged is named, fails the run, and is not overwritten."""
    bundle = next((proved.root / ".bpfcompat/registry/bundles").iterdir())
    bundle.write_bytes(b"{}")
    proved.object("delta", "compatible delta", expect="compatible")
    ran = proved.doit("matrix", code=2)
    assert f"!! publish: {bundle}: " in ran.out
    assert bundle.read_bytes() == b"{}"


def test_bad_key(repo: Repo) -> None:
    """A signing key that is none fails the run, although every pair is as expected; with a good one it carries on."""
    (repo.root / "keys/signing.pem").write_text("not a key")
    (repo.root / "keys/signing.pem").chmod(0o600)
    ran = repo.doit("matrix", code=2)
    assert "!! publish: " in ran.out
    assert "9 ran, 0 already proved; all as expected" in ran.out
    (repo.root / "keys/signing.pem").unlink()
    repo.forget_boots()
    repo.doit("matrix")
    assert repo.boots() == {}


def test_damaged_database(proved: Repo) -> None:
    """doit's own database, damaged, is one line that says what to delete."""
    (proved.root / ".bpfcompat/doit.db").write_text("not a database, whatever its name says" * 100)
    ran = proved.doit("matrix", code=2)
    assert ran.err.startswith("bpfcompat: .bpfcompat/doit.db: file is not a database")
    (proved.root / ".bpfcompat/doit.db").unlink()
    assert "9 already proved" in proved.doit("matrix").out


def swap_object(repo: Repo) -> None:
    """Another object under the same name."""
    repo.object("alpha", "rejected alpha")


def swap_kernel(repo: Repo) -> None:
    """Another kernel in the same folder."""
    repo.kernel("k-a", KERNELS["k-a"], code=b"\xcc")


@pytest.mark.parametrize(
    ("swap", "plan", "make"),
    [
        (swap_object, lambda a: a.object_action("alpha"), lambda a: a.object("alpha")),
        (swap_kernel, lambda a: a.kernel_action("k-a"), lambda a: a.kernel("k-a")),
    ],
)
def test_changed_during_a_run(
    swap: Callable[[Repo], None], plan: Callable[..., object], make: Callable[..., object], repo: Repo
) -> None:
    """A file that changes after it was planned with is refused: its new bytes must not go under the old key."""
    config = load(repo.root)
    asker = Session(config, config.objects, config.kernels, Silent()).asker
    plan(asker)
    swap(repo)
    with pytest.raises(BpfcompatError, match="changed during this run"):
        make(asker)
    assert repo.entries("object") == repo.entries("kernel") == {}
