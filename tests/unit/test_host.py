"""What a host is, and how slow."""

import json
from pathlib import Path

import pytest

from bpfcompat import host

CPU = """processor	: 0
model name	: A processor
cpu MHz		: 2100.001
microcode	: 0x1
flags		: fpu sse
bogomips	: 4200.00

processor	: 1
model name	: A processor
cpu MHz		: 999.9
"""
ASKED = {"host": "h", "qemu": "7.2", "with": "tcg"}


@pytest.fixture
def machine(tmp_path: Path) -> tuple[Path, Path]:
    """A machine's /proc/cpuinfo and /etc."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text("0123\n")
    (tmp_path / "cpuinfo").write_text(CPU)
    return tmp_path / "cpuinfo", tmp_path / "etc"


@pytest.mark.parametrize(
    ("before", "after"),
    [("fpu sse", "fpu sse avx"), ("A processor", "Another"), ("0x1", "0x2")],
)
def test_another_processor(before: str, after: str, machine: tuple[Path, Path]) -> None:
    """A guest frozen on one processor is not thawed on another, nor under other microcode."""
    ours = host.identity(*machine)
    machine[0].write_text(CPU.replace(before, after))
    assert host.identity(*machine) != ours


def test_another_machine(machine: tuple[Path, Path]) -> None:
    """Two machines of one kind are told apart, as a shared store has to."""
    ours = host.identity(*machine)
    (machine[1] / "machine-id").write_text("4567\n")
    assert host.identity(*machine) != ours


def test_the_same(machine: tuple[Path, Path]) -> None:
    """What changes while a machine runs, its clock rate and how many cores are on, does not make it another."""
    ours = host.identity(*machine)
    machine[0].write_text(CPU.replace("2100.001", "800.0").replace("4200", "4199").partition("\n\n")[0])
    assert host.identity(*machine) == ours


@pytest.mark.parametrize("gone", ["cpuinfo", "etc/machine-id"])
def test_unknown(gone: str, machine: tuple[Path, Path], tmp_path: Path) -> None:
    """A machine that does not say what it is has an identity all the same, and always the same."""
    (tmp_path / gone).unlink()
    assert host.identity(*machine) == host.identity(*machine)


@pytest.mark.parametrize(
    ("boot_s", "factor"), [(0.1, 1.0), (host.REFERENCE_BOOT_S, 1.0), (2 * host.REFERENCE_BOOT_S, 2.0), (1e9, host.MOST)]
)
def test_slowness(boot_s: float, factor: float) -> None:
    """A slow host stretches deadlines, a fast one never shortens them, and there is an end to it."""
    assert host.slowness(boot_s) == factor


def test_pace_is_remembered(tmp_path: Path) -> None:
    """What was measured holds for this host, QEMU and accelerator, and for no other."""
    place = tmp_path / "host/pace.json"
    assert host.remembered(place, ASKED) is None
    host.remember(place, ASKED, 1.23456)
    assert host.remembered(place, ASKED) == 1.235
    assert all(host.remembered(place, {**ASKED, name: "other"}) is None for name in ASKED)


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 60_000, b'{"boot_s": 1}',
               json.dumps({"asked": ASKED, "boot_s": "soon"}).encode(),
               json.dumps({"asked": ASKED, "boot_s": None}).encode(),
               json.dumps({"asked": ASKED, "boot_s": 10**400}).encode(),
               json.dumps({"asked": ASKED, "boot_s": float("nan")}).encode(),
               json.dumps({"asked": ASKED, "boot_s": -1}).encode()],
    ids=range(12),
)  # fmt: skip
def test_pace_damaged(damage: bytes, tmp_path: Path) -> None:
    """A damaged memory is none: the pace is measured again."""
    (tmp_path / "pace.json").write_bytes(damage)
    assert host.remembered(tmp_path / "pace.json", ASKED) is None
