"""QEMU's program, its options and its monitor; nothing else in the project names them.

A guest gets no network, no disk, no shared folder: ports that the host reads as streams, at most three files in fw_cfg,
and a debug port by which it says that it is alive.  QEMU itself runs without the host's environment, in an empty
folder, under its own seccomp filter, with limits, and as a user of its own when we are root.
"""

import contextlib
import fcntl
import json
import mmap
import os
import re
import resource
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any

from bpfcompat import process
from bpfcompat.errors import BuildError, GuestError, KernelError, ObjectError
from bpfcompat.files import read_bounded

MACHINE = "q35"
CPU = "max"
BOOT = "pvh"  # by the entry that a vmlinux says it has; a kernel without one unpacks itself, as from a disk
# panic=-1: a panic ends QEMU at once instead of hanging.  cryptomgr.notests: without the crypto self-tests a boot takes
# a fifth less, and no program can tell.  mitigations=off would change the verifier and the JIT: never.
COMMAND_LINE = "console=ttyS0 panic=-1 quiet loglevel=5 cryptomgr.notests"

BINARY = "qemu-system-x86_64"
PACKAGE = "qemu-system-x86"
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
PULSE_PORT = 0x402  # validator/env.c writes to it
FRAMES_PORT = 0x403  # validator/report.c writes to it
PORT_BUFFER = 1 << 20  # QEMU sends a port's bytes one by one, and each takes a buffer's worth of a kilobyte
KVM_DEVICE = Path("/dev/kvm")
OBJECT_BYTES = 64 << 20
STATE_BYTES = 64 << 20
# TCG keeps up to 1 GiB of translated code, and QEMU 7.2 itself reserves as much again.
ADDRESS_SPACE = 4 << 30
OPEN_FILES = 128
MONITOR_S = 30.0
LEASH_BYTES = mmap.PAGESIZE  # the smallest pipe there is: what is written after it waits until QEMU reads
TEMPLATES_GID = 61183  # who may open a template's RAM: guests only, and they may not write files (RLIMIT_FSIZE)


@dataclass(frozen=True, slots=True)
class Qemu:
    """A QEMU on this host: absolute path, version with the packager's part, accelerator to use (`tcg` or `kvm`).

    `own_user`: a guest gets a user of its own where we are root.
    """

    binary: str
    version: str
    accelerator: str = "tcg"
    own_user: bool = True


@dataclass(frozen=True, slots=True)
class Job:
    """What to boot, a vmlinuz or a vmlinux with a PVH entry, and what to hand over: `object`, its path or its bytes.

    `files`: an archive of guestfiles.py, if the guest is to have more than its object.
    `modules` are those that the object declares, as kernels.modules.pack() writes them.  `spec` may be what makes it:
    that is called while the host is still loading QEMU.
    """

    image: Path
    initramfs: Path
    object: Path | bytes
    spec: bytes | Callable[[], bytes]
    command_line: str = COMMAND_LINE
    memory_mb: int = 256
    files: Path | bytes | None = None
    modules: bytes = b""


@dataclass(frozen=True, slots=True)
class Frozen:
    """A template's files, open: RAM to be mapped privately, and the bytes of the devices' state."""

    ram: int
    state: bytes


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What QEMU inherits: open files, its ends of the ports; `ram` and `monitor` only with a template."""

    leash: int
    image: int
    initramfs: int
    console: int
    report: int
    pulse: int
    frames: int
    object: int | None = None
    spec: int | None = None
    files: int | None = None
    freeze: int | None = None
    modules: int | None = None
    ram: int | None = None
    monitor: int | None = None

    def all(self) -> tuple[int, ...]:
        """Those that are there."""
        return tuple(fd for f in fields(self) if (fd := getattr(self, f.name)) is not None)


@dataclass(frozen=True, slots=True)
class Running:
    """A started QEMU, and our ends: `console`, `report`, `frames`, `pulse`, `stderr`, with a template also `monitor`.

    A report comes by `frames`.  `report` is the serial port at which a thawed guest waits for a byte; what an init says
    there, who knows of no other port, counts as well.
    """

    child: subprocess.Popen[bytes]
    ports: Mapping[str, socket.socket]


# --- the machine


def machine_class(memory_mb: int) -> dict[str, Any]:
    """What of the machine can change an answer: goes into the probe's action key."""
    return {"machine": MACHINE, "boot": BOOT, "cpu": CPU, "vcpus": 1, "memory_mb": memory_mb}


def argv(qemu: Qemu, job: Job, fds: Descriptors) -> list[str]:
    """QEMU's command line for one job; touches nothing."""
    return [
        qemu.binary, "-nodefaults", "-no-user-config", "-display", "none", "-sandbox", SANDBOX,
        *_machine(qemu, job, fds), "-cpu", CPU, "-smp", "1", "-m", f"{job.memory_mb}M",
        "-nic", "none",
        "-no-reboot",  # with panic=-1: a guest that dies ends QEMU
        "-kernel", _inherited(fds.image), "-initrd", _inherited(fds.initramfs), "-append", job.command_line,
        *_chardev("console", fds.console), "-serial", "chardev:console",
        "-readconfig", _inherited(fds.leash), "-serial", "chardev:report",
        *_chardev("pulse", fds.pulse), "-device", f"isa-debugcon,chardev=pulse,iobase={PULSE_PORT:#x}",
        *_chardev("frames", fds.frames), "-device", f"isa-debugcon,chardev=frames,iobase={FRAMES_PORT:#x}",
        *_fw_cfg("object", fds.object), *_fw_cfg("spec", fds.spec), *_fw_cfg("files", fds.files),
        *_fw_cfg("freeze", fds.freeze),
        *_fw_cfg("modules", fds.modules),
        *_monitor(fds),
    ]  # fmt: skip


def withheld(fds: Descriptors) -> bytes:
    """The option that QEMU reads from its leash: the report's port, without which there is no machine."""
    return b"\n" * LEASH_BYTES + f'[chardev "report"]\n  backend = "socket"\n  fd = "{fds.report}"\n'.encode()


def _machine(qemu: Qemu, job: Job, fds: Descriptors) -> tuple[str, ...]:
    machine = f"{MACHINE},accel={qemu.accelerator}"
    if fds.ram is None:
        return "-machine", machine
    # A template writes into the file, a clone into private pages over it.
    share = "on" if fds.freeze is not None else "off"
    memory = f"memory-backend-file,id=memory,size={job.memory_mb}M,mem-path={_inherited(fds.ram)},share={share}"
    return "-object", memory, "-machine", f"{machine},memory-backend=memory"


def _inherited(fd: int) -> str:
    return f"/dev/fd/{fd}"


def _chardev(name: str, fd: int) -> tuple[str, ...]:
    return "-chardev", f"socket,id={name},fd={fd}"


def _fw_cfg(name: str, fd: int | None) -> tuple[str, ...]:
    return () if fd is None else ("-fw_cfg", f"name=opt/bpfcompat/{name},file={_inherited(fd)}")


def _monitor(fds: Descriptors) -> tuple[str, ...]:
    if fds.monitor is None:
        return ()
    waits = () if fds.freeze is not None else ("-incoming", "defer")
    return *_chardev("monitor", fds.monitor), "-mon", "chardev=monitor,mode=control", *waits


def find_qemu(override: str = "") -> Qemu:
    """The QEMU of this host, or the one named by the settings; BuildError names the package when it is absent."""
    binary = str(Path(process.find_tool(override or BINARY, PACKAGE)).absolute())
    said = process.check([binary, "--version"], what="qemu", cwd=Path("/"), timeout_s=30, max_stdout=1 << 16)
    found = re.match(r"QEMU emulator version ([ -~]{1,100})", said.decode("utf-8", "replace"))
    if found is None:
        raise BuildError(f"{binary}: expected a QEMU, got {said[:80]!r}", hint="correct [guest] qemu")
    return Qemu(binary, found[1])


# --- one process


def limits(memory_mb: int, seconds: float) -> dict[int, int]:
    """What QEMU may take at most: no byte into any file, no core dump, and bounds on the rest."""
    return {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_AS: ADDRESS_SPACE + (memory_mb << 20),
        resource.RLIMIT_CPU: int(2 * seconds) + 60,  # of all threads; its parent ends it long before
    }


def kvm_groups(device: Path) -> tuple[int, ...] | None:
    """The groups that a user must be in to open the KVM device; None where no other user but its owner may."""
    found = device.stat()
    if found.st_mode & 0o006 == 0o006:
        return ()
    return (found.st_gid,) if found.st_mode & 0o060 == 0o060 else None


@contextlib.contextmanager
def started(qemu: Qemu, job: Job, seconds: float, ram: int | None = None, freeze: bool = False) -> Iterator[Running]:
    """QEMU for one job: cold, or over a template's RAM file, or (`freeze`) to become a template.

    Nothing is written to any disk, so nothing can be left.  GuestError when the host has no room for a guest.
    """
    names = ["console", "report", "pulse", "frames", "stderr", *(["monitor"] if ram is not None else [])]
    with contextlib.ExitStack() as stack:
        try:
            pairs = {name: _pair(stack) for name in names}
            leash = stack.enter_context(_pipe())
            ends = {"leash": leash[0].fileno(), **{n: p[1].fileno() for n, p in pairs.items()}}
            fds = _descriptors(stack, job, ends, ram, freeze)
            folder = tempfile.mkdtemp(prefix="bpfcompat-guest-")
        except OSError as error:
            raise GuestError(
                f"guest: cannot be prepared: {error.strerror}",
                hint="fewer guests at once (doit -n), or a higher limit on open files (ulimit -n)",
                phase="start",
                death="host",
            ) from error
        devices = kvm_groups(KVM_DEVICE) if qemu.accelerator == "kvm" else ()
        uid = process.spare_uid() if qemu.own_user and devices is not None else None
        groups = (*((TEMPLATES_GID,) if ram is not None else ()), *(devices or ()))
        room = job.memory_mb + (files_bytes(fds.files) >> 20)  # QEMU reads what it hands over into its own memory
        jail = process.Jail(uid, groups, limits(room, seconds))
        try:
            child = stack.enter_context(process.spawned(
                argv(qemu, job, fds), cwd=Path(folder), env={}, stderr=pairs["stderr"][1].fileno(),
                pass_fds=fds.all(), jail=jail,
            ))  # fmt: skip
        finally:
            os.rmdir(folder)  # QEMU is in it: a folder that is gone stays empty, and nobody has to tidy up
        leash[0].close()  # or a child that has ended at once would be waited for
        for _, end in pairs.values():
            end.close()  # or their end of file would never reach us
        if fds.spec is not None and callable(job.spec):
            _fill(fds.spec, job.spec())
        _let_go(leash[1], withheld(fds), min(MONITOR_S, seconds))
        yield Running(child, {name: pair[0] for name, pair in pairs.items()})


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """A pipe of LEASH_BYTES: the end that QEMU reads, whoever it is, and ours."""
    read, write = os.pipe()
    with open(read, "rb", buffering=0) as theirs, open(write, "wb", buffering=0) as ours:
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, LEASH_BYTES)
        os.fchmod(read, 0o444)
        yield theirs, ours


def _let_go(leash: IO[bytes], rest: bytes, seconds: float) -> None:
    """Write what QEMU cannot start without, which takes until it reads.

    A child is bound to us (process.bound_to_us) a moment after it was started.  If we are killed in that moment, nobody
    ends QEMU; but then this is cut short, and it ends itself.  One that does not read is left to the deadlines.
    """
    os.set_blocking(leash.fileno(), False)
    give_up = time.monotonic() + seconds
    with contextlib.suppress(BrokenPipeError):  # it has ended already, and says why elsewhere
        while rest and (left := give_up - time.monotonic()) > 0:
            if select.select([], [leash], [], left)[1]:
                rest = rest[leash.write(rest) or 0 :]
    leash.close()


def files_bytes(fd: int | None) -> int:
    """Size of the archive behind a descriptor, 0 without one."""
    return 0 if fd is None else os.fstat(fd).st_size


def _pair(stack: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PORT_BUFFER)
    return stack.enter_context(ours), stack.enter_context(theirs)


def _descriptors(
    stack: contextlib.ExitStack, job: Job, ends: Mapping[str, int], ram: int | None, freeze: bool
) -> Descriptors:
    given: dict[str, bytes] = {"freeze": b"1"}
    if not freeze:
        content = job.object if isinstance(job.object, bytes) else read_bounded(job.object, OBJECT_BYTES, ObjectError)
        spec = b"" if callable(job.spec) else job.spec
        given = {"object": content, "spec": spec, **({"modules": job.modules} if job.modules else {})}
    if not freeze and isinstance(job.files, bytes):
        given["files"] = job.files
    files = {name: stack.enter_context(_in_memory(name, data)) for name, data in given.items()}
    images = {"image": job.image, "initramfs": job.initramfs}
    if not freeze and isinstance(job.files, Path):
        images["files"] = job.files
    opened = {name: stack.enter_context(_opened(path)) for name, path in images.items()}
    ports = {name: fd for name, fd in ends.items() if name != "stderr"}
    return Descriptors(**opened, **files, **ports, ram=ram)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A descriptor of a file that QEMU's user may not reach by its path."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (24, 23):  # EMFILE, ENFILE: the host's trouble, not the file's
            raise
        raise KernelError(f"{path}: cannot open: {error.strerror}") from error
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _in_memory(name: str, data: bytes) -> Iterator[int]:
    """A descriptor of a file that is on no disk."""
    with open(os.memfd_create(name), "wb") as stream:
        _fill(stream.fileno(), data)
        yield stream.fileno()


def _fill(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


# --- the monitor


class Monitor:
    """QEMU's machine protocol over a socket: docs/interop/qmp-spec of QEMU's tree."""

    def __init__(self, port: socket.socket, deadline: float) -> None:
        self._port = port
        self._deadline = deadline  # by time.monotonic()
        self._rest = b""
        self.events: list[str] = []
        self._next()  # the greeting
        self.ask("qmp_capabilities")

    def ask(self, command: str, send_fd: int | None = None, **arguments: Any) -> Any:
        """The answer to a command; GuestError when it is refused."""
        line = json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n"
        try:
            socket.send_fds(self._port, [line], [] if send_fd is None else [send_fd])
        except OSError as error:
            raise _lost(f"monitor: {command}: {error}") from error
        while True:
            found = self._next()
            if "return" in found:
                return found["return"]
            if "error" in found:
                raise _lost(f"monitor: {command}: {str(found['error'].get('desc'))[:200]}")

    def wait(self, event: str) -> None:
        """Wait for an event of this name."""
        while event not in self.events:
            self._next()

    def _next(self) -> dict[str, Any]:
        while b"\n" not in self._rest:
            left = self._deadline - time.monotonic()
            if left <= 0 or len(self._rest) > 1 << 20:
                raise _lost("monitor: no answer")
            self._port.settimeout(left)
            try:
                data = self._port.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError as error:
                raise _lost(f"monitor: {error}") from error
            if not data:
                raise _lost("monitor: closed")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise _lost(f"monitor: expected a JSON object, got {line[:80]!r}")
        if "event" in found:
            self.events.append(str(found["event"]))
        return found


def _lost(words: str) -> GuestError:
    return GuestError(f"guest: {words}", phase="start", death="qemu-refused")


def _ignore_ram(monitor: Monitor) -> None:
    capabilities = [{"capability": "x-ignore-shared", "state": True}]
    monitor.ask("migrate-set-capabilities", capabilities=capabilities)


def save(monitor: Monitor) -> bytes:
    """The devices' state of a running guest whose RAM is a shared file; the guest stops."""
    _ignore_ram(monitor)
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            monitor.ask("getfd", send_fd=theirs.fileno(), fdname="state")
        monitor.ask("migrate", uri="fd:state")
        state = _received(ours)
    while (status := monitor.ask("query-migrate").get("status")) not in ("completed", "failed", "cancelled"):
        time.sleep(0.005)
    if status != "completed":
        raise _lost(f"monitor: migrate: {status}")
    return state


def _received(port: socket.socket) -> bytes:
    port.settimeout(MONITOR_S)
    state = bytearray()
    try:
        while data := port.recv(1 << 20):
            state += data
            if len(state) > STATE_BYTES:
                raise _lost(f"monitor: a state of more than {STATE_BYTES} bytes")
    except OSError as error:
        raise _lost(f"monitor: state: {error}") from error
    return bytes(state)


def restore(monitor: Monitor, state: bytes) -> None:
    """Give a waiting QEMU its devices' state; returns when the guest runs."""
    _ignore_ram(monitor)
    with open(os.memfd_create("state"), "wb") as stream:
        stream.write(state)
        stream.flush()
        stream.seek(0)
        monitor.ask("getfd", send_fd=stream.fileno(), fdname="state")
        monitor.ask("migrate-incoming", uri="fd:state")
        monitor.wait("RESUME")
