"""Seconds and bytes of whole commands, by public tools, and the machine they are true of.

Judges nothing: a number is shown with its spread and with what it was measured on, and no limit is set.
"""

import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from bpfcompat import process
from bpfcompat.errors import BuildError

ROOT = Path(__file__).resolve().parent.parent
DOIT = str(Path(sys.executable).with_name("doit"))
HOURS = 7200.0
# A Python of its own between us and the command: Linux keeps a process's largest size across exec, so a child of
# this process would begin with ours.
RSS = """import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"""

TASK = """import sys, time
from pathlib import Path
from bpfcompat.plan import Pair
from bpfcompat.rules.planning import look_at
from bpfcompat.rules.session import open_session
began = time.perf_counter()
session = open_session(Path("."))
pair = Pair(*sys.argv[1].split("@"))
look_at(session, [pair])
session.asker.shop.memo.save()
session.asker.verdict(pair)
print("seconds", time.perf_counter() - began)"""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the result: seconds of each run (none: not measured, and `note` says why).

    `ratio` is the median over the one of the tool named in `note`, measured in the same run on the same files.
    """

    name: str
    seconds: tuple[float, ...] = ()
    ratio: float | None = None
    note: str = ""

    @property
    def median(self) -> float:
        """The middle one of the runs, in seconds."""
        return statistics.median(self.seconds)


def environ(**changes: str) -> dict[str, str]:
    """What a measured command sees: this tree's packages, and byte code kept as any user has it."""
    ours = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**ours, "PYTHONPATH": str(ROOT), **changes}


def output(argv: Sequence[str], cwd: Path, env: dict[str, str]) -> str:
    """What a command prints that must succeed; BuildError with its last words."""
    return process.check(argv, what="bench", cwd=cwd, env=env, timeout_s=HOURS).decode("utf-8", "replace")


def once(argv: Sequence[str], cwd: Path, env: dict[str, str]) -> tuple[float, str]:
    """Seconds of one run, and what it printed; for what cannot be run twice."""
    start = time.perf_counter()
    said = output(argv, cwd, env)
    return time.perf_counter() - start, said


def task_seconds(pair: str, root: Path, env: dict[str, str]) -> float:
    """Seconds from before the plan of a forgotten pair to after its verdict is stored, without Python's start."""
    return float(output([sys.executable, "-c", TASK, pair], root, env).rpartition("seconds ")[2])


def hyperfine(argv: Sequence[str], cwd: Path, env: dict[str, str], runs: int) -> tuple[float, ...]:
    """Seconds of each run of a command, without a shell, after one run that is not counted."""
    tool = process.find_tool("hyperfine", "hyperfine")
    options = ["-N", "--warmup=1", f"--runs={runs}", "--export-json=/dev/stdout", "--style=none"]
    found = json.loads(output([tool, *options, shlex.join(argv)], cwd, env))
    return tuple(float(s) for s in found["results"][0]["times"])


def max_rss_mb(argv: Sequence[str], cwd: Path, env: dict[str, str]) -> float:
    """The largest resident size of a command, in MB of 1024² bytes."""
    return int(output([sys.executable, "-ISc", RSS, *argv], cwd, env)) / 1024


def machine() -> dict[str, str]:
    """What the numbers are true of: processor, cores, load before the run, kernel, and versions."""
    cpus = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n")
    models = [line.partition(":")[2].strip() for line in cpus if line.startswith("model name")]
    return {
        "CPU": models[0] if models else platform.machine(),
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "doit": version("doit"),
        "QEMU": _version("qemu-system-x86_64"),
        "ninja": _version("ninja"),
        "hyperfine": _version("hyperfine"),
    }


def _version(tool: str) -> str:
    try:
        said = output([tool, "--version"], ROOT, environ()).split("\n")[0]
    except BuildError:
        return "absent"
    return next((word for word in said.split() if word[0].isdigit()), said)


HEAD = ("name", "median", "min", "max", "runs", "ratio", "note")


def table(rows: Iterable[Row]) -> str:
    """The rows for people; seconds."""
    lines = [HEAD, *(_cells(r) for r in rows)]
    widths = [max(len(x[i]) for x in lines) for i in range(len(HEAD))]
    pads: list[Callable[[str, int], str]] = [str.ljust, *[str.rjust] * 5, str.ljust]
    return "\n".join("  ".join(pad(c, w) for pad, c, w in zip(pads, x, widths, strict=True)).rstrip() for x in lines)


def _cells(row: Row) -> tuple[str, ...]:
    ratio = f"{row.ratio:.1f}" if row.ratio is not None else ""
    if not row.seconds:
        return (row.name, "-", "-", "-", "0", ratio, row.note)
    numbers = (f"{s:.3f} s" for s in (row.median, min(row.seconds), max(row.seconds)))
    return (row.name, *numbers, str(len(row.seconds)), ratio, row.note)


def as_json(about: dict[str, str], rows: Iterable[Row]) -> str:
    """The same for machines, with every single run."""
    return json.dumps({"format": 1, "machine": about, "rows": [asdict(r) for r in rows]}, indent=1) + "\n"
