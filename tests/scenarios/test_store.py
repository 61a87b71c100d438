"""Care for a store: what is collected and what stays, damage that is found, and places where no store can be."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosting import network_fs
from tests.scenarios.conftest import OBJECTS, Repo, copy, soon

pytestmark = pytest.mark.scenario
SLOW = {f"slow{n}": f"slow slow{n}" for n in range(4)}
GC = ("gc", "--keep-days", "0")


def keys(repo: Repo) -> set[str]:
    """Every entry, by path below the store."""
    return {str(p.relative_to(repo.store.root)) for p in (repo.store.root / "actions").rglob("*.json")}


def probes(repo: Repo) -> int:
    """How many probes the store has, without reading (which would be a use of) any."""
    return len(repo.store.keys("probe"))


def template(repo: Repo) -> Path:
    """A template that was used just now."""
    folder = repo.store.root / "templates" / ("a" * 64)
    folder.mkdir(parents=True)
    for name in ("ram", "state", "template.json"):
        (folder / name).write_bytes(b"{}")
    return folder


# --- gc


def test_gc_keeps_what_is_needed(proved: Repo) -> None:
    """Everything that the matrix reaches stays at any age, its reports included: the next run has nothing to do."""
    proved.age()
    before, blobs = keys(proved), proved.store.blobs()
    assert "gc: " in proved.bpfcompat(*GC).out
    assert (keys(proved), proved.store.blobs()) == (before, blobs)
    ran = proved.doit("matrix")
    assert "0 ran, 9 already proved" in ran.out and "published" not in ran.out
    assert proved.boots() == {}
    assert "everything holds" in proved.bpfcompat("store", "verify").out


def test_gc_drops_the_rest(proved: Repo) -> None:
    """What an object was before goes, once it is old, with what only it had; coming back asks that object again."""
    proved.object("alpha", "rejected alpha", expect="any")
    proved.doit("matrix")
    proved.forget_boots()
    before = probes(proved)
    assert "dropped" not in proved.bpfcompat(*GC).out
    proved.age()
    would = proved.bpfcompat(*GC, "--dry-run").out
    assert probes(proved) == before == 12
    done = proved.bpfcompat(*GC).out
    assert would.replace("would drop", "dropped").replace("would free", "freed").split(";")[0] == done.split(";")[0]
    assert probes(proved) == 9
    proved.doit("matrix")
    assert proved.boots() == {}
    proved.object("alpha", OBJECTS["alpha"], expect="compatible")
    proved.doit("matrix")
    assert proved.boots() == {f"alpha@{k}": 1 for k in ("k-a", "k-b", "k-c")}


def test_gc_keeps_what_was_used_lately(proved: Repo) -> None:
    """What no project reaches stays as many days as it is told to, from its last use on."""
    proved.age()
    proved.settings(lambda s: s["objects"].pop("alpha"))
    proved.doit("matrix")
    count = probes(proved)
    proved.bpfcompat("gc", "--keep-days", "101")
    assert probes(proved) == count
    proved.bpfcompat("gc")
    assert probes(proved) == count - 3


def test_gc_knows_dodo(proved: Repo) -> None:
    """Objects that a dodo.py declares are reached as those of the settings are."""
    proved.settings(lambda s: s["objects"].pop("alpha"))
    dodo = (proved.root / "dodo.py").read_text().replace("import bpf_matrix", "import bpf_matrix, bpf_object")
    declared = 'bpf_object("alpha", prebuilt="objects/alpha.bpf.o", expect="compatible")'
    (proved.root / "dodo.py").write_text(dodo.replace("bpf_matrix()", f"bpf_matrix({declared})"))
    proved.doit("matrix")
    proved.age()
    proved.bpfcompat(*GC)
    assert "0 ran, 9 already proved" in proved.doit("matrix").out
    assert proved.boots() == {}
    (proved.root / "dodo.py").unlink()
    proved.bpfcompat(*GC)
    assert probes(proved) == 9  # used within the hour, so nobody's to drop
    proved.age()
    proved.bpfcompat(*GC)
    assert probes(proved) == 6


def test_gc_needs_a_project_that_loads(proved: Repo, tmp_path: Path) -> None:
    """Where what is needed cannot be known, nothing is dropped: no settings, bad ones, a dodo.py that refuses."""
    proved.age()
    before = keys(proved)
    settings = proved.root / "bpfcompat.toml"
    good, dodo = settings.read_text(), (proved.root / "dodo.py").read_text()
    settings.write_text(good.replace("[guest]", "[gest]"))
    assert "did you mean guest?" in proved.bpfcompat(*GC, code=2).err
    settings.write_text(good)
    (proved.root / "dodo.py").write_text(dodo + "\n\ndef task_x():\n    return 5\n")
    assert proved.bpfcompat(*GC, code=2).err.startswith("bpfcompat: dodo.py: ")
    (proved.root / "dodo.py").unlink()
    settings.unlink()
    assert "no bpfcompat.toml here" in proved.bpfcompat(*GC, code=2).err
    assert "no store is there" in proved.bpfcompat(*GC, "--store", str(tmp_path), code=2).err
    assert keys(proved) == before


def test_gc_of_a_named_store(proved: Repo, tmp_path: Path) -> None:
    """--store names another store; the project here keeps what it would need of it, and without one age decides."""
    proved.age()
    (tmp_path / "empty/.bpfcompat").mkdir(parents=True)
    other = Repo(tmp_path / "empty")
    shutil.copytree(proved.store.root, other.store.root)
    proved.bpfcompat(*GC, "--store", str(other.store.root))
    assert probes(other) == 9
    other.age()
    other.bpfcompat(*GC, "--store", ".bpfcompat/store")
    assert probes(other) == 0
    assert probes(proved) == 9


def test_gc_budget(proved: Repo) -> None:
    """Under a budget templates go first, current ones too; what the matrix needs stays, and that it is more is said."""
    folder = template(proved)
    proved.bpfcompat("gc")
    assert folder.exists()
    ran = proved.bpfcompat("gc", "--max-size", "1K", code=1)
    assert "dropped 1 template: " in ran.out and "!! more than the 0.0 MB that were asked for" in ran.out
    assert not folder.exists()
    assert "0 ran, 9 already proved" in proved.doit("matrix").out
    assert proved.bpfcompat("gc", "--max-size", "1G").code == 0


@pytest.mark.parametrize("args", [("--max-size", "much"), ("--keep-days", "-1"), ("--keep-days", "nan"), ("extra",)])
def test_gc_usage(args: tuple[str, ...], proved: Repo) -> None:
    """What cannot be is refused, and nothing is dropped."""
    before = keys(proved)
    proved.age()
    proved.bpfcompat("gc", *args, code=2)
    assert keys(proved) == before


def test_gc_during_a_run(repo: Repo) -> None:
    """Collecting all the time while a matrix runs on an old store: each pair is asked once, and all are there."""
    repo.only(**SLOW)
    repo.age()
    run = repo.start("matrix", "-n", "2")
    while run.poll() is None:
        repo.bpfcompat(*GC)
    said = run.communicate()
    assert run.returncode == 0, said
    assert set(repo.boots().values()) == {1} and len(repo.boots()) == 12
    assert "everything holds" in repo.bpfcompat("store", "verify").out


def test_gc_shared_store(proved: Repo, plain: Repo, tmp_path: Path) -> None:
    """Another project that used its matrix lately keeps what that rests on when this one collects."""
    other = copy(plain, tmp_path / "another")
    other.object("delta", "compatible delta", expect="compatible")
    other.settings(lambda s: s.update(paths={"store": str(proved.store.root)}))
    other.doit("matrix")
    proved.age()
    other.forget_boots()
    assert "12 already proved" in other.doit("matrix").out
    proved.bpfcompat("gc", "--keep-days", "1")
    assert "12 already proved" in other.doit("matrix").out
    assert other.boots() == {}


# --- verify


def test_verify(proved: Repo) -> None:
    """A store that holds is 0; one that did not is 1, once: the next run makes exactly what was dropped."""
    assert proved.bpfcompat("store", "verify").out.count("\n") == 2
    entry = next(iter(proved.entries("probe")))
    os.truncate(entry, 100)
    assert "would be dropped" in proved.bpfcompat("store", "verify", "--dry-run", code=1).out
    assert Path(entry).exists()
    ran = proved.bpfcompat("store", "verify", code=1)
    assert (
        f"!! {os.path.relpath(entry, proved.store.root)}: not an entry: JSONDecodeError" in ran.out
        and "1 did not hold" in ran.out
    )
    proved.bpfcompat("store", "verify")
    assert "1 ran, 8 already proved" in proved.doit("matrix").out
    proved.bpfcompat("store", "verify", "--store", str(proved.store.root))


def test_flipped_kernel(proved: Repo) -> None:
    """A bit of a kernel that flipped on the disk is found, and the kernel is unpacked again without a boot."""
    entry = next(iter(proved.entries("kernel").values()))
    path = proved.store.blob_path(entry["outputs"]["vmlinuz"]["digest"])
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)
    assert "2 did not hold" in proved.bpfcompat("store", "verify", code=1).out
    assert "0 ran, 9 already proved" in proved.doit("matrix").out
    assert proved.boots() == {}
    proved.bpfcompat("store", "verify")


@pytest.mark.parametrize("kept", [0, 2])
def test_killed_run_verifies(kept: int, repo: Repo) -> None:
    """`kill -9` of a run leaves a store that verifies."""
    repo.only(**SLOW)
    run = repo.start("matrix", "-n", "2")
    assert soon(lambda: repo.guests() and len(repo.entries("verdict")) >= kept)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    assert "everything holds" in repo.bpfcompat("store", "verify").out


# --- damage that a run meets


def link(path: Path) -> None:
    """The same bytes, by way of a link."""
    elsewhere = path.with_name("elsewhere")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def folder(path: Path) -> None:
    """A folder."""
    path.unlink()
    path.mkdir()


def fifo(path: Path) -> None:
    """A FIFO that nobody writes to."""
    path.unlink()
    os.mkfifo(path)


def cut(path: Path) -> None:
    """Half of it."""
    path.chmod(0o644)
    os.truncate(path, path.stat().st_size // 2)


DAMAGE = {"link": "got a symbolic link", "folder": "got a directory", "fifo": "got a FIFO", "cut": ""}


@pytest.mark.parametrize("what", ["entry", "blob"])
@pytest.mark.parametrize("how", [link, folder, fifo, cut])
def test_damage_is_made_again(how: Callable[[Path], None], what: str, proved: Repo) -> None:
    """An entry or a blob that was replaced or cut is noticed, dropped, said, and made again: those pairs only."""
    path, entry = next((Path(p), e) for p, e in proved.entries("probe").items())
    report = entry["outputs"]["report"]["digest"]
    hit = [e for e in proved.entries("probe").values() if e["outputs"]["report"]["digest"] == report]
    shutil.rmtree(proved.store.root / "actions/matrix")  # or the summary would vouch for them
    how(path if what == "entry" else proved.store.blob_path(report))
    ran = proved.doit("matrix")
    assert sum(proved.boots().values()) == (1 if what == "entry" else len(hit))
    assert "because its store entry was damaged and dropped: " in ran.out
    assert DAMAGE[how.__name__] in ran.out
    proved.forget_boots()
    proved.doit("matrix")
    assert proved.boots() == {}
    assert json.loads(path.read_bytes())["key"] == entry["key"]


def test_why_names_the_damage(proved: Repo) -> None:
    """`doit why` says what was wrong with the entry that it found."""
    key = json.loads((proved.store.root / "names/probe/alpha@k-a.json").read_text())["key"]
    fifo(proved.store.entry_path("probe", key))
    said = proved.doit("why", "probe:alpha@k-a").out
    assert "its store entry was damaged and dropped: expected a regular file, got a FIFO" in said


# --- where no store can be


@pytest.mark.parametrize("kind", ["sshfs", "rclone"])
def test_network_file_system(kind: str, repo: Repo, tmp_path: Path) -> None:
    """A store on a network file system is refused in one line, with what to do, before anything is begun."""
    with network_fs(tmp_path / "net", kind) as place:
        repo.settings(lambda s: s.update(paths={"store": str(place / "store")}))
        for ran in (repo.doit("matrix", code=2), repo.bpfcompat("gc", code=2)):
            assert ran.err.startswith(f"bpfcompat: {place}/store: lies on fuse.{kind} ({place} from there:/x): ")
            assert "(hint: point [paths] store at a disk of this machine" in ran.err
            assert (len(ran.err.splitlines()), ran.out) == (1, "")
    assert repo.boots() == {}
