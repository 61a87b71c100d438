"""Which helper a program type may call, asked of real kernels."""

from pathlib import Path

import pytest

from bpfcompat.abilities import SECTIONS, allowed, object_of
from bpfcompat.asking import Asker

pytestmark = pytest.mark.guest


@pytest.mark.parametrize("kernel", ["debian-11", "debian-12", "debian-13-backports"])
def test_helpers(kernel: str, asker: Asker, vmlinuz: dict[str, Path]) -> None:
    """XDP programs look maps up and read no kernel memory by number, kprobes do both; what is compiled out does not.

    The three kernels word the refusal in three ways.
    """
    helpers = {name: asker.build(kernel).helpers[name] for name in ("map_lookup_elem", "probe_read", "redirect")}
    said = {k: allowed(asker.listen(kernel, object_of(SECTIONS[k], helpers)), helpers) for k in ("xdp", "kprobe")}
    assert said == {"xdp": ("map_lookup_elem", "redirect"), "kprobe": ("map_lookup_elem", "probe_read")}
    if kernel == "debian-12":
        assert allowed(asker.listen(kernel, object_of(SECTIONS["lirc_mode2"], helpers)), helpers) is None
