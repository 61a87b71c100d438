"""What this host is, and how fast."""

from pathlib import Path

import pytest

from bpfcompat import host

CPU = "processor\t: 0\nmodel name\t: {model}\nflags\t\t: fpu {flag}\n\nprocessor\t: 1\nmodel name\t: {model}\n"


@pytest.fixture
def identity(tmp_path: Path) -> object:
    """The identity of a host with this machine id and processor."""

    def of(machine: str = "a", model: str = "EPYC", flag: str = "avx") -> str:
        (tmp_path / "machine-id").write_text(machine + "\n")
        (tmp_path / "cpuinfo").write_text(CPU.format(model=model, flag=flag))
        return host.identity(tmp_path / "cpuinfo", tmp_path)

    return of


def test_identity(identity: object) -> None:
    """Another machine, processor or flag is another host; the same one is the same."""
    assert callable(identity)
    assert identity() == identity()
    assert len({identity(), identity(machine="b"), identity(model="Xeon"), identity(flag="avx2")}) == 4


def test_no_machine_id(tmp_path: Path) -> None:
    """A host without a machine id is told from others by its boot; one without /proc/cpuinfo is no traceback."""
    assert host.identity(tmp_path / "none", tmp_path) == host.identity(tmp_path / "none", tmp_path)


@pytest.mark.parametrize(
    ("boot_s", "factor"), [(0.2, 1), (host.REFERENCE_BOOT_S, 1), (3 * host.REFERENCE_BOOT_S, 3), (1e9, host.MOST)]
)
def test_slowness(boot_s: float, factor: float) -> None:
    """A slow host gets more time, within a bound; a fast one never gets less than the settings say."""
    assert host.slowness(boot_s) == pytest.approx(factor)


def test_remembered(tmp_path: Path) -> None:
    """What was measured holds for the same host, QEMU and accelerator; damage is as if nothing was."""
    place = tmp_path / "host" / "pace.json"
    assert host.remembered(place, {"qemu": "7"}) is None
    host.remember(place, {"qemu": "7"}, 2.34567)
    assert host.remembered(place, {"qemu": "7"}) == 2.346
    assert host.remembered(place, {"qemu": "8"}) is None
    for damage in ("", "[]", "{}", '{"boot_s": "x", "asked": {"qemu": "7"}}'):
        place.write_text(damage)
        assert host.remembered(place, {"qemu": "7"}) is None
