"""Beside virtme-ng: the same object loaded on the same kernel, each by the whole command that its user types.

virtme-ng is no dependency of ours: it comes from PyPI into a folder of this run, and where it cannot be had the rows
say so.  It reaches its root file system by 9p or virtiofs.  Debian's cloud kernels have no 9p, and its virtiofs wants
the daemon written in Rust, which Debian 12 lacks; so both boot Debian's general kernel of the same source version,
which has 9p.  Ours needs nothing of it.
"""

import os
import re
import shutil
import stat
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import toml

from bench.measure import DOIT, ROOT, Row, environ, once, output, task_seconds
from bench.synthetic import DODO, unproved
from bpfcompat import process
from bpfcompat.errors import BpfcompatError, BuildError
from bpfcompat.rules.session import open_session
from bpfcompat.voice import Silent

KERNEL = "debian-12"  # the catalogue's; the general kernel of the same release is what is booted
PAIR = "ringbuf@general"
MEMORY_MB = 512  # what virtme-ng needs for its overlays; ours has as much here
BOOT_S = 300.0
WAYS = {
    "cold": f"doit probe:{PAIR}, a boot",
    "warm": f"doit probe:{PAIR}, a clone of a template",
    "task": "the same from before the plan to after the verdict is stored, as in `pair: task`",
}
KMOD = ("depmod", "modprobe", "modinfo")


@dataclass(frozen=True, slots=True)
class Rival:
    """virtme-ng ready to run: its environment, and a kernel with its modules as the package has them."""

    env: dict[str, str]
    boot: Path
    vmlinuz: Path
    version: str


def virtme(quick: bool) -> Iterator[Row]:
    """virtme-ng and we, in turn, each load examples/ringbuf on Debian's general kernel."""
    with tempfile.TemporaryDirectory(prefix="bench-virtme-") as name:
        try:
            rival = prepare(Path(name))
        except BpfcompatError as error:
            yield Row("virtme-ng", note=f"absent: {str(error).splitlines()[0][:150]}")
            return
        yield from _rows(Path(name), rival, 3 if quick else 7)


def _rows(folder: Path, rival: Rival, runs: int) -> Iterator[Row]:
    with unproved() as (_, places):
        root = folder / "project"
        _write_project(root, rival.boot)
        content = folder / "ringbuf.bpf.o"
        content.write_bytes(_ringbuf())
        env = environ(**{**places, "BPFCOMPAT_GUEST_ACCELERATOR": "tcg"})
        times: dict[str, list[float]] = {"theirs": [], "cold": [], "warm": [], "task": []}
        ways = {"cold": {"BPFCOMPAT_GUEST_COLD": "true"}, "warm": {}} if _has_templates() else {"cold": {}}
        for run in range(runs + 1):  # the first is not counted: kernel unpacked, caches warm, templates made
            theirs = _boot(rival, content)
            ours = {way: _probe(root, {**env, **more}) for way, more in ways.items()}
            if "warm" in ways:
                _forget(root, env)
                ours["task"] = task_seconds(PAIR, root, env)
            if run:
                for way, seconds in {"theirs": theirs, **ours}.items():
                    times[way].append(seconds)
    yield from _compared(rival.version, times)


def _compared(version: str, times: dict[str, list[float]]) -> Iterator[Row]:
    theirs = statistics.median(times["theirs"])
    note = f"vng {version}, 9p, TCG, {MEMORY_MB} MB, bpftool prog loadall"
    yield Row("virtme-ng: cold", tuple(times["theirs"]), note=note)
    for way, what in WAYS.items():
        seconds = times[way]
        if not seconds:
            yield Row(f"virtme-ng: ours, {way}", note="no templates in this version")
            continue
        ratio = theirs / statistics.median(seconds)
        yield Row(f"virtme-ng: ours, {way}", tuple(seconds), ratio, f"{what}; × faster than its cold")


def _has_templates() -> bool:
    return "cold" in toml.loads((ROOT / "bpfcompat.toml").read_text()).get("guest", {})


# --- ours


def _write_project(root: Path, boot: Path) -> None:
    (root / "examples").mkdir(parents=True)
    shutil.copy(ROOT / "examples/ringbuf.bpf.c", root / "examples")
    shutil.copy(ROOT / "bpfcompat.lock", root)
    shutil.copy(ROOT / "pyproject.toml", root)  # doit's settings
    (root / "dodo.py").write_text(DODO.format(publish=True))
    settings = {
        "guest": {"memory_mb": MEMORY_MB},
        "matrix": {"kernels": ["general"]},
        "kernels": {"general": {"dir": str(boot)}},
        "objects": {"ringbuf": {"source": "examples/ringbuf.bpf.c"}},
    }
    (root / "bpfcompat.toml").write_text(toml.dumps(settings))


def _ringbuf() -> bytes:
    asker = open_session(ROOT, voice=Silent()).asker
    return asker.shop.store.read(asker.object("ringbuf"))


def _forget(root: Path, env: dict[str, str]) -> None:
    subprocess.run([DOIT, "forget", f"probe:{PAIR}"], cwd=root, env=env, capture_output=True, check=False)


def _probe(root: Path, env: dict[str, str]) -> float:
    """Seconds of the whole command, for a pair whose report was forgotten."""
    _forget(root, env)
    return once([DOIT, f"probe:{PAIR}"], root, env)[0]


# --- theirs


def _boot(rival: Rival, content: Path) -> float:
    """Seconds of the whole command; BuildError when bpftool did not load the object."""
    load = f"{_bpftool()} prog loadall {content} /sys/fs/bpf/ringbuf"
    vng = ["vng", "--run", str(rival.vmlinuz), "--disable-kvm", "--disable-microvm", "--force-9p", "--user", "root",
           "-m", f"{MEMORY_MB}M", "--verbose", "--exec", f"'{load}'"]  # fmt: skip
    # it insists on a terminal; microvm takes longer here (22 s to 16 s)
    argv = [process.find_tool("script", "bsdutils"), "-qec", " ".join(vng), "/dev/null"]
    start = time.perf_counter()
    done = process.run(argv, cwd=Path("/tmp"), env=rival.env, timeout_s=BOOT_S)
    seconds, said = time.perf_counter() - start, done.stdout.decode("utf-8", "replace")
    # Without virtio-serial in the kernel vng's own exit code is always 255, and the last words of the command may be
    # lost at power-off; its init tells the command's exit code in the kernel's log.
    if "script exited with code 0" not in said:
        raise BuildError(f"virtme-ng: the object was not loaded: {said[-300:]!r}")
    return seconds


def _bpftool() -> str:
    found = shutil.which("bpftool", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        raise BuildError("bpftool: program not found", hint="apt-get install bpftool")
    return found


def prepare(folder: Path) -> Rival:
    """virtme-ng from PyPI, a kernel and kmod from Debian, all below `folder`; BuildError when one is not to be had."""
    _bpftool()
    bare = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    output([sys.executable, "-m", "venv", str(folder / "venv")], folder, bare)
    output([str(folder / "venv/bin/pip"), "install", "--quiet", "virtme-ng"], folder, bare)
    version = output([str(folder / "venv/bin/vng"), "--version"], folder, bare).split()[-1]
    kmod, general = folder / "kmod", folder / "general"
    for package in ("kmod", "libkmod2"):
        _unpack(folder, package, kmod)
    (folder / "tools").mkdir()
    for name in KMOD:  # the package's links are absolute; the program goes by the name that it is called by
        tool = folder / "tools" / name
        shutil.copy(kmod / "bin/kmod", tool)
        tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    path = f"{folder / 'tools'}:{folder / 'venv/bin'}:{bare.get('PATH', os.defpath)}"
    libraries = ":".join(str(p) for p in kmod.glob("**/x86_64-linux-gnu"))
    env = {**bare, "PATH": path, "LD_LIBRARY_PATH": libraries}
    release = _general_release()
    _unpack(folder, f"linux-image-{release}", general)
    output([str(folder / "tools/depmod"), "-b", str(general), release], folder, env)
    return Rival(env, general / "boot", general / f"boot/vmlinuz-{release}", version)


def _general_release() -> str:
    """The release of the general kernel that goes with the catalogue's cloud one."""
    release = open_session(ROOT, voice=Silent()).asker.kernel(KERNEL).release
    return re.sub("-cloud", "", release)


def _unpack(folder: Path, package: str, into: Path) -> None:
    apt, dpkg = process.find_tool("apt-get", "apt"), process.find_tool("dpkg-deb", "dpkg")
    output([apt, "download", "-q", package], folder, dict(os.environ))
    (deb,) = folder.glob(f"{package}_*.deb")
    output([dpkg, "-x", str(deb), str(into)], folder, dict(os.environ))
