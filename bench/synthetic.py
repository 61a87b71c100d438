"""What to measure in: this repository without its reports, and large projects that have theirs without any guest.

Asks no kernel: a report is written here as a guest would have given it, under the very key that the rules compute.
Everything after the report (verdicts, signatures, reports, the gate) is made by `doit matrix` itself.
"""

import os
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import toml

from bpfcompat import plan
from bpfcompat.action import Action
from bpfcompat.config import load
from bpfcompat.digest import canonical
from bpfcompat.errors import StoreError
from bpfcompat.model import Attach, Log, ProgramReport, Report
from bpfcompat.plan import Pair
from bpfcompat.realise import Made
from bpfcompat.rules.session import open_session
from bpfcompat.store import Store
from bpfcompat.voice import Silent
from bpfcompat.wire import report_to_json
from tests.making import make_elf, make_kernel

ROOT = Path(__file__).resolve().parent.parent
REPORTS = shutil.ignore_patterns("probe", "verdict", "report", "publish", "matrix", "locks", "tmp")
DODO = """from bpfcompat.rules import bpf_matrix


def task_bpf():
    yield from bpf_matrix()
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How many objects on how many kernels."""

    objects: int
    kernels: int

    @property
    def pairs(self) -> int:
        """Every object on every kernel."""
        return self.objects * self.kernels


def write_project(root: Path, size: Size) -> None:
    """The files of a project: settings, kernels as folders, prebuilt objects, our lock and doit's settings."""
    kernels, objects = names(size)
    for name in kernels:
        _write(root / "kernels" / name / "vmlinuz", make_kernel(f"6.1.0-{name}"))
    for name in objects:
        _write(object_path(root, name), make_elf({".text": name.encode() * 1000}))
    settings = {
        "signing": {"key": "keys/signing.pem"},
        "matrix": {"kernels": ["k-*"]},
        "kernels": {k: {"dir": f"kernels/{k}"} for k in kernels},
        "objects": {o: {"prebuilt": str(object_path(Path(), o)), "expect": "compatible"} for o in objects},
    }
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["doit"]
    _write(root / "bpfcompat.toml", toml.dumps(settings).encode())
    _write(root / "pyproject.toml", toml.dumps({"tool": {"doit": ours}}).encode())
    _write(root / "dodo.py", DODO.encode())
    shutil.copy(ROOT / "bpfcompat.lock", root)


def names(size: Size) -> tuple[list[str], list[str]]:
    """The kernels' names, and the objects'."""
    return [f"k-{n:03}" for n in range(size.kernels)], [f"o-{n:03}" for n in range(size.objects)]


def write_ninja(root: Path, size: Size) -> None:
    """The same graph for ninja: an edge a pair, from object, kernel and validator to one file."""
    kernels, objects = names(size)
    _write(root / "validator", b"init")
    line = "build ninja/{o}@{k}: ask objects/{o}.bpf.o kernels/{k}/vmlinuz validator\n"
    edges = (line.format(o=o, k=k) for o in objects for k in kernels)
    _write(root / "build.ninja", ("rule ask\n  command = touch $out\n" + "".join(edges)).encode())


def change(root: Path) -> None:
    """Other bytes in the first object."""
    _write(object_path(root, "o-000"), make_elf({".text": b"changed"}))


def object_path(root: Path, name: str) -> Path:
    """Where an object lies."""
    return root / "objects" / f"{name}.bpf.o"


def prove(root: Path) -> None:
    """Fill the project's store with everything up to the reports."""
    asker = open_session(root, voice=Silent()).asker
    asker.have(asker.validator_action(), lambda work: Made({"validator": b"init"}, {"libbpf": "1.5.0"}))
    columns = {k: asker.column(k) for k in dict.fromkeys(p.kernel for p in asker.shop.matrix.pairs)}
    for pair in asker.shop.matrix.pairs:
        action = plan.probe_action(pair, columns[pair.kernel], asker.object(pair.object).digest, asker.probe_spec(pair))
        asker.have(action, partial(_made, pair, columns[pair.kernel].kernel.release))
    asker.shop.memo.save()


def _made(pair: Pair, release: str, work: Path) -> Made:
    run = {"accelerator": "tcg", "qemu": "none", "start": "cold", "seconds": 1.0, "attempts": 1}
    body = canonical(report_to_json(_report(release, pair.object)))
    return Made({"report": body, "console": f"{pair}\n".encode()}, {"run": run})


def _report(release: str, program: str) -> Report:
    """Each pair's own: an object's name and a kernel's release are in it."""
    guest = {
        "release": release, "version": "#1 SMP", "machine": "x86_64", "btf": True, "libbpf": "1.5.0",
        "lsm": [], "lockdown": "none", "sysctls": {}, "config": False, "unmounted": [],
    }  # fmt: skip
    asked = ProgramReport(program, "tp/x/y", "tracepoint", True, 0, Log(""), Attach.ATTACHED)
    return Report(guest, 0, Log(""), 0, Log(""), (asked,))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@contextmanager
def unproved() -> Iterator[tuple[Store, dict[str, str]]]:
    """A store with this repository's kernels, validator and objects but no reports, and the settings that use it."""
    ours = load(ROOT).path("paths.store")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=ours.parent) as folder:  # beside it, for hard links
        names = ("PATHS_STORE", "PATHS_REGISTRY", "PATHS_REPORTS", "SIGNING_KEY")
        places = {n: Path(folder) / n for n in names}
        shutil.copytree(ours, places["PATHS_STORE"], ignore=REPORTS, copy_function=os.link)
        yield Store(places["PATHS_STORE"]), {f"BPFCOMPAT_{n}": str(p) for n, p in places.items()}


def guest_seconds(store: Store, name: str) -> float:
    """Seconds from QEMU's start to the end of the report of the pair's last guest."""
    last = store.last(Action("probe", name, {}))
    entry = store.get_key("probe", last[0]) if last else None
    if entry is None:
        raise StoreError(f"probe:{name}: expected an entry in the store, got none")
    return float(entry.facts["run"]["seconds"])
