"""`doit plan`, and what a quick null run rests on: an index that may be lost, old or broken, and is never wrong."""

import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from bpfcompat import plan
from bpfcompat.config import load
from bpfcompat.digest import canonical
from bpfcompat.plan import Pair, Template
from bpfcompat.rules import planning
from bpfcompat.rules.session import Session
from bpfcompat.voice import Silent
from tests.scenarios.conftest import KERNELS, OBJECTS, PAIRS, Ran, Repo, copy

pytestmark = pytest.mark.scenario


def index(repo: Repo) -> list[Path]:
    """The files of the index."""
    return sorted((repo.root / ".bpfcompat/store/index").glob("*"))


OLD_S = 2.1  # a shelf is believed when it is two seconds old
AHEAD = 4


@pytest.fixture(scope="module")
def aging(first_run: tuple[Repo, Ran]) -> Iterator[deque[tuple[float, Repo]]]:
    """Copies that grow old while other tests run, each with the time when it was made."""
    with TemporaryDirectory(prefix="bpfcompat-", dir=first_run[0].root.parent, ignore_cleanup_errors=True) as name:
        yield deque(_one_more(first_run[0], Path(name), n) for n in range(AHEAD))


def _one_more(first: Repo, folder: Path, number: int) -> tuple[float, Repo]:
    made = copy(first, folder / str(number) / "repo")
    made.forget_boots()
    return time.monotonic(), made


@pytest.fixture
def settled(first_run: tuple[Repo, Ran], aging: deque[tuple[float, Repo]]) -> Iterator[Repo]:
    """A proved monorepo whose index is believed: every shelf is two seconds old, and a null run has seen it since."""
    born, found = aging.popleft()
    folder = found.root.parent
    aging.append(_one_more(first_run[0], folder.parent, int(folder.name) + AHEAD))
    time.sleep(max(0.0, born + OLD_S - time.monotonic()))
    found.doit("matrix")
    yield found
    shutil.rmtree(folder, ignore_errors=True)


def session(repo: Repo) -> Session:
    """The project as a process of its own would see it."""
    config = load(repo.root)
    return Session(config, config.objects, config.kernels, Silent())


def test_nothing(proved: Repo) -> None:
    """With nothing to do a plan counts what is proved, and ends with 0."""
    assert proved.doit("plan").out == "9 pairs: 9 proved, 0 to ask\n"


def test_first(repo: Repo) -> None:
    """In a new monorepo a plan says what each pair waits for, ends with 0, boots nothing and makes nothing."""
    ran = repo.doit("plan")
    assert ran.out.startswith("9 pairs: 0 proved, 9 to ask\n")
    assert [line.split(": ")[1:] for line in ran.out.splitlines()[1:]] == [["never run before", "3 pairs"]] * 3
    assert (repo.boots(), repo.entries("probe"), repo.entries("object")) == ({}, {}, {})


def test_object_changed(settled: Repo) -> None:
    """One object changed is one line, with old and new digest, and exactly its pairs; the run asks those."""
    settled.object("alpha", "compatible alpha2")
    said = settled.doit("plan").out.splitlines()
    assert said[0] == f"9 pairs: 6 proved, {len(KERNELS)} to ask"
    assert len(said) == 2 and said[1].startswith("  object:alpha: file changed: sha256:")
    assert said[1].endswith(": 3 pairs")
    assert "3 ran, 6 already proved" in settled.doit("matrix").out
    assert settled.doit("plan").out == "9 pairs: 9 proved, 0 to ask\n"


def test_kernel_changed(settled: Repo) -> None:
    """One kernel changed is the same across the other way."""
    settled.kernel("k-b", KERNELS["k-b"], b"\x91")
    said = settled.doit("plan").out.splitlines()
    assert said[0] == f"9 pairs: 6 proved, {len(OBJECTS)} to ask"
    assert said[1].startswith("  kernel:k-b: files.vmlinuz changed: ") and said[1].endswith(": 3 pairs")


def test_setting_changed(settled: Repo) -> None:
    """A setting that every key has in it is one line for all pairs."""
    settled.settings(lambda s: s["guest"].update(log_kb=512))
    said = settled.doit("plan").out.splitlines()
    assert said == ["9 pairs: 0 proved, 9 to ask", "  spec.log_kb changed: 1024 -> 512: 9 pairs"]


def test_verdict_lost(settled: Repo) -> None:
    """A verdict that is gone is to be classified again, not asked."""
    settled.drop("verdict", "alpha@k-c")
    said = settled.doit("plan").out.splitlines()
    assert said[0] == "9 pairs: 8 proved, 0 to ask, 1 to classify again"


def test_other_default(settled: Repo) -> None:
    """A plan is one of the matrix, whatever a bare `doit` does."""
    place = settled.root / "dodo.py"
    place.write_text(place.read_text() + "\nDOIT_CONFIG = {'default_tasks': ['report']}\n")
    assert settled.doit("plan").out == "9 pairs: 9 proved, 0 to ask\n"


@pytest.mark.parametrize("damage", ["lost", "empty", "rubbish", "another project's"])
def test_index_damaged(damage: str, settled: Repo) -> None:
    """Without its index, or with a broken or foreign one, a null run takes longer and says the same."""
    for place in index(settled):
        if damage == "lost":
            place.unlink()
        else:
            place.write_bytes({"empty": b"", "rubbish": os.urandom(999)}.get(damage, place.read_bytes()[::-1]))
    assert "0 ran, 9 already proved" in settled.doit("matrix").out
    assert settled.boots() == {}


@pytest.mark.parametrize("pair", PAIRS[::4])
def test_entry_lost(pair: str, settled: Repo) -> None:
    """However much the index knew: one entry deleted re-asks that pair and no other."""
    settled.drop("probe", pair)
    assert settled.doit("plan").out.splitlines()[0] == "9 pairs: 8 proved, 1 to ask"
    settled.doit("matrix")
    assert settled.boots() == {pair: 1}


def test_entry_replaced(settled: Repo) -> None:
    """A stored entry that someone wrote anew, and broke, is noticed by a null run, and its pair asked again."""
    place, entry = next((Path(p), e) for p, e in settled.entries("probe").items())
    broken = place.with_name("new")
    broken.write_bytes(canonical(entry)[:-20])
    broken.replace(place)
    assert "1 ran, 8 already proved" in settled.doit("matrix").out


def test_shared_step_lost(settled: Repo) -> None:
    """An object's entry that is deleted is missed, although the index remembers what was in it."""
    settled.drop("object", "alpha")
    assert "object:alpha" in settled.doit("plan").out
    assert "0 ran, 9 already proved" in settled.doit("matrix").out


def test_two_projects(settled: Repo, tmp_path: Path) -> None:
    """Two projects that share a store each have an index of their own, and neither misleads the other."""
    other, before = Repo(tmp_path / "other"), len(index(settled))
    settled.run("cp", "-r", str(settled.root), str(other.root))
    other.settings(lambda s: s.update(paths={"store": str(settled.store.root)}))
    other.object("alpha", "rejected alpha")
    assert "6 already proved" in other.doit("matrix", code=1).out
    assert settled.doit("plan").out == "9 pairs: 9 proved, 0 to ask\n"
    assert len(index(settled)) == before + 2


def test_keys(settled: Repo) -> None:
    """Every pair's key from a template is the one that its action has."""
    asker = session(settled).asker
    for pair in asker.shop.matrix.pairs:
        spec, blob = asker.probe_spec(pair), asker.object(pair.object, make=False)
        made = Template(asker.column(pair.kernel, make=False)).raw_key(canonical(blob.digest), canonical(spec))
        assert f"sha256:{made.hex()}" == asker.probe_action(pair, make=False).key()
        assert spec == asker.probe_spec(Pair(pair.object, next(iter(KERNELS)))), "planning asks once per object"


def test_no_pair_is_looked_at(settled: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing changed, planning makes no key of a pair and reads no entry of one."""

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(plan, "Template", never)
    found = session(settled)
    missing = planning.survey(found, fresh=True)
    assert missing.summary is not None and not missing.probes
    assert "pairs" not in vars(found.matrix)


def test_named_pair_alone(settled: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one pair is named, no other object or kernel is looked at, and what is missing of it is the same."""
    settled.object("alpha", "rejected alpha")
    named, every = Pair("alpha", "k-b"), planning.survey(session(settled))
    found = session(settled)
    monkeypatch.setattr(found.asker, "object", partial(only, "alpha", found.asker.object))
    monkeypatch.setattr(found.asker, "kernel", partial(only, "k-b", found.asker.kernel))
    missing = planning.look_at(found, [named])
    assert (missing.probes, missing.objects, missing.guests) == ({named}, every.objects, every.guests)
    assert missing.objects == {"alpha"}


def only(wanted: str, look: Callable[..., object], name: str, make: bool = True) -> object:
    """A step that may be asked of one name."""
    assert name == wanted
    return look(name, make=make)
