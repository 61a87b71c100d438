"""`python -m tests.fuzz [TARGET...] [--seconds N]`: fuzz the readers, each for so long, and say what came of it.

What is found lies in .bpfcompat/fuzz/TARGET, with the corpus that grows from run to run.  Put a finding into
tests/fuzz/found/TARGET, and every test run replays it.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("object", "core", "elf", "btf", "ext", "vmlinux", "build", "log", "report", "note", "request", "root")
GRACE_S = 300  # for a start, the input that is looked at when the time is over, and a busy machine


def fuzz(name: str, folder: Path, seconds: int) -> tuple[bool, str]:
    """Whether nothing was found, and one line of what was done."""
    argv = [sys.executable, "-m", "tests.fuzz.one", name, str(folder), f"-max_total_time={seconds}"]
    try:
        done = subprocess.run(
            argv, cwd=ROOT, capture_output=True, text=True, timeout=seconds + GRACE_S, errors="replace"
        )
    except subprocess.TimeoutExpired:
        return False, f"{name}: still at it after {seconds + GRACE_S} s: an input without end, or a starved machine"
    runs = re.search(r"Done (\d+) runs", done.stderr)
    covered = re.findall(r"cov: (\d+)", done.stderr)
    line = f"{name}: {runs[1] if runs else '?'} inputs, {covered[-1] if covered else '?'} branches"
    if done.returncode == 0:
        return True, line
    return False, f"{line}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"


def main() -> int:
    """Fuzz, and 1 when something was found."""
    options = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    options.add_argument("target", nargs="*", choices=[[], *NAMES])
    options.add_argument("--seconds", type=int, default=60)
    given = options.parse_args()
    sound = True
    for name in given.target or NAMES:
        good, line = fuzz(name, ROOT / ".bpfcompat/fuzz" / name, given.seconds)
        print(line, flush=True)
        sound = sound and good
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
