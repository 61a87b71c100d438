"""Starting programs: bounded in time and bytes, nothing inherited, nobody left behind."""

import os
import pwd
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfcompat import process
from bpfcompat.errors import BuildError, ConfigError, StoreError
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


# --- the jail


def options_of(argv: list[str], program: str) -> list[str]:
    """What is given to one of the programs before ours."""
    after = argv[[Path(a).name for a in argv].index(program) + 1 :]
    return after[: after.index("--")]


def test_jail_argv() -> None:
    """A jailed child dies with us, gains nothing by exec, has its own user and group, and no group of ours."""
    argv = process.bound_to_us(["x", "--", "y"], process.Jail(61200, (), {resource.RLIMIT_CORE: 0}))
    assert argv[-3:] == ["x", "--", "y"]
    assert options_of(argv, "setpriv") == [
        "--pdeathsig", "KILL", "--no-new-privs", "--reuid", "61200", "--regid", "61200", "--clear-groups",
    ]  # fmt: skip
    assert options_of(argv, "prlimit") == ["--core=0"]


def test_jail_groups() -> None:
    """The groups are those of the jail, in place of ours."""
    argv = process.bound_to_us(["x"], process.Jail(61200, (61183, 5)))
    assert options_of(argv, "setpriv")[-2:] == ["--groups", "61183,5"]
    assert "--clear-groups" not in argv


def test_jail_of_our_own_user() -> None:
    """Without a user to spare the child is ours, and jailed all the same; an ordinary child is not."""
    argv = process.bound_to_us(["x"], process.Jail(None, (61183,), {resource.RLIMIT_NOFILE: 7}))
    assert options_of(argv, "setpriv") == ["--pdeathsig", "KILL", "--no-new-privs"]
    assert options_of(argv, "prlimit") == ["--nofile=7"]
    assert options_of(process.bound_to_us(["x"]), "setpriv") == ["--pdeathsig", "KILL"]


def test_every_limit_has_a_name() -> None:
    """A limit that QEMU is given and that prlimit(1) is not told of would be none."""
    from bpfcompat.qemu import limits

    given = limits(256, 60)
    argv = process.bound_to_us(["x"], process.Jail(limits=given))
    assert len(options_of(argv, "prlimit")) == len(given)


def as_root() -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv")


def test_spare_uid(tmp_path: Path) -> None:
    """As root a child gets a user id that nobody has, seldom the same twice."""
    as_root()
    place = tmp_path / "uid_map"
    place.write_text("         0          0 4294967295\n")
    chosen = {process.spare_uid(place) for _ in range(20)}
    assert len(chosen) > 1
    assert all(uid in process.SPARE_UIDS for uid in chosen)
    accounts = {entry.pw_uid for entry in pwd.getpwall()}
    assert not accounts & set(process.SPARE_UIDS)


@pytest.mark.parametrize("mapped", ["0 1000 1\n", "0 100000 61184\n", "", "0 1000 1\n1 100000 60000\n"])
def test_no_spare_uid(mapped: str, tmp_path: Path) -> None:
    """In a user namespace that lacks these ids there is none to give: setpriv would fail."""
    as_root()
    place = tmp_path / "uid_map"
    place.write_text(mapped)
    assert process.spare_uid(place) is None


def test_no_spare_uid_for_others(tmp_path: Path) -> None:
    """Who is not root cannot become another user, and does not look."""
    as_root()
    code = "from bpfcompat import process; print(process.spare_uid())"
    argv = ["setpriv", "--reuid", "61200", "--clear-groups", sys.executable, "-c", code]
    done = subprocess.run(argv, env=child_python(), capture_output=True, text=True, timeout=60)
    if "Permission denied" in done.stderr or "No module named" in done.stderr:
        pytest.skip("another user cannot read this tree")
    assert done.stdout == "None\n", done


def jailed(script: str, jail: process.Jail, cwd: Path) -> str:
    """What a jailed shell prints."""
    read, write = os.pipe()
    with open(read) as stream:
        with process.spawned(sh(script), cwd=cwd, env={"PATH": os.environ["PATH"]}, stdout=write, jail=jail):
            os.close(write)
            return stream.read()


LIMIT_VALUES = {resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_MEMLOCK: 0,
                resource.RLIMIT_NOFILE: 40, resource.RLIMIT_AS: 1 << 30, resource.RLIMIT_CPU: 9}  # fmt: skip


def test_limits_in_force(tmp_path: Path) -> None:
    """In a real child each limit is what was asked, hard as soft, and a file cannot grow."""
    said = jailed("cat /proc/self/limits", process.Jail(limits=LIMIT_VALUES), tmp_path)
    found = {line[:26].strip(): line[26:].split()[:2] for line in said.splitlines()}
    assert found["Max core file size"] == ["0", "0"]
    assert found["Max file size"] == ["0", "0"]
    assert found["Max locked memory"] == ["0", "0"]
    assert found["Max open files"] == ["40", "40"]
    assert found["Max address space"] == [str(1 << 30)] * 2
    assert found["Max cpu time"] == ["9", "9"]
    script = "trap '' XFSZ; { echo x > file; } 2>/dev/null; test -s file || echo empty"
    assert jailed(script, process.Jail(limits=LIMIT_VALUES), tmp_path) == "empty\n"


def test_processor_time_ends(tmp_path: Path) -> None:
    """A child that has used its processor time is killed."""
    jail = process.Jail(limits={resource.RLIMIT_CPU: 1})
    with process.spawned(sh("while :; do :; done"), cwd=tmp_path, env={"PATH": os.environ["PATH"]}, jail=jail) as child:
        assert child.wait(60) in (-signal.SIGXCPU, -signal.SIGKILL)


def test_a_lower_limit_stays(tmp_path: Path) -> None:
    """Where we have less than a jail allows, the child has what we have, and starts."""
    code = """
import os, resource
from pathlib import Path
from bpfcompat import process
resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))
jail = process.Jail(limits={resource.RLIMIT_NOFILE: 1000})
with process.spawned(["cat", "/proc/self/limits"], cwd=Path("/"), env=os.environ, stdout=None, jail=jail) as child:
    child.wait()
"""
    done = subprocess.run([sys.executable, "-c", code], env=child_python(), capture_output=True, text=True, timeout=60)
    assert "Max open files            50                   50" in done.stdout, done


def test_user_in_force(tmp_path: Path) -> None:
    """A jailed child is that user in every id, with no capability, no group but its own, and no way back."""
    as_root()
    tmp_path.chmod(0o755)
    said = jailed("cat /proc/self/status", process.Jail(61200, (61183,)), Path("/"))
    found = dict(line.split(":\t", 1) for line in said.splitlines() if ":\t" in line)
    assert (found["Uid"], found["Gid"]) == ("\t".join(["61200"] * 4),) * 2
    assert found["Groups"].split() == ["61183"]
    assert [found[c].strip("0") for c in ("CapEff", "CapPrm", "CapInh", "CapAmb")] == [""] * 4
    assert found["NoNewPrivs"] == "1"


def test_jailed_child_dies_with_us(tmp_path: Path) -> None:
    """A user of its own does not make a child outlive us."""
    as_root()
    code = f"""
import sys
from pathlib import Path
from bpfcompat import process
with process.spawned(["sleep", "600"], cwd=Path("/"), env={{"PATH": {os.environ["PATH"]!r}}},
                     jail=process.Jail(61200, (), {{0: 100}})) as child:
    print(child.pid, flush=True)
    child.wait()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], env=child_python(), stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert soon(lambda: Path(f"/proc/{pid}/cmdline").read_bytes()[:5] == b"sleep")
        parent.kill()
    assert soon(lambda: not alive(pid))


def test_cpu_seconds(tmp_path: Path) -> None:
    """Who works is told from who sleeps, and a process that is gone has used nothing."""
    env = {"PATH": os.environ["PATH"]}
    with process.spawned(sh("while :; do :; done"), cwd=tmp_path, env=env) as child:
        assert soon(lambda: process.cpu_seconds(child.pid) > 0.2)
    assert process.cpu_seconds(child.pid) == 0.0
    with process.spawned(["sleep", "600"], cwd=tmp_path, env=env) as child:
        assert process.cpu_seconds(child.pid) < 0.2


def test_cpu_seconds_of_an_odd_name(tmp_path: Path) -> None:
    """A program's name may hold blanks and brackets; the fields are found behind it."""
    odd = tmp_path / "a) R (b"
    shutil.copy("/bin/sh", odd)
    with process.spawned([str(odd), "-c", "while :; do :; done"], cwd=tmp_path, env={"PATH": os.environ["PATH"]}) as c:
        assert soon(lambda: process.cpu_seconds(c.pid) > 0.1)


@pytest.mark.parametrize(("count", "size", "jobs"), [(0, 3, 2), (1, 3, 2), (10, 3, 2), (9, 3, 4), (7, 100, 1)])
def test_shared_out(count: int, size: int, jobs: int) -> None:
    """All of the work is done, each part once, and what is said of it comes in its order, by other processes."""
    found = list(process.shared_out(lambda start, stop: [start, stop, os.getpid()], count, size, jobs))
    assert [tuple(part[:2]) for part in found] == [(n, min(n + size, count)) for n in range(0, count, size)]
    assert os.getpid() not in {part[2] for part in found} and len({part[2] for part in found}) <= jobs


def _killed(start: int, stop: int) -> int:
    if start == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return start


def test_shared_out_and_killed() -> None:
    """A copy that is killed, be it for want of memory, is an error: its work is never taken for done."""
    with pytest.raises(StoreError, match="ended before its work"):
        list(process.shared_out(_killed, 10, 2, 2))


def test_shared_out_and_left() -> None:
    """Who wants no more leaves no copy behind."""
    parts = process.shared_out(lambda start, stop: os.getpid(), 1000, 1, 2)
    pids = {next(parts), next(parts)}
    parts.close()  # type: ignore[attr-defined]
    assert not any(map(alive, pids))
