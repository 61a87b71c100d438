"""What a store keeps and what it drops: marked from roots, planned as a value, then swept one thing at a time.

Kept is what a project reaches and what was used lately; a budget takes templates first, then the least recently used
of what no project reaches.  Nothing that was used within the grace is dropped: another run may be between writing a
blob and the entry that names it.  Entries go before their blobs, so whoever is killed leaves a store that verifies.
"""

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bpfcompat.digest import short
from bpfcompat.errors import ConfigError
from bpfcompat.files import explain_os, holder, is_held, locked, locked_now
from bpfcompat.inventory import KEEPER, KINDS, Item, inventory, last_use, usage
from bpfcompat.store import Store

GRACE_S = 3600.0
KEEP_DAYS = 14
DAY_S = 86400.0
USED = "used just now"
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)(?:([KMGT])(i?))?B?", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Roots:
    """What projects need: action keys, digests of downloads, and `kind:name` of their tasks."""

    keys: frozenset[str] = frozenset()
    downloads: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Policy:
    """How much to keep: what was used in the last `keep_s` seconds before `now`, and at most `max_bytes` in all."""

    now: float
    keep_s: float = KEEP_DAYS * DAY_S
    max_bytes: int | None = None
    grace_s: float = GRACE_S

    def young(self, item: Item) -> bool:
        """Used so lately that it is kept if there is room."""
        return item.used > self.now - max(self.keep_s, self.grace_s)

    def untouchable(self, item: Item) -> bool:
        """Used so lately that somebody may be at it."""
        return item.used > self.now - self.grace_s


@dataclass(slots=True)
class Swept:
    """What became of a plan: what was dropped, what was left and why, and the bytes that stay."""

    dropped: list[Item] = field(default_factory=list)
    left: list[tuple[Item, str]] = field(default_factory=list)
    stays: int = 0


def size_of(text: str) -> int:
    """`500M`, `1.5G`, `2GiB` or plain bytes as a number; K is 1000 and Ki is 1024.  ConfigError for anything else."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"size: expected a number and K, M, G or T, got {text[:40]!r}", hint="such as 2G")
    base = 1024 if match[3] else 1000
    return int(float(match[1]) * base ** (" KMGT".index((match[2] or " ").upper())))


# --- planning, which is pure


def plan(items: Iterable[Item], roots: Roots, policy: Policy, total: int) -> tuple[Item, ...]:
    """What to drop, in order.  `total` is what the whole store takes on disk."""
    by_kind: dict[str, list[Item]] = {kind: [] for kind in KINDS}
    for item in items:
        by_kind[item.kind].append(item)
    needed = reached(by_kind["entry"], _seeds(by_kind["name"], roots))
    kept = reached(by_kind["entry"], needed | {e.name for e in by_kind["entry"] if policy.young(e)})
    blobs = _Blobs(by_kind["blob"], [*by_kind["entry"], *by_kind["flaky"]], policy)
    drops = list(_unreached(by_kind, roots, kept, blobs, policy))
    if policy.max_bytes is not None:
        over = total - sum(i.size for i in drops) - policy.max_bytes
        drops += _over_budget(by_kind, roots, needed, blobs, policy, over, frozenset(id(i) for i in drops))
    return tuple(drops)


def reached(entries: Iterable[Item], seeds: Iterable[str]) -> frozenset[str]:
    """All keys that these keys lead to: what an entry rests on, and what says of one that it is settled."""
    entries = tuple(entries)
    leads = {e.name: e.keys for e in entries}
    found: set[str] = set()
    todo = list(seeds)
    while todo:
        key = todo.pop()
        if key not in found:
            found.add(key)
            todo += leads.get(key, ())
    return frozenset(found | {e.name for e in entries if e.about & found})


def _seeds(names: Iterable[Item], roots: Roots) -> frozenset[str]:
    """Keys that are known now, and the last ones of tasks whose key cannot be known (its compiler is missing, say)."""
    return roots.keys.union(*(n.keys for n in names if n.name in roots.names))


class _Blobs:
    """Counts who names each blob, so that it goes with the last entry that does."""

    def __init__(self, blobs: Iterable[Item], entries: Iterable[Item], policy: Policy) -> None:
        self._there = {b.name: b for b in blobs}
        self._named = Counter(digest for e in entries for digest in e.blobs)
        self._policy = policy

    def orphans(self) -> Iterator[Item]:
        """Blobs that no entry names."""
        yield from self._take([d for d in self._there if not self._named[d]])

    def freed_by(self, entry: Item) -> Iterator[Item]:
        """An entry, and then the blobs that only it named."""
        yield entry
        self._named.subtract(entry.blobs)
        yield from self._take([d for d in sorted(entry.blobs) if not self._named[d]])

    def _take(self, digests: Iterable[str]) -> Iterator[Item]:
        for digest in digests:
            blob = self._there.get(digest)
            if blob is not None and not self._policy.untouchable(blob):
                yield self._there.pop(digest)


def _unreached(
    by_kind: Mapping[str, list[Item]], roots: Roots, kept: frozenset[str], blobs: _Blobs, policy: Policy
) -> Iterator[Item]:
    """What goes even where there is room."""
    yield from (t for t in by_kind["temporary"] if not policy.untouchable(t))
    yield from (t for t in by_kind["template"] if not policy.young(t))
    yield from blobs.orphans()
    yield from (d for d in by_kind["download"] if d.name not in roots.downloads and not policy.young(d))
    for entry in by_kind["entry"]:
        if entry.name not in kept and not policy.untouchable(entry):
            yield from blobs.freed_by(entry)
    for name in by_kind["name"]:
        if name.name not in roots.names and not name.keys & kept and not policy.young(name):
            yield name
    yield from (k for k in by_kind["lock"] if not policy.untouchable(k))


def _over_budget(
    by_kind: Mapping[str, list[Item]],
    roots: Roots,
    needed: frozenset[str],
    blobs: _Blobs,
    policy: Policy,
    over: int,
    gone: frozenset[int],
) -> Iterator[Item]:
    """What goes until `over` bytes are freed: templates, current ones too, then what no project reaches."""
    downloads = [d for d in by_kind["download"] if d.name not in roots.downloads and not policy.untouchable(d)]
    entries = [e for e in by_kind["entry"] if e.name not in needed and not policy.untouchable(e)]
    for group in (by_kind["template"], downloads, entries):
        for item in sorted(group, key=lambda i: i.used):
            if over <= 0:
                return
            if id(item) not in gone:
                for freed in blobs.freed_by(item):
                    over -= freed.size
                    yield freed


# --- sweeping


def collect(
    store: Store,
    roots: Roots,
    policy: Policy,
    waiting: Callable[[str], None] | None = None,
    dry_run: bool = False,
) -> Swept:
    """Plan and, unless it is a dry run, drop; one process at a time collects or checks a store."""
    if dry_run:
        total = usage(store.root)
        drops = plan(inventory(store), roots, policy, total)
        return Swept(list(drops), [], total - sum(i.size for i in drops))
    with locked(store.root / "locks" / KEEPER, waiting), store.workdir() as trash:
        found = sweep(plan(inventory(store), roots, policy, usage(store.root)), trash)
    found.stays = usage(store.root)
    return found


def sweep(drops: Iterable[Item], trash: Path) -> Swept:
    """Drop these, in order, by way of an empty folder on the same file system; what somebody has is left."""
    found = Swept()
    spared: set[str] = set()
    for item in drops:
        if item.name in spared:  # its entry was left
            continue
        why = _drop(item, trash)
        if why is None:
            found.dropped.append(item)
        else:
            found.left.append((item, why))
            spared |= item.blobs
    return found


def _drop(item: Item, trash: Path) -> str | None:
    """Drop one thing; or say why not."""
    try:
        if item.lock is None:
            return "held by a running task" if _is_busy(item) else _take_away(item, trash)
        with locked_now(item.lock) as mine:
            if not mine:
                return f"held by {holder(item.lock)}"
            why = _take_away(item, trash)
            if why is None:
                item.lock.unlink(missing_ok=True)  # whoever waits for it takes a second look
            return why
    except FileNotFoundError:
        return None
    except OSError as error:
        raise explain_os(error, item.path, "cannot drop") from error


def _is_busy(item: Item) -> bool:
    return item.kind == "temporary" and item.path.is_dir() and not item.path.is_symlink() and is_held(item.path)


def _take_away(item: Item, trash: Path) -> str | None:
    """Move it out of sight, whole, and look again: it goes back if somebody used it at the last moment."""
    aside = trash / "dropped"
    if _used_since(item, item.path):
        return USED
    os.rename(item.path, aside)
    if _used_since(item, aside):
        os.rename(aside, item.path)
        return USED
    if aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside)
    else:
        aside.unlink()
    return None


def _used_since(item: Item, path: Path) -> bool:
    # a lock that we hold was written by us
    return item.path != item.lock and last_use(item.kind, path) > item.used


# --- saying


def lines(swept: Swept, policy: Policy, dry_run: bool) -> Iterator[str]:
    """One line a kind, what was left and why, and the sum."""
    would = "would drop" if dry_run else "dropped"
    for kind in KINDS:
        mine = [i for i in swept.dropped if i.kind == kind]
        if mine:
            yield f"   {would} {len(mine)} {kind if len(mine) == 1 else _PLURALS[kind]}: {amount(mine)}"
    for item, why in swept.left:
        yield f"   {item.kind} {short(item.name)} is left: {why}"
    yield f"   {'would free' if dry_run else 'freed'} {amount(swept.dropped)}; {megabytes(swept.stays)} stay"
    if over_budget(swept, policy):
        yield f"!! more than the {megabytes(policy.max_bytes or 0)} that were asked for: the rest is needed or in use"


_PLURALS = {
    "temporary": "temporary files",
    **{k: f"{k}s" for k in KINDS[1:]},
    "entry": "entries",
    "flaky": "flaky pairs",
}


def over_budget(swept: Swept, policy: Policy) -> bool:
    """True when more stays than was asked for."""
    return policy.max_bytes is not None and swept.stays > policy.max_bytes


def amount(items: Iterable[Item]) -> str:
    """What things take on disk, in words."""
    return megabytes(sum(i.size for i in items))


def megabytes(size: int) -> str:
    """Bytes in words."""
    return f"{size / 1e6:.1f} MB"
