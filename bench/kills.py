"""What `kill -9` leaves: a real run of this repository's examples, killed at random moments, again and again.

Counts what must be 0: finished pairs that were asked again, processes that outlive the kill by two seconds, and files
that `bpfcompat store verify` finds damaged.  A run that comes to its end is begun anew, without reports; every third
one without templates too.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import DOIT, ROOT, Row, environ, output
from bench.synthetic import unproved
from bpfcompat.errors import BuildError
from bpfcompat.store import Store

KERNELS = "debian-12,debian-13"  # half of the matrix: about a hundred pairs
KILLS, QUICK = 50, 5
LATEST_S, LATE_S = 4.0, 30.0  # after its start a run is killed, at the latest; every fifth one lives longer
GRACE_S = 2.0
SEED = 20261126
RUN = (DOIT, "-n", "2", "matrix")
VERIFY = (str(Path(DOIT).with_name("bpfcompat")), "store", "verify", "--dry-run", "--store")


@dataclass
class Count:
    """What was seen so far."""

    kills: int = 0
    runs: int = 0  # that came to their end
    pairs: int = 0  # in a whole run
    guests: int = 0  # QEMUs that ran when their parent was killed
    repeated: set[str] = field(default_factory=set)
    left: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)  # runs that came to an end which was not theirs

    @property
    def words(self) -> str:
        """All of it in a line."""
        found = {"finished pairs repeated": sorted(self.repeated), "processes left": self.left,
                 "damaged": self.damaged, "runs failed": self.broken}  # fmt: skip
        zeros = ", ".join(f"{len(v)} {k}{': ' + '; '.join(v)[:200] if v else ''}" for k, v in found.items())
        return f"{zeros}; {self.kills} kills in {self.runs} runs of {self.pairs} pairs, {self.guests} guests killed"


def kills(quick: bool) -> Iterator[Row]:
    """Kill a run at random moments and look at what is left each time."""
    chance, count, seconds = random.Random(SEED), Count(), []
    goal = QUICK if quick else KILLS
    output([DOIT, *(f"template:{k}" for k in KERNELS.split(","))], ROOT, environ())
    while count.kills < goal:
        with _fresh(frozen=count.runs % 3 != 1) as (store, env):
            while count.kills < goal and (moment := _killed(store, env, _moment(chance, count), count)):
                seconds.append(moment)
                _verify(store, env, count)
            _finish(store, env, count)
    yield Row("kills: moment", tuple(seconds), note=f"seconds after its start a run was killed, seed {SEED}")
    yield Row("kills", note=count.words)


def _moment(chance: random.Random, count: Count) -> float:
    """Early or late, or the few pairs that take long would never be finished."""
    return chance.uniform(0.1, LATE_S if count.kills % 5 == 4 else LATEST_S)


@contextmanager
def _fresh(frozen: bool) -> Iterator[tuple[Store, dict[str, str]]]:
    """Nothing proved, perhaps nothing frozen; whatever a run makes lies below the folder, and so do its children's."""
    with unproved() as (store, places):
        if not frozen:
            shutil.rmtree(store.root / "templates", ignore_errors=True)
        temporary = store.root.parent / "temporary"
        temporary.mkdir()
        yield store, environ(**places, BPFCOMPAT_MATRIX_KERNELS=KERNELS, TMPDIR=str(temporary))


def _killed(store: Store, env: dict[str, str], after_s: float, count: Count) -> float:
    """Start a run and kill it; the moment, or 0 if it ended before."""
    before, start = _finished(store), time.monotonic()
    with subprocess.Popen(RUN, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        try:
            code = child.wait(after_s)
        except subprocess.TimeoutExpired:
            count.guests += len(_processes(store)) - 1
            child.send_signal(signal.SIGKILL)
            code = None
        moment = time.monotonic() - start
    _compare(before, _finished(store), count)
    if code is not None:
        return 0.0
    count.kills += 1
    time.sleep(GRACE_S)
    count.left += _processes(store)
    print(f"   kills: {count.kills} at {moment:.1f} s, {len(_finished(store))} pairs", file=sys.stderr, flush=True)
    return moment


def _finish(store: Store, env: dict[str, str], count: Count) -> None:
    """Let a run come to its end: what was killed so often is whole, as expected, and then there is nothing to do."""
    before = _finished(store)
    done = subprocess.run(RUN, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    again = subprocess.run(RUN, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode or again.returncode or "; 0 ran, " not in again.stdout:
        count.broken.append((done.stdout + again.stdout).strip()[-300:])
    after = _finished(store)
    _compare(before, after, count)
    count.runs, count.pairs = count.runs + 1, len(after)
    _verify(store, env, count)


def _finished(store: Store) -> dict[str, tuple[int, int]]:
    """Pairs that have a report: key → the very file that says so."""
    shelf = store.root / "actions/probe"
    return {p.stem: (s.st_ino, s.st_mtime_ns) for p in shelf.rglob("[0-9a-f]*.json") if (s := p.stat())}


def _compare(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]], count: Count) -> None:
    count.repeated |= {key for key, file in before.items() if after.get(key) != file}


def _processes(store: Store) -> list[str]:
    """Processes of the run: those that are at home below its folder, or were told of it."""
    folder, found = os.fsencode(store.root.parent), []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            alive = (entry / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
            words = [(entry / name).read_bytes() for name in ("environ", "cmdline")]
            home = os.fsencode(os.readlink(entry / "cwd"))
        except OSError:
            continue
        if alive and (home.startswith(folder) or any(folder in w for w in words)):
            found.append(f"{entry.name} {words[1][:60].replace(bytes(1), b' ').decode('utf-8', 'replace')}")
    return found


def _verify(store: Store, env: dict[str, str], count: Count) -> None:
    done = subprocess.run([*VERIFY, str(store.root)], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode or "everything holds" not in done.stdout:
        if "did not hold" not in done.stdout:
            raise BuildError(f"kills: bpfcompat store verify: {(done.stdout + done.stderr)[-200:]}")
        count.damaged += [line for line in done.stdout.splitlines() if line.startswith("!!")]
