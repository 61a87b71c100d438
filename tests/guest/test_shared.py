"""Guests that share an object say between them, byte for byte, what one alone says of it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import toml

from bpfcompat.asking import Asker
from bpfcompat.digest import canonical
from bpfcompat.errors import GuestError
from bpfcompat.guest import Ended
from bpfcompat.model import ObjectSpec, Report
from bpfcompat.plan import Matrix, Pair
from bpfcompat.seats import ONE, Worth
from bpfcompat.trying import Attempt
from bpfcompat.wire import report_to_json
from tests.guest import sources
from tests.guest.conftest import ROOT

pytestmark = pytest.mark.guest
HOOKS = ("fentry/do_nanosleep", "kprobe/do_nanosleep", "xdp", "tc", "cgroup_skb/egress", "raw_tp/sched_switch")
# Of each kind that is asked in another way: with variants, by a declared loader, with optional programs, with programs
# that some kernel refuses, with maps of struct_ops, with a table of tail calls, with tests.
KINDS = (
    "declared_variants",
    "tool_fsdist",
    "optional_program",
    "tail_call",
    "struct_ops",
    "uprobe_declared",
    "not_elf",
)


@pytest.fixture(scope="module")
def made(asker: Asker, vmlinuz: dict[str, Path]) -> Iterator[Asker]:
    """The steps with an object of 36 programs of many kinds, and one more that no kernel takes."""
    refused = 'SEC("kprobe/do_nanosleep") int refused(void *ctx) { return *(volatile int *)1; }\n'
    with tempfile.TemporaryDirectory(dir=ROOT / ".bpfcompat") as folder:
        source = Path(folder) / "many.bpf.c"
        source.write_text(sources.many(36, 3, HOOKS) + refused)
        objects = {**asker.shop.matrix.objects, "shared-many": ObjectSpec("shared-many", source=source)}
        yield type(asker)(replace(asker.shop, matrix=Matrix(objects, asker.shop.matrix.kernels, (), {})))


def told(attempt: Attempt) -> bytes:
    """An attempt's report as it is stored."""
    assert attempt.clean, attempt.error
    assert isinstance(attempt.report, Report)
    return canonical(report_to_json(attempt.report))


def shared(asker: Asker, pair: Pair, worth: Worth, monkeypatch: pytest.MonkeyPatch) -> Attempt:
    """The pair asked by so many guests, whatever the processors of this host."""
    asker.seats.limit(8)
    monkeypatch.setattr(type(asker), "_worth", lambda *_: worth)
    return asker.attempt(pair, cold=False)


@pytest.mark.parametrize("kernel", ["debian-11", "debian-12"])
def test_the_same(kernel: str, made: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three guests say of 37 programs what a cold one says that is asked all of it."""
    pair = Pair("shared-many", kernel)
    many = shared(made, pair, Worth(3), monkeypatch)
    one = made.attempt(pair, cold=True)
    assert (many.guests, one.guests) == (3, 1)
    assert told(many) == told(one)
    assert many.report is not None
    assert len(many.report.programs) == 37
    assert {p.load_errno for p in many.report.programs} > {0}


@pytest.mark.parametrize("name", KINDS)
def test_the_same_of_examples(name: str, made: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is for what is asked in another way."""
    pair = Pair(name, "debian-12")
    many = shared(made, pair, Worth(2), monkeypatch)
    one = shared(made, pair, ONE, monkeypatch)
    assert (many.guests, one.guests) == (2, 1)
    assert told(many) == told(one)


def test_one_alone_after_all(made: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one of several guests is lost, nothing is made of the others' words: one guest is asked everything."""
    ask = made._ask

    def lossy(pair: Pair, nonce: str, cold: bool, shard: tuple[int, int] = (0, 1)) -> Ended:
        if shard == (1, 2):
            raise GuestError("guest: struck by lightning", death="host")
        return ask(pair, nonce, cold, shard)

    said: list[str] = []
    monkeypatch.setattr(made, "_ask", lossy)
    monkeypatch.setattr(made.shop.voice, "say", said.append)
    attempt = shared(made, Pair("shared-many", "debian-12"), Worth(2), monkeypatch)
    assert attempt.guests == 1
    assert attempt.report is not None
    assert len(attempt.report.programs) == 37
    assert "of 2 guests that shared it: guest: struck by lightning; asking one" in said[-1]


DODO = "from bpfcompat.rules import bpf_matrix\n\ndef task_bpf():\n    yield from bpf_matrix(publish=False)\n"


def test_as_many_as_the_run_may(made: Asker, tmp_path: Path) -> None:
    """`doit -n` bounds the guests of one object, too."""
    asked = made.shop.matrix.objects["shared-many"].source
    assert asked is not None
    shutil.copy(asked, tmp_path / "many.bpf.c")
    settings = {"paths": {"store": os.fspath(made.shop.store.root), "lock": os.fspath(ROOT / "bpfcompat.lock")},
                "signing": {"key": "key.pem"}, "matrix": {"kernels": ["debian-12"]},
                "objects": {"shared-many": {"source": "many.bpf.c"}}}  # fmt: skip
    (tmp_path / "bpfcompat.toml").write_text(toml.dumps(settings))
    (tmp_path / "dodo.py").write_text(DODO)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    ways = {"-n1": "clone)", "-n2": "clone, 2 guests)"}
    for number, words in ways.items():
        doit(tmp_path, "forget", "probe:shared-many@debian-12")
        assert words in doit(tmp_path, number, "probe:shared-many@debian-12")


def doit(project: Path, *args: str) -> str:
    """What doit prints in a project."""
    return subprocess.run(
        [Path(sys.executable).parent / "doit", *args], cwd=project, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300,
    ).stdout  # fmt: skip


def test_no_more_than_there_are_places(made: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that is worth several guests is asked by one where no more may run."""
    made.seats.limit(1)
    assert made.attempt(Pair("shared-many", "debian-12"), cold=False).guests == 1
