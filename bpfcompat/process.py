"""The one place that starts programs: bounded life, bounded output, and the whole process group ends with us.

Nothing here uses a shell.  Children get `setpriv --pdeathsig KILL` where util-linux has it, so that they die when
this process is killed; they lead a process group of their own, which is killed on every way out.
"""

import contextlib
import json
import os
import resource
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from bpfcompat.errors import BuildError, StoreError

TAIL_BYTES = 8 << 10
SPARE_UIDS = range(61184, 65520)  # systemd's for dynamic users (UIDS-GIDS.md): nobody's account has one of them
TICKS = os.sysconf("SC_CLK_TCK")
LIMITS = {  # as prlimit(1) calls them
    "core": resource.RLIMIT_CORE, "fsize": resource.RLIMIT_FSIZE, "memlock": resource.RLIMIT_MEMLOCK,
    "nofile": resource.RLIMIT_NOFILE, "as": resource.RLIMIT_AS, "cpu": resource.RLIMIT_CPU,
}  # fmt: skip
T = TypeVar("T")
_live: set[int] = set()
_stopping = threading.Event()
_live_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Completed:
    """How a program ended: exit code (negative = signal), bytes of stdout, tail of stderr as text."""

    argv: tuple[str, ...]
    code: int
    stdout: bytes
    stderr: str


def find_tool(name: str, package: str) -> str:
    """Absolute path of a program; BuildError that names the Debian package if it is absent."""
    found = shutil.which(name)
    if found is None:
        raise BuildError(f"{name}: program not found", hint=f"apt-get install {package}, or its like on your system")
    return found


@dataclass(frozen=True, slots=True)
class Jail:
    """Who a child is and what it may take: a user of its own (None: ours), groups, limits as for setrlimit()."""

    uid: int | None = None
    groups: tuple[int, ...] = ()
    limits: Mapping[int, int] = field(default_factory=dict)


def spare_uid(uid_map: Path = Path("/proc/self/uid_map")) -> int | None:
    """A user id that nobody has, to be given to one child; None where we cannot become another user."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return None
    mapped = [(int(a), int(a) + int(n)) for a, _, n in (line.split() for line in uid_map.read_text().splitlines())]
    chosen = secrets.choice(SPARE_UIDS)
    return chosen if any(low <= chosen < high for low, high in mapped) else None


def bound_to_us(argv: Sequence[str], jail: Jail | None = None) -> list[str]:
    """The same command, dying with us where the host can do that, and as the jail's user."""
    setpriv, prlimit = shutil.which("setpriv"), shutil.which("prlimit")
    if not setpriv or not prlimit:  # both are of util-linux
        return list(argv)
    options = ["--pdeathsig", "KILL"]
    if jail is not None:
        options += ["--no-new-privs"]
    if jail is not None and jail.uid is not None:
        groups = ["--groups", ",".join(map(str, jail.groups))] if jail.groups else ["--clear-groups"]
        options += ["--reuid", str(jail.uid), "--regid", str(jail.uid), *groups]
    bounds = [f"--{name}={_bound(limit, most)}" for name, limit in LIMITS.items()
              if jail and (most := jail.limits.get(limit)) is not None]  # fmt: skip
    return [*([prlimit, *bounds, "--"] if bounds else []), setpriv, *options, "--", *argv]


def _bound(limit: int, most: int) -> int:
    """A limit can be lowered by anyone, and raised by few."""
    hard = resource.getrlimit(limit)[1]
    return most if hard == resource.RLIM_INFINITY else min(most, hard)


def cpu_seconds(pid: int) -> float:
    """Processor time that a child's threads have used so far; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS  # utime, stime: proc(5)
    except (OSError, IndexError, ValueError):
        return 0.0


@contextlib.contextmanager
def spawned(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdin: int | None = subprocess.DEVNULL,
    stdout: int | None = subprocess.DEVNULL,
    stderr: int | None = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
    jail: Jail | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A running program whose whole process group is gone when the block ends, however it ends."""
    if _stopping.is_set():
        raise BuildError(f"{argv[0]}: not started: this run was told to stop", argv=tuple(argv))
    if shutil.which(argv[0], path=env.get("PATH")) is None:  # or setpriv would start, and fail in its own words
        raise BuildError(f"{argv[0]}: cannot start: no such program", argv=tuple(argv))
    try:
        child = subprocess.Popen(
            bound_to_us(argv, jail),
            cwd=cwd,
            env=dict(env),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
        )
    except OSError as error:
        raise BuildError(f"{argv[0]}: cannot start: {error.strerror}", argv=tuple(argv)) from error
    with _live_lock:
        _live.add(child.pid)
    try:
        if _stopping.is_set():  # said while this one was starting: end_all may not have seen it
            raise BuildError(f"{argv[0]}: ended: this run was told to stop", argv=tuple(argv))
        yield child
    finally:
        end_group(child)
        with _live_lock:
            _live.discard(child.pid)


def exit_code(child: subprocess.Popen[bytes], within_s: float) -> int | None:
    """How a child ended, which perhaps it is just doing; None if it lives on."""
    try:
        return child.wait(within_s)
    except subprocess.TimeoutExpired:
        return None


def end_group(child: subprocess.Popen[bytes]) -> None:
    """Kill the process group of a child and wait for the child."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def end_all() -> None:
    """Kill every process group that is still running and start no more; for an orderly stop."""
    _stopping.set()
    with _live_lock:
        groups = list(_live)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 300.0,
    max_stdout: int = 64 << 20,
    input_bytes: bytes | None = None,
) -> Completed:
    """Run a program to its end; BuildError when it cannot start, exceeds its time or its output bound.

    A non-zero exit code is not an error here: the caller knows what it means.
    """
    base = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "HOME": str(cwd)}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryFile() as given:
        given.write(input_bytes or b"")
        given.seek(0)
        surroundings = {**base, **(env or {})}
        with spawned(
            argv, cwd=cwd, env=surroundings, stdin=given.fileno(), stdout=out.fileno(), stderr=err.fileno()
        ) as child:
            try:
                code = child.wait(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                end_group(child)
                message = f"{argv[0]}: no end within {timeout_s:g} s"
                raise BuildError(message, argv=tuple(argv), tail=_tail(err.fileno())) from None
        size = os.fstat(out.fileno()).st_size
        if size > max_stdout:
            raise BuildError(f"{argv[0]}: output of {size} bytes, at most {max_stdout} expected", argv=tuple(argv))
        return Completed(tuple(argv), code, os.pread(out.fileno(), size, 0), _tail(err.fileno()))


def check(argv: Sequence[str], *, what: str, hint: str | None = None, cwd: Path, env: Mapping[str, str] | None = None,
          timeout_s: float = 300.0, max_stdout: int = 64 << 20, input_bytes: bytes | None = None) -> bytes:  # fmt: skip
    """Run a program that must succeed and return its stdout; BuildError `what: …` with its last words."""
    done = run(argv, cwd=cwd, env=env, timeout_s=timeout_s, max_stdout=max_stdout, input_bytes=input_bytes)
    if done.code != 0:
        message = f"{what}: {Path(argv[0]).name}: exit {done.code}"
        raise BuildError(message, hint=hint, argv=tuple(argv), tail=done.stderr)
    return done.stdout


def shared_out(work: Callable[[int, int], T], count: int, size: int, jobs: int) -> Iterator[T]:
    """What `work(start, stop)` says of each `size` of `count` things, in their order, by `jobs` copies of this process.

    A copy knows all that this process knew and can change nothing in it; what it says goes through JSON.  It ends with
    us: at the latest when it has something to say.  StoreError where one ends before its work.
    """
    copies = [_copy(work, range(n * size, count, jobs * size), size, count) for n in range(jobs)]
    try:
        for number in range(-(-count // size)):
            line = copies[number % jobs][1].readline()
            if not line.endswith(b"\n"):
                raise StoreError("a copy of this process ended before its work", hint="was there memory enough?")
            yield json.loads(line)
    finally:
        for pid, pipe in copies:
            pipe.close()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _copy(work: Callable[[int, int], Any], starts: range, size: int, count: int) -> tuple[int, BinaryIO]:
    """A copy of this process that does its part of the work: its id, and what it says."""
    ours, its = os.pipe()
    pid = os.fork()
    if pid:
        os.close(its)
        return pid, os.fdopen(ours, "rb")
    try:
        os.close(ours)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # nobody listens any more
        with os.fdopen(its, "wb") as pipe:
            for start in starts:
                pipe.write(json.dumps(work(start, min(start + size, count))).encode() + b"\n")
                pipe.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)  # nothing of what we were is to end twice


def _tail(fd: int) -> str:
    size = os.fstat(fd).st_size
    return os.pread(fd, TAIL_BYTES, max(0, size - TAIL_BYTES)).decode("utf-8", "replace")
