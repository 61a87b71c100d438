"""What sixty programs in one object cost against a single one, per section, asked as `doit` asks them."""

import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import toml

from bench.measure import DOIT, ROOT, Row, environ, output, task_seconds
from bench.synthetic import DODO, unproved

KERNEL = "debian-12"
COUNT = 60
SECTIONS = {
    "tracepoint": "tracepoint/sched/sched_process_exec",
    "raw_tp": "raw_tp/sched_switch",
    "kprobe": "kprobe/do_nanosleep",
    "fentry": "fentry/do_nanosleep",
    "xdp": "xdp",
    "tc": "tc",
    "cgroup": "cgroup_skb/egress",
}
_HEAD = """#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "GPL";
"""
_PROGRAM = 'SEC("{section}") int p{number}(void *ctx) {{ return 0; }}\n'


def sixty(quick: bool) -> Iterator[Row]:
    """Whole tasks of an object of sixty programs, against those of an object of one, on a warm kernel."""
    with unproved() as (store, _places), tempfile.TemporaryDirectory(prefix="bench-") as folder:
        root = Path(folder)
        _write(root, store.root)
        env = environ()
        for kind in SECTIONS:
            one, many = (_tasks(f"{kind}-{count}@{KERNEL}", root, env, 3 if quick else 10) for count in (1, COUNT))
            yield Row(f"sixty: {kind}, one", one, note="an object of one program, the whole task")
            ratio = statistics.median(many) / statistics.median(one)
            yield Row(f"sixty: {kind}", many, ratio, f"of {COUNT}; × the task of one")


def _tasks(pair: str, root: Path, env: dict[str, str], runs: int) -> tuple[float, ...]:
    output([DOIT, f"probe:{pair}"], root, env)
    seconds = []
    for _ in range(runs):
        output([DOIT, "forget", f"probe:{pair}"], root, env)
        seconds.append(task_seconds(pair, root, env))
    return tuple(seconds)


def _write(root: Path, store: Path) -> None:
    names = {f"{kind}-{count}": (section, count) for kind, section in SECTIONS.items() for count in (1, COUNT)}
    for name, (section, count) in names.items():
        programs = (_PROGRAM.format(section=section, number=number) for number in range(count))
        (root / f"{name}.bpf.c").write_text(_HEAD + "".join(programs))
    settings = {
        "paths": {"store": str(store), "lock": os.fspath(ROOT / "bpfcompat.lock")},
        "signing": {"key": "key.pem"},
        "matrix": {"kernels": [KERNEL]},
        "objects": {name: {"source": f"{name}.bpf.c"} for name in names},
    }
    (root / "bpfcompat.toml").write_text(toml.dumps(settings))
    (root / "dodo.py").write_text(DODO.format(publish=False))
    shutil.copy(ROOT / "pyproject.toml", root)
