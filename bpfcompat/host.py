"""What this host is: told from others, and how fast it boots a guest."""

import json
import math
import os
from pathlib import Path

from bpfcompat.digest import canonical, digest_json
from bpfcompat.errors import BpfcompatError
from bpfcompat.files import read_bounded, write_atomic

# From QEMU's start to user space, on the machine for which the default deadlines were chosen.
REFERENCE_BOOT_S = 2.5
MOST = 20.0


def identity(cpuinfo: Path = Path("/proc/cpuinfo"), etc: Path = Path("/etc")) -> str:
    """A digest that is another one on another machine, processor or host kernel."""
    machine = next((_first_line(p) for p in (etc / "machine-id", Path("/proc/sys/kernel/random/boot_id"))
                    if p.exists()), "")  # fmt: skip
    lines = _head(cpuinfo).split("\n\n")[0].split("\n")
    processor = sorted(line for line in lines if line.startswith(("model name", "flags", "microcode")))
    return digest_json([machine, processor, os.uname().release, os.uname().machine])


def slowness(boot_s: float) -> float:
    """By how much to stretch deadlines on a host that takes so long to boot a guest: 1 to MOST."""
    return min(MOST, max(1.0, boot_s / REFERENCE_BOOT_S))


def remembered(place: Path, asked: dict[str, str]) -> float | None:
    """Seconds of the first boot on this host with this accelerator and QEMU, if they were measured."""
    try:
        known = json.loads(read_bounded(place, 1 << 16))
        boot_s = float(known["boot_s"]) if known["asked"] == asked else 0.0
    except (BpfcompatError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None
    return boot_s if 0 < boot_s < math.inf else None


def remember(place: Path, asked: dict[str, str], boot_s: float) -> None:
    """Keep it for the next run."""
    write_atomic(place, canonical({"asked": asked, "boot_s": round(boot_s, 3)}))


def _head(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            return stream.read(1 << 14)
    except OSError:
        return ""


def _first_line(path: Path) -> str:
    return _head(path).partition("\n")[0].strip()
