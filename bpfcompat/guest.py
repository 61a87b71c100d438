"""Boot one kernel in QEMU, or thaw one that was frozen, hand it one object, and bring back what it said.

The guest is hostile: the host reads its ports as streams, each with a bound, and each phase has a deadline.  A guest
that is lost is a GuestError that says which death it died, never an answer about the object.  What the report's lines
mean is not known here (see wire), nor what QEMU is told (see qemu).
"""

import contextlib
import json
import mmap
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from bpfcompat import process, qemu
from bpfcompat.console import END, OOPS, PANIC, Tail, clean_console, headline, out_of_memory, panic_line, splats
from bpfcompat.errors import BpfcompatError, BuildError, GuestError
from bpfcompat.files import read_bounded, write_atomic
from bpfcompat.qemu import KVM_DEVICE, Frozen, Job, Qemu, Running

PROBE_S = 10.0
READY = b"BPFCR\n"  # validator/main.c says it where it can be frozen
REPORT = ("frames", "report")  # ports whose bytes are the report
_CHUNK = 1 << 16
_STDERR_BYTES = 8 << 10
_PANIC_GRACE_S = 1.0  # for the lines that follow the first
_GOING_S = 0.5  # between a port's end and the process's
_BUSY = 0.5  # a guest hangs that used this share of a processor in its silence; with less it goes on being heard
_IDLE = 0.1  # below this share it has nothing to do: a guest that only waits uses a few hundredths


class Death(StrEnum):
    """How a guest was lost before its report was complete."""

    PANIC = "panic"
    OOPS = "oops"  # the kernel went on, the process that asked did not
    HANG = "hang"  # the kernel runs, and runs no user space any more
    EXIT = "early-exit"  # powered off or rebooted
    FIRST_BYTE = "no-first-byte"
    SILENCE = "silence"  # and idle: stopped, or starved by the host
    DEADLINE = "deadline"
    FLOOD = "report-too-long"
    FRAMES = "broken-report"
    VALIDATOR = "validator-killed"
    MEMORY = "out-of-memory"  # the guest's
    REFUSED = "qemu-refused"  # QEMU said no, by its exit code
    KILLED = "qemu-killed"  # by a signal
    HOST = "host"  # no memory, no descriptors


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds and bytes a guest may take.

    `first_byte_s` counts from QEMU's start to the first byte of the report; `silence_s` from then on, since user space
    last gave a sign of life: a byte of the report, or a pulse; longer where a busy host gave it too little of a
    processor to tell.  The console is cut beyond its bound, a report beyond its own is a death.
    """

    total_s: float
    silence_s: float
    first_byte_s: float
    report_bytes: int = 64 << 20
    console_bytes: int = 4 << 20
    console_s: float = 0.0  # after a complete report, for the console to come to its own end
    stretched: float = 1.0  # by how much the host is slower than the one that the seconds were chosen for

    def longer(self, seconds: float) -> "Limits":
        """The same for a guest that may take so much longer, on the host that the seconds were chosen for."""
        return replace(self, total_s=self.total_s + seconds * self.stretched)

    def scaled(self, factor: float) -> "Limits":
        """The same for a host that is `factor` times slower."""
        return replace(
            self,
            stretched=self.stretched * factor,
            total_s=self.total_s * factor,
            silence_s=self.silence_s * factor,
            first_byte_s=self.first_byte_s * factor,
        )


@dataclass(frozen=True, slots=True)
class Console:
    """What the kernel and init said on the console; `cut` tells that the beginning is missing."""

    data: bytes
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """A guest that gave a complete report: its bytes, the console, seconds from QEMU's start, how it was started.

    `first_s` is when the report's first byte came; `splats` is what the kernel complained of all the same.
    """

    report: bytes
    console: Console
    seconds: float
    start: str = "cold"
    first_s: float = 0.0
    splats: tuple[str, ...] = ()


Complete = Callable[[bytearray], bool]
Progress = Callable[[int], None]


# --- the accelerator


def choose_accelerator(
    found: Qemu, image: Path, initramfs: Path, wanted: str, state_dir: Path, device: Path = KVM_DEVICE
) -> tuple[Qemu, str]:
    """The same QEMU with the accelerator to use, and a note for people ("" when there is nothing to say).

    A /dev/kvm may open and QEMU yet die or the kernel hang, so KVM counts only once a real kernel reached user space
    with it; the answer is remembered below `state_dir` until the host boots again.  `auto` falls back to tcg and the
    note says why; `kvm` never falls back but raises BuildError.
    """
    if wanted == "tcg":
        return found, ""
    with_kvm, memory = replace(found, accelerator="kvm"), state_dir / "accelerator.json"
    if os.access(device, os.R_OK | os.W_OK):
        trouble = _kvm_trouble(with_kvm, image, initramfs, memory)
    else:
        trouble = f"{device} is not there or not open to this user"
    if not trouble:
        return with_kvm, ""
    if wanted == "kvm":
        raise BuildError(
            f"accelerator kvm: {trouble}",
            hint=f'set [guest] accelerator = "tcg", or mend it, remove {memory} and ask again',
        )
    return found, f"accelerator tcg: kvm does not work on this host: {trouble}"


def _kvm_trouble(with_kvm: Qemu, image: Path, initramfs: Path, memory: Path) -> str:
    """Why KVM does not work on this host, "" when it does; asked once per boot of the host and version of QEMU."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    asked = {"boot_id": boot_id, "qemu": with_kvm.version, "binary": with_kvm.binary}
    with contextlib.suppress(BpfcompatError, ValueError, RecursionError):
        known = json.loads(read_bounded(memory, 1 << 16))
        if isinstance(known, dict) and known.get("asked") == asked and isinstance(known.get("trouble"), str):
            return str(known["trouble"])
    trouble = _try_boot(with_kvm, image, initramfs)
    write_atomic(memory, json.dumps({"asked": asked, "trouble": trouble}, indent=1).encode() + b"\n")
    return trouble


def _try_boot(with_kvm: Qemu, image: Path, initramfs: Path) -> str:
    limits = Limits(total_s=PROBE_S, silence_s=PROBE_S, first_byte_s=PROBE_S)
    try:
        run_cold(with_kvm, Job(image, initramfs, b"", b""), limits, complete=lambda report: True)
    except GuestError as error:
        # a report has begun: a kernel reached user space, and that is all that was asked
        return "" if error.phase == "report" else error.message
    return ""


# --- one run


def run_cold(program: Qemu, job: Job, limits: Limits, complete: Complete, on_progress: Progress | None = None) -> Ended:
    """Boot, read all ports until `complete(report so far)`, end QEMU.

    `complete` is asked only when a line has ended since; `on_progress` is told the report's size: once it waits, and
    whenever it grew.
    Raises GuestError with phase, death, what was heard, and the console's end.
    """
    with qemu.started(program, job, limits.total_s) as running:
        return _heard_out(running, Heard(limits, time.monotonic()), complete, on_progress, "cold")


def run_clone(
    program: Qemu, job: Job, frozen: Frozen, limits: Limits, complete: Complete, on_progress: Progress | None = None
) -> Ended:
    """The same with a guest thawed from a template: its RAM is a private mapping, so no clone sees another."""
    with qemu.started(program, job, limits.total_s, ram=frozen.ram) as running:
        heard = Heard(limits, time.monotonic())
        with _explained(running, heard):
            monitor = qemu.Monitor(running.ports["monitor"], heard.started + min(qemu.MONITOR_S, limits.total_s))
            qemu.restore(monitor, frozen.state)
            running.ports["report"].send(b".")  # it waits for one byte; the thawed port has lost what came before
        return _heard_out(running, heard, complete, on_progress, "clone")


def freeze(program: Qemu, job: Job, limits: Limits, ram: int) -> tuple[bytes, float]:
    """Boot into the RAM file `ram` until the guest waits for work; its devices' state, and seconds until it waited."""
    with qemu.started(program, job, limits.total_s, ram=ram, freeze=True) as running:
        heard = Heard(limits, time.monotonic())
        ended = _heard_out(running, heard, lambda report: report.endswith(READY), None, "cold")
        with _explained(running, heard):
            monitor = qemu.Monitor(running.ports["monitor"], time.monotonic() + qemu.MONITOR_S)
            state = qemu.save(monitor)
    if ended.report != READY or ended.splats:
        words = headline(ended.splats) or f"said {ended.report[:60]!r}"
        raise GuestError(f"guest: not ready to be frozen: {words}", console=clean_console(ended.console.data))
    return state, ended.first_s


def new_ram(memory_mb: int) -> int:
    """A file in memory for a guest's RAM, to be frozen; StoreError and the like are the caller's."""
    fd = os.memfd_create("ram")
    os.ftruncate(fd, memory_mb << 20)
    return fd


def ram_pieces(ram: int, piece: int = 1 << 16) -> Iterator[tuple[int, bytes]]:
    """(offset, bytes) of what is not zero in a RAM file, in order: the same pieces wherever the file has holes."""
    size, at = os.fstat(ram).st_size, 0
    with mmap.mmap(ram, size, prot=mmap.PROT_READ) as whole:
        while at < size:
            try:
                at = os.lseek(ram, at, os.SEEK_DATA) // piece * piece
            except OSError:  # ENXIO: only holes follow
                return
            data = whole[at : at + piece]
            if data.count(0) != len(data):
                yield at, data
            at += piece


@contextlib.contextmanager
def _explained(running: Running, heard: "Heard") -> Iterator[None]:
    """A GuestError leaves with all that is known of the guest."""
    try:
        yield
    except GuestError as error:
        code = process.exit_code(running.child, _GOING_S) if error.death == Death.REFUSED else None
        _drain(running.ports, heard)
        if code is not None:  # the monitor only knows that it was closed
            known = heard.lost(_exit_death(code), code)
            error.message, error.death = known.message, known.death
        error.phase, error.console = heard.phase, clean_console(heard.console.last())
        error.heard, error.splats = bytes(heard.report), splats(heard.console.last())
        raise


def _heard_out(running: Running, heard: "Heard", complete: Complete, on_progress: Progress | None, start: str) -> Ended:
    with _explained(running, heard):
        _listen(running, heard, complete, on_progress or (lambda size: None))
        if not heard.done:
            code = running.child.wait()
            raise heard.lost(_exit_death(code), code)
        _hear_console(running.ports["console"], heard)
    seconds, console = time.monotonic() - heard.started, heard.console.last()
    first_s = (heard.first or heard.started) - heard.started
    return Ended(bytes(heard.report), Console(console, heard.console.cut), seconds, start, first_s, splats(console))


def _listen(running: Running, heard: "Heard", complete: Complete, on_progress: Progress) -> None:
    """Read until the report is complete, every port is closed, or a deadline passed (GuestError)."""
    ports = {name: port for name, port in running.ports.items() if name != "monitor"}
    with selectors.DefaultSelector() as selector:
        for name, port in ports.items():
            selector.register(port, selectors.EVENT_READ, name)
        on_progress(len(heard.report))
        while selector.get_map():
            wait = heard.next_look() - time.monotonic()
            grown = b""
            for key, _ in selector.select(max(0.0, wait)):
                data = _receive(ports[key.data])
                if not data:
                    selector.unregister(key.fileobj)
                heard.hear(key.data, data, time.monotonic())
                grown += data if key.data in REPORT else b""
            if grown:
                on_progress(len(heard.report))
            if b"\n" in grown and not heard.flooded and complete(heard.report):
                heard.done = True
                return
            heard.check(time.monotonic(), lambda: process.cpu_seconds(running.child.pid))


def _hear_console(console: socket.socket, heard: "Heard") -> None:
    """What the kernel said before the last frame, it may yet be writing: wait for the validator's word behind it."""
    give_up = time.monotonic() + heard.limits.console_s
    while END not in heard.console.last(4096) and (left := give_up - time.monotonic()) > 0:
        console.settimeout(left)
        data = _receive(console)
        heard.hear("console", data, time.monotonic())
        if not data:
            break
    _drain({"console": console}, heard)


def _receive(port: socket.socket) -> bytes:
    try:
        return port.recv(_CHUNK)
    except OSError:  # a peer killed with bytes of ours unread resets the stream
        return b""


def _drain(ports: Mapping[str, socket.socket], heard: "Heard") -> None:
    """Take what is there of console and stderr, and wait for nothing; a flood gets no more than the console's bound."""
    for name in sorted(ports.keys() & {"console", "stderr"}):
        taken = 0
        ports[name].setblocking(False)
        while taken <= heard.limits.console_bytes and (data := _receive(ports[name])):
            heard.hear(name, data, time.monotonic())
            taken += len(data)


def _exit_death(code: int) -> Death:
    if code == 0:
        return Death.EXIT
    return Death.KILLED if code < 0 else Death.REFUSED


# --- what was heard


class Heard:
    """What one guest has said so far and which death is next, by the clock it is told; no IO."""

    def __init__(self, limits: Limits, now: float) -> None:
        self.limits = limits
        self.started = self.last = now
        self.first: float | None = None
        self.report = bytearray()
        self.console = Tail(limits.console_bytes)
        self.stderr = Tail(_STDERR_BYTES)
        self.panicked: float | None = None
        self.oopsed: float | None = None
        self.said = now  # when the report last grew
        self.done = False
        self._busy: tuple[float, float] | None = None  # clock and processor time, early in a silence
        self._patience = limits.silence_s  # of this silence

    @property
    def phase(self) -> str:
        """`start` until a byte came from the guest, `boot` until the report's first, then `report`."""
        return "report" if self.report else "boot" if self.console.last(1) else "start"

    @property
    def flooded(self) -> bool:
        """True when the report is longer than it may be."""
        return len(self.report) > self.limits.report_bytes

    def hear(self, port: str, data: bytes, now: float) -> None:
        """Take in bytes of `console`, `report`, `frames`, `pulse` or `stderr`; none means that the port was closed."""
        if port in REPORT:
            self.report += data
            self.said = now if data else self.said
            self.first = self.first or (now if data else None)
        elif port == "stderr":
            self.stderr.add(data)
        elif port == "console":
            self.console.add(data)
            # the words may have come in two pieces
            if self.panicked is None and PANIC in self.console.last(len(data) + len(PANIC)):
                self.panicked = now
            if self.oopsed is None and OOPS in self.console.last(len(data) + len(OOPS)):
                self.oopsed = now
        if data and port in (*REPORT, "pulse"):  # a kernel that hangs may yet say so, again and again
            self.last, self._busy, self._patience = now, None, self.limits.silence_s

    def next_look(self) -> float:
        """When to look again if nothing more is heard."""
        sample = self.last + self.limits.silence_s / 3
        return min(self.next_death()[0], sample) if self.report and not self._busy else self.next_death()[0]

    def next_death(self) -> tuple[float, Death]:
        """When, by the clock, this guest is lost if nothing more is heard, and how."""
        deaths = [(self.started + self.limits.total_s, Death.DEADLINE)]
        if self.report:
            deaths.append((self.last + self._patience, Death.SILENCE))
        else:
            deaths.append((self.started + self.limits.first_byte_s, Death.FIRST_BYTE))
        if self.panicked is not None:
            deaths.append((self.panicked + _PANIC_GRACE_S, Death.PANIC))
        if self.oopsed is not None:  # init may be well, and the process it waits for never come back
            deaths.append((max(self.oopsed, self.said) + self.limits.silence_s, Death.OOPS))
        if self.flooded:
            deaths.append((self.started, Death.FLOOD))
        return min(deaths)

    def check(self, now: float, cpu: Callable[[], float]) -> None:
        """GuestError if this guest is lost by now; `cpu` tells the processor time that it has used so far."""
        if self.report and self._busy is None and now >= self.last + self.limits.silence_s / 3:
            self._busy = now, cpu()
        when, death = self.next_death()
        if now < when:
            return
        if death is Death.SILENCE and self._busy:
            since, before = self._busy
            used = cpu() - before
            if used >= _BUSY * (self.limits.silence_s - (since - self.last)):
                death = Death.HANG
            elif used >= _IDLE * (now - since):
                self._patience += self.limits.silence_s
                return
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
            Death.PANIC: panic_line(self.console.last()),
            Death.OOPS: headline(splats(self.console.last())) or "the kernel had an oops",
            Death.EXIT: "powered off before its report was complete",
            Death.FIRST_BYTE: f"no report begun within {limits.first_byte_s:g} s",
            Death.SILENCE: f"silent and idle for {limits.silence_s:g} s before its report was complete",
            Death.HANG: f"user space stood still for {limits.silence_s:g} s while the kernel was busy",
            Death.DEADLINE: f"no complete report within {limits.total_s:g} s",
            Death.FLOOD: f"report longer than {limits.report_bytes} bytes",
            Death.REFUSED: f"qemu ended with exit code {code}",
            Death.KILLED: f"qemu killed by {_signal_name(-code)}",
        }[death]


def broken(ended: Ended, error: GuestError) -> GuestError:
    """Why a report that is complete and yet none came about: the console knows more than its frames."""
    memory = out_of_memory(ended.console.data)
    if memory:
        error.death, error.message = Death.MEMORY, f"{error.message}: {memory}"
        error.hint = "raise [guest] memory_mb"
    elif error.death == Death.VALIDATOR and ended.splats:
        error.death, error.message = Death.OOPS, f"{error.message}: {headline(ended.splats)}"
    error.console, error.heard, error.splats = clean_console(ended.console.data), ended.report, ended.splats
    return error


def _signal_name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
