"""`python -m bench [--quick] [--json FILE] [NAMES…]`: what our commands cost on this machine; asserts no time."""

import argparse
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench.attacks import killed, lists, offline, vectors
from bench.borrowed import borrowed
from bench.kills import kills
from bench.logs import log
from bench.measure import (
    DOIT,
    ROOT,
    Row,
    as_json,
    environ,
    hyperfine,
    machine,
    max_rss_mb,
    once,
    output,
    table,
    task_seconds,
)
from bench.plot import Line, draw
from bench.registries import checking, publishing
from bench.serving import serve
from bench.sixty import sixty
from bench.synthetic import Size, change, guest_seconds, large, unproved
from bench.trust import manifest
from bench.verifying import verifying
from bench.virtme import virtme
from bench.warm import first, many
from bpfcompat.errors import BpfcompatError, BuildError
from bpfcompat.files import write_atomic, write_named
from bpfcompat.memo import YOUNG_NS

PAIR = "ringbuf@debian-12"
MATRIX = (DOIT, "matrix")
PLAN = (DOIT, "plan")
PLOT = ROOT / "docs/null-run.svg"
LARGEST = Size(400, 250)
GROWTH = (Size(40, 25), Size(75, 40), Size(100, 100), Size(200, 150), LARGEST)
LEFT_OUT = "left out by --quick"


def null(quick: bool) -> Iterator[Row]:
    """This repository with nothing to do."""
    output(MATRIX, ROOT, environ())  # what is missing is made first
    yield _null_row("null", ROOT, 5 if quick else 10)


def _null_row(name: str, root: Path, runs: int, ninja: float | None = None) -> Row:
    last = _last_line(output(MATRIX, root, environ()))
    if "; 0 ran, " not in last:
        raise BuildError(f"{name}: expected a run with nothing to do, got: {last[:200]}")
    seconds = hyperfine(MATRIX, root, environ(), runs)
    ratio = statistics.median(seconds) / ninja if ninja else None
    return Row(name, seconds, ratio, f"{last.partition(':')[0]}, {max_rss_mb(MATRIX, root, environ()):.0f} MB")


def _counted(said: str) -> str:
    """The line of `doit plan` that counts pairs; what it says of the host comes before it."""
    return next((line for line in said.splitlines() if line[:1].isdigit()), said[:200])


def _last_line(text: str) -> str:
    return text.rstrip().rpartition("\n")[2]


def pair(quick: bool) -> Iterator[Row]:
    """One pair that was forgotten: the whole process, and the guest in it."""
    with unproved() as (store, places):
        env = environ(**places)
        output([DOIT, f"probe:{PAIR}"], ROOT, env)  # now the accelerator is chosen and the file cache warm
        whole, guest, task = [], [], []
        for _ in range(3 if quick else 30):
            output([DOIT, "forget", f"probe:{PAIR}"], ROOT, env)
            whole.append(once([DOIT, f"probe:{PAIR}"], ROOT, env)[0])
            guest.append(guest_seconds(store, PAIR))
            output([DOIT, "forget", f"probe:{PAIR}"], ROOT, env)
            task.append(task_seconds(PAIR, ROOT, env))
    yield Row("pair", tuple(whole), note=f"{PAIR}, the whole process")
    yield Row("pair: task", tuple(task), note="from before the plan to after the verdict is stored")
    yield Row("pair: guest", tuple(guest), note="from QEMU's start to the report's end")


def matrix(quick: bool) -> Iterator[Row]:
    """Every pair of this repository, two guests at once, nothing proved before."""
    if quick:
        yield Row("matrix", note=LEFT_OUT)
        return
    with unproved() as (store, places):
        env = environ(**places)
        seconds, said = once([DOIT, "-n", "2", "matrix"], ROOT, env)
        guests = [guest_seconds(store, p.stem) for p in (store.root / "names/probe").glob("*.json")]
    yield Row("matrix", (seconds,), note=_last_line(said))
    yield Row("matrix: a pair", (seconds / len(guests),), note=f"of {len(guests)}, two at once")
    yield Row("matrix: guest", tuple(guests), note="from QEMU's start to the report's end")


def plan(size: Size, quick: bool) -> Iterator[Row]:
    """A large project: settled without a guest, with nothing to do, and after one object changed."""
    name = f"plan-{size.pairs}"
    if quick and size.pairs > 1000:
        yield Row(name, note=LEFT_OUT)
        return
    with large(size) as root:
        yield Row(
            f"{name}: settle",
            (once(MATRIX, root, environ())[0],),
            note="report, gate, and signatures up to 10,000",
        )
        yield from _null_rows(name, root, 5 if quick else 10)
        change(root)
        said = output(PLAN, root, environ())
        seconds = hyperfine(PLAN, root, environ(), 5 if quick else 10)
        yield Row(f"{name}: changed", seconds, note=f"doit plan: {_counted(said)}")


def _null_rows(name: str, root: Path, runs: int) -> Iterator[Row]:
    """Ninja and we, one after the other on the same files."""
    time.sleep(YOUNG_NS / 1e9)  # then the first run, which is not counted, sees shelves that it can trust
    tool = shutil.which("ninja")
    if tool is None:
        yield Row(f"{name}: ninja", note="ninja is absent: apt-get install ninja-build")
        yield _null_row(name, root, runs)
        return
    size = max_rss_mb([tool], root, environ())
    note = f"null build of the same graph, by time stamps, {size:.0f} MB"
    ninja = Row(f"{name}: ninja", hyperfine([tool], root, environ(), runs), note=note)
    yield ninja
    yield _null_row(name, root, runs, ninja.median)


def growth(quick: bool) -> Iterator[Row]:
    """Null runs from 1,000 to 100,000 pairs beside ninja's; docs/null-run.svg shows them."""
    if quick or shutil.which("ninja") is None:
        yield Row("growth", note=LEFT_OUT if quick else "ninja is absent: apt-get install ninja-build")
        return
    ours, theirs = Line("doit matrix"), Line("ninja")
    for size in GROWTH:
        with large(size) as root:
            output(MATRIX, root, environ())
            ninja, own = _null_rows(f"growth-{size.pairs}", root, 10)
        ours.points.append((size.pairs, own.median))
        theirs.points.append((size.pairs, ninja.median))
        yield from (ninja, own)
    write_atomic(PLOT, draw([ours, theirs], "Nothing to do: seconds by pairs").encode())


BENCHMARKS: dict[str, Callable[[bool], Iterator[Row]]] = {
    "null": null,
    "pair": pair,
    "first": first,
    "many": many,
    "sixty": sixty,
    "plan-1000": partial(plan, Size(40, 25)),
    "plan-10000": partial(plan, Size(100, 100)),
    "plan-100000": partial(plan, LARGEST),
    "growth": growth,
    "matrix": matrix,
    "manifest": manifest,
    "borrowed": borrowed,
    "log": log,
    "serve": serve,
    "virtme": virtme,
    "kills": kills,
    "publish": publishing,
    "fsck": checking,
    "verify": verifying,
    "cosign": offline,
    "lists": lists,
    "vectors": vectors,
    "publish-kills": killed,
}
# One command for each of the tables in docs/performance.md.
GROUPS = {
    "guests": ("pair", "many", "first", "virtme", "null", "plan-1000", "plan-100000", "growth", "kills"),
    "trust": (
        "verify", "borrowed", "serve", "fsck", "publish", "manifest", "log",
        "cosign", "vectors", "publish-kills", "lists",
    ),
}  # fmt: skip


def main() -> int:
    """Measure what was named, or everything; print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAMES", help=", ".join((*BENCHMARKS, *GROUPS)))
    parser.add_argument("--quick", action="store_true", help="fewer runs; no cold matrix, nothing above 1,000 pairs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single run")
    args = parser.parse_args()
    names = [name for given in args.names or BENCHMARKS for name in GROUPS.get(given, (given,))]
    if unknown := set(names) - BENCHMARKS.keys():
        parser.error(f"{', '.join(sorted(unknown))}: no such benchmark; there are {', '.join((*BENCHMARKS, *GROUPS))}")
    about, rows = machine(), []
    try:
        for row in (row for name in names for row in BENCHMARKS[name](args.quick)):
            print(f"   {row.name}", file=sys.stderr, flush=True)
            rows.append(row)
    finally:  # what was measured in half an hour is shown, whatever the next one came to
        print("\n".join(f"{k}: {v}" for k, v in about.items()) + "\n\n" + table(rows))
    if args.json:
        write_named(args.json, as_json(about, rows).encode())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BpfcompatError as error:
        sys.exit(f"bench: {error}")
