"""docs/checklog.go, which has none of our code: it believes our registries, and none that was tampered with."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfcompat import process
from bpfcompat.registry import layout
from tests.claims import LOG, claim, registry
from tests.serving import reply, serving
from tests.sumdb import GOPATH, needed

DOCS = Path(__file__).parents[2] / "docs"
CLAIMS = [claim(kernel_name=f"k-{n}", vmlinuz=f"sha256:{n:064x}") for n in range(5)]
pytestmark = [pytest.mark.hostile, needed]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., process.Completed]:
    """The command line of docs/verify.md, built once instead of each time, with other names for what it is about."""
    folder = tmp_path_factory.mktemp("go")
    (command,) = re.findall(r"^GO111MODULE=off .*$", (DOCS / "verify.md").read_text("utf-8"), re.MULTILINE)
    assert str(GOPATH) in command
    env = {**os.environ, "GOCACHE": str(folder / "cache"), "GOFLAGS": ""}
    build = command.replace("go run docs/checklog.go REGISTRY log.vkey", f"go build -o checklog {DOCS}/checklog.go")
    process.check(["bash", "-c", build], what="checklog", cwd=folder, env=env)
    (folder / "log.vkey").write_text(LOG.vkey + "\n")

    def run(where: Path | str, *old: Path) -> process.Completed:
        return process.run([str(folder / "checklog"), str(where), "log.vkey", *map(str, old)], cwd=folder)

    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry that was published to twice, with its first checkpoint beside it."""
    folder = tmp_path_factory.mktemp("made") / "registry"
    registry(folder, *CLAIMS[:2])
    shutil.copy(folder / layout.CHECKPOINT, folder.parent / "old")
    registry(folder, *CLAIMS)
    return folder


def test_sound(line: Callable[..., process.Completed], made: Path) -> None:
    """A whole registry is believed, as a folder and over HTTP, and to begin with its older checkpoint."""
    done = line(made, made.parent / "old")
    whole, begins = done.stdout.decode().splitlines()
    assert whole == f"log {LOG.name}: 5 leaves, all in the signed tree, all with their bundle", done.stderr
    assert begins == "and begins with the 2 leaves of the older checkpoint"

    def answer(handler: object) -> None:
        place = made / handler.path[1:]  # type: ignore[attr-defined]
        reply(handler, *((200, place.read_bytes()) if place.is_file() else (404, b"")))  # type: ignore[arg-type]

    with serving(answer) as server:
        assert (line(server.url).code, line(server.url + "/none").code) == (0, 1)


def flip(path: Path) -> None:
    """Change a bit in the middle."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :])


def first(folder: Path) -> Path:
    """One of the files."""
    return min(folder.iterdir())


TAMPERED: dict[str, Callable[[Path], object]] = {
    "a bundle is gone": lambda folder: first(folder / "bundles").unlink(),
    "a bundle is another": lambda folder: shutil.copy(max((folder / "bundles").iterdir()), first(folder / "bundles")),
    "a leaf": lambda folder: flip(folder / "tile/entries/000.p/5"),
    "a hash": lambda folder: flip(folder / "tile/0/000.p/5"),
    "a tile is gone": lambda folder: (folder / "tile/0/000.p/5").unlink(),
    "the checkpoint": lambda folder: flip(folder / layout.CHECKPOINT),
    "no checkpoint": lambda folder: (folder / layout.CHECKPOINT).unlink(),
    "the old checkpoint": lambda folder: shutil.copy(folder.parent / "old", folder / layout.CHECKPOINT),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampered(name: str, line: Callable[..., process.Completed], made: Path, tmp_path: Path) -> None:
    """Whatever is changed or taken away, it says so; an old copy is one to who kept a newer checkpoint."""
    folder = Path(shutil.copytree(made, tmp_path / "registry"))
    shutil.copy(made.parent / "old", tmp_path / "old")
    shutil.copy(made / layout.CHECKPOINT, tmp_path / "newest")
    TAMPERED[name](folder)
    done = line(folder, tmp_path / "newest")
    assert done.code == 1 and "checklog: " in done.stderr
    assert ("rollback" in done.stderr) is (name == "the old checkpoint")


def test_another_history(line: Callable[..., process.Completed], made: Path, tmp_path: Path) -> None:
    """A rewritten history is whole in itself, and not to who kept a checkpoint of the first one."""
    registry(tmp_path / "anew", *reversed(CLAIMS), claim(classifier="9"))
    assert line(tmp_path / "anew").code == 0
    done = line(tmp_path / "anew", made / layout.CHECKPOINT)
    assert done.code == 1 and "fork: does not begin with the 5 leaves" in done.stderr
