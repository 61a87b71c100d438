"""The guest driver against fake QEMUs: small programs that talk on the descriptors they are given.

What needs a kernel is in tests/guest.
"""

import ast
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfcompat.errors import BuildError, GuestError, ObjectError
from bpfcompat.guest import Death, Heard, Limits, choose_accelerator, run_clone, run_cold
from bpfcompat.qemu import Frozen, Job, Qemu

LIMITS = Limits(total_s=60, silence_s=30, first_byte_s=30)
NOTHING = Path("/dev/null")
JOB = Job(NOTHING, NOTHING, b"object", b"spec")
FAKE = """#!{python} -SEB
import os, re, signal, sys, time
if "--version" in sys.argv:
    print("QEMU emulator version 9.8.7 (Fake)")
    sys.exit()
console, pulse, frames, *monitor = (int(re.search("fd=([0-9]+)", a)[1]) for a in sys.argv if a.startswith("socket,"))
report = int(re.search('fd = "([0-9]+)"', open(sys.argv[sys.argv.index("-readconfig") + 1]).read())[1])
{body}
"""

FakeQemu = Callable[[str], Qemu]


@pytest.fixture
def fake_qemu(tmp_path: Path) -> FakeQemu:
    """Makes a QEMU whose whole life is the body given."""

    def make(body: str) -> Qemu:
        path = tmp_path / "qemu"
        path.write_text(FAKE.format(python=sys.executable, body=body))
        path.chmod(0o755)
        return Qemu(str(path), "9.8.7", own_user=False)

    return make


def done(report: bytearray) -> bool:
    return report.endswith(b"done\n")


def lose(qemu: Qemu, limits: Limits = LIMITS) -> GuestError:
    """The error of a guest that must be lost."""
    with pytest.raises(GuestError) as lost:
        run_cold(qemu, JOB, limits, done)
    return lost.value


# --- the accelerator

BOOTS = "os.write(report, b'hello\\n'); time.sleep(60)"
DIES = "os.write(2, b'kvm: no such luck'); os.abort()"


def choose(qemu: Qemu, wanted: str, folder: Path, device: str = "/dev/null") -> tuple[Qemu, str]:
    return choose_accelerator(qemu, JOB.image, JOB.initramfs, wanted, folder / "state", Path(device))


@pytest.mark.parametrize("wanted", ["auto", "kvm"])
def test_kvm_works(wanted: str, fake_qemu: FakeQemu, tmp_path: Path) -> None:
    """KVM is chosen once a kernel reached user space with it."""
    chosen, note = choose(fake_qemu(BOOTS), wanted, tmp_path)
    assert (chosen.accelerator, note) == ("kvm", "")


def test_auto_falls_back(fake_qemu: FakeQemu, tmp_path: Path) -> None:
    """A /dev/kvm that opens proves nothing: when QEMU dies with it, auto takes tcg and says why."""
    chosen, note = choose(fake_qemu(DIES), "auto", tmp_path)
    assert chosen.accelerator == "tcg"
    assert "SIGABRT" in note
    assert "no such luck" in note


def test_kvm_never_falls_back(fake_qemu: FakeQemu, tmp_path: Path) -> None:
    """Who asks for kvm gets kvm or an error."""
    with pytest.raises(BuildError, match="no such luck"):
        choose(fake_qemu(DIES), "kvm", tmp_path)


def test_no_device(fake_qemu: FakeQemu, tmp_path: Path) -> None:
    """Without the device nothing is started, and nothing remembered: it may be there at the next call."""
    chosen, note = choose(fake_qemu("raise SystemExit('started')"), "auto", tmp_path, str(tmp_path / "no-kvm"))
    assert chosen.accelerator == "tcg"
    assert "not there" in note
    assert not (tmp_path / "state").exists()


def test_tcg_asks_nothing(fake_qemu: FakeQemu, tmp_path: Path) -> None:
    """Who asks for tcg waits for no probe and reads no note."""
    assert choose(fake_qemu(DIES), "tcg", tmp_path)[1] == ""


def test_remembered(fake_qemu: FakeQemu, tmp_path: Path) -> None:
    """The answer holds until the host boots again; a QEMU of another version is asked anew."""
    assert choose(fake_qemu(DIES), "auto", tmp_path)[0].accelerator == "tcg"
    mended = fake_qemu(BOOTS)
    assert choose(mended, "auto", tmp_path)[0].accelerator == "tcg"
    assert choose(Qemu(mended.binary, "9.9", own_user=False), "auto", tmp_path)[0].accelerator == "kvm"


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"asked": 1}', b"\xff", b"[" * 60_000])
def test_memory_damaged(damage: bytes, fake_qemu: FakeQemu, tmp_path: Path) -> None:
    """A damaged memory is no answer: the host is asked again."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "accelerator.json").write_bytes(damage)
    assert choose(fake_qemu(BOOTS), "auto", tmp_path)[0].accelerator == "kvm"


# --- one run


def test_complete(fake_qemu: FakeQemu) -> None:
    """A complete report ends the run at once, whatever QEMU would still do."""
    ended = run_cold(
        fake_qemu("os.write(console, b'[0.1] up\\n'); time.sleep(.2); os.write(report, b'done\\n'); time.sleep(60)"),
        JOB, LIMITS, done,
    )  # fmt: skip
    assert (ended.report, ended.console.data, ended.console.cut, ended.start) == (
        b"done\n",
        b"[0.1] up\n",
        False,
        "cold",
    )


def test_object_and_spec(fake_qemu: FakeQemu, tmp_path: Path) -> None:
    """Object and spec reach QEMU as files with exactly their bytes, the object also when it is given as a path."""
    body = """
for name in ("object", "spec"):
    path = next(a for a in sys.argv if a.startswith(f"name=opt/bpfcompat/{name},")).partition("file=")[2]
    os.write(report, open(path, "rb").read())
os.write(report, b"done\\n")
time.sleep(60)
"""
    qemu = fake_qemu(body)
    path = tmp_path / "probe.bpf.o"
    path.write_bytes(b"from a path,")
    assert run_cold(qemu, JOB, LIMITS, done).report == b"objectspecdone\n"
    assert (
        run_cold(qemu, Job(JOB.image, JOB.initramfs, path, b"spec"), LIMITS, done).report == b"from a path,specdone\n"
    )


def test_surroundings(fake_qemu: FakeQemu, monkeypatch: pytest.MonkeyPatch) -> None:
    """QEMU sees nothing of our environment, only its own descriptors, an empty folder, and may write no file."""
    monkeypatch.setenv("BPFCOMPAT_PASSPHRASE", "secret")
    body = """
import resource
time.sleep(.2)
here = (os.listdir("."), os.readlink("/proc/self/cwd"))
fds = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}")]
limits = [resource.getrlimit(r) for r in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE)]
said = (sorted(os.environ), sorted(f.split(":")[0] for f in fds), limits, here)
os.write(report, repr(said).encode() + b" done\\n")
time.sleep(60)
"""
    said = run_cold(fake_qemu(body), JOB, LIMITS, done).report.decode()
    environment, descriptors, limits, (files, folder) = ast.literal_eval(said.removesuffix(" done\n"))
    assert set(environment) <= {"LC_CTYPE"}  # which Python itself sets
    memory, images = ["/memfd", "/memfd"], ["/dev/null", "/dev/null"]
    assert descriptors == ["/dev/null", "/dev/null", *images, *memory, "pipe", *["socket"] * 5]
    assert limits == [(0, 0), (0, 0), (128, 128)]
    assert files == []
    assert folder.endswith(" (deleted)")


def test_asked_by_line(fake_qemu: FakeQemu) -> None:
    """`complete` is asked when a line has ended, not for every byte; progress tells each growth."""
    body = "for c in b'first\\ndone\\n':\n os.write(report, bytes([c])); time.sleep(.01)\ntime.sleep(60)"
    asked: list[bytes] = []
    sizes: list[int] = []

    def complete(report: bytearray) -> bool:
        asked.append(bytes(report))
        return done(report)

    run_cold(fake_qemu(body), JOB, LIMITS, complete, sizes.append)
    assert len(asked) <= 2
    assert all(b"\n" in said for said in asked)
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == len(b"first\ndone\n")


def test_complete_raises(fake_qemu: FakeQemu) -> None:
    """A report that cannot be read ends the guest at once, and the error gets the console's end."""

    def complete(report: bytearray) -> bool:
        raise GuestError("report: line 1: not a frame")

    qemu = fake_qemu("os.write(console, b'here\\n'); time.sleep(.2); os.write(report, b'?\\n'); time.sleep(60)")
    with pytest.raises(GuestError, match="not a frame") as lost:
        run_cold(qemu, JOB, LIMITS, complete)
    assert (lost.value.phase, lost.value.console, lost.value.death) == ("report", "here", "")


PANIC = (
    "os.write(console, b'[ 1.2] Kernel pan'); time.sleep(.1); os.write(console, b'ic - not syncing: VFS: no root\\n');"
)


@pytest.mark.parametrize(
    ("body", "death", "phase", "words"),
    [
        ("os.write(report, b'begun\\n')", Death.EXIT, "report", "powered off before"),
        (PANIC, Death.PANIC, "boot", "not syncing: VFS: no root"),
        (PANIC + "time.sleep(60)", Death.PANIC, "boot", "not syncing: VFS: no root"),
        (PANIC + "sys.exit(1)", Death.PANIC, "boot", "not syncing: VFS: no root"),
        ("sys.exit('no such machine')", Death.REFUSED, "start", "exit code 1; qemu said: no such machine"),
        ("os.kill(os.getpid(), signal.SIGKILL)", Death.KILLED, "start", "SIGKILL"),
        ("os.write(report, b'begun\\n'); os.abort()", Death.KILLED, "report", "SIGABRT"),
    ],
)
def test_deaths(body: str, death: Death, phase: str, words: str, fake_qemu: FakeQemu) -> None:
    """Each way in which a guest is lost is told from the others."""
    lost = lose(fake_qemu(body))
    assert (lost.death, lost.phase) == (death, phase)
    assert words in lost.message


@pytest.mark.parametrize(
    ("body", "limits", "death"),
    [
        ("time.sleep(60)", Limits(60, 60, 0.3), Death.FIRST_BYTE),
        ("os.write(console, b'up\\n'); time.sleep(60)", Limits(60, 60, 0.5), Death.FIRST_BYTE),
        ("os.write(report, b'begun\\n'); time.sleep(60)", Limits(60, 0.3, 30), Death.SILENCE),
        ("while True: os.write(console, b'on\\n'); os.write(report, b'on\\n')", Limits(1.5, 1, 1), Death.DEADLINE),
        ("while True: os.write(report, bytes(999))", Limits(60, 60, 60, report_bytes=10_000), Death.FLOOD),
        ("while True: os.write(2, bytes(999))", Limits(1.5, 1, 1), Death.FIRST_BYTE),
    ],
)
def test_bounds(body: str, limits: Limits, death: Death, fake_qemu: FakeQemu) -> None:
    """No guest lives longer, and no report grows larger, than it may."""
    assert lose(fake_qemu(body), limits).death == death


def test_console_cut(fake_qemu: FakeQemu) -> None:
    """A console that says too much is cut, keeps its end and costs no answer."""
    body = "os.write(console, b'x' * 100_000 + b'the end\\n'); time.sleep(.2); os.write(report, b'done\\n')"
    ended = run_cold(fake_qemu(body), JOB, Limits(60, 60, 60, console_bytes=1000), done)
    assert (len(ended.console.data), ended.console.cut) == (1000, True)
    assert ended.console.data.endswith(b"the end\n")


def test_object_refused(fake_qemu: FakeQemu, tmp_path: Path) -> None:
    """An object that is not a regular file is the object's error, not a lost guest."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ObjectError, match="FIFO"):
        run_cold(fake_qemu("sys.exit(1)"), Job(JOB.image, JOB.initramfs, tmp_path / "fifo", b""), LIMITS, done)


def test_nothing_left(fake_qemu: FakeQemu) -> None:
    """The process is gone after a run, and no descriptor of ours stays open."""
    before = os.listdir("/proc/self/fd")
    pids: list[int] = []

    def complete(report: bytearray) -> bool:
        pids.append(int(report))
        return True

    run_cold(fake_qemu("os.write(report, str(os.getpid()).encode() + b'\\n'); time.sleep(60)"), JOB, LIMITS, complete)
    lose(fake_qemu("sys.exit(3)"))
    assert not Path(f"/proc/{pids[0]}").exists()
    assert os.listdir("/proc/self/fd") == before


# --- the clock


def test_silence_starts_with_the_report() -> None:
    """A quiet boot is not silence: until the report begins, only the first byte's deadline counts."""
    heard = Heard(Limits(total_s=100, silence_s=5, first_byte_s=50), now=0)
    heard.hear("console", b"up", now=1)
    assert heard.next_death() == (50, Death.FIRST_BYTE)
    heard.hear("report", b"x", now=20)
    assert heard.next_death() == (25, Death.SILENCE)
    heard.hear("console", b"rcu: stalled", now=24)
    assert heard.next_death() == (25, Death.SILENCE)
    heard.hear("pulse", b".", now=24)
    assert heard.next_death() == (29, Death.SILENCE)
    heard.hear("stderr", b"warning", now=28)
    heard.hear("report", b"", now=28)
    assert heard.next_death() == (29, Death.SILENCE)


def test_total_is_total() -> None:
    """Progress does not move the total deadline."""
    heard = Heard(Limits(total_s=10, silence_s=5, first_byte_s=5), now=0)
    heard.hear("report", b"x", now=9)
    assert heard.next_death() == (10, Death.DEADLINE)
    heard.check(9.9, idle)
    with pytest.raises(GuestError, match="within 10 s"):
        heard.check(10, idle)


def idle() -> float:
    """The processor time of a guest that uses none."""
    return 1.0


@pytest.mark.parametrize(("used", "death"), [(3.9, Death.HANG), (2.1, Death.HANG), (0.3, Death.SILENCE)])
def test_hang(used: float, death: Death) -> None:
    """A silent guest hangs if it was busy for half of the silence or more, and is idle if it used next to nothing."""
    heard = Heard(Limits(total_s=100, silence_s=6, first_byte_s=50), now=0)
    heard.hear("report", b"x", now=10)
    assert heard.next_look() == 12
    heard.check(12, lambda: 1.0)
    assert heard.next_look() == 16
    with pytest.raises(GuestError) as lost:
        heard.check(16, lambda: 1.0 + used)
    assert lost.value.death == death


@pytest.mark.parametrize(("used", "death"), [((1.2, 2.1), Death.HANG), ((1.2, 1.25, 1.3), Death.SILENCE)])
def test_hang_on_a_busy_host(used: tuple[float, ...], death: Death) -> None:
    """Who got too little of a processor to tell is heard longer: until he used as much as a hang does, or idles."""
    heard = Heard(Limits(total_s=100, silence_s=6, first_byte_s=50), now=0)
    heard.hear("report", b"x", now=10)
    heard.check(12, lambda: 1.0)
    now = 16.0
    for seconds in used[:-1]:
        heard.check(now, lambda spent=seconds: 1.0 + spent)
        assert heard.next_look() == now + 6
        now += 6
    with pytest.raises(GuestError) as lost:
        heard.check(now, lambda: 1.0 + used[-1])
    assert lost.value.death == death


def test_patience_ends_with_a_silence() -> None:
    """A guest that was heard longer and then spoke again has the same seconds as any for its next silence."""
    heard = Heard(Limits(total_s=100, silence_s=6, first_byte_s=50), now=0)
    heard.hear("report", b"x", now=10)
    heard.check(12, lambda: 1.0)
    heard.check(16, lambda: 2.0)
    heard.hear("pulse", b".", now=20)
    assert heard.next_death() == (26, Death.SILENCE)


def test_oops_without_a_splat() -> None:
    """An oops is a death once the report stands still: pulses of an init that is well do not count after it."""
    heard = Heard(Limits(total_s=100, silence_s=5, first_byte_s=50), now=0)
    heard.hear("report", b"x", now=10)
    heard.hear("console", b"[ 1.0] BUG: unable to handle page fault\n[ 1.0] Oo", now=12)
    assert heard.next_death() == (15, Death.SILENCE)
    heard.hear("console", b"ps: 0002 [#1]\n", now=12.5)  # the word may come in two pieces
    for now in (13, 14, 15, 16, 17):
        heard.hear("pulse", b".", now)
    assert heard.next_death() == (17.5, Death.OOPS)
    heard.check(17.4, idle)
    with pytest.raises(GuestError, match="BUG: unable to handle page fault") as lost:
        heard.check(17.5, idle)
    assert lost.value.death == Death.OOPS


def test_oops_and_more_report() -> None:
    """While the report grows the guest lives on, oops or not; another oops does not give it more time."""
    heard = Heard(Limits(total_s=100, silence_s=5, first_byte_s=50), now=0)
    heard.hear("report", b"x", now=10)
    heard.hear("console", b"Oops", now=12)
    heard.hear("report", b"y", now=14)
    heard.hear("console", b"Oops", now=18)
    heard.hear("pulse", b".", now=18)
    heard.hear("report", b"", now=18)
    assert heard.next_death() == (19, Death.OOPS)


def test_panic_after_an_oops() -> None:
    """A kernel that panics of its oops died of the panic."""
    heard = Heard(Limits(total_s=100, silence_s=5, first_byte_s=50), now=0)
    heard.hear("report", b"x", now=10)
    heard.hear("console", b"Oops: 1\nKernel panic - not syncing: Fatal exception\n", now=12)
    assert heard.next_death() == (13, Death.PANIC)


# --- the console's end

SAYS_LATE = "os.write(report, b'done\\n'); time.sleep(.5); os.write(console, b'WARNING: CPU: 0 PID: 1 at x\\n');"
WORD = "os.write(console, b'[ 1.2] bpfcompat: '); time.sleep(.1); os.write(console, b'end\\n'); "


def with_console(console_s: float) -> Limits:
    return Limits(60, 30, 30, console_s=console_s)


def test_console_is_waited_for(fake_qemu: FakeQemu) -> None:
    """What a kernel writes after the last frame, and before the validator's word, is heard."""
    ended = run_cold(fake_qemu(SAYS_LATE + WORD + "time.sleep(60)"), JOB, with_console(30), done)
    assert ended.splats == ("WARNING: CPU: 0 PID: 1 at x", "bpfcompat: end")
    assert ended.seconds < 30  # the word ended the wait, not the clock


def test_console_without_an_end(fake_qemu: FakeQemu) -> None:
    """A console without that word is given up after its time, and the answer stays."""
    ended = run_cold(fake_qemu("os.write(report, b'done\\n'); time.sleep(60)"), JOB, with_console(0.3), done)
    assert (ended.report, ended.console.data) == (b"done\n", b"")
    assert 0.3 <= ended.seconds < 30


def test_console_that_never_stops(fake_qemu: FakeQemu) -> None:
    """A console that talks on without the word is given up too, and cut."""
    body = "os.write(report, b'done\\n')\nwhile True: os.write(console, b'x' * 999 + b'\\n')"
    ended = run_cold(fake_qemu(body), JOB, Limits(60, 30, 30, console_bytes=10_000, console_s=0.5), done)
    assert (ended.report, ended.console.cut, len(ended.console.data)) == (b"done\n", True, 10_000)


@pytest.mark.parametrize("code", ["sys.exit()", "os.abort()"])
def test_console_that_closes(code: str, fake_qemu: FakeQemu) -> None:
    """A guest that ends after its report ends the wait."""
    ended = run_cold(fake_qemu(SAYS_LATE + code), JOB, with_console(50), done)
    assert ended.splats and ended.seconds < 50


def test_word_before_the_report_ends(fake_qemu: FakeQemu) -> None:
    """A console that came first is not waited for again."""
    ended = run_cold(fake_qemu(WORD + "time.sleep(.2); os.write(report, b'done\\n'); time.sleep(60)"), JOB,
                     with_console(30), done)  # fmt: skip
    assert ended.seconds < 30


# --- a template that cannot be thawed


@pytest.mark.parametrize(
    ("body", "death", "words"),
    [
        ("sys.exit('no such thing as -incoming')", Death.REFUSED, "exit code 1; qemu said: no such thing as -incoming"),
        ("os.kill(os.getpid(), signal.SIGKILL)", Death.KILLED, "qemu killed by SIGKILL"),
        ("os.write(monitor[0], b'what?\\n'); time.sleep(60)", Death.REFUSED, "expected a JSON object"),
    ],
)
def test_not_thawed(body: str, death: Death, words: str, fake_qemu: FakeQemu) -> None:
    """A QEMU that ends before it thaws says why by its end, not by its monitor's; one that lives, by its monitor."""
    ram = os.memfd_create("ram")
    try:
        with pytest.raises(GuestError) as lost:
            run_clone(fake_qemu(body), JOB, Frozen(ram, b"state"), LIMITS, done)
    finally:
        os.close(ram)
    assert (lost.value.death, lost.value.heard, lost.value.phase) == (death, b"", "start")
    assert words in lost.value.message
