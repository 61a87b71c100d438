"""Starting programs: bounded in time and bytes, nothing inherited, nobody left behind."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfcompat import process
from bpfcompat.errors import BuildError, ConfigError
from tests.hosting import child_python

SH = "/bin/sh"


def sh(script: str) -> list[str]:
    """A shell line as argv; tests may use a shell, the product does not."""
    return [SH, "-c", script]


def alive(pid: int) -> bool:
    """True for a process that still runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def soon(true: Callable[[], bool]) -> bool:
    """True as soon as it is; False when it has not become so within ten seconds."""
    end = time.monotonic() + 10
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


def test_run(tmp_path: Path) -> None:
    """Exit code, stdout and stderr come back apart; a non-zero code is no error."""
    done = process.run(sh("pwd; echo oops >&2; exit 3"), cwd=tmp_path)
    assert (done.code, done.stdout, done.stderr) == (3, f"{tmp_path}\n".encode(), "oops\n")


def test_killed_by_signal(tmp_path: Path) -> None:
    """A program that dies of a signal has its negative number."""
    assert process.run(sh("kill -SEGV $$"), cwd=tmp_path).code == -signal.SIGSEGV


def test_input(tmp_path: Path) -> None:
    """Input arrives whole; without any, the program reads an end and does not wait for our terminal."""
    assert process.run(["cat"], cwd=tmp_path, input_bytes=bytes(1 << 20)).stdout == bytes(1 << 20)
    assert process.run(["cat"], cwd=tmp_path).stdout == b""


def test_environment_is_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of our environment reaches a program but PATH; language and home are fixed."""
    monkeypatch.setenv("BPFCOMPAT_PASSPHRASE", "secret")
    monkeypatch.setenv("LD_PRELOAD_X", "x")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    seen = dict(line.split("=", 1) for line in process.run(["env"], cwd=tmp_path).stdout.decode().splitlines())
    assert seen == {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(tmp_path)}


def test_environment_given(tmp_path: Path) -> None:
    """What the caller gives is added, and wins."""
    done = process.run(sh('echo "$A $LC_ALL"'), cwd=tmp_path, env={"A": "b", "LC_ALL": "C"})
    assert done.stdout == b"b C\n"


def test_no_descriptor_is_inherited(tmp_path: Path) -> None:
    """A file that we have open is not open in the child, even when it is inheritable."""
    with open(tmp_path / "secret", "wb") as stream:
        os.set_inheritable(stream.fileno(), True)
        seen = process.run(sh("ls -l /proc/self/fd"), cwd=tmp_path).stdout
    assert b"secret" not in seen


def test_no_shell(tmp_path: Path) -> None:
    """Arguments are arguments, whatever is in them."""
    nasty = "$(touch x); `touch y` | touch z > w *"
    assert process.run(["printf", "%s", nasty], cwd=tmp_path).stdout == nasty.encode()
    assert list(tmp_path.iterdir()) == []


def test_timeout_ends_the_family(tmp_path: Path) -> None:
    """After its time a program is killed with its children's children, even if they ignore SIGTERM."""
    script = "trap '' TERM; sh -c 'trap \"\" TERM; sleep 600 & echo $! > pid; wait' & echo last words >&2; wait"
    with pytest.raises(BuildError, match="no end within 1 s") as caught:
        process.run(sh(script), cwd=tmp_path, timeout_s=1.0)
    assert caught.value.tail == "last words\n"
    assert soon(lambda: not alive(int((tmp_path / "pid").read_text())))


def test_background_child_does_not_outlive(tmp_path: Path) -> None:
    """A program that ends well and leaves a child behind leaves nothing behind."""
    done = process.run(sh("sleep 600 & echo $!"), cwd=tmp_path)
    assert soon(lambda: not alive(int(done.stdout)))


def test_output_bound(tmp_path: Path) -> None:
    """More output than allowed is an error with both numbers; exactly as much is not."""
    assert len(process.run(sh("head -c 1000 /dev/zero"), cwd=tmp_path, max_stdout=1000).stdout) == 1000
    with pytest.raises(BuildError, match="output of 1001 bytes, at most 1000 expected"):
        process.run(sh("head -c 1001 /dev/zero"), cwd=tmp_path, max_stdout=1000)


def test_tail_of_stderr(tmp_path: Path) -> None:
    """Of a talkative program the end is kept, whatever its bytes."""
    done = process.run(sh(r"yes | head -c 1000000 >&2; printf '\377end' >&2"), cwd=tmp_path)
    assert done.stderr.endswith("\ufffdend") and len(done.stderr) <= process.TAIL_BYTES


def test_missing_tool_names_its_package() -> None:
    """A tool that is absent is named with the package that has it."""
    with pytest.raises(BuildError, match=r"no-such-tool: program not found \(hint: apt-get install no-such-package"):
        process.find_tool("no-such-tool", "no-such-package")


@pytest.mark.parametrize("argv", [["no-such-tool"], ["/no/such/tool"], ["/etc/passwd"], ["/tmp"], [""]])
def test_cannot_start(argv: list[str], tmp_path: Path) -> None:
    """What is no program is an error before anything starts, not an exit code of some helper."""
    with pytest.raises(BuildError, match="cannot start"):
        process.run(argv, cwd=tmp_path)


def test_missing_folder(tmp_path: Path) -> None:
    """A working folder that is gone is our error too."""
    with pytest.raises(BuildError, match="cannot start"):
        process.run(["true"], cwd=tmp_path / "gone")


def test_check(tmp_path: Path) -> None:
    """check() gives stdout, or an error with the exit code, the argv and the tool's last words."""
    assert process.check(sh("echo hi"), what="x", cwd=tmp_path) == b"hi\n"
    with pytest.raises(BuildError) as caught:
        process.check(sh("echo no >&2; exit 7"), what="object 'x'", hint="try y", cwd=tmp_path)
    assert str(caught.value) == "object 'x': sh: exit 7 (hint: try y)\nno"
    assert caught.value.argv[0] == SH


def test_block_ends_child(tmp_path: Path) -> None:
    """A block that is left by an exception leaves no process."""
    with (
        pytest.raises(ConfigError),
        process.spawned(["sleep", "600"], cwd=tmp_path, env={"PATH": os.environ["PATH"]}) as child,
    ):
        raise ConfigError("x")
    assert child.returncode == -signal.SIGKILL


STOPPED = """
import sys, threading, time
from pathlib import Path
from bpfcompat.errors import BuildError
from bpfcompat.process import end_all, run
cwd = Path(sys.argv[1])
thread = threading.Thread(target=lambda: print(run(["sh", "-c", "touch here; sleep 600"], cwd=cwd).code, flush=True))
thread.start()
while not (cwd / "here").exists():
    time.sleep(0.01)
end_all()
end_all()  # nothing is left, and that is no error
thread.join()
try:
    run(["true"], cwd=cwd)
except BuildError as error:
    print(error)
"""


def test_end_all(tmp_path: Path) -> None:
    """end_all() from another thread ends what runs, who waited for it goes on, and nothing is started any more.

    It is for good, so it happens in a process of its own.
    """
    argv = [sys.executable, "-c", STOPPED, str(tmp_path)]
    done = subprocess.run(argv, env=child_python(), check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "-9\ntrue: not started: this run was told to stop\n"


PARENT = """
import sys
from pathlib import Path
from bpfcompat.process import run
run(["sh", "-c", "echo $$ > pid.new; mv pid.new pid; exec sleep 600"], cwd=Path(sys.argv[1]))
"""


def test_dies_with_us(tmp_path: Path) -> None:
    """When we are killed with -9, so is what we started."""
    if process.bound_to_us(["x"]) == ["x"]:
        pytest.skip("no setpriv (util-linux) here")
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], env=child_python())
    try:
        assert soon((tmp_path / "pid").exists)
    finally:
        parent.kill()
        parent.wait()
    assert soon(lambda: not alive(int((tmp_path / "pid").read_text())))


# --- jails

SHOW = """import os, resource as r
print(os.getuid(), os.getgroups(), r.getrlimit(r.RLIMIT_FSIZE), r.getrlimit(r.RLIMIT_NOFILE))"""


def test_jail_argv() -> None:
    """Without a jail a child is ours; with one it gains no rights; with a user of its own it has no group of ours."""
    if process.bound_to_us(["x"]) == ["x"]:
        pytest.skip("util-linux is not installed")
    assert "--no-new-privs" not in process.bound_to_us(["x"])
    ours = process.bound_to_us(["x"], process.Jail())
    assert "--no-new-privs" in ours and "--reuid" not in ours
    other = process.bound_to_us(["x"], process.Jail(61184, (61183,), {resource.RLIMIT_CORE: 0}))
    assert other[0].endswith("prlimit") and "--core=0" in other
    assert "--reuid 61184 --regid 61184 --groups 61183" in " ".join(other)
    assert "--clear-groups" in process.bound_to_us(["x"], process.Jail(61184))
    assert other[-2:] == ["--", "x"]


def test_jail(tmp_path: Path) -> None:
    """A child in a jail is who it is to be, and its limits are in force from its first moment."""
    uid = process.spare_uid()
    if uid is None:
        pytest.skip("cannot become another user here")
    jail = process.Jail(uid, (), {resource.RLIMIT_FSIZE: 0, resource.RLIMIT_NOFILE: 32})
    ours, theirs = socket.socketpair()
    with ours, theirs:
        argv = [str(Path("/usr/bin/python3")), "-ISc", SHOW]
        with process.spawned(argv, cwd=Path("/"), env={}, stdout=theirs.fileno(), jail=jail) as child:
            assert child.wait(30) == 0
        assert ours.recv(1000).decode().strip() == f"{uid} [] (0, 0) (32, 32)"


@pytest.mark.parametrize(
    ("uid_map", "found"),
    [
        ("0 0 4294967295\n", True),
        ("0 100000 65536\n", True),
        ("0 100000 1000\n", False),
        ("0 0 1\n", False),
        ("", False),
    ],
)
def test_spare_uid(uid_map: str, found: bool, tmp_path: Path) -> None:
    """Where the users that nobody has are not mapped, as in a small container, no child gets one."""
    if os.geteuid() != 0:
        pytest.skip("only root becomes another user")
    (tmp_path / "uid_map").write_text(uid_map)
    uid = process.spare_uid(tmp_path / "uid_map")
    assert (uid in process.SPARE_UIDS) == found and (uid is None) != found


def test_cpu_seconds() -> None:
    """Processor time is counted for a child that uses it, and none for one that is gone."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
        give_up = time.monotonic() + 20
        while process.cpu_seconds(child.pid) == 0 and time.monotonic() < give_up:
            time.sleep(0.02)
        assert process.cpu_seconds(child.pid) > 0
        child.kill()
    assert process.cpu_seconds(child.pid) == 0
