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
from pathlib import Path
from unittest import mock

import toml

from bpfcompat import plan
from bpfcompat.action import Action
from bpfcompat.asking import Asker
from bpfcompat.config import load
from bpfcompat.digest import canonical
from bpfcompat.elf import ObjectFacts, facts_or_fault
from bpfcompat.errors import StoreError
from bpfcompat.model import Attach, Log, ProgramReport, Report
from bpfcompat.plan import Pair
from bpfcompat.process import check
from bpfcompat.realise import Made
from bpfcompat.rules.session import open_session
from bpfcompat.store import Store
from bpfcompat.verdict import classify, verdict_to_json
from bpfcompat.voice import Silent
from bpfcompat.wire import report_to_json
from tests.making import make_elf, make_kernel

ROOT = Path(__file__).resolve().parent.parent
REPORTS = shutil.ignore_patterns("probe", "verdict", "report", "publish", "matrix", "locks", "tmp")
DODO = """from bpfcompat.rules import bpf_matrix


def task_bpf():
    yield from bpf_matrix(publish={publish})
"""
PUBLISHED = 10_000  # pairs; signing ten times as many takes many minutes and adds one look to a null run


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
        "signing": {"key": "keys/signing.pem", "log_key": "keys/log.pem"},
        "matrix": {"kernels": ["k-*"]},
        "kernels": {k: {"dir": f"kernels/{k}"} for k in kernels},
        "objects": {o: {"prebuilt": str(object_path(Path(), o)), "expect": "compatible"} for o in objects},
    }
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["doit"]
    _write(root / "bpfcompat.toml", toml.dumps(settings).encode())
    _write(root / "pyproject.toml", toml.dumps({"tool": {"doit": ours}}).encode())
    _write(root / "dodo.py", DODO.format(publish=size.pairs <= PUBLISHED).encode())
    shutil.copy(ROOT / "bpfcompat.lock", root)


@contextmanager
def large(size: Size) -> Iterator[Path]:
    """A project of this size in which everything is proved, with ninja's files beside it if there is a ninja.

    In memory where there is such a place: half a million files would keep a disk busy for minutes.
    """
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="bench-", dir=place) as folder:
        root = Path(folder)
        write_project(root, size)
        prove(root)
        if shutil.which("ninja"):
            write_ninja(root, size)
        yield root


def names(size: Size) -> tuple[list[str], list[str]]:
    """The kernels' names, and the objects'."""
    return [f"k-{n:03}" for n in range(size.kernels)], [f"o-{n:03}" for n in range(size.objects)]


def write_ninja(root: Path, size: Size) -> None:
    """The same graph for ninja, an edge a pair from object, kernel and validator to one file; already built.

    Ninja builds the first edge itself.  The others have the same command, so the line that it wrote to its log is
    theirs too, and a hundred thousand shells need not be started.
    """
    kernels, objects = names(size)
    _write(root / "validator", b"init")
    line = "build ninja/{o}@{k}: ask objects/{o}.bpf.o kernels/{k}/vmlinuz validator\n"
    edges = [line.format(o=o, k=k) for o in objects for k in kernels]
    for pair in (f"{o}@{k}" for o in objects for k in kernels):
        _write(root / "ninja" / pair, b"")
    rule = "rule ask\n  command = :\n"
    _write(root / "build.ninja", (rule + edges[0]).encode())
    check(["ninja"], what="bench", cwd=root, timeout_s=60)
    head, built = (root / ".ninja_log").read_text().splitlines()
    first = f"ninja/{objects[0]}@{kernels[0]}"
    logged = (built.replace(first, f"ninja/{o}@{k}") for o in objects for k in kernels)
    _write(root / ".ninja_log", "\n".join([head, *logged, ""]).encode())
    _write(root / "build.ninja", (rule + "".join(edges)).encode())


def change(root: Path) -> None:
    """Other bytes in the first object."""
    _write(object_path(root, "o-000"), make_elf({".text": b"changed"}))


def object_path(root: Path, name: str) -> Path:
    """Where an object lies."""
    return root / "objects" / f"{name}.bpf.o"


def prove(root: Path) -> None:
    """Fill the project's store with everything up to the reports; the disk is not waited for."""
    asker = open_session(root, voice=Silent()).asker
    with mock.patch("os.fsync", lambda fd: None):
        asker.have(asker.validator_action(), lambda work: Made({"validator": b"init"}, {"libbpf": "1.5.0"}))
        columns = {k: asker.column(k) for k in asker.shop.matrix.columns}
        facts = {o: facts_or_fault(asker.shop.store.read(asker.object(o))) for o in asker.shop.matrix.rows}
        for pair in asker.shop.matrix.pairs:
            _prove(asker, pair, columns[pair.kernel], facts[pair.object])
    asker.shop.memo.save()


def _prove(asker: Asker, pair: Pair, column: plan.Column, facts: ObjectFacts | str) -> None:
    """A pair's report and verdict, as a run would have put them there, but for locks and names."""
    store, blob = asker.shop.store, asker.object(pair.object)
    report = _report(column.kernel.release, pair.object)
    run = {"accelerator": "tcg", "qemu": "none", "start": "cold", "seconds": 1.0, "attempts": 1}
    said = store.put_bytes(canonical(report_to_json(report)))
    probe = plan.probe_action(pair, column, blob.digest, asker.probe_spec(pair))
    store.put(probe, {"report": said, "console": store.put_bytes(f"{pair}\n".encode())}, {"run": run})
    attach = asker.shop.matrix.objects[pair.object].attach
    found = classify(report, facts, attach)
    body = {"verdict": store.put_bytes(canonical(verdict_to_json(found)))}
    action = plan.verdict_action(pair, said.digest, blob.digest, attach, asker.classifier())
    store.put(action, body, {"answer": str(found.answer), "cause": found.cause})


def _report(release: str, program: str) -> Report:
    """Each pair's own: an object's name and a kernel's release are in it."""
    guest = {
        "release": release, "version": "#1 SMP", "machine": "x86_64", "btf": True, "libbpf": "1.5.0",
        "lsm": [], "lockdown": "none", "sysctls": {}, "config": False, "unmounted": [],
    }  # fmt: skip
    asked = ProgramReport(
        program, "tp/x/y", "tracepoint", True, 0, Log(""), Attach.ATTACHED, how="libbpf: perf_event link"
    )
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
