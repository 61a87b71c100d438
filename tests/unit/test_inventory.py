"""What lies in a store, seen without touching it."""

import os
import time
from pathlib import Path

import pytest

from bpfcompat.action import Action
from bpfcompat.inventory import KINDS, Item, inventory, last_use, usage
from bpfcompat.store import Store

OLD = time.time() - 1e6


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store").open()


def items(store: Store, kind: str) -> list[Item]:
    """What there is of a kind."""
    return [i for i in inventory(store) if i.kind == kind]


def test_empty(store: Store) -> None:
    """A new store has nothing that could be collected."""
    assert inventory(store) == []


def test_every_kind(store: Store) -> None:
    """Each kind is found where it lies, by name; the store's own files are not among them."""
    action = Action("probe", "a@b", {"n": 1})
    blob = store.put_bytes(b"x")
    with store.single_flight(action), store.workdir() as work:
        store.put(action, {"report": blob})
        store.remember(action)
        store.quarantine(action.key(), "a@b", "differ", [blob])
        digits = "a" * 64
        (store.root / "templates" / digits).mkdir(parents=True)
        (store.root / "downloads").mkdir()
        (store.root / "downloads" / digits).write_bytes(b"y")
        found = {i.kind: i for i in inventory(store)}
    assert set(found) == set(KINDS)
    assert found["temporary"].path == work
    assert (found["blob"].name, found["entry"].name) == (blob.digest, action.key())
    assert (found["entry"].blobs, found["name"].keys) == (frozenset({blob.digest}), frozenset({action.key()}))
    assert found["name"].name == "probe:a@b"
    assert (found["flaky"].name, found["flaky"].blobs) == (action.key(), frozenset({blob.digest}))
    assert found["entry"].lock == found["lock"].path == store.lock_path(action.key())
    assert found["template"].lock == store.root / "locks" / digits[:32]
    assert found["download"].lock == store.root / "downloads" / f"{digits}.part.lock"


def test_temporary_names(store: Store) -> None:
    """What was being written when its process died is found beside everything that is written."""
    store.put(Action("probe", "a", {}), {"report": store.put_bytes(b"x")})
    store.remember(Action("probe", "a", {}))
    shelf = store.blob_path(store.put_bytes(b"x").digest).parent
    for name in ("host", "templates", "downloads"):
        (store.root / name).mkdir()
    places = [store.root, shelf, store.entry_path("probe", Action("probe", "a", {}).key()).parent]
    places += [store.root / p for p in ("names/probe", "host", "templates", "downloads")]
    for place in places:
        (place / ".tmp-1").write_bytes(b"")
    assert {i.path.parent for i in items(store, "temporary")} == set(places)


def test_looking_is_no_use(store: Store) -> None:
    """Taking the inventory leaves every access time as it was."""
    store.put(Action("probe", "a", {}), {"report": store.put_bytes(b"x")})
    paths = [p for p in store.root.rglob("*") if p.is_file()]
    for path in paths:
        os.utime(path, (OLD, OLD))
    first = inventory(store)
    assert {p.stat().st_atime for p in paths} == {os.stat(paths[0]).st_atime}
    assert inventory(store) == first


def test_sparse(tmp_path: Path) -> None:
    """What counts is the disk, not the length: a hole takes nothing."""
    (tmp_path / "d").mkdir()
    empty = usage(tmp_path / "d")
    with open(tmp_path / "d/ram", "wb") as stream:
        stream.truncate(1 << 30)
        stream.write(b"x")
    assert 0 < usage(tmp_path / "d") - empty < 1 << 20
    assert usage(tmp_path / "nowhere") == 0


def test_last_use(tmp_path: Path) -> None:
    """A file's later one of written and used; a folder's newest file; a template's mark, whatever its files say."""
    for name in ("ram", "template.json"):
        (tmp_path / name).write_bytes(b"")
    os.utime(tmp_path / "ram", (4000, 3000))
    os.utime(tmp_path / "template.json", (1000, 2000))
    assert last_use("blob", tmp_path / "ram") == 4000
    assert last_use("template", tmp_path) == 2000
    os.utime(tmp_path, (9000, 2500))
    assert last_use("temporary", tmp_path) == 4000
    (tmp_path / "template.json").unlink()
    assert last_use("template", tmp_path) > 4000
    assert last_use("blob", tmp_path / "nowhere") == 0


def test_links_are_not_followed(store: Store, tmp_path: Path) -> None:
    """A link is what it is: nothing behind it is counted, entered or read."""
    elsewhere = Store(tmp_path / "other").open()
    elsewhere.put(Action("probe", "a", {}), {"report": elsewhere.put_bytes(bytes(1 << 20))})
    for name in ("blobs", "actions"):
        (store.root / name).mkdir()
    (store.root / "blobs/aa").symlink_to(next((elsewhere.root / "blobs").iterdir()))
    (store.root / "actions/probe").symlink_to(elsewhere.root / "actions/probe")
    (store.root / "templates").mkdir()
    (store.root / "templates" / ("a" * 64)).symlink_to(elsewhere.root)
    assert items(store, "blob") == items(store, "template") == []
    assert usage(store.root) < 1 << 20


def test_damaged_entries(store: Store) -> None:
    """An entry that cannot be read reaches nothing, and is an item all the same."""
    action = Action("probe", "a", {})
    store.put(action, {"report": store.put_bytes(b"x")})
    store.remember(action)
    store.entry_path("probe", action.key()).write_bytes(b"{")
    (store.root / "names/probe/a.json").write_bytes(b"[]")
    assert [(i.name, i.blobs) for i in items(store, "entry")] == [(action.key(), frozenset())]
    assert [i.keys for i in items(store, "name")] == [frozenset()]


def test_what_is_about_a_matrix(store: Store) -> None:
    """A report says of which matrix it is."""
    matrix = Action("matrix", "", {"rows": []})
    store.put(matrix, {}, {})
    store.put(Action("report", "", {"matrix": matrix.key()}), {})
    found = {i.path.parts[-3]: i for i in items(store, "entry")}
    assert found["report"].about == {matrix.key()}
