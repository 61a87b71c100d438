"""Frozen guests of real kernels: equal to booted ones, apart from each other, and nothing worse where they fail."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from bpfcompat import process, wire
from bpfcompat.asking import Asker
from bpfcompat.checking import Counts, faults
from bpfcompat.config import load
from bpfcompat.errors import Exit, GuestError
from bpfcompat.guest import Death, Limits, freeze, new_ram, run_clone, run_cold
from bpfcompat.initramfs import guest_initramfs
from bpfcompat.kernels.catalogue import SHIPPED, load_catalogue
from bpfcompat.model import AttachMode
from bpfcompat.plan import Pair
from bpfcompat.qemu import Frozen, Job, Qemu
from bpfcompat.realise import NotThere
from bpfcompat.rules.session import Session
from bpfcompat.templates import RAM, STATE
from tests.guest.conftest import KERNELS, ROOT
from tests.guest.test_guest import command_of, is_alive, qemus_of
from tests.hosting import child_python

pytestmark = pytest.mark.guest
LIMITS = Limits(total_s=120, silence_s=60, first_byte_s=90)
CLOCK_S = 2_000_000_000  # in 2033
KERNEL = "debian-12"
PAIR = Pair("ringbuf", KERNEL)
OTHER_PARTS = ("probe", "verdict", "matrix", "report", "publish", "templates", "locks", "tmp", "index", "flaky")


class Recording:
    """A voice that is remembered."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def progress(self, label: str, done: int, total: int | None) -> None:
        """Nothing."""

    @property
    def words(self) -> str:
        return "\n".join(self.lines)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, asker: Asker, vmlinuz: dict[str, Path]) -> Path:
    """This repository's store with all that a guest needs, and nothing frozen or asked."""
    for name in ("ringbuf", "minimal", "core_missing", "many"):
        asker.object(name)
    for name in KERNELS:
        asker.initramfs(name)
    asker.shop.memo.save()
    place = tmp_path_factory.mktemp("template") / "store"
    shutil.copytree(asker.shop.store.root, place, ignore=shutil.ignore_patterns(*OTHER_PARTS), copy_function=linked)
    return place


def linked(source: str, target: str) -> None:
    """A hard link to what never changes where that can be, a copy else."""
    if "/blobs/" in source or "/downloads/" in source:
        try:
            os.link(source, target)
            return
        except OSError:
            pass
    shutil.copy2(source, target)


def steps(store: Path, voice: Recording | None = None, **overrides: str) -> tuple[Asker, Recording]:
    """The steps of a run of its own over this store, and what it says."""
    voice = voice or Recording()
    settings = {"paths.store": str(store), **{k.replace("__", "."): v for k, v in overrides.items()}}
    config = load(ROOT, settings)
    return Session(config, config.objects, load_catalogue([SHIPPED]), voice).asker, voice


@pytest.fixture
def fresh(store: Path) -> Iterator[Path]:
    """The store, with templates as the tests before left them and no answer."""
    yield store
    shutil.rmtree(store / "actions" / "probe", ignore_errors=True)
    shutil.rmtree(store / "names" / "probe", ignore_errors=True)


def folder_of(asker: Asker) -> Path:
    return asker.templates().folder(asker.template_action(KERNEL))


def spec(nonce: str) -> bytes:
    return wire.spec(nonce, AttachMode.ATTACH, CLOCK_S * 10**9, "5" * 64)


# --- equal, and apart


@pytest.mark.parametrize("kernel", KERNELS)
def test_equal(kernel: str, fresh: Path) -> None:
    """A thawed guest says what a booted one says, byte for byte but for addresses of its kernel."""
    asker, _ = steps(fresh)
    qemu, frozen = asker.qemu(kernel), asker.template(kernel).frozen
    for name in ("ringbuf", "core_missing"):
        job = asker.job(kernel, asker.shop.store.checked(asker.object(name)), spec("0" * 32))
        thawed = run_clone(qemu, job, frozen, asker.limits(), wire.is_complete)
        booted = run_cold(qemu, job, asker.limits(), wire.is_complete)
        assert (thawed.start, booted.start) == ("clone", "cold")
        assert wire.parse(thawed.report, "0" * 32) == wire.parse(booted.report, "0" * 32)
    assert not asker.template(kernel).touched()


def test_verified(fresh: Path) -> None:
    """What `store verify` looks at in a template is what is written beside it."""
    asker, _ = steps(fresh)
    assert asker.template(KERNEL).folder.is_dir()
    found = [f.path for f in faults(asker.shop.store, Recording(), Counts()) if f.path.parent.name == "templates"]
    assert found == []


def test_two_clones(fresh: Path) -> None:
    """Clones of one template at a time have each its own object and nonce, and the template stays as it was."""
    asker, _ = steps(fresh)
    qemu, template = asker.qemu(KERNEL), asker.template(KERNEL)

    def ask(n: int) -> list[str]:
        nonce, name = f"{n:032x}", ("many", "ringbuf")[n % 2]
        job = asker.job(KERNEL, asker.shop.store.checked(asker.object(name)), spec(nonce))
        ended = run_clone(qemu, job, template.frozen, LIMITS, wire.is_complete)
        return [p.name for p in wire.parse(ended.report, nonce).programs]

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(ask, range(6)))
    assert found[0] != found[1]
    assert found == found[:2] * 3
    assert not template.touched()


@pytest.fixture(scope="module")
def thawed_init(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An initramfs whose init takes clock and seed with the validator's own code."""
    compiler = shutil.which("cc") or pytest.skip("no C compiler")
    folder, ours = tmp_path_factory.mktemp("thawed"), ROOT / "validator"
    sources = [
        Path(__file__).parent / "init/thawed.c",
        *(ours / n for n in ("env.c", "hex.c", "conditions.c", "modules.c", "fwcfg.c", "report.c", "sha256.c")),
    ]
    argv = [
        compiler,
        "-static",
        "-Os",
        "-s",
        "-D_GNU_SOURCE",
        '-DLIBBPF_RELEASE=""',
        f"-I{ours}",
        "-o",
        folder / "init",
    ]
    subprocess.run([*argv, *sources], check=True)
    (folder / "cpio").write_bytes(guest_initramfs((folder / "init").read_bytes(), "0", None))
    return folder / "cpio"


def test_clock_and_random_numbers(qemu: Qemu, a_vmlinuz: Path, thawed_init: Path) -> None:
    """A clone's clock is what its spec says, not its template's; with another seed it has other random numbers."""

    def job(seed: str) -> Job:
        return Job(a_vmlinuz, thawed_init, b"", wire.spec("0" * 32, AttachMode.LOAD, CLOCK_S * 10**9, seed))

    ram = new_ram(256)
    try:
        state, _ = freeze(qemu, job("0" * 64), LIMITS, ram)
        said = []
        for seed in ("1" * 64, "2" * 64):
            ended = run_clone(qemu, job(seed), Frozen(ram, state), LIMITS, lambda report: report.endswith(b"done\n"))
            said.append(ended.report.decode().split())
    finally:
        os.close(ram)
    assert all(CLOCK_S <= int(clock) < CLOCK_S + 120 for clock, _, _ in said), said
    assert said[0][1] != said[1][1]
    assert all(len(random) == 32 for _, random, _ in said)


# --- which template is used


def test_used_again(fresh: Path) -> None:
    """A second run takes the first one's template, and its answers say how the guest was started."""
    first, _ = steps(fresh)
    first.template(KERNEL)
    second, voice = steps(fresh)
    second.probe(PAIR)
    assert (second.run_of(PAIR).start, second.run_of(PAIR).deaths) == ("clone", ())
    assert f"template:{KERNEL}" not in second.ran
    assert "template" not in voice.words


def wrapper(folder: Path, body: str) -> str:
    """A QEMU that does something else first."""
    path, real = folder / "qemu", shutil.which("qemu-system-x86_64")
    path.write_text(f'#!/bin/sh\n{body}\nexec {real} "$@"\n')
    path.chmod(0o755)
    return str(path)


def test_another_qemu(fresh: Path, tmp_path: Path) -> None:
    """What one QEMU froze another never thaws: neither another version nor another file of the same version."""
    ours, _ = steps(fresh)
    ours.template(KERNEL)
    says = 'case "$1" in --version) echo "QEMU emulator version 99.1 (other)"; exit;; esac'
    for body in (says, ":"):
        other, _ = steps(fresh, guest__qemu=wrapper(tmp_path, body), guest__user="same")
        assert other.template_action(KERNEL).key() != ours.template_action(KERNEL).key()
        with pytest.raises(NotThere):
            other.template(KERNEL, make=False)
    version_only, _ = steps(fresh)
    version_only._qemu = replace(ours.qemu(KERNEL), version="99.1")
    with pytest.raises(NotThere):
        version_only.template(KERNEL, make=False)


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(at)
        byte = stream.read(1)[0]
        stream.seek(at)
        stream.write(bytes([byte ^ 1]))


def link_away(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "ram: expected sha256": lambda folder: flip(folder / RAM, 1 << 20),
    "state: expected sha256": lambda folder: flip(folder / STATE, 5000),
    "ram: expected a file of": lambda folder: os.truncate(folder / RAM, 200 << 20),
    "symbolic links": lambda folder: link_away(folder / RAM),
}


@pytest.mark.parametrize("words", DAMAGE)
def test_damaged(words: str, fresh: Path) -> None:
    """A damaged template is noticed, dropped, made again, and that is said; the answer is a clone's all the same."""
    first, _ = steps(fresh)
    first.template(KERNEL)
    DAMAGE[words](folder_of(first))
    second, voice = steps(fresh)
    second.probe(PAIR)
    assert f"   template:{KERNEL}: dropped: " in voice.words and words in voice.words, voice.words
    assert f"template:{KERNEL}" in second.ran
    assert second.run_of(PAIR).start == "clone"
    third, voice = steps(fresh)
    third.template(KERNEL)
    assert "dropped" not in voice.words


def test_no_clone_answers(fresh: Path, tmp_path: Path) -> None:
    """Where no thawed guest answers, a template is made twice, and then guests are booted; both is said."""
    body = 'case " $* " in *" -incoming "*) echo no thawing here >&2; exit 1;; esac'
    asker, voice = steps(fresh, guest__qemu=wrapper(tmp_path, body), guest__user="same")
    asker.probe(PAIR)
    assert asker.run_of(PAIR).start == "cold"
    said = [line for line in voice.lines if "template:" in line]
    assert len(said) == 2, voice.words
    assert "no thawing here" in said[0] and said[0].endswith("; once more")
    assert said[1].endswith("; its guests are booted instead")
    assert not folder_of(asker).exists()


def test_cold(fresh: Path) -> None:
    """`guest.cold = true` boots, and freezes nothing."""
    shutil.rmtree(fresh / "templates", ignore_errors=True)
    asker, _ = steps(fresh, guest__cold="true")
    asker.probe(PAIR)
    assert asker.run_of(PAIR).start == "cold"
    assert not (fresh / "templates").exists()


# --- processes


def child(store: Path, code: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", code, str(store)]
    return subprocess.Popen(argv, cwd=ROOT, env=child_python(), stdout=subprocess.PIPE, text=True)


MAKE = """
import sys
from tests.guest.test_template import KERNEL, Path, steps
asker, voice = steps(Path(sys.argv[1]))
asker.template(KERNEL)
print("made" if asker.ran else "found", voice.words, flush=True)
"""
ASK = """
from tests.guest.test_template import PAIR
while True:
    asker.probe(PAIR)
    asker.forget(asker.probe_action(PAIR))
"""


def test_two_at_once(fresh: Path) -> None:
    """Two processes that need one template make it once: the other waits, and says for whom."""
    shutil.rmtree(fresh / "templates", ignore_errors=True)
    with child(fresh, MAKE) as one, child(fresh, MAKE) as two:
        said = [p.communicate(timeout=120)[0] for p in (one, two)]
    assert sorted(s.split()[0] for s in said) == ["found", "made"], said
    waited = next(s for s in said if s.startswith("found"))
    maker = (one, two)[[s.startswith("made") for s in said].index(True)]
    # who has just taken the lock may not have written its number yet
    assert re.search(f"template:{KERNEL}: waits for (pid {maker.pid} since|another process)", waited)


def qemu_with(parent: int, word: bytes) -> list[int]:
    """QEMUs of this process with a word on their command line."""
    return [pid for pid in qemus_of(parent) if word in command_of(pid)]


@pytest.mark.parametrize("word", [b"opt/bpfcompat/freeze", b"-incoming"])
def test_parent_killed(word: bytes, fresh: Path) -> None:
    """Killed while it freezes or thaws, we leave no QEMU, and no template that is not whole is believed."""
    if word != b"-incoming":
        shutil.rmtree(fresh / "templates", ignore_errors=True)
    with child(fresh, MAKE + ASK) as parent:
        give_up = time.monotonic() + 60
        while not (guests := qemu_with(parent.pid, word)) and time.monotonic() < give_up:
            time.sleep(0.005)
        parent.kill()
        parent.communicate()
    assert guests
    give_up = time.monotonic() + 2
    while any(map(is_alive, guests)) and time.monotonic() < give_up:
        time.sleep(0.02)
    assert not any(map(is_alive, guests))
    asker, voice = steps(fresh)
    if word != b"-incoming":
        assert not folder_of(asker).exists()
    asker.probe(PAIR)
    assert asker.run_of(PAIR).start == "clone"
    assert "dropped" not in voice.words


@contextmanager
def killing_once(word: bytes) -> Iterator[list[int]]:
    """Kills the first QEMU of this process that has this word on its command line."""
    killed: list[int] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set() and not killed:
            for pid in qemu_with(os.getpid(), word)[:1]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield killed
    finally:
        stop.set()
        watcher.join()


def test_qemu_killed(fresh: Path) -> None:
    """A clone whose QEMU something killed is asked again, booted; the answer says what happened before."""
    asker, voice = steps(fresh)
    asker.template(KERNEL)
    with killing_once(b"-incoming") as killed:
        asker.probe(PAIR)
    assert killed
    run = asker.run_of(PAIR)
    assert (run.start, run.attempts, run.deaths) == ("cold", 2, (str(Death.KILLED),))
    assert "qemu killed by SIGKILL" in voice.words and "asking again (1 of 1)" in voice.words


def test_who_qemu_is(fresh: Path) -> None:
    """While a guest runs its QEMU is nobody's user, under seccomp, without a socket but ours, in an empty folder."""
    asker, _ = steps(fresh)
    found: dict[str, object] = {}

    def look(size: int) -> None:
        for pid in qemus_of(os.getpid())[: 0 if found else 1]:
            proc = Path(f"/proc/{pid}")
            status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines() if ":\t" in line)
            sockets = {os.readlink(f) for f in (proc / "fd").iterdir() if os.readlink(f).startswith("socket:")}
            unix = {f"socket:[{line.split()[6]}]" for line in (proc / "net/unix").read_text().splitlines()[1:]}
            folder = os.readlink(proc / "cwd")
            found.update(status=status, sockets=sockets, unix=unix, folder=folder, files=os.listdir(proc / "cwd"),
                         environ=(proc / "environ").read_bytes())  # fmt: skip

    qemu, frozen = asker.qemu(KERNEL), asker.template(KERNEL).frozen
    job = asker.job(KERNEL, asker.shop.store.checked(asker.object("many")), spec("0" * 32))
    run_clone(qemu, job, frozen, LIMITS, wire.is_complete, look)
    status, sockets, unix = found["status"], found["sockets"], found["unix"]
    assert isinstance(status, dict) and isinstance(sockets, set) and isinstance(unix, set)
    if os.geteuid() == 0:
        uids = {int(uid) for uid in status["Uid"].split()}
        assert len(uids) == 1 and uids.pop() in process.SPARE_UIDS
        assert status["CapEff"].strip("0") == ""
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
    assert sockets and sockets <= unix
    assert (found["files"], found["environ"]) == ([], b"")
    assert not Path(str(found["folder"])).exists()


# --- a host without room

POOR = """
import resource, sys
from pathlib import Path
from bpfcompat.errors import GuestError
from bpfcompat.guest import Limits, run_cold
from bpfcompat.qemu import Job, find_qemu
qemu = find_qemu()
taken = open("/dev/null")
resource.setrlimit(resource.{limit}, ({value},) * 2)
try:
    run_cold(qemu, Job(Path(sys.argv[1]), Path(sys.argv[2]), b"", b""), Limits(60, 60, 60), lambda report: True)
except GuestError as error:
    print(error.death, int(error.exit_code), error)
"""


@pytest.mark.parametrize(
    ("limit", "value", "death", "words"),
    [
        ("RLIMIT_NOFILE", "taken.fileno() + 4", Death.HOST, "Too many open files (hint: fewer guests at once"),
        ("RLIMIT_NOFILE", "taken.fileno() + 12", Death.HOST, "Too many open files (hint: fewer guests at once"),
        ("RLIMIT_AS", "256 << 20", Death.REFUSED, "annot"),
    ],
)
def test_poor_host(limit: str, value: str, death: Death, words: str, a_vmlinuz: Path, fresh: Path) -> None:
    """A host without descriptors or memory for a guest says so, with what to do; that is no answer."""
    asker, _ = steps(fresh)
    image = asker.shop.store.checked(asker.initramfs(KERNEL))
    argv = [sys.executable, "-c", POOR.format(limit=limit, value=value), str(a_vmlinuz), str(image)]
    done = subprocess.run(argv, env=child_python(), capture_output=True, text=True, timeout=100)
    assert done.stdout.startswith(f"{death} {int(Exit.INCONCLUSIVE)} "), done
    assert words in done.stdout, done


def test_guest_too_large(qemu: Qemu, a_vmlinuz: Path) -> None:
    """A guest that this host has no memory for is refused at once, in QEMU's words."""
    with pytest.raises(GuestError, match=r"qemu ended with exit code 1; qemu said: .*memory") as lost:
        run_cold(qemu, Job(a_vmlinuz, a_vmlinuz, b"", b"", memory_mb=1 << 23), LIMITS, lambda report: True)
    assert (lost.value.death, lost.value.phase) == (Death.REFUSED, "start")
