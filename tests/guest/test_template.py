"""Templates on real kernels: what a clone is, and everything that can be wrong with one."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bpfcompat import process, wire
from bpfcompat.asking import Asker
from bpfcompat.config import load
from bpfcompat.guest import freeze, new_ram, run_clone
from bpfcompat.initramfs import guest_initramfs
from bpfcompat.kernels.catalogue import SHIPPED, load_catalogue
from bpfcompat.model import AttachMode
from bpfcompat.plan import Pair
from bpfcompat.qemu import Frozen, Job
from bpfcompat.rules.session import Session
from bpfcompat.templates import META, RAM, STATE
from bpfcompat.voice import Voice
from tests.guest.test_guest import is_alive, qemus_of
from tests.hosting import ROOT

pytestmark = pytest.mark.guest

NONCE = "0123456789abcdef" * 2
KERNEL = "debian-12"
SETTINGS = """
[paths]
store = "{store}"
lock = "{root}/bpfcompat.lock"
[run]
control_percent = 0
{more}
[objects.minimal]
prebuilt = "minimal.o"
[objects.other]
prebuilt = "other.o"
"""


class Recorder(Voice):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        """Keep a line."""
        self.lines.append(text)

    def progress(self, label: str, done: int, total: int | None) -> None:
        """Bars are not kept."""


Project = Callable[..., Session]


@pytest.fixture
def folder(asker: Asker, vmlinuz: dict[str, Path]) -> Iterator[Path]:
    """A project with a store of its own, in which all is made but templates and answers."""
    ours = asker.shop.store.root.resolve()
    asker.initramfs(KERNEL)
    place = ours.parent / f"test-{os.getpid()}-{time.monotonic_ns()}"
    left = shutil.ignore_patterns("probe", "verdict", "control", "templates", "flaky", "names", "locks", "tmp", "index")
    shutil.copytree(ours, place / "store", ignore=left, copy_function=os.link)
    content = asker.shop.store.read(asker.object("minimal"))
    (place / "minimal.o").write_bytes(content)
    (place / "other.o").write_bytes(content + b"\n")
    yield place
    shutil.rmtree(place)


@pytest.fixture
def project(folder: Path) -> Project:
    """Opens it anew, as another run would."""

    def open_it(more: str = "") -> Session:
        (folder / "bpfcompat.toml").write_text(SETTINGS.format(store=folder / "store", root=ROOT, more=more))
        config = load(folder)
        return Session(config, config.objects, load_catalogue([SHIPPED]), Recorder())

    return open_it


def said(session: Session) -> str:
    """Everything that a session said."""
    assert isinstance(session.voice, Recorder)
    return "\n".join(session.voice.lines)


def start_of(session: Session, name: str = "minimal") -> str:
    """Ask a pair, and tell how its guest was started."""
    pair = Pair(name, KERNEL)
    session.asker.forget(session.asker.probe_action(pair))
    session.asker.probe(pair)
    return session.asker.run_of(pair).start


def spec_of(nonce: str) -> bytes:
    return wire.spec(nonce, AttachMode.ATTACH, 1 << 20, time.time_ns(), "5" * 64)


def test_used_again(project: Project) -> None:
    """The first pair of a kernel freezes a guest, the next ones and the next run thaw it."""
    first = project()
    assert start_of(first) == "clone"
    made = first.asker.templates().folder(first.asker.template_action(KERNEL))
    before = (made / RAM).stat().st_mtime_ns
    assert [start_of(first, "other"), start_of(project())] == ["clone", "clone"]
    assert (made / RAM).stat().st_mtime_ns == before
    assert sum(p.stat().st_blocks * 512 for p in made.iterdir()) < 130 << 20


def test_clones_are_apart(project: Project, asker: Asker) -> None:
    """Clones of one template at the same time each answer for their own object, and leave the template as it was."""
    steps = project().asker
    template = steps.template(KERNEL)
    names = ["minimal", "xdp", "ringbuf", "socket_filter"]

    def ask(name: str) -> set[str]:
        content = asker.shop.store.read(asker.object(name))
        job = steps.job(KERNEL, content, spec_of(NONCE))
        ended = run_clone(steps.qemu(KERNEL), job, template.frozen, steps.limits(), wire.is_complete)
        return {p.section for p in wire.parse(ended.report, NONCE).programs}

    alone = [ask(name) for name in names]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(ask, names)) == alone
    assert len({frozenset(a) for a in alone}) > 1
    assert not template.touched()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 4096)


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize(("name", "damage"), [(STATE, flip), (RAM, shorten), (META, link)])
def test_damaged(name: str, damage: Callable[[Path], None], project: Project) -> None:
    """A damaged template is noticed, dropped, said and made again, and the pair gets its answer from the new one."""
    first = project()
    assert start_of(first) == "clone"
    damage(first.asker.templates().folder(first.asker.template_action(KERNEL)) / name)
    again = project()
    assert start_of(again) == "clone"
    assert f"   template:{KERNEL}: dropped: " in said(again)
    assert f"template:{KERNEL}" in again.asker.ran


def wrapped(folder: Path, condition: str, then: str) -> Path:
    """A QEMU that is another program, and does something else under a condition."""
    qemu = Path(process.find_tool("qemu-system-x86_64", "qemu-system-x86"))
    script = folder / "qemu"
    script.write_text(f'#!/bin/sh\nif {condition}; then {then}; fi\nexec {qemu} "$@"\n')
    script.chmod(0o755)
    return script


INCOMING = 'case "$*" in *-incoming*) true;; *) false;; esac'


def test_another_qemu(project: Project, folder: Path) -> None:
    """A template of another QEMU is another template: it is not even looked at."""
    first = project()
    start_of(first)
    own = f'[guest]\nuser = "same"\nqemu = "{wrapped(folder, "false", "true")}"'
    other = project(own)
    assert other.asker.template_action(KERNEL).key() != first.asker.template_action(KERNEL).key()
    assert start_of(other) == "clone"
    assert f"template:{KERNEL}" in other.asker.ran


def test_cannot_be_thawed(project: Project, folder: Path) -> None:
    """Where thawing does not work, freezing is tried once more, then guests are booted, and all of that is said."""
    script = wrapped(folder, INCOMING, "exit 3")
    session = project(f'[guest]\nuser = "same"\nqemu = "{script}"')
    assert [start_of(session), start_of(session, "other")] == ["cold", "cold"]
    text = said(session)
    assert text.count("once more") == 1 and text.count("its guests are booted instead") == 1


def test_cold(project: Project) -> None:
    """Who asks for cold guests gets them, and no template is made."""
    session = project("[guest]\ncold = true")
    assert start_of(session) == "cold"
    assert not (session.asker.shop.store.root / "templates").exists()


def test_killed_clone(project: Project, folder: Path) -> None:
    """A QEMU that is killed under a clone is asked for again, booted, and the answer says what became of the first."""
    session = project()
    start_of(session)
    done = threading.Event()

    def kill() -> None:
        while not done.is_set():
            for pid in qemus_of(os.getpid()):
                if b"-incoming" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
                    return
            time.sleep(0.001)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        assert start_of(session, "other") == "cold"
    finally:
        done.set()
        killer.join()
    run = session.asker.run_of(Pair("other", KERNEL))
    assert run.attempts == 2 and len(run.deaths) == 1 and run.deaths[0].startswith("qemu-")


def test_confined(project: Project) -> None:
    """While it runs, QEMU is nobody, in an empty folder, without environment, and can become no one else."""
    session = project()
    template, steps = session.asker.template(KERNEL), session.asker
    seen: dict[str, str] = {}

    def look(size: int) -> None:
        for pid in qemus_of(os.getpid()):
            status = Path(f"/proc/{pid}/status").read_text()
            seen.update(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            seen["cwd"] = os.readlink(f"/proc/{pid}/cwd")
            seen["files"] = str(os.listdir(f"/proc/{pid}/cwd"))
            seen["environ"] = Path(f"/proc/{pid}/environ").read_text()
            seen["limits"] = Path(f"/proc/{pid}/limits").read_text()

    job = steps.job(KERNEL, b"", spec_of(NONCE))
    run_clone(steps.qemu(KERNEL), job, template.frozen, steps.limits(), wire.is_complete, look)
    assert (seen["files"], seen["environ"], seen["NoNewPrivs"], seen["Seccomp"]) == ("[]", "", "1", "2")
    assert not Path(seen["cwd"]).exists()
    if os.geteuid() == 0:
        assert int(seen["Uid"].split()[0]) in process.SPARE_UIDS
        assert int(seen["CapEff"], 16) == 0
    assert any(
        line.split()[3:5] == ["0", "0"] for line in seen["limits"].splitlines() if line.startswith("Max file size")
    )


CHILD = """
import sys
from pathlib import Path
from bpfcompat.config import load
from bpfcompat.kernels.catalogue import SHIPPED, load_catalogue
from bpfcompat.plan import Pair
from bpfcompat.rules.session import Session
config = load(Path(sys.argv[1]))
session = Session(config, config.objects, load_catalogue([SHIPPED]))
session.asker.template(sys.argv[2])
"""


def child(folder: Path) -> subprocess.Popen[str]:
    """Another process that wants a template."""
    argv = [sys.executable, "-c", CHILD, str(folder), KERNEL]
    return subprocess.Popen(argv, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_one_maker(project: Project, folder: Path) -> None:
    """Two processes that want the same template make one: the second says for whom it waits."""
    project()
    first, second = child(folder), child(folder)
    texts = [first.communicate(timeout=120)[0], second.communicate(timeout=120)[0]]
    assert (first.returncode, second.returncode) == (0, 0), texts
    assert sum(f"template:{KERNEL}: waits for pid " in text for text in texts) == 1, texts
    assert len(list((folder / "store/templates").iterdir())) == 1


@pytest.mark.parametrize("after_s", [0.5, 1.5, 2.5, 3.5])
def test_killed_maker(after_s: float, project: Project, folder: Path) -> None:
    """Whoever is killed while a guest is frozen leaves no QEMU and no template that is believed and is none."""
    project()
    with child(folder) as maker:
        end = time.monotonic() + after_s
        children: set[int] = set()
        while time.monotonic() < end:
            children |= set(qemus_of(maker.pid))
            time.sleep(0.02)
        maker.kill()
        maker.communicate()
    end = time.monotonic() + 2
    while any(map(is_alive, children)) and time.monotonic() < end:
        time.sleep(0.02)
    assert not any(map(is_alive, children))
    assert start_of(project()) == "clone"


POOR = """
import resource, sys
from pathlib import Path
from bpfcompat.config import load
from bpfcompat.errors import BpfcompatError
from bpfcompat.kernels.catalogue import SHIPPED, load_catalogue
from bpfcompat.plan import Pair
from bpfcompat.rules.session import Session
config = load(Path(sys.argv[1]))
session = Session(config, config.objects, load_catalogue([SHIPPED]))
asker, pair = session.asker, Pair("minimal", sys.argv[2])
asker.probe_action(pair), asker.qemu(pair.kernel)
from bpfcompat import trying, wire, guest, verdict, templates, host
resource.setrlimit(getattr(resource, sys.argv[3]), (int(sys.argv[4]),) * 2)
try:
    asker.probe(pair)
except BpfcompatError as error:
    print(f"exit {int(error.exit_code)}: {error}")
"""


@pytest.mark.parametrize(
    ("limit", "most", "words"),
    [
        ("RLIMIT_NOFILE", 14, "Too many open files"),
        ("RLIMIT_AS", 700 << 20, "qemu"),
    ],
)
def test_poor_host(limit: str, most: int, words: str, project: Project, folder: Path) -> None:
    """A host without descriptors or memory for a guest is told from every answer, and nothing is stored."""
    session = project("[guest]\ncold = true")
    argv = [sys.executable, "-c", POOR, str(folder), KERNEL, limit, str(most)]
    done = subprocess.run(argv, cwd=ROOT, text=True, capture_output=True, timeout=120)
    assert words in done.stdout and done.stdout.rstrip().rpartition("\n")[2].startswith("exit "), done
    assert "Traceback" not in done.stdout + done.stderr
    with pytest.raises(Exception, match="probe"):
        session.asker.probe(Pair("minimal", KERNEL), make=False)


def test_clock_and_chance(asker: Asker, vmlinuz: dict[str, Path], tmp_path: Path) -> None:
    """A thawed guest has the clock that it was given, and random numbers that its twin does not have."""
    here, validator = Path(__file__).parent, ROOT / "validator"
    parts = [here / "init" / "thawed.c", *(validator / f"{n}.c" for n in ("env", "fwcfg", "report", "sha256"))]
    compiler = shutil.which("cc") or pytest.skip("no C compiler")
    argv = [compiler, "-static", "-Os", "-D_GNU_SOURCE", '-DLIBBPF_RELEASE="0"', f"-I{validator}", *map(str, parts)]
    subprocess.run([*argv, "-o", str(tmp_path / "init")], check=True)
    (tmp_path / "cpio").write_bytes(guest_initramfs((tmp_path / "init").read_bytes(), "0", None))
    qemu, limits, ram = asker.qemu(KERNEL), asker.limits(), new_ram(256)
    state, _ = freeze(qemu, Job(vmlinuz[KERNEL], tmp_path / "cpio", b"", b""), limits, ram)
    told = []
    for number in range(2):
        spec = wire.spec(NONCE, AttachMode.LOAD, 4096, (1_900_000_000 + number) * 10**9, f"{number}" * 64)
        os.set_inheritable(ram, True)
        job = Job(vmlinuz[KERNEL], tmp_path / "cpio", b"", spec)
        ended = run_clone(qemu, job, Frozen(ram, state), limits, lambda report: report.endswith(b"done\n"))
        told.append(ended.report.decode().split()[:2])
    os.close(ram)
    assert [int(clock) - 1_900_000_000 for clock, _ in told] in ([0, 1], [1, 2], [0, 2], [1, 1])
    assert told[0][1] != told[1][1]
