"""Objects that kill, hang or upset a real kernel: asked as any object is, through templates, confirmation and all."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfcompat.asking import Asker
from bpfcompat.config import load
from bpfcompat.errors import GuestError
from bpfcompat.kernels.catalogue import SHIPPED, load_catalogue
from bpfcompat.model import Answer, Verdict
from bpfcompat.plan import Pair
from bpfcompat.rules.session import Session
from bpfcompat.voice import Silent
from tests.guest.conftest import asker, qemu, vmlinuz  # noqa: F401  (fixtures)
from tests.hostile.test_objects import compiled
from tests.hosting import ROOT

pytestmark = [pytest.mark.hostile, pytest.mark.guest]

SETTINGS = """
[paths]
store = "{store}"
lock = "{root}/bpfcompat.lock"
[guest]
silence_s = 6
deadline_s = 120
[matrix]
kernels = ["debian-11", "debian-12", "debian-13", "debian-13-backports"]
[objects.{name}]
prebuilt = "object.bpf.o"
"""
Judge = Callable[..., Verdict]


@pytest.fixture
def project(asker: Asker, vmlinuz: dict[str, Path], tmp_path: Path) -> Callable[..., Asker]:  # noqa: F811
    """The steps of a project of one hostile object, over this repository's store."""

    def make(name: str, *flags: str) -> Asker:
        (tmp_path / "object.bpf.o").write_bytes(compiled(asker, name, *flags))
        text = SETTINGS.format(store=asker.shop.store.root.resolve(), root=ROOT, name=name)
        (tmp_path / "bpfcompat.toml").write_text(text)
        config = load(tmp_path)
        return Session(config, config.objects, load_catalogue([SHIPPED]), Silent()).asker

    return make


@pytest.fixture
def judge(project: Callable[..., Asker]) -> Judge:
    """The verdict of a hostile object on a kernel, asked now, whatever was known; and how the guests ran."""

    def ask(name: str, kernel: str, *flags: str) -> Verdict:
        steps, pair = project(name, *flags), Pair(name, kernel)
        steps.forget(steps.probe_action(pair))
        found = steps.verdict(pair)
        run = steps.run_of(pair)
        lost = run.deaths.count("validator-killed")  # an object that kills init may reach init's child before
        assert (run.start, run.attempts - lost) == ("cold", 3) and lost <= 1, run
        return found

    return ask


@pytest.mark.parametrize("kernel", ["debian-11", "debian-13-backports"])
def test_panic(kernel: str, judge: Judge) -> None:
    """An object that brings init down panics the kernel: after fresh guests agree that is its verdict."""
    found = judge("crash_init", kernel)
    assert (found.answer, found.cause) == (Answer.INCOMPATIBLE, "kernel-crash")
    assert any("Attempted to kill init" in line for line in found.evidence)
    assert "3 guests agree" in found.sentence


@pytest.mark.parametrize(("name", "kernel"), [("oops_file", "debian-13"), ("oops_task", "debian-11")])
def test_oops(name: str, kernel: str, judge: Judge) -> None:
    """A kernel that has an oops while it is asked, and goes on, has crashed all the same: the console tells."""
    found = judge(name, kernel)
    assert found.cause == "kernel-crash"
    assert any("BUG: " in line or "Oops" in line for line in found.evidence)


@pytest.mark.parametrize(
    ("name", "kernel"), [("hang", "debian-12"), ("hang", "debian-13-backports"), ("hang_irqs_off", "debian-11")]
)
def test_hang(name: str, kernel: str, judge: Judge) -> None:
    """A kernel that runs no user space any more is told within seconds, also where its console says nothing."""
    found = judge(name, kernel)
    assert (found.answer, found.cause) == (Answer.INCOMPATIBLE, "kernel-hang")
    assert found.subject


def test_splat(judge: Judge) -> None:
    """A kernel that warns of itself while it loads an object, each time, gives that as the cause although it loads."""
    found = judge("splat_warn", "debian-11")
    assert found.cause == "kernel-splat"
    assert any(line.startswith("WARNING: ") for line in found.evidence)
    assert all(p.loaded for p in found.programs)


@pytest.mark.parametrize(
    ("name", "flags", "death"),
    [
        ("kill", (), "validator-killed"),
        ("stop", (), "validator-killed"),
        ("huge_map", ("-DMB=200", "-DKIND=BPF_MAP_TYPE_PERCPU_ARRAY"), "out-of-memory"),
    ],
)
def test_no_verdict(name: str, flags: tuple[str, ...], death: str, project: Callable[..., Asker]) -> None:
    """Who only loses the process that asks gets no answer: nothing is stored, and the death is named."""
    steps, pair = project(name, *flags), Pair(name, "debian-12")
    steps.forget(steps.probe_action(pair))
    with pytest.raises(GuestError) as lost:
        steps.probe(pair)
    assert (lost.value.death, "(2 attempts)" in lost.value.message) == (death, True)
    assert steps.shop.store.get(steps.probe_action(pair)) is None


def test_evidence_is_kept(project: Callable[..., Asker]) -> None:
    """The stored report says where the kernel died, and how many guests agreed; the console is kept beside it."""
    steps, pair = project("crash_init"), Pair("crash_init", "debian-12")
    report = json.loads(steps.shop.store.read(steps.probe(pair).outputs["report"]))
    assert (report["ending"]["fate"], report["ending"]["phase"], report["ending"]["runs"]) == ("crash", "program", 3)
    assert b"Attempted to kill init" in steps.shop.store.read(steps.probe(pair).outputs["console"])
