"""What is remembered of a store: it may be lost, old or broken, and is never believed when a shelf has changed."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfcompat import index
from bpfcompat.action import Action
from bpfcompat.digest import digest_bytes
from bpfcompat.index import Index, Proof, raw, seen
from bpfcompat.store import Entry, Store

CLASSIFIER = digest_bytes(b"classifier")
COUNT = 5


def actions(n: int) -> tuple[Action, Action]:
    """The probe and the verdict of one pair."""
    return Action("probe", f"{n}", {"n": n}), Action("verdict", f"{n}", {"n": n})


def proof(store: Store, n: int) -> Proof:
    """Put a pair's report and verdict into the store; odd ones have a console too."""
    probe, verdict = actions(n)
    blobs = {"report": store.put_bytes(b"report %d" % n)}
    if n % 2:
        blobs["console"] = store.put_bytes(b"console %d" % n)
    store.put(probe, blobs)
    body = store.put_bytes(b"verdict %d" % n)
    store.put(verdict, {"verdict": body})
    place = store.entry_path("probe", probe.key())
    below = tuple(raw(b.digest) for b in (*blobs.values(), body))
    return Proof(raw(probe.key()), seen(place), raw(verdict.key()), below)


def kernel(store: Store) -> dict[str, Entry]:
    """An entry that pairs share."""
    action = Action("kernel", "k", {"n": 1})
    return {action.key(): store.put(action, {"vmlinuz": store.put_bytes(b"vmlinuz")}, {"release": "6.1"})}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with five proved pairs and an index that knows them; every file in it counts as old."""
    made = Store(tmp_path / "store").open()
    proofs, shared = [proof(made, n) for n in range(COUNT)], kernel(made)
    monkeypatch.setattr(index, "YOUNG_NS", -(10**12))
    Index(made.root, "p").save("settled", CLASSIFIER, shared, [], proofs)
    return made


def proved(store: Store, classifier: str = CLASSIFIER) -> int:
    """How many pairs the index says are proved."""
    return len(Index(store.root, "p").proved(classifier))


def test_current(store: Store) -> None:
    """As long as no shelf has changed, everything that was saved is known, values and all."""
    found = Index(store.root, "p")
    assert (found.current, found.settled, len(found.proved(CLASSIFIER))) == (True, "settled", COUNT)
    (entry,) = found.entries().values()
    assert entry.facts == {"release": "6.1"} and store.read(entry.outputs["vmlinuz"]) == b"vmlinuz"


def test_young(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a shelf that may change once more within the clock's grain nothing is concluded."""
    monkeypatch.setattr(index, "YOUNG_NS", 10**12)
    found = Index(store.root, "p")
    assert (found.current, found.settled, found.entries(), proved(store)) == (False, None, {}, COUNT)
    found.save("settled", CLASSIFIER, {}, found.proved(CLASSIFIER).values(), [])
    monkeypatch.setattr(index, "YOUNG_NS", -(10**12))
    assert not Index(store.root, "p").current and proved(store) == COUNT


def test_not_fresh(store: Store) -> None:
    """What was saved by a run that had looked before it saw the shelves is a proof by name, not their state."""
    Index(store.root, "p").save("settled", CLASSIFIER, {}, [], [proof(store, 0)], fresh=False)
    assert not Index(store.root, "p").current and proved(store) == 1


def _drop(kind: str) -> Callable[[Store], object]:
    at = {"probe": 0, "verdict": 1}[kind]
    return lambda store: store.drop(kind, actions(2)[at].key())


def _remade(store: Store) -> None:
    place = store.entry_path("probe", actions(2)[0].key())
    data = place.read_bytes()
    time.sleep(0.01)
    place.with_suffix(".new").write_bytes(data)
    os.replace(place.with_suffix(".new"), place)


def _blob(name: bytes) -> Callable[[Store], object]:
    return lambda store: store.blob_path(digest_bytes(name)).unlink()


@pytest.mark.parametrize(
    "damage",
    [_drop("probe"), _drop("verdict"), _blob(b"report 2"), _blob(b"verdict 2"), _remade],
    ids=["probe", "verdict", "report", "verdict's bytes", "another entry under the key"],
)
def test_shelf_changed(damage: Callable[[Store], object], store: Store) -> None:
    """One thing that is gone or replaced costs exactly the pair that rests on it, and the rest is still known."""
    damage(store)
    found = Index(store.root, "p")
    assert (found.current, found.settled, found.entries()) == (False, None, {})
    assert set(found.proved(CLASSIFIER)) == {raw(actions(n)[0].key()) for n in range(COUNT) if n != 2}


def test_added(store: Store) -> None:
    """What another process adds changes no answer about the others."""
    proof(store, 99)
    assert not Index(store.root, "p").current and proved(store) == COUNT


def test_other_classifier(store: Store) -> None:
    """A proof is of a verdict: another classifier has none yet."""
    assert proved(store, digest_bytes(b"other")) == 0


def test_link(store: Store, tmp_path: Path) -> None:
    """A shelf that is a link is not trusted by its own time."""
    shelf = next((store.root / "actions/probe").iterdir())
    shutil.move(shelf, tmp_path / "moved")
    shelf.symlink_to(tmp_path / "moved")
    Index(store.root, "p").save("settled", CLASSIFIER, {}, Index(store.root, "p").proved(CLASSIFIER).values(), [])
    assert not Index(store.root, "p").current and proved(store) == COUNT


@pytest.mark.parametrize("suffix", ["json", "proofs"])
@pytest.mark.parametrize("damage", ["lost", "cut", "flipped", "empty"])
def test_damaged(suffix: str, damage: str, store: Store) -> None:
    """An index that is lost or damaged anywhere says nothing."""
    place = store.root / "index" / f"p.{suffix}"
    data = place.read_bytes()
    place.unlink()
    changed = {"cut": data[:-7], "flipped": data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], "empty": b""}
    if damage != "lost":
        place.write_bytes(changed[damage])
    found = Index(store.root, "p")
    assert found.proved(CLASSIFIER) == {}
    if suffix == "json":
        assert (found.current, found.settled, found.entries()) == (False, None, {})


@pytest.mark.parametrize("suffix", ["json", "proofs"])
def test_mended(suffix: str, store: Store) -> None:
    """What was damaged is written anew by the next run that looked at everything, equal bytes or not."""
    proofs = [proof(store, n) for n in range(COUNT)]
    (store.root / "index" / f"p.{suffix}").write_bytes(b"x")
    found = Index(store.root, "p")
    found.save("settled", CLASSIFIER, {}, found.proved(CLASSIFIER).values(), proofs)
    assert Index(store.root, "p").settled == "settled" and proved(store) == COUNT


def test_kept_and_new(store: Store) -> None:
    """Old proofs are kept as they are beside new ones that rest on more, or fewer, blobs."""
    found = Index(store.root, "p")
    kept = [row for key, row in found.proved(CLASSIFIER).items() if key != raw(actions(1)[0].key())]
    found.save(None, CLASSIFIER, {}, kept, [proof(store, 7)])
    assert set(Index(store.root, "p").proved(CLASSIFIER)) == {raw(actions(n)[0].key()) for n in (0, 2, 3, 4, 7)}


def test_cannot_be_written(store: Store) -> None:
    """A store that cannot be written has no index, and that is no trouble."""
    shutil.rmtree(store.root / "index")
    (store.root / "index").write_text("")
    Index(store.root, "p").save(None, CLASSIFIER, {}, [], [proof(store, 1)])
    assert proved(store) == 0
