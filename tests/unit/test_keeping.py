"""What is kept and what goes: planned as a value, swept so that nobody loses what he uses."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat.action import Action
from bpfcompat.checking import check
from bpfcompat.errors import ConfigError, StoreError
from bpfcompat.files import locked
from bpfcompat.inventory import Item, inventory, usage
from bpfcompat.keeping import DAY_S, Policy, Roots, collect, lines, over_budget, plan, reached, size_of, sweep
from bpfcompat.store import Store
from bpfcompat.voice import Silent
from tests.hosting import child_python, remount_read_only, tmpfs

NOW = 100 * DAY_S
YOUNG, OLD, USED = NOW - DAY_S, NOW - 50 * DAY_S, NOW - 60


def item(kind: str, name: str, used: float = OLD, size: int = 1, **reach: frozenset[str]) -> Item:
    """One thing."""
    return Item(kind, name, Path(name), size, used, None, **reach)


def entry(name: str, *blobs: str, used: float = OLD, size: int = 1, **reach: frozenset[str]) -> Item:
    """An entry with these blobs."""
    return item("entry", name, used, size, blobs=frozenset(blobs), **reach)


def planned(items: list[Item], roots: Roots | None = None, max_bytes: int | None = None) -> list[str]:
    """Names of what goes, in order."""
    total = sum(i.size for i in items)
    return [i.name for i in plan(items, roots or Roots(), Policy(NOW, max_bytes=max_bytes), total)]


def roots(*keys: str) -> Roots:
    """A project that needs these keys."""
    return Roots(keys=frozenset(keys))


# --- planning


@pytest.mark.parametrize("kind", ["temporary", "template", "blob", "download", "entry", "name", "lock"])
def test_grace(kind: str) -> None:
    """What nobody reaches goes when it is old, and stays within the grace whatever --keep-days says."""
    assert planned([item(kind, "x")]) == ["x"]
    policy = Policy(NOW, keep_s=0, max_bytes=0 if kind != "template" else None)
    assert plan([item(kind, "x", USED)], Roots(), policy, 1) == ()


def test_reached_stays() -> None:
    """A project's entries, their blobs, its downloads and its tasks' memories stay at any age."""
    items = [entry("k", "b"), item("blob", "b"), item("download", "d"), item("name", "probe:a@b")]
    needs = Roots(frozenset({"k"}), frozenset({"d"}), frozenset({"probe:a@b"}))
    assert planned(items, needs) == planned(items, needs, max_bytes=0) == []
    assert planned(items) == ["d", "k", "b", "probe:a@b"]


def test_last_key_of_a_name() -> None:
    """A task whose key cannot be known now is reached by the last key under its name."""
    items = [entry("k"), item("name", "object:x", keys=frozenset({"k"}))]
    assert planned(items, Roots(names=frozenset({"object:x"})), max_bytes=0) == []
    assert planned(items, Roots(names=frozenset({"object:y"}))) == ["k", "object:x"]


def test_a_matrix_leads_on() -> None:
    """From a matrix to probes and verdicts, and from it to its reports."""
    matrix = entry("m", "vb", keys=frozenset({"p", "v"}))
    report = item("entry", "r", about=frozenset({"m"}))
    items = [matrix, entry("p", "pb"), entry("v", "vb"), report, entry("x"), item("blob", "pb"), item("blob", "vb")]
    assert planned(items, roots("m"), max_bytes=0) == ["x"]
    assert reached([matrix, report], ["m"]) == {"m", "p", "v", "r"}


def test_a_young_matrix_leads_on() -> None:
    """Another project that used its matrix lately keeps what that rests on, although nobody named it."""
    items = [entry("m", used=YOUNG, keys=frozenset({"p"})), entry("p")]
    assert planned(items) == []
    assert planned([items[1]]) == ["p"]


def test_circle() -> None:
    """Entries that lead to each other are walked once."""
    items = [entry("a", keys=frozenset({"b"})), entry("b", keys=frozenset({"a"}))]
    assert planned(items, roots("a")) == []


def test_order() -> None:
    """Temporary files, templates, orphans, downloads, then entries with their blobs, memories and locks."""
    kinds = ("lock", "name", "download", "blob", "template", "temporary")
    items = [*(item(k, k) for k in kinds), entry("e", "eb"), item("blob", "eb")]
    assert planned(items) == ["temporary", "template", "blob", "download", "e", "eb", "name", "lock"]


def test_shared_blob() -> None:
    """A blob that a kept entry names too stays; one that two dropped entries name goes once, after both."""
    items = [entry("a", "x", "y"), entry("b", "x"), entry("c", "y"), item("blob", "x"), item("blob", "y")]
    assert planned(items, roots("c")) == ["a", "b", "x"]


def test_young_blob_of_an_old_entry() -> None:
    """A blob that was used within the grace outlives its entry: somebody may be about to name it again."""
    assert planned([entry("a", "x"), item("blob", "x", USED)]) == ["a"]


def test_budget_takes_templates_first() -> None:
    """Current templates go before anything else that is young, the least recently used first, and only as needed."""
    items = [
        item("template", "t1", NOW - 10, 100),
        item("template", "t2", NOW - 20, 100),
        entry("k", used=YOUNG, size=50),
    ]
    assert planned(items, max_bytes=1000) == []
    assert planned(items, max_bytes=249) == planned(items, max_bytes=150) == ["t2"]
    assert planned(items, max_bytes=149) == ["t2", "t1"]
    assert planned(items, max_bytes=49) == ["t2", "t1", "k"]


def test_budget_takes_least_recently_used() -> None:
    """Then downloads and entries that no project reaches, the oldest first, each with the blobs that only it names."""
    items = [
        entry("new", "x", used=YOUNG, size=1),
        entry("old", "x", "y", used=YOUNG - 10, size=1),
        item("blob", "x", YOUNG, 10),
        item("blob", "y", YOUNG, 20),
        item("download", "d", YOUNG, 30),
        entry("needed", used=YOUNG, size=5),
    ]
    needs = roots("needed")
    assert planned(items, needs, max_bytes=67) == []
    assert planned(items, needs, max_bytes=66) == ["d"]
    assert planned(items, needs, max_bytes=36) == ["d", "old", "y"]
    assert planned(items, needs, max_bytes=0) == ["d", "old", "y", "new", "x"]


def test_budget_counts_what_goes_anyway() -> None:
    """What nobody reaches counts first: a template stays when that is enough."""
    items = [item("template", "t", YOUNG, 100), entry("x", size=50)]
    assert planned(items, max_bytes=100) == ["x"]


NAMES = st.sampled_from("abcdef")
ENTRIES = st.builds(
    lambda n, b, k, u: entry(n, *b, used=NOW - u, keys=frozenset(k)),
    NAMES, st.sets(st.sampled_from("uvwxyz")), st.sets(NAMES), st.floats(0, 30 * DAY_S),
)  # fmt: skip


@given(st.lists(ENTRIES, unique_by=lambda e: e.name), st.sets(NAMES), st.none() | st.integers(0, 20))
def test_no_entry_loses_a_blob(entries: list[Item], keys: set[str], size: int | None) -> None:
    """At every moment of the sweep each entry that is left has its blobs, and each that is needed is left."""
    blobs = [item("blob", b) for b in "uvwxyz"]
    left = {e.name: e for e in entries}
    there = set("uvwxyz")
    for drop in plan([*entries, *blobs], roots(*keys), Policy(NOW, max_bytes=size), len(entries) + len(blobs)):
        if drop.kind == "entry":
            del left[drop.name]
        else:
            there.remove(drop.name)
        assert all(e.blobs <= there for e in left.values())
    assert keys & {e.name for e in entries} <= left.keys()


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("500", 500), ("1K", 1000), ("2MB", 2000000), ("1.5G", 1500000000), ("1TiB", 1 << 40), ("3kib", 3072)],
)
def test_size(text: str, size: int) -> None:
    """Sizes as people write them."""
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "x", "-1", "1P", "1 000", "1e9", "nan", "9" * 99, "١G", "1.G"])
def test_no_size(text: str) -> None:
    """Anything else is refused with an example."""
    with pytest.raises(ConfigError, match=r"expected a number and K, M, G or T.*such as 2G"):
        size_of(text)


# --- sweeping


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with two entries: `kept` and `gone`, everything old."""
    found = Store(tmp_path / "store").open()
    for name in ("kept", "gone"):
        action = Action("object", name, {"n": name})
        with found.single_flight(action):
            found.put(action, {"object": found.put_bytes(name.encode())})
            found.remember(action)
    age(found)
    return found


def age(store: Store) -> None:
    """Make everything a hundred days old."""
    long_ago = time.time() - 100 * DAY_S
    for path in sorted(store.root.rglob("*"), reverse=True):
        os.utime(path, (long_ago, long_ago), follow_symlinks=False)


KEPT, GONE = (Action("object", n, {"n": n}) for n in ("kept", "gone"))
NEEDS = Roots(frozenset({KEPT.key()}), names=frozenset({"object:kept"}))


def template(store: Store, digits: str = "a" * 64) -> Path:
    """A template of a megabyte, old."""
    folder = store.root / "templates" / digits
    folder.mkdir(parents=True)
    for name, data in (("ram", bytes(1 << 20)), ("state", b"s"), ("template.json", b"{}")):
        (folder / name).write_bytes(data)
    age(store)
    return folder


def policy(**fields: float) -> Policy:
    """A policy of now."""
    return Policy(time.time(), **fields)  # type: ignore[arg-type]


def test_collect(store: Store) -> None:
    """What no project reaches is gone, blob, memory and locks included; the rest holds, and nothing is left behind."""
    swept = collect(store, NEEDS, policy())
    assert [i.kind for i in swept.dropped] == ["entry", "blob", "name", "lock", "lock"]
    assert store.get(KEPT) is not None and store.get(GONE) is None
    assert swept.left == [] and swept.stays == usage(store.root)
    assert check(store, Silent())
    assert {p.name for p in store.root.rglob("*") if p.is_file() and p.parent.name in ("locks", "tmp")} == {"keeping"}
    assert collect(store, NEEDS, policy()).dropped == []


def test_dry_run(store: Store) -> None:
    """A dry run says the same, writes nothing, and works where nothing can be written."""
    before = sorted(store.root.rglob("*"))
    would = collect(store, NEEDS, policy(), dry_run=True)
    assert sorted(store.root.rglob("*")) == before
    assert [i.name for i in would.dropped] == [i.name for i in collect(store, NEEDS, policy()).dropped]


def test_read_only(store: Store, tmp_path: Path) -> None:
    """On a store that cannot be written a dry run works, and a real one says why it does not."""
    with tmpfs(tmp_path / "m", "size=1m") as root:
        there = Store(root / "store").open()
        there.put(GONE, {})
        age(there)
        remount_read_only(root)
        assert [i.kind for i in collect(there, Roots(), policy(), dry_run=True).dropped] == ["entry"]
        with pytest.raises(StoreError, match="the file system is read-only"):
            collect(there, Roots(), policy())


def test_held_key_is_left(store: Store) -> None:
    """What another process is making is left, with its blobs, and it is said who has it."""
    with store.single_flight(GONE):
        swept = collect(store, NEEDS, policy())
    assert [(i.name, why.partition(" since")[0]) for i, why in swept.left if i.kind == "entry"] == [
        (GONE.key(), f"held by pid {os.getpid()}")
    ]
    assert store.get(GONE) is not None
    assert any(line.startswith("   entry sha256:") and "is left: held by pid" in line for line in said(swept))


def said(swept: object) -> list[str]:
    """The lines of what became of a plan."""
    return list(lines(swept, policy(), dry_run=False))  # type: ignore[arg-type]


@pytest.mark.parametrize("use", [lambda s: s.get(GONE), lambda s: s.put_bytes(b"gone")], ids=["entry", "blob"])
def test_used_meanwhile(use: Callable[[Store], object], store: Store) -> None:
    """What was used after the plan was made is left."""
    drops = plan(inventory(store), NEEDS, policy(), 0)
    use(store)
    with store.workdir() as trash:
        swept = sweep(drops, trash)
    assert [why for _, why in swept.left] == ["used just now"]
    assert store.read(store.put_bytes(b"gone")) == b"gone"


def test_used_at_the_last_moment(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Used between the last look and the rename: it goes back to its place."""
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        if source == store.entry_path("object", GONE.key()):
            os.utime(source)
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    swept = collect(store, NEEDS, policy())
    assert (GONE.key(), "used just now") in [(i.name, why) for i, why in swept.left]
    assert store.get(GONE) is not None


def test_running_work_is_left(store: Store) -> None:
    """A work folder stays as long as its process lives, however old it is; afterwards it goes, full or not."""
    dead = store.root / "tmp/.tmp-dead"
    (dead / "deep").mkdir(parents=True)
    (dead / "deep/file").write_bytes(b"x")
    (dead / "link").symlink_to(store.root)
    with store.workdir() as work:
        age(store)
        swept = collect(store, NEEDS, policy())
        assert work.exists() and not dead.exists()
        assert [(i.path, why) for i, why in swept.left] == [(work, "held by a running task")]
    assert store.get(KEPT) is not None


def test_template_goes_whole(store: Store) -> None:
    """A template that was not used for long goes; one whose builder is at it is left; budget takes a used one."""
    folder = template(store)
    os.utime(folder / "template.json")
    assert collect(store, NEEDS, policy()).left == [] and folder.exists()
    with locked(store.root / "locks" / ("a" * 32)):
        assert [i.kind for i, _ in collect(store, NEEDS, policy(max_bytes=0)).left] == ["template"]
    assert folder.exists()
    swept = collect(store, NEEDS, policy(max_bytes=1 << 19))
    assert [i.kind for i in swept.dropped] == ["template"] and not folder.exists()
    assert not over_budget(swept, policy(max_bytes=1 << 19))


def test_template_in_use_can_go(store: Store) -> None:
    """Who has opened a template's files goes on reading them after it was dropped."""
    folder = template(store)
    with open(folder / "ram", "rb") as ram:
        collect(store, NEEDS, policy())
        assert not folder.exists() and len(ram.read()) == 1 << 20


def test_downloads(store: Store) -> None:
    """A download that no lock names goes with its lock; one that is being fetched is left."""
    (store.root / "downloads").mkdir()
    for digit in "ab":
        for tail in ("", ".part.lock"):
            (store.root / "downloads" / (digit * 64 + tail)).write_bytes(b"x")
    age(store)
    with locked(store.root / "downloads" / ("a" * 64 + ".part.lock")):
        collect(store, Roots(NEEDS.keys, names=NEEDS.names), policy())
    assert {p.name[0] for p in (store.root / "downloads").iterdir()} == {"a"}


def test_says_that_it_is_over(store: Store) -> None:
    """A budget that cannot be met is said."""
    swept = collect(store, NEEDS, policy(max_bytes=1))
    assert over_budget(swept, policy(max_bytes=1))
    assert list(lines(swept, policy(max_bytes=1), dry_run=False))[-1].startswith("!! more than the 0.0 MB")


# --- several processes

COLLECT = """
import sys, time
from pathlib import Path
from bpfcompat.keeping import Policy, Roots, collect
from bpfcompat.store import Store
store = Store(Path(sys.argv[1])).open()
print("ready", flush=True)
collect(store, Roots(), Policy(time.time()), lambda who: print("waits for", who, flush=True))
"""


def collector(store: Store) -> subprocess.Popen[str]:
    """Another process that drops everything that is old."""
    argv = [sys.executable, "-c", COLLECT, str(store.root)]
    return subprocess.Popen(argv, stdout=-1, text=True, env=child_python())


def test_two_collectors(store: Store) -> None:
    """Who comes second waits, and is told for whom."""
    with locked(store.root / "locks/keeping"), collector(store) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        assert other.stdout.readline().startswith(f"waits for pid {os.getpid()} since ")
        other.kill()


@pytest.mark.parametrize("delay_s", [0.0, 0.01, 0.02, 0.04, 0.08])
def test_killed_collector(delay_s: float, store: Store) -> None:
    """kill -9 at any moment: what is left of the store verifies, and the next one finishes."""
    for n in range(300):
        store.put(Action("object", str(n), {"n": n}), {"object": store.put_bytes(b"%d" % n)})
    age(store)
    with collector(store) as running:
        assert running.stdout is not None and running.stdout.readline() == "ready\n"
        time.sleep(delay_s)
        running.send_signal(signal.SIGKILL)
    assert check(store, Silent())
    age(store)
    collect(store, Roots(), policy())
    assert store.keys("object") == store.blobs() == frozenset()


def test_collector_and_makers(store: Store) -> None:
    """While a collector drops all that is old, what is put again at the same time is whole."""
    actions = [Action("object", str(n), {"n": n}) for n in range(200)]
    for action in actions:
        store.put(action, {"object": store.put_bytes(action.name.encode())})
    age(store)

    def make() -> None:
        for action in actions:
            with store.single_flight(action):
                if store.get(action) is None:
                    store.put(action, {"object": store.put_bytes(action.name.encode())})

    maker = threading.Thread(target=make)
    with collector(store) as running:
        assert running.stdout is not None and running.stdout.readline() == "ready\n"
        maker.start()
        maker.join()
        assert running.wait(60) == 0
    assert check(store, Silent())
    assert {a.key() for a in actions} <= store.keys("object")
