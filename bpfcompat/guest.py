"""Boot one kernel in QEMU, hand it one object, bring back what it said: the only module that knows QEMU.

The guest is hostile: it has no disk and no network, only two serial ports that the host reads as streams, each with a
bound, and each phase has a deadline.  A guest that is lost is a GuestError that says which death it died, never an
answer about the object.  What the report's lines mean is not known here (see wire).
"""

import contextlib
import json
import os
import re
import resource
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from bpfcompat import process
from bpfcompat.errors import BpfcompatError, BuildError, GuestError, ObjectError
from bpfcompat.files import read_bounded, write_atomic

MACHINE = "q35"
CPU = "max"
# panic=-1: a panic ends QEMU at once instead of hanging.  cryptomgr.notests: without the crypto self-tests a boot takes
# a fifth less, and no program can tell.  mitigations=off would change the verifier and the JIT: never.
COMMAND_LINE = "console=ttyS0 panic=-1 quiet loglevel=5 cryptomgr.notests"

BINARY = "qemu-system-x86_64"
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
KVM_DEVICE = Path("/dev/kvm")
PROBE_S = 10.0
OBJECT_BYTES = 64 << 20
CONSOLE_LINES = 200
LINE_CHARS = 500
_CHUNK = 1 << 16
_STDERR_BYTES = 8 << 10
_PANIC = b"Kernel panic - not syncing"
_PANIC_GRACE_S = 1.0  # for the lines that follow the first
_ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?")


class Death(StrEnum):
    """How a guest was lost before its report was complete."""

    PANIC = "panic"
    EXIT = "early-exit"  # powered off or rebooted
    FIRST_BYTE = "no-first-byte"
    SILENCE = "silence"
    DEADLINE = "deadline"
    FLOOD = "report-too-long"
    REFUSED = "qemu-refused"  # QEMU said no, by its exit code
    KILLED = "qemu-killed"  # by a signal


@dataclass(frozen=True, slots=True)
class Qemu:
    """A QEMU on this host: absolute path, version with the packager's part, accelerator to use (`tcg` or `kvm`)."""

    binary: str
    version: str
    accelerator: str = "tcg"


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds and bytes a guest may take.

    `first_byte_s` counts from QEMU's start to the first byte of the report; `silence_s` from then on, since the last
    byte of either port.  The console is cut beyond its bound, a report beyond its own is a death.
    """

    total_s: float
    silence_s: float
    first_byte_s: float
    report_bytes: int = 64 << 20
    console_bytes: int = 4 << 20


@dataclass(frozen=True, slots=True)
class Job:
    """What to boot and what to hand over; `object` is a path or the bytes themselves."""

    vmlinuz: Path
    initramfs: Path
    object: Path | bytes
    spec: bytes
    command_line: str = COMMAND_LINE
    memory_mb: int = 256


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What QEMU inherits: a job's object and spec as open files, and its ends of the two serial ports."""

    object: int
    spec: int
    console: int
    report: int


@dataclass(frozen=True, slots=True)
class Console:
    """What the kernel and init said on the console; `cut` tells that the beginning is missing."""

    data: bytes
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """A guest that gave a complete report: its bytes, the console, seconds from QEMU's start, how it was started."""

    report: bytes
    console: Console
    seconds: float
    start: str = "cold"


# --- the machine


def machine_class(memory_mb: int) -> dict[str, Any]:
    """What of the machine can change an answer: goes into the probe's action key."""
    return {"machine": MACHINE, "cpu": CPU, "vcpus": 1, "memory_mb": memory_mb}


def argv(qemu: Qemu, job: Job, files: Descriptors) -> list[str]:
    """QEMU's command line for one job; touches nothing."""
    return [
        qemu.binary, "-nodefaults", "-no-user-config", "-display", "none", "-sandbox", SANDBOX,
        "-machine", f"{MACHINE},accel={qemu.accelerator}", "-cpu", CPU, "-smp", "1", "-m", f"{job.memory_mb}M",
        "-nic", "none",
        "-no-reboot",  # with panic=-1: a guest that dies ends QEMU
        "-kernel", str(job.vmlinuz.absolute()), "-initrd", str(job.initramfs.absolute()), "-append", job.command_line,
        *_port("console", files.console), *_port("report", files.report),
        "-fw_cfg", f"name=opt/bpfcompat/object,file=/dev/fd/{files.object}",
        "-fw_cfg", f"name=opt/bpfcompat/spec,file=/dev/fd/{files.spec}",
    ]  # fmt: skip


def _port(name: str, fd: int) -> tuple[str, ...]:
    return "-chardev", f"socket,id={name},fd={fd}", "-serial", f"chardev:{name}"


def find_qemu(override: str = "") -> Qemu:
    """The QEMU of this host, or the one named by the settings; BuildError names the package when it is absent."""
    binary = str(Path(process.find_tool(override or BINARY, "qemu-system-x86")).absolute())
    said = process.check([binary, "--version"], what="qemu", cwd=Path("/"), timeout_s=30, max_stdout=1 << 16)
    found = re.match(r"QEMU emulator version ([ -~]{1,100})", said.decode("utf-8", "replace"))
    if found is None:
        raise BuildError(f"{binary}: expected a QEMU, got {said[:80]!r}", hint="correct [guest] qemu")
    return Qemu(binary, found[1])


# --- the accelerator


def choose_accelerator(
    qemu: Qemu, vmlinuz: Path, initramfs: Path, wanted: str, state_dir: Path, device: Path = KVM_DEVICE
) -> tuple[Qemu, str]:
    """The same QEMU with the accelerator to use, and a note for people ("" when there is nothing to say).

    A /dev/kvm may open and QEMU yet die or the kernel hang, so KVM counts only once a real kernel reached user space
    with it; the answer is remembered below `state_dir` until the host boots again.  `auto` falls back to tcg and the
    note says why; `kvm` never falls back but raises BuildError.
    """
    if wanted == "tcg":
        return qemu, ""
    with_kvm, memory = replace(qemu, accelerator="kvm"), state_dir / "accelerator.json"
    if os.access(device, os.R_OK | os.W_OK):
        trouble = _kvm_trouble(with_kvm, vmlinuz, initramfs, memory)
    else:
        trouble = f"{device} is not there or not open to this user"
    if not trouble:
        return with_kvm, ""
    if wanted == "kvm":
        raise BuildError(
            f"accelerator kvm: {trouble}",
            hint=f'set [guest] accelerator = "tcg", or mend it, remove {memory} and ask again',
        )
    return qemu, f"accelerator tcg: kvm does not work on this host: {trouble}"


def _kvm_trouble(qemu: Qemu, vmlinuz: Path, initramfs: Path, memory: Path) -> str:
    """Why KVM does not work on this host, "" when it does; asked once per boot of the host and version of QEMU."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    asked = {"boot_id": boot_id, "qemu": qemu.version, "binary": qemu.binary}
    with contextlib.suppress(BpfcompatError, ValueError):
        known = json.loads(read_bounded(memory, 1 << 16))
        if isinstance(known, dict) and known.get("asked") == asked and isinstance(known.get("trouble"), str):
            return str(known["trouble"])
    trouble = _try_boot(qemu, vmlinuz, initramfs)
    write_atomic(memory, json.dumps({"asked": asked, "trouble": trouble}, indent=1).encode() + b"\n")
    return trouble


def _try_boot(qemu: Qemu, vmlinuz: Path, initramfs: Path) -> str:
    limits = Limits(total_s=PROBE_S, silence_s=PROBE_S, first_byte_s=PROBE_S)
    try:
        run_cold(qemu, Job(vmlinuz, initramfs, b"", b""), limits, complete=lambda report: True)
    except GuestError as error:
        # a report has begun: a kernel reached user space, and that is all that was asked
        return "" if error.phase == "report" else error.message
    return ""


# --- one run


def run_cold(
    qemu: Qemu,
    job: Job,
    limits: Limits,
    complete: Callable[[bytearray], bool],
    on_progress: Callable[[int], None] | None = None,
) -> Ended:
    """Boot, read both ports until `complete(report so far)`, end QEMU.

    `complete` is asked only when a line has ended since; `on_progress` is told the report's size whenever it grew.
    Raises GuestError with phase, death and the console's end; what `complete` raises gets phase and console added.
    """
    with _started(qemu, job) as (child, ports):
        heard = Heard(limits, time.monotonic())
        try:
            _listen(ports, heard, complete, on_progress or (lambda size: None))
            if not heard.done:
                code = child.wait()
                raise heard.lost(_exit_death(code), code)
        except GuestError as error:
            error.phase, error.console = heard.phase, clean_console(heard.console.last())
            raise
        seconds = time.monotonic() - heard.started
    return Ended(bytes(heard.report), Console(heard.console.last(), heard.console.cut), seconds)


@contextlib.contextmanager
def _started(qemu: Qemu, job: Job) -> Iterator[tuple[subprocess.Popen[bytes], Mapping[str, socket.socket]]]:
    """QEMU running, and our ends of what it says: console, report, stderr.  No file is made, so none can be left."""
    with contextlib.ExitStack() as stack:
        pairs = {name: socket.socketpair() for name in ("console", "report", "stderr")}
        for end in (end for pair in pairs.values() for end in pair):
            stack.enter_context(end)
        theirs = {name: pair[1].fileno() for name, pair in pairs.items()}
        content = job.object if isinstance(job.object, bytes) else read_bounded(job.object, OBJECT_BYTES, ObjectError)
        files = Descriptors(
            stack.enter_context(_in_memory("object", content)), stack.enter_context(_in_memory("spec", job.spec)),
            theirs["console"], theirs["report"],
        )  # fmt: skip
        child = stack.enter_context(process.spawned(
            argv(qemu, job, files),
            cwd=Path("/"),
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": "/"},
            stderr=theirs["stderr"],
            pass_fds=astuple(files),
        ))  # fmt: skip
        for _, end in pairs.values():
            end.close()  # or their end of file would never reach us
        _restrict(child.pid)
        yield child, {name: pair[0] for name, pair in pairs.items()}


@contextlib.contextmanager
def _in_memory(name: str, data: bytes) -> Iterator[int]:
    """A descriptor of a file that is on no disk."""
    with open(os.memfd_create(name), "wb") as stream:
        stream.write(data)
        stream.flush()
        yield stream.fileno()


def _restrict(pid: int) -> None:
    """No core dump, no byte into any file: QEMU has nothing to write but its sockets."""
    with contextlib.suppress(ProcessLookupError):
        for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
            resource.prlimit(pid, limit, (0, 0))


def _listen(
    ports: Mapping[str, socket.socket],
    heard: "Heard",
    complete: Callable[[bytearray], bool],
    on_progress: Callable[[int], None],
) -> None:
    """Read until the report is complete, every port is closed, or a deadline passed (GuestError)."""
    with selectors.DefaultSelector() as selector:
        for name, port in ports.items():
            selector.register(port, selectors.EVENT_READ, name)
        while selector.get_map():
            wait = heard.next_death()[0] - time.monotonic()
            grown = b""
            for key, _ in selector.select(max(0.0, wait)):
                data = _receive(ports[key.data])
                if not data:
                    selector.unregister(key.fileobj)
                heard.hear(key.data, data, time.monotonic())
                grown = data if key.data == "report" else grown
            if grown:
                on_progress(len(heard.report))
            if b"\n" in grown and not heard.flooded and complete(heard.report):
                heard.done = True
                return
            heard.check(time.monotonic())


def _receive(port: socket.socket) -> bytes:
    try:
        return port.recv(_CHUNK)
    except OSError:  # a peer killed with bytes of ours unread resets the stream
        return b""


def _exit_death(code: int) -> Death:
    if code == 0:
        return Death.EXIT
    return Death.KILLED if code < 0 else Death.REFUSED


# --- what was heard


class Tail:
    """The last `bound` bytes of a stream of any length; `cut` tells that the beginning is gone."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._kept = bytearray()
        self.cut = False

    def add(self, data: bytes) -> None:
        self._kept += data
        self.cut = self.cut or len(self._kept) > self._bound
        if len(self._kept) > 2 * self._bound:  # seldom, so that a flood costs linear time
            del self._kept[: -self._bound]

    def last(self, size: int | None = None) -> bytes:
        """At most `size` bytes (default: all that is kept) from the end."""
        return bytes(self._kept[-min(size or self._bound, self._bound) :])


class Heard:
    """What one guest has said so far and which death is next, by the clock it is told; no IO."""

    def __init__(self, limits: Limits, now: float) -> None:
        self.limits = limits
        self.started = self.last = now
        self.report = bytearray()
        self.console = Tail(limits.console_bytes)
        self.stderr = Tail(_STDERR_BYTES)
        self.panicked: float | None = None
        self.done = False

    @property
    def phase(self) -> str:
        """`start` until a byte came from the guest, `boot` until the report's first, then `report`."""
        return "report" if self.report else "boot" if self.console.last(1) else "start"

    @property
    def flooded(self) -> bool:
        """True when the report is longer than it may be."""
        return len(self.report) > self.limits.report_bytes

    def hear(self, port: str, data: bytes, now: float) -> None:
        """Take in bytes of `console`, `report` or `stderr`; none means that the port was closed."""
        if port == "report":
            self.report += data
        elif port == "stderr":
            self.stderr.add(data)
        else:
            self.console.add(data)
            # the words may have come in two pieces
            if self.panicked is None and _PANIC in self.console.last(len(data) + len(_PANIC)):
                self.panicked = now
        if data and port != "stderr":
            self.last = now

    def next_death(self) -> tuple[float, Death]:
        """When, by the clock, this guest is lost if nothing more is heard, and how."""
        deaths = [(self.started + self.limits.total_s, Death.DEADLINE)]
        if self.report:
            deaths.append((self.last + self.limits.silence_s, Death.SILENCE))
        else:
            deaths.append((self.started + self.limits.first_byte_s, Death.FIRST_BYTE))
        if self.panicked is not None:
            deaths.append((self.panicked + _PANIC_GRACE_S, Death.PANIC))
        if self.flooded:
            deaths.append((self.started, Death.FLOOD))
        return min(deaths)

    def check(self, now: float) -> None:
        """GuestError if the next death's time has come."""
        when, death = self.next_death()
        if now >= when:
            raise self.lost(death)

    def lost(self, death: Death, code: int = 0) -> GuestError:
        """The error for this death; `code` is QEMU's exit code where it ended by itself (negative: a signal)."""
        if self.panicked is not None:
            death = Death.PANIC  # whatever came of it, the panic came first
        message = f"guest: {self._words(death, code)}"
        said = "; ".join(clean_console(self.stderr.last()).split("\n")[-3:])
        return GuestError(f"{message}; qemu said: {said}" if said else message, death=death)

    def _words(self, death: Death, code: int) -> str:
        limits = self.limits
        return {
            Death.PANIC: _panic_line(self.console.last()),
            Death.EXIT: "powered off before its report was complete",
            Death.FIRST_BYTE: f"no report begun within {limits.first_byte_s:g} s",
            Death.SILENCE: f"silent for {limits.silence_s:g} s before its report was complete",
            Death.DEADLINE: f"no complete report within {limits.total_s:g} s",
            Death.FLOOD: f"report longer than {limits.report_bytes} bytes",
            Death.REFUSED: f"qemu ended with exit code {code}",
            Death.KILLED: f"qemu killed by {_signal_name(-code)}",
        }[death]


def _panic_line(console: bytes) -> str:
    _, words, why = console.partition(_PANIC)
    return clean_console((words or _PANIC) + why.split(b"\n")[0])


def _signal_name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def clean_console(data: bytes) -> str:
    """Console bytes as text for people: its last lines, without escape sequences, control or invisible characters.

    At most CONSOLE_LINES lines of LINE_CHARS characters; bytes that are not UTF-8 become U+FFFD.
    """
    bound = CONSOLE_LINES * LINE_CHARS
    text = _ESCAPE.sub("", data[-bound:].decode("utf-8", "replace"))
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = "".join(c for c in text if c in "\n\t" or c.isprintable())
    lines = text.strip("\n").split("\n")[-CONSOLE_LINES:]
    return "\n".join(line[:LINE_CHARS] for line in lines)
