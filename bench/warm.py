"""What templates are for: a kernel's first verdict, and many objects on kernels whose guests are frozen already."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import toml

from bench.measure import DOIT, ROOT, Row, environ, once, output
from bench.synthetic import DODO, guest_seconds, unproved
from bpfcompat.rules.session import open_session
from bpfcompat.voice import Silent

KERNELS = ("debian-11", "debian-12", "debian-13", "debian-13-backports")
PAIR = "ringbuf@debian-12"
# of many kinds, none of which exists to be slow
EXAMPLES = (
    "arena", "bpf_loop", "core_guarded", "core_read", "fentry", "iter", "kfunc", "kprobe_multi", "lsm", "minimal",
    "perfbuf", "ringbuf", "socket_filter", "task_storage", "unbounded",
)  # fmt: skip
OBJECTS = 60


def first(quick: bool) -> Iterator[Row]:
    """The first verdict of a kernel that is fetched and has no template: boot, freeze, check, thaw, ask."""
    with unproved() as (store, places):
        env, seconds = environ(**places), []
        output([DOIT, f"probe:{PAIR}"], ROOT, env)
        for _ in range(2 if quick else 5):
            shutil.rmtree(store.root / "templates")
            output([DOIT, "forget", f"probe:{PAIR}"], ROOT, env)
            seconds.append(once([DOIT, f"probe:{PAIR}"], ROOT, env)[0])
        (template,) = (store.root / "templates").iterdir()
        kept = sum(path.stat().st_blocks * 512 for path in template.iterdir())
    yield Row("first verdict", tuple(seconds), note=f"{PAIR}, no template")
    yield Row("template", note=f"{kept >> 20} MB on disk, sparse")


def many(quick: bool) -> Iterator[Row]:
    """Sixty objects on four kernels with templates, two guests at once, from `doit matrix` to its signed end."""
    with unproved() as (store, _places), tempfile.TemporaryDirectory(prefix="bench-") as folder:
        root = Path(folder)
        _write(root, store.root, 8 if quick else OBJECTS)
        env = environ()
        output([DOIT, "template", *(f"object:{n}" for n in _names(8 if quick else OBJECTS))], root, env)
        seconds, said = once([DOIT, "-n", "2", "run.control_percent=0", "matrix"], root, env)
        pairs = len(KERNELS) * (8 if quick else OBJECTS)
        guests = [guest_seconds(store, p.stem) for p in (store.root / "names/probe").glob("o-*.json")]
    yield Row("many", (seconds,), note=said.rstrip().rpartition("\n")[2])
    yield Row("many: a pair", (seconds / pairs,), note=f"of {pairs}, two at once")
    yield Row("many: guest", tuple(guests), note="from QEMU's start to the report's end")


def _names(count: int) -> list[str]:
    return [f"o-{n:02}" for n in range(count)]


def _write(root: Path, store: Path, count: int) -> None:
    """A project of that many objects: those examples, each with bytes of its own behind what its ELF header spans."""
    asker = open_session(ROOT, voice=Silent()).asker
    settings = {
        "paths": {"store": str(store), "lock": str(ROOT / "bpfcompat.lock")},
        "signing": {"key": "key.pem", "log_key": "log-key.pem"},
        "matrix": {"kernels": list(KERNELS)},
        "objects": {n: {"prebuilt": f"{n}.bpf.o", "expect": "any"} for n in _names(count)},
    }
    (root / "bpfcompat.toml").write_text(toml.dumps(settings))
    (root / "dodo.py").write_text(DODO.format(publish=True))
    shutil.copy(ROOT / "pyproject.toml", root)
    for number, name in enumerate(_names(count)):
        blob = asker.object(EXAMPLES[number % len(EXAMPLES)])
        (root / f"{name}.bpf.o").write_bytes(asker.shop.store.read(blob) + f"{number}\n".encode())
