"""The guest driver against a real QEMU and a real kernel, with tiny inits that each die another death."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bpfcompat.errors import GuestError
from bpfcompat.guest import Death, Ended, Limits, choose_accelerator, run_cold
from bpfcompat.initramfs import guest_initramfs
from bpfcompat.qemu import COMMAND_LINE, LEASH_BYTES, Job, Qemu

pytestmark = pytest.mark.guest

LIMITS = Limits(total_s=120, silence_s=60, first_byte_s=90)
OBJECT = bytes(range(256)) * 4
SPEC = b'{"attach":"load"}'
Inits = Callable[[str], Path]


@pytest.fixture(scope="session")
def inits(tmp_path_factory: pytest.TempPathFactory) -> Inits:
    """The initramfs whose init is init/NAME.c, built once."""
    compiler = shutil.which("cc") or pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("inits")

    def build(name: str) -> Path:
        packed = folder / f"{name}.cpio"
        if not packed.exists():
            source = Path(__file__).parent / "init" / f"{name}.c"
            subprocess.run([compiler, "-static", "-Os", "-s", "-o", folder / name, source], check=True)
            packed.write_bytes(guest_initramfs((folder / name).read_bytes(), "0", None))
        return packed

    return build


@pytest.fixture
def job(a_vmlinuz: Path, inits: Inits) -> Callable[..., Job]:
    """A job for the init of this name."""

    def make(name: str, command_line: str = COMMAND_LINE) -> Job:
        return Job(a_vmlinuz, inits(name), OBJECT, SPEC, command_line)

    return make


def done(report: bytearray) -> bool:
    return report.endswith(b"done\n")


def lose(qemu: Qemu, job: Job, limits: Limits = LIMITS, on_progress: Callable[[int], None] | None = None) -> GuestError:
    """The error of a guest that must be lost."""
    with pytest.raises(GuestError) as lost:
        run_cold(qemu, job, limits, done, on_progress)
    return lost.value


def qemus_of(pid: int) -> list[int]:
    """The processes that are children of this one and run QEMU."""
    children = [int(c) for f in Path(f"/proc/{pid}/task").glob("*/children") for c in f.read_text().split()]
    return [c for c in children if b"-nodefaults" in command_of(c)]


def command_of(pid: int) -> bytes:
    """A process's command line, empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_healthy(qemu: Qemu, job: Callable[..., Job]) -> None:
    """Object and spec reach user space as they are, the report comes back as it was written."""
    ended = run_cold(qemu, job("healthy"), LIMITS, done)
    assert ended.report == OBJECT + b"\n" + SPEC + b"\ndone\n"
    assert (ended.start, ended.console.cut) == ("cold", False)


def test_unbound(qemu: Qemu, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where we are killed before a QEMU is bound to us, it finds its options cut short, and ends."""
    monkeypatch.setattr("bpfcompat.qemu.withheld", lambda fds: b"\n" * LEASH_BYTES)  # what the pipe held then
    error = lose(qemu, job("healthy"))
    assert (error.death, error.phase) == (Death.REFUSED, "start")
    assert "chardev:report" in error.message


def test_no_object(qemu: Qemu, a_vmlinuz: Path, inits: Inits) -> None:
    """An empty object and an empty spec are handed over like any other."""
    ended = run_cold(qemu, Job(a_vmlinuz, inits("healthy"), b"", b""), LIMITS, done)
    assert ended.report == b"\n\ndone\n"


def test_two_at_once(qemu: Qemu, job: Callable[..., Job]) -> None:
    """Two guests at a time do not hear each other."""

    def boot(name: str) -> Ended | GuestError:
        try:
            return run_cold(qemu, job(name), LIMITS, done)
        except GuestError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        healthy, panicked = pool.map(boot, ("healthy", "panic"))
    assert isinstance(healthy, Ended)
    assert isinstance(panicked, GuestError)
    assert panicked.death == Death.PANIC


@pytest.mark.parametrize(
    ("init", "limits", "death", "phase", "words", "console"),
    [
        ("panic", LIMITS, Death.PANIC, "report", "Attempted to kill init", "not syncing: Attempted to kill init"),
        ("poweroff", LIMITS, Death.EXIT, "report", "powered off", "reboot: Power down"),
        ("restart", LIMITS, Death.EXIT, "boot", "powered off", "reboot: Restarting system"),
        ("silent", Limits(120, 2, 90), Death.SILENCE, "report", "silent and idle for 2 s", ""),
        ("spinning", Limits(120, 3, 90), Death.HANG, "report", "stood still for 3 s while the kernel was busy", ""),
        ("mute", Limits(120, 60, 12), Death.FIRST_BYTE, "boot", "within 12 s", "init: here"),
        ("endless_report", Limits(120, 60, 90, report_bytes=100_000), Death.FLOOD, "report", "100000 bytes", ""),
        ("endless_report", Limits(12, 60, 90), Death.DEADLINE, "report", "within 12 s", ""),
    ],
)
def test_deaths(
    init: str, limits: Limits, death: Death, phase: str, words: str, console: str, qemu: Qemu, job: Callable[..., Job]
) -> None:
    """Each way in which a real guest is lost is told from the others; no process is left."""
    lost = lose(qemu, job(init), limits)
    assert (lost.death, lost.phase) == (death, phase), (lost, lost.console)
    assert words in lost.message
    assert console in lost.console
    assert qemus_of(os.getpid()) == []


def test_panic_that_stays(qemu: Qemu, job: Callable[..., Job]) -> None:
    """A panic is seen on the console at once, also where the machine does not end with it."""
    stays = COMMAND_LINE.replace("panic=-1", "panic=0")
    assert stays != COMMAND_LINE
    assert lose(qemu, job("panic", stays)).death == Death.PANIC


def test_endless_console(qemu: Qemu, job: Callable[..., Job]) -> None:
    """A console that never stops is cut, and costs no answer."""
    ended = run_cold(qemu, job("endless_console"), Limits(120, 60, 90, console_bytes=20_000), done)
    assert (ended.report, ended.console.cut, len(ended.console.data)) == (b"done\n", True, 20_000)


def test_qemu_killed(qemu: Qemu, job: Callable[..., Job]) -> None:
    """A QEMU that something killed is told from a guest that ended."""

    def kill(size: int) -> None:
        for pid in qemus_of(os.getpid()):
            os.kill(pid, signal.SIGKILL)

    lost = lose(qemu, job("silent"), on_progress=kill)
    assert lost.death == Death.KILLED
    assert "SIGKILL" in lost.message


@pytest.mark.parametrize("content", [b"", b"not a kernel", bytes(100_000)])
def test_bad_kernel(content: bytes, qemu: Qemu, inits: Inits, tmp_path: Path) -> None:
    """A file that is no kernel is refused at once, with QEMU's own words."""
    path = tmp_path / "vmlinuz"
    path.write_bytes(content)
    lost = lose(qemu, Job(path, inits("mute"), OBJECT, SPEC))
    assert (lost.death, lost.phase) == (Death.REFUSED, "start")
    assert "kernel" in lost.message


def test_bad_initramfs(qemu: Qemu, a_vmlinuz: Path, tmp_path: Path) -> None:
    """A kernel that finds no init panics, and says so."""
    (tmp_path / "initramfs").write_bytes(bytes(512))
    assert lose(qemu, Job(a_vmlinuz, tmp_path / "initramfs", OBJECT, SPEC)).death == Death.PANIC


RUN = """
import sys
from pathlib import Path
from bpfcompat.guest import Limits, run_cold
from bpfcompat.qemu import Job, find_qemu
run_cold(find_qemu(), Job(Path(sys.argv[1]), Path(sys.argv[2]), b"", b""), Limits(60, 60, 60), lambda report: False)
"""


def test_parent_killed(qemu: Qemu, a_vmlinuz: Path, inits: Inits) -> None:
    """When we are killed without a chance to tidy up, QEMU goes too."""
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", RUN, a_vmlinuz, inits("mute")], cwd=root) as parent:
        give_up = time.monotonic() + 30
        while not (children := qemus_of(parent.pid)) and time.monotonic() < give_up:
            time.sleep(0.05)
        parent.kill()
    assert children
    give_up = time.monotonic() + 2
    while any(map(is_alive, children)) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert not any(map(is_alive, children))


def test_accelerator(qemu: Qemu, a_vmlinuz: Path, inits: Inits, tmp_path: Path) -> None:
    """Whatever this host's KVM is worth, what `auto` chooses boots a kernel, and tcg comes with a note."""
    chosen, note = choose_accelerator(qemu, a_vmlinuz, inits("healthy"), "auto", tmp_path)
    assert (chosen.accelerator == "tcg") == bool(note)
    assert run_cold(chosen, Job(a_vmlinuz, inits("healthy"), b"", b""), LIMITS, done).report == b"\n\ndone\n"
