"""QEMU's options, the machine, and the monitor's words."""

import itertools
import json
import os
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from bpfcompat import qemu
from bpfcompat.errors import BuildError, GuestError
from bpfcompat.qemu import Descriptors, Job, Monitor, Qemu, argv, find_qemu, kvm_groups, machine_class

JOB = Job(Path("/k/vmlinuz"), Path("/k/initramfs"), b"object", b"spec")
FakeQemu = Callable[[str], Path]


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program that calls itself a QEMU."""
    path = tmp_path / "qemu"
    path.write_text(f"#!{sys.executable}\nprint('QEMU emulator version 9.8.7 (Fake)')\n")
    path.chmod(stat.S_IRWXU)
    return path


# --- argv


def test_ended_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A QEMU that ends before it reads what it needs is not waited for: nobody else holds the pipe's other end."""
    for name in ("image", "initramfs"):
        (tmp_path / name).write_bytes(b"")
    broken = []

    def let_go(leash: IO[bytes], rest: bytes, _seconds: float) -> None:
        os.set_blocking(leash.fileno(), False)
        end = time.monotonic() + 30
        while not broken and time.monotonic() < end:
            try:
                leash.write(rest)  # None while it is full
                time.sleep(0.01)
            except BrokenPipeError:
                broken.append(True)

    monkeypatch.setattr(qemu, "_let_go", let_go)
    with qemu.started(Qemu("/bin/false", "1"), Job(tmp_path / "image", tmp_path / "initramfs", b"", b""), 60):
        assert broken == [True]


def test_argv_isolation() -> None:
    """No device, network, user configuration or file of the host is given beyond those named; calls are sandboxed."""
    given = argv(Qemu("/q", "7.2", "tcg"), JOB, Descriptors(4, 5, 6, 7, 8, 9, 3, object=10, spec=11))
    assert given[0] == "/q"
    assert {"-nodefaults", "-no-user-config", "-no-reboot"} <= set(given)
    pairs = list(itertools.pairwise(given))
    sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
    assert {("-nic", "none"), ("-display", "none"), ("-sandbox", sandbox), ("-smp", "1")} <= set(pairs)
    assert [b for a, b in pairs if a == "-chardev"] == [
        "socket,id=console,fd=7",
        "socket,id=pulse,fd=9",
        "socket,id=frames,fd=3",
    ]
    assert ("-readconfig", "/dev/fd/4") in pairs
    assert not {"-drive", "-hda", "-virtfs", "-netdev", "-monitor", "-qmp"} & set(given)


def test_command_line() -> None:
    """What would change the verifier or the JIT is not on the default command line."""
    assert not {"mitigations", "nosmep", "nopti", "net.core", "spec", "bpf"} & set(JOB.command_line.split("="))
    assert "mitigations" not in JOB.command_line


def test_machine_class() -> None:
    """The accelerator and QEMU's version cannot change an answer, so they are not in the key."""
    assert machine_class(256) == {"machine": "q35", "boot": "pvh", "cpu": "max", "vcpus": 1, "memory_mb": 256}


# --- finding


def test_find_absent() -> None:
    """An absent QEMU is an error that names the package."""
    with pytest.raises(BuildError, match="qemu-system-x86"):
        find_qemu("no-such-qemu")


def test_find(program: Path) -> None:
    """The settings may name another QEMU; its version is read from itself."""
    assert find_qemu(str(program)).version == "9.8.7 (Fake)"


def test_find_other_program() -> None:
    """A program that does not call itself a QEMU of some version is refused."""
    with pytest.raises(BuildError, match="expected a QEMU"):
        find_qemu("true")


# --- users


@pytest.mark.parametrize(("mode", "groups"), [(0o666, ()), (0o660, "own"), (0o600, None), (0o640, None)])
def test_kvm_groups(mode: int, groups: object, tmp_path: Path) -> None:
    """A guest's own user joins the KVM device's group; where only its owner may open it, there is no such user."""
    (tmp_path / "kvm").touch()
    (tmp_path / "kvm").chmod(mode)
    own = ((tmp_path / "kvm").stat().st_gid,)
    assert kvm_groups(tmp_path / "kvm") == (own if groups == "own" else groups)


# --- templates


def test_argv_template() -> None:
    """A template's RAM is shared with its file, a clone's is not, and waits for the devices' state."""
    frozen = argv(Qemu("/q", "7.2"), JOB, Descriptors(4, 5, 6, 7, 8, 9, 3, freeze=10, ram=11, monitor=12))
    thawed = argv(Qemu("/q", "7.2"), JOB, Descriptors(4, 5, 6, 7, 8, 9, 3, object=10, spec=13, ram=11, monitor=12))
    memory = "memory-backend-file,id=memory,size=256M,mem-path=/dev/fd/11"
    assert f"{memory},share=on" in frozen and "-incoming" not in frozen
    assert f"{memory},share=off" in thawed and thawed[-2:] == ["-incoming", "defer"]
    own = ("share=", "fw_cfg", "opt/bpfcompat")
    same = [a for a in frozen if not any(o in a for o in own)]
    assert same == [a for a in thawed[:-2] if not any(o in a for o in own)]


# --- the monitor

GREETING = b'{"QMP": {"version": {}}}\r\n'
OK = b'{"return": {}}\r\n'


@pytest.fixture
def talk() -> Iterator[Callable[[bytes], Monitor]]:
    """A monitor whose other end has said these bytes, and closes."""
    ends: list[socket.socket] = []

    def say(said: bytes, seconds: float = 5) -> Monitor:
        ours, theirs = socket.socketpair()
        ends.extend((ours, theirs))
        theirs.sendall(said)
        theirs.shutdown(socket.SHUT_WR)
        return Monitor(ours, time.monotonic() + seconds)

    yield say
    for end in ends:
        end.close()


def test_monitor(talk: Callable[[bytes], Monitor]) -> None:
    """Answers are told from events, which may come before them."""
    event = json.dumps({"event": "RESUME", "timestamp": {}}).encode() + b"\r\n"
    monitor = talk(GREETING + OK + event + b'{"return": {"status": "completed"}}\r\n')
    assert monitor.ask("query-migrate") == {"status": "completed"}
    monitor.wait("RESUME")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (GREETING + OK + b'{"error": {"class": "GenericError", "desc": "no such thing"}}\n', "no such thing"),
        (GREETING + OK, "closed"),
        (GREETING + OK + b"what?\n", "expected a JSON object"),
        (GREETING + OK + b"[" * 100_000 + b"\n", "expected a JSON object"),
    ],
)
def test_monitor_refuses(said: bytes, words: str, talk: Callable[[bytes], Monitor]) -> None:
    """A refusal, an end and nonsense are a lost guest with the words that came."""
    monitor = talk(said)
    with pytest.raises(GuestError, match=words):
        monitor.ask("migrate")


def test_monitor_deadline() -> None:
    """A monitor that says nothing is waited for until the deadline."""
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(GuestError, match="no answer"):
        Monitor(ours, time.monotonic() + 0.1)


def test_monitor_endless() -> None:
    """A line without an end is given up, however fast it comes."""
    ours, theirs = socket.socketpair()

    def flood() -> None:
        try:
            while True:
                theirs.sendall(bytes(1 << 16))
        except OSError:
            return

    writer = threading.Thread(target=flood)
    with theirs, ours:
        writer.start()
        with pytest.raises(GuestError, match="no answer"):
            Monitor(ours, time.monotonic() + 30)
        ours.close()
        writer.join(10)
    assert not writer.is_alive()
