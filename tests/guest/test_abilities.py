"""Which helper a program type may call, asked of real kernels."""

from pathlib import Path

import pytest

from bpfcompat.abilities import SECTIONS, allowed, object_of
from bpfcompat.asking import Asker

pytestmark = pytest.mark.guest


@pytest.mark.parametrize("kernel", ["debian-11", "debian-12", "debian-13-backports"])
def test_helpers(kernel: str, asker: Asker, vmlinuz: dict[str, Path]) -> None:
    """XDP programs look maps up and read no kernel memory by number, kprobes do both; what is compiled out does not.

    The three kernels word the refusal in three ways.  Of tracing and lsm the way to attach counts: an iterator prints,
    what may sleep reads user memory, and 5.10 has no sleepable hook of this name.
    """
    helpers = {name: asker.build(kernel).helpers[name] for name in ("map_lookup_elem", "probe_read", "redirect")}
    said = {k: allowed(asker.listen(kernel, object_of(SECTIONS[k], helpers)), helpers) for k in ("xdp", "kprobe")}
    assert said == {"xdp": ("map_lookup_elem", "redirect"), "kprobe": ("map_lookup_elem", "probe_read")}
    helpers = {name: asker.build(kernel).helpers[name] for name in ("seq_printf", "copy_from_user", "d_path")}
    ways = ("tracing", "tracing/tp_btf", "tracing/iter", "tracing/fmod_ret", "lsm", "lsm/sleepable")
    said = {k: allowed(asker.listen(kernel, object_of(SECTIONS[k], helpers)), helpers) for k in ways}
    path = ("d_path",) if kernel != "debian-11" else ()
    assert said == {"tracing": (), "tracing/tp_btf": (), "tracing/iter": ("seq_printf", *path),
                    "tracing/fmod_ret": ("d_path",), "lsm": path,
                    "lsm/sleepable": ("copy_from_user", *path) if path else None}  # fmt: skip
    if kernel == "debian-12":
        assert allowed(asker.listen(kernel, object_of(SECTIONS["lirc_mode2"], helpers)), helpers) is None
