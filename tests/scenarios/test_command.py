"""Command mode in a project: what of a loader enters the key, and what is refused before a guest starts."""

from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.conftest import Repo

pytestmark = pytest.mark.scenario


def command(repo: Repo, **table: Any) -> None:
    """Make alpha the only object, on one kernel, to be loaded by this command."""
    repo.only(alpha="compatible alpha")
    repo.settings(lambda s: s["objects"]["alpha"].update(command=table, expect="any"))
    repo.settings(lambda s: s["matrix"].update(kernels=["k-a"]))


def loader(repo: Repo, content: bytes = b"one") -> None:
    (repo.root / "loader").write_bytes(content)


def test_loader_is_an_input(repo: Repo) -> None:
    """The pair is asked again when the loader's bytes, its words or its expected exit change, and only then."""
    loader(repo)
    command(repo, argv=["./loader"], binary="loader")
    repo.doit("matrix", code=None)
    assert repo.boots() == {"alpha@k-a": 1}
    (repo.root / "loader").touch()
    repo.doit("matrix", code=None)
    assert repo.boots() == {"alpha@k-a": 1}
    loader(repo, b"two")
    assert "loader.binary changed" in repo.doit("why", "probe:alpha@k-a").out
    assert "files:alpha: loader.binary changed" in repo.doit("plan").out
    repo.doit("matrix", code=None)
    assert repo.boots() == {"alpha@k-a": 2}
    command(repo, argv=["./loader"], binary="loader", expect_exit=3)
    repo.doit("matrix", code=None)
    assert repo.boots() == {"alpha@k-a": 3}


def test_folder_is_an_input(repo: Repo) -> None:
    """A file of a root file system that changes is an input that changed; what it holds for others is left out."""
    root = repo.root / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin/tool").write_bytes(b"one")
    (root / "bin/tool").chmod(0o4755)
    command(repo, argv=["tool"], rootfs="root")
    first = repo.doit("matrix", code=None)
    assert "1 set-uid or set-gid bits" in first.out + first.err
    (root / "bin/tool").write_bytes(b"two")
    repo.doit("matrix", code=None)
    assert repo.boots() == {"alpha@k-a": 2}
    (root / "bin/more").symlink_to("tool")
    repo.doit("matrix", code=None)
    assert repo.boots() == {"alpha@k-a": 3}


def test_report_of_another_loader(repo: Repo) -> None:
    """A guest that answers as libbpf would, when another loader was asked, is not believed."""
    loader(repo)
    command(repo, argv=["./loader"], binary="loader")
    ran = repo.doit("matrix", code=None)
    assert "inconclusive: contradictory" in ran.out + ran.err


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"argv": ["x"], "binary": "nowhere"}, "nowhere: cannot read: No such file"),
        ({"argv": ["x"], "rootfs": "nowhere"}, "nowhere: cannot read: No such file"),
        ({"argv": ["x"], "rootfs": "dodo.py"}, "not a whole tar archive"),
        ({"argv": ["x"], "packages": {"suite": "s", "names": ["bpftool"]}}, "package 'bpftool': not in the lock"),
    ],
)
def test_nothing_to_run(repo: Repo, table: dict[str, Any], words: str) -> None:
    """A loader that is not to be had is said by its path, and no guest starts."""
    command(repo, **table)
    ran = repo.doit("matrix", code=None)
    assert ran.code == 2, ran.says
    assert words in ran.out + ran.err
    assert not repo.boots()


def test_too_large(repo: Repo, tmp_path: Path) -> None:
    """A loader that does not fit into the guest is refused, with the size that would do."""
    with open(repo.root / "loader", "wb") as stream:
        stream.truncate(300 << 20)
    command(repo, argv=["./loader"], binary="loader")
    ran = repo.doit("matrix", code=None)
    assert "300 MiB of files do not fit into a guest of 256 MiB" in ran.out + ran.err
    assert "memory_mb to 448 or more" in ran.out + ran.err
    assert not repo.boots()
