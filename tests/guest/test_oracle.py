"""Debian's own bpftool as the second opinion: `bpftool prog loadall` on the same kernels, in guests of its own.

bpftool brings another, older libbpf (Debian 12: 7.1.0 with libbpf 1.1), so a difference is possible where that libbpf
does not know what the object uses.  DIFFERENT lists each, with the words bpftool must say; nothing else may differ.
"""

import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from bpfcompat.asking import Asker
from bpfcompat.guest import Limits, run_cold
from bpfcompat.initramfs import Entry, pack
from bpfcompat.plan import Pair
from bpfcompat.qemu import COMMAND_LINE, Job, Qemu
from tests.guest.conftest import KERNELS, absent

pytestmark = pytest.mark.guest

# object → what bpftool 7.1 says where our newer libbpf loads it
DIFFERENT = {
    "arena": "libbpf: failed to load object 'arena'",  # libbpf 1.1 does not relocate arena variables
    "connect_unix": "failed to guess program type",
    # bpftool's guest loads no module, and these objects' tables declare one
    "kfunc_module": "not found in kernel or module BTFs",
    "tool_xdp_forward": "not found in kernel or module BTFs",
    "netfilter": "failed to guess program type",
    "tcx": "failed to guess program type",
    "kprobe_session": "failed to guess program type",
    "loader_session": "failed to guess program type",
    "loader_tcx": "failed to guess program type",
    "netkit": "failed to guess program type",
    "optional_program": "can't pin program that wasn't loaded",  # it did load the object; pinning all is loadall's own
    "sched_ext": "skipping unrecognized data section(8) .struct_ops.link",
    "sockets_newer": "failed to guess program type",
    "struct_ops_sleepable": "prog on_test is not struct_ops BPF program",  # libbpf 1.1 has no struct_ops.s
    "struct_ops_link": "skipping unrecognized data section(7) .struct_ops.link",
    "uprobe_multi": "failed to guess program type",
    "uprobe_multi_sleepable": "failed to guess program type",
    "uprobes_sleepable": "failed to guess program type",
}

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t bpf bpf /sys/fs/bpf
/bin/busybox mount -t tracefs tracefs /sys/kernel/tracing
/bin/busybox stty -F /dev/ttyS1 raw
ulimit -l unlimited
cd /objects
for object in *; do
    if /bin/bpftool prog loadall $object /sys/fs/bpf/$object >/tmp/said 2>&1; then code=0; else code=1; fi
    /bin/busybox rm -rf /sys/fs/bpf/$object
    words=$(/bin/busybox tail -n 40 /tmp/said | /bin/busybox tr '\\n' ' ' | /bin/busybox cut -c 1-3000)
    echo "object $object $code $words" >/dev/ttyS1
done
echo done >/dev/ttyS1
/bin/busybox sleep 60
"""


def libraries(program: Path) -> list[Path]:
    """A dynamic program's libraries and its interpreter."""
    said = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True, timeout=30).stdout
    return [Path(p) for p in re.findall(r"(?:=> |^\s*)(/\S+)", said, re.MULTILINE)]


def bpftool() -> Path:
    """The real program; on some systems the one in PATH is a wrapper."""
    found = shutil.which("bpftool", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None or shutil.which("busybox") is None:
        absent("bpftool and busybox-static are not installed")
        raise AssertionError
    return Path(found).resolve()


def initramfs(asker: Asker, kernel: str, objects: list[str]) -> bytes:
    """A guest with busybox, bpftool and all objects."""
    program, regular = bpftool(), stat.S_IFREG | 0o755
    files = {"bin/bpftool": program, "bin/busybox": Path(str(shutil.which("busybox")))}
    files |= {str(lib).lstrip("/"): lib for lib in libraries(program)}
    files |= {f"objects/{name}": asker.shop.store.checked(asker.object(name)) for name in objects}
    config = asker.kernel(kernel).config
    if config is not None:
        files[f"boot/config-{asker.kernel(kernel).release}"] = asker.shop.store.checked(config)
    folders = {str(f) for name in files for f in Path(name).parents} - {"."}
    entries = [Entry(name, stat.S_IFDIR | 0o755) for name in sorted(folders | {"dev"})]
    entries += [Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)), Entry("init", regular, INIT.encode())]
    return pack([*entries, *(Entry(name, regular, path.read_bytes()) for name, path in files.items())])


def told(report: bytes) -> dict[str, tuple[bool, str]]:
    """Object → (loaded, what bpftool said)."""
    said = report.decode("utf-8", "replace").splitlines()
    lines = [line.split(" ", 3) for line in said if line.startswith("object ")]
    return {name: (code == "0", said) for _, name, code, said in (line + [""] * (4 - len(line)) for line in lines)}


@pytest.mark.parametrize("kernel", KERNELS)
def test_same_as_bpftool(kernel: str, asker: Asker, qemu: Qemu, vmlinuz: dict[str, Path], tmp_path: Path) -> None:
    """Whether an example loads is what bpftool says too, on every default kernel."""
    # bpftool cannot be told what the rest declare, or is not who loads it
    ours = {name for name, spec in asker.shop.matrix.objects.items() if not (spec.command or spec.declared)}
    objects = [p.object for p in asker.shop.matrix.pairs if p.kernel == kernel and p.object in ours]
    image = tmp_path / "initramfs"
    image.write_bytes(initramfs(asker, kernel, objects))
    job = Job(vmlinuz[kernel], image, b"", b"", COMMAND_LINE, 768)
    ended = run_cold(qemu, job, Limits(600, 300, 300), lambda report: report.endswith(b"done\n"))
    theirs = told(ended.report)
    assert set(theirs) == set(objects)
    unexplained = []
    for name in objects:
        report = asker.report(Pair(name, kernel))
        loaded, (other, said) = report.load_errno == 0, theirs[name]
        if loaded != other and not (loaded and DIFFERENT.get(name, "\0") in said):
            unexplained.append(f"{name}: we say loaded={loaded}, bpftool loaded={other}: {said[:600]}")
    assert not unexplained, "\n".join(unexplained)


def test_oracle_can_disagree() -> None:
    """The comparison reads bpftool's words: a refusal is a refusal."""
    assert told(b"object a 1 libbpf: no\nobject b 0 \ndone\n") == {"a": (False, "libbpf: no"), "b": (True, "")}
