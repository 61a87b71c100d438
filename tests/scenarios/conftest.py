"""A small monorepo with a fake QEMU, and doit as a real process in it."""

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import toml

from bpfcompat.errors import BpfcompatError
from bpfcompat.rules.session import open_session
from bpfcompat.store import Store
from bpfcompat.voice import Silent
from tests.hosting import ROOT
from tests.making import make_btf, make_elf, make_vmlinuz

BIN = Path(sys.executable).parent
KERNELS = {"k-a": "5.10.0-a", "k-b": "6.1.0-b", "k-c": "6.12.0-c"}
OBJECTS = {
    "alpha": "compatible alpha",
    "beta": "rejected beta",
    "gamma": f"compatible gamma {KERNELS['k-a']}=helper",
}
PAIRS = sorted(f"{o}@{k}" for o in OBJECTS for k in KERNELS)
SETTINGS: dict[str, Any] = {
    "guest": {"accelerator": "tcg", "qemu": "tools/qemu", "cold": True, "user": "same"},
    "signing": {"key": "keys/signing.pem", "log_key": "keys/log.pem"},
    "matrix": {"kernels": ["k-*"]},
    "kernels": {k: {"dir": f"kernels/{k}"} for k in KERNELS},
    "objects": {
        "alpha": {"prebuilt": "objects/alpha.bpf.o", "expect": "compatible"},
        "beta": {"prebuilt": "objects/beta.bpf.o", "expect": "incompatible:verifier-rejected"},
        "gamma": {
            "prebuilt": "objects/gamma.bpf.o",
            "expect": {"*": "compatible", "k-a": "incompatible:helper-missing"},
        },
    },
}  # fmt: skip
DODO = """from bpfcompat.rules import bpf_matrix


def task_bpf():
    yield from bpf_matrix()
"""


@dataclass(frozen=True)
class Ran:
    """How a process ended: exit code and both outputs."""

    code: int
    out: str
    err: str

    @property
    def says(self) -> str:
        """Everything it said, for a failing test."""
        return f"exit {self.code}\n{self.out}\n{self.err}"


class Repo:
    """One small monorepo."""

    def __init__(self, root: Path) -> None:
        self.root = root

    # --- contents

    def settings(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Edit bpfcompat.toml."""
        place = self.root / "bpfcompat.toml"
        found = toml.loads(place.read_text())
        change(found)
        place.write_text(toml.dumps(found))

    def object(self, name: str, text: str, **fields: Any) -> None:
        """Write an object, and its table if there are fields."""
        (self.root / f"objects/{name}.bpf.o").write_text(text + "\n")
        if fields:
            table = {"prebuilt": f"objects/{name}.bpf.o", **fields}
            self.settings(lambda s: s.setdefault("objects", {}).update({name: table}))

    def only(self, **objects: str) -> None:
        """Make these the only objects; each compatible on every kernel if it answers at all."""
        self.settings(lambda s: s.update(objects={}))
        for name, text in objects.items():
            self.object(name, text, expect="compatible")

    def kernel(self, name: str, release: str, code: bytes = b"\x90") -> None:
        """Write a kernel's folder; other code makes it another kernel."""
        folder = self.root / "kernels" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vmlinuz").write_bytes(make_vmlinuz(make_elf({".text": code * 64, ".BTF": make_btf()}), release))

    # --- running

    def environ(self) -> dict[str, str]:
        """What the process sees: our tools first, the code beside these tests, its own home, no setting of ours."""
        path = f"{BIN}:{os.environ['PATH']}"
        return {"PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(self.root / "home"), "LC_ALL": "C.UTF-8"}

    def run(self, *argv: str, timeout: float = 60) -> Ran:
        """Run a program to its end."""
        done = subprocess.run(
            argv, cwd=self.root, env=self.environ(), capture_output=True, text=True, timeout=timeout, check=False
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def doit(self, *args: str, code: int | None = 0) -> Ran:
        """Run doit, which must end with this code (None: with any)."""
        ran = self.run("doit", *args)
        assert code in (None, ran.code), ran.says
        assert "Traceback" not in ran.out + ran.err, ran.says
        return ran

    def bpfcompat(self, *args: str, code: int = 0) -> Ran:
        """Run a command of ours, which must end with this code."""
        ran = self.run("bpfcompat", *args)
        assert code == ran.code, ran.says
        assert "Traceback" not in ran.out + ran.err, ran.says
        return ran

    def start(self, *args: str) -> subprocess.Popen[str]:
        """Start doit."""
        return subprocess.Popen(
            ["doit", *args],
            cwd=self.root,
            env=self.environ(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip

    # --- what became of it

    def boots(self) -> Counter[str]:
        """How often each pair was asked, by the fake QEMU's own count."""
        names = {release: name for name, release in KERNELS.items()}
        starts = (b.name.split()[0].split("@") for b in (self.root / "tools/boots").glob("*"))
        return Counter(f"{o}@{names[r]}" for o, r in starts)

    def forget_boots(self) -> None:
        """Count from zero."""
        shutil.rmtree(self.root / "tools/boots", ignore_errors=True)

    def guests(self) -> list[int]:
        """The fake QEMUs of this repository that are running."""
        mine = str(self.root / "tools").encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                alive = (entry / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
                if alive and mine in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    @property
    def store(self) -> Store:
        """The store, as a reader sees it."""
        return Store(self.root / ".bpfcompat/store")

    def entries(self, kind: str) -> dict[str, dict[str, Any]]:
        """All entries of a kind, by the path of each."""
        return {str(p): json.loads(p.read_text()) for p in (self.store.root / "actions" / kind).rglob("*.json")}

    def age(self) -> None:
        """Make everything in the store a hundred days old."""
        long_ago = time.time() - 100 * 86400
        for path in self.store.root.rglob("*"):
            os.utime(path, (long_ago, long_ago), follow_symlinks=False)

    def drop(self, kind: str, name: str) -> None:
        """Delete the entry that was made last under this task name."""
        key = json.loads((self.store.root / "names" / kind / f"{name}.json").read_text())["key"]
        self.store.entry_path(kind, key).unlink()

    def digests(self, folder: str) -> dict[str, bytes]:
        """Every file below a folder, by path."""
        top = self.root / folder
        return {str(p.relative_to(top)): p.read_bytes() for p in sorted(top.rglob("*")) if p.is_file()}


def soon(true: Callable[[], object], seconds: float = 20) -> bool:
    """True as soon as it is; False when it has not become so in time."""
    end = time.monotonic() + seconds
    while not (found := bool(true())) and time.monotonic() < end:
        time.sleep(0.01)
    return found


Seed = tuple[Store, tuple[str, ...]]


def seed_of(loader: str) -> Seed:
    """This repository's store, and the files of it that make a validator of this loader be there."""
    try:
        asker = open_session(ROOT, voice=Silent()).asker
        entry = asker.validator(loader=loader)
    except BpfcompatError as error:
        pytest.skip(f"the validator cannot be built here: {error}")
    store = asker.shop.store
    asker.shop.memo.save()
    place = store.entry_path("validator", asker.validator_action(loader).key())
    places = [place, store.root / "format", asker.shop.memo.path]
    places += [store.blob_path(b.digest) for b in entry.outputs.values()]
    return store, tuple(str(p.relative_to(store.root)) for p in places if p.exists())


def sow(seed: Seed, repo: Repo) -> None:
    """Copy these files into a monorepo's store."""
    store, files = seed
    for name in files:
        place = repo.root / ".bpfcompat/store" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(store.root / name, place)


@pytest.fixture(scope="session")
def seed() -> Seed:
    """What every scenario needs of this repository's store."""
    return seed_of("")


def in_memory() -> Iterator[Path]:
    """A folder in memory where there is such a place: thousands of fsync() take longer than all the rest."""
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="bpfcompat-", dir=place, ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture(scope="session")
def shared() -> Iterator[Path]:
    """A folder for what all scenarios start from."""
    yield from in_memory()


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder for one scenario."""
    yield from in_memory()


@pytest.fixture(scope="session")
def plain(shared: Path, seed: Seed) -> Repo:
    """A monorepo in which nothing was run yet; not to be touched."""
    (shared / "plain").mkdir()
    repo = Repo(shared / "plain")
    root = repo.root
    for folder in ("objects", "keys", "tools", "home"):
        (root / folder).mkdir()
    for name, text in OBJECTS.items():
        repo.object(name, text)
    for name, release in KERNELS.items():
        repo.kernel(name, release)
    (root / "dodo.py").write_text(DODO)
    (root / "bpfcompat.toml").write_text(toml.dumps(SETTINGS))
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["doit"]
    (root / "pyproject.toml").write_text(toml.dumps({"tool": {"doit": ours}}))
    shutil.copy(ROOT / "bpfcompat.lock", root)
    shutil.copy(ROOT / "tests/fake_qemu.py", root / "tools")
    qemu = root / "tools/qemu"
    qemu.write_text(f'#!/bin/sh\nexec {sys.executable} -ISB "$(dirname "$0")/fake_qemu.py" "$@"\n')
    qemu.chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    sow(seed, repo)
    return repo


@pytest.fixture(scope="session")
def first_run(plain: Repo, shared: Path) -> tuple[Repo, Ran]:
    """A monorepo after its first `doit matrix`, and what that said; not to be touched."""
    repo = copy(plain, shared / "first")
    return repo, repo.doit("matrix", code=None)


@pytest.fixture
def repo(plain: Repo, tmp_path: Path) -> Repo:
    """A monorepo in which nothing was run yet."""
    return copy(plain, tmp_path / "repo")


@pytest.fixture
def proved(first_run: tuple[Repo, Ran], tmp_path: Path) -> Repo:
    """A monorepo in which every pair was asked already; the count of boots starts at zero."""
    made = copy(first_run[0], tmp_path / "repo")
    made.forget_boots()
    return made


def copy(repo: Repo, place: Path) -> Repo:
    """The same monorepo elsewhere, every file with a new mtime."""
    shutil.copytree(repo.root, place, copy_function=shutil.copy)
    return Repo(place)
