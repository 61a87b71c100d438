"""Command mode in real guests: the project's own loader decides, and nothing that it does is believed but its exit."""

import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bpfcompat.asking import Asker
from bpfcompat.config import load, object_spec
from bpfcompat.kernels.catalogue import SHIPPED, load_catalogue
from bpfcompat.model import Answer, CommandReport, ObjectSpec, Verdict
from bpfcompat.plan import Pair
from bpfcompat.rules.session import Session
from bpfcompat.voice import Silent
from bpfcompat.wire import report_from_bytes
from tests.guest.conftest import ROOT, absent
from tests.guest.test_oracle import libraries

pytestmark = pytest.mark.guest

KERNEL = "debian-12"
OBJECT = "examples/ringbuf.bpf.c"


@dataclass(frozen=True)
class Asked:
    """What came of one pair."""

    verdict: Verdict
    told: CommandReport


Ask = Callable[..., Asked]


def asking(*specs: ObjectSpec) -> Asker:
    """This repository's steps over its own store, for these objects alone."""
    catalogue = load_catalogue([SHIPPED])
    config = load(ROOT, {"matrix.kernels": ",".join(catalogue)})
    return Session(config, {s.name: s for s in specs}, catalogue, Silent()).asker


@pytest.fixture(scope="session")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """loader.c as a static program."""
    compiler = shutil.which("cc") or pytest.skip("no C compiler")
    made = tmp_path_factory.mktemp("loader") / "loader"
    source = Path(__file__).parent / "loader" / "loader.c"
    subprocess.run([compiler, "-static", "-O1", "-s", "-D_GNU_SOURCE", "-w", "-o", made, source], check=True)
    return made


@pytest.fixture
def ask(vmlinuz: dict[str, Path]) -> Iterator[Ask]:
    """Ask a kernel by this command."""
    made: list[tuple[Asker, Pair]] = []

    def ask(command: dict[str, Any], kernel: str = KERNEL, source: str = OBJECT) -> Asked:
        spec = object_spec("commanded", {"source": source, "command": command}, ROOT, "test")
        asker, pair = asking(spec), Pair("commanded", kernel)
        made.append((asker, pair))
        asker.forget(asker.probe_action(pair))
        verdict, told = asker.verdict(pair), asker.report(pair).command
        assert told is not None
        return Asked(verdict, told)

    yield ask


def test_surroundings(ask: Ask, loader: Path) -> None:
    """A static loader has the object, an environment of its own, and every file system that loaders use."""
    found = ask({"binary": str(loader), "argv": ["./loader", "show"], "env": {"A": "b=c d"}})
    lines = found.told.stdout.text.splitlines()
    assert found.verdict.answer is Answer.COMPATIBLE, found
    assert [line for line in lines if line.startswith("env ")] == [
        "env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "env HOME=/", "env LC_ALL=C.UTF-8",
        "env A=b=c d", "env BPFCOMPAT_OBJECT=/files/object.bpf.o",
    ]  # fmt: skip
    assert lines[:2] == ["cwd /files", "uid 0"]
    there = {"object", "bpffs", "tracefs", "cgroup2", "proc", "null", "bpf", "lo"}
    assert {line for line in lines if not line.startswith(("env ", "cwd ", "uid "))} == {
        "input 0", *(f"{name} 1" for name in there)
    }  # fmt: skip


def test_nothing_within_reach(ask: Ask, loader: Path) -> None:
    """A loader cannot write to the report's port, make its node, read init's memory, use ports, or end init."""
    found = ask({"binary": str(loader), "argv": ["./loader", "reach"]})
    assert found.told.stdout.text.splitlines() == ["port 0", "node 0", "memory 0", "iopl 0", "kill 0"]


@pytest.mark.parametrize(
    ("argv", "more", "answer", "cause", "words"),
    [
        (["exit", "0"], {}, "compatible", "", "exits with 0, as expected"),
        (["exit", "3"], {"expect_exit": 3}, "compatible", "", "exits with 3, as expected"),
        (["exit", "0"], {"expect_exit": 3}, "incompatible", "loader-exit", "exits with 0, expected 3"),
        (["say", "no such map", "exit", "9"], {}, "incompatible", "loader-exit", "exits with 9, expected 0"),
        (["abort"], {}, "incompatible", "loader-exit", "is ended by SIGSEGV, expected 0"),
        (["hang"], {"timeout_s": 1}, "inconclusive", "loader-timed-out", "did not end within 1 s"),
        (["stop"], {"timeout_s": 1}, "inconclusive", "loader-timed-out", "did not end within 1 s"),
        (["bomb"], {"timeout_s": 2}, "inconclusive", "", ""),
        (["linger", "daemon", "exit", "0"], {}, "compatible", "", "exits with 0, as expected"),
        (["fill", "exit", "0"], {}, "compatible", "", "exits with 0, as expected"),
        (["eat"], {}, "inconclusive", "loader-out-of-memory", "memory did not suffice"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)  # fmt: skip
def test_deeds(
    ask: Ask, loader: Path, argv: list[str], more: dict[str, Any], answer: str, cause: str, words: str
) -> None:
    """Whatever a loader does, its exit decides; what never ended or starved has not answered."""
    found = ask({"binary": str(loader), "argv": ["./loader", *argv], **more})
    assert found.verdict.answer == answer, found
    assert words in found.verdict.sentence
    assert not cause or found.verdict.cause == cause
    if "say" in argv:
        assert found.verdict.evidence == ("stderr: no such map",)
    if "linger" in argv:
        assert found.told.left == 2
    if "fill" in argv:
        assert found.told.stdout.text == "filled\n"


def test_flood(ask: Ask, loader: Path) -> None:
    """A megabyte of binary output is kept to its end, as text, flagged as cut."""
    found = ask({"binary": str(loader), "argv": ["./loader", "flood", "exit", "1"], "timeout_s": 120})
    text = found.told.stdout.text
    assert found.verdict.cause == "loader-exit", found
    assert found.told.stdout.cut
    assert len(text.encode()) <= 3 * (64 << 10)
    assert text.endswith("049999 \x1b[31m\x01\ufffd\ufffd line\n")
    assert "cut" in " ".join(found.verdict.notes)
    assert all(line.isprintable() for line in found.verdict.evidence)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ({"argv": ["./nothing"]}, "there is no program './nothing'"),
        ({"argv": ["nothing"]}, "there is no program 'nothing'"),
        ({"argv": ["./loader"], "cwd": "/nowhere"}, "its folder /nowhere cannot be entered"),
        ({"argv": ["./object.bpf.o"]}, "there and cannot be run"),
        ({"argv": ["/tmp"]}, "there and cannot be run"),
    ],
)
def test_not_started(ask: Ask, loader: Path, command: dict[str, Any], words: str) -> None:
    """What cannot be started has not answered."""
    found = ask({"binary": str(loader), **command})
    assert (found.verdict.answer, found.verdict.cause) == (Answer.INCONCLUSIVE, "loader-not-started")
    assert words in found.verdict.sentence


def test_conditions(ask: Ask, loader: Path) -> None:
    """A kernel that is asked without privileges runs the loader without them too."""
    found = ask({"binary": str(loader), "argv": ["./loader", "show"]}, "debian-12-unprivileged")
    assert {"uid 65534", "bpf 0", "object 1"} <= set(found.told.stdout.text.splitlines())


# --- loaders that are not ours


@pytest.fixture(scope="session")
def bpftool_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with this host's bpftool and its libraries, and a shell."""
    program, busybox = shutil.which("bpftool", path="/usr/sbin:/usr/bin"), shutil.which("busybox")
    if program is None or busybox is None:
        absent("bpftool and busybox-static are not installed")
        raise AssertionError
    root = tmp_path_factory.mktemp("bpftool")
    for path in (Path(program).resolve(), *libraries(Path(program))):
        place = root / str(path).lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    (root / "bin").mkdir(exist_ok=True)
    shutil.copy(busybox, root / "bin/busybox")
    (root / "bin/sh").symlink_to("/bin/busybox")
    return root


BPFTOOL = ["bpftool", "prog", "loadall", "{object}", "/sys/fs/bpf/x"]


@pytest.mark.parametrize(
    ("source", "kernel", "answer"),
    [("ringbuf", "debian-11", "compatible"), ("ringbuf", "debian-13", "compatible"),
     ("helper_missing", "debian-11", "incompatible"), ("helper_missing", "debian-13", "compatible")],
)  # fmt: skip
def test_bpftool(ask: Ask, bpftool_root: Path, source: str, kernel: str, answer: str) -> None:
    """Debian's bpftool, dynamic, in a folder of its own, says what libbpf says."""
    found = ask({"rootfs": str(bpftool_root), "argv": BPFTOOL}, kernel, f"examples/{source}.bpf.c")
    assert found.verdict.answer == answer, found
    assert "loader 'bpftool'" in found.verdict.sentence
    if answer == "incompatible":
        assert found.verdict.cause == "loader-exit"
        assert found.told.exit == 255
        assert any("failed to load" in line for line in found.verdict.evidence)


def test_tar_and_shell(ask: Ask, bpftool_root: Path, tmp_path: Path) -> None:
    """The same from a packed tar archive, through a shell that was asked for; bpftool sees what it pinned."""
    packed = tmp_path / "root.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(bpftool_root, ".")
    pinned = "bpftool -j prog show pinned /sys/fs/bpf/x/*"
    line = f'bpftool prog loadall "$BPFCOMPAT_OBJECT" /sys/fs/bpf/x && test -n "$({pinned})"'
    found = ask({"rootfs": str(packed), "argv": [line], "shell": True})
    assert found.verdict.answer is Answer.COMPATIBLE, found
    missing = ask({"rootfs": str(packed), "argv": ["nothing here"], "shell": True})
    assert (missing.verdict.answer, missing.verdict.cause) == (Answer.INCONCLUSIVE, "loader-not-started")


def test_hostile_root(ask: Ask, bpftool_root: Path, tmp_path: Path) -> None:
    """Of a root with device nodes, set-uid programs and links that leave it, a loader sees none of that."""
    packed = tmp_path / "root.tar"
    with tarfile.open(packed, "w") as archive:
        archive.add(bpftool_root, ".")
        for name, kind, number in (("mem", tarfile.CHRTYPE, (1, 1)), ("disk", tarfile.BLKTYPE, (8, 0))):
            node = tarfile.TarInfo(f"nodes/{name}")
            node.type, node.mode, (node.devmajor, node.devminor) = kind, 0o666, number
            archive.addfile(node)
        suid = tarfile.TarInfo("su")
        suid.mode = 0o6755
        archive.addfile(suid)
        out = tarfile.TarInfo("out")
        out.type, out.linkname = tarfile.SYMTYPE, "../../init"
        archive.addfile(out)
    reached = "test -e /nodes/mem || test -e /nodes/disk || test -u /su || test -g /su || test -e /out"
    found = ask({"rootfs": str(packed), "argv": [f"test -x /su && ! ({reached})"], "shell": True})
    assert found.verdict.answer is Answer.COMPATIBLE, found


def test_library_missing(ask: Ask, bpftool_root: Path, tmp_path: Path) -> None:
    """A loader whose library, or whose interpreter, is not there has not answered."""
    lame = tmp_path / "lame"
    shutil.copytree(bpftool_root, lame, symlinks=True)
    for path in lame.rglob("libelf*"):
        path.unlink()
    found = ask({"rootfs": str(lame), "argv": BPFTOOL})
    assert found.verdict.cause == "loader-not-started", found
    assert "error while loading shared libraries" in found.verdict.evidence[-1]
    for path in lame.rglob("ld-linux*"):
        path.unlink()
    found = ask({"rootfs": str(lame), "argv": BPFTOOL})
    assert found.verdict.cause == "loader-not-started", found
    assert "interpreter" in found.verdict.sentence


def test_words_that_differ(bpftool_root: Path) -> None:
    """Two guests may say other things, as long as they end alike: a control does not stumble over a clock."""
    command = {"rootfs": str(bpftool_root), "argv": ["busybox cat /proc/uptime /proc/stat"], "shell": True}
    spec, pair = object_spec("clock", {"source": OBJECT, "command": command}, ROOT, "test"), Pair("clock", KERNEL)
    asker = asking(spec)
    for action in (asker.probe_action(pair), asker.control_action(pair)):
        asker.forget(action)
    entry, first = asker.control(pair), asker.report(pair)
    assert entry is not None
    other = report_from_bytes(asker.shop.store.read(entry.outputs["report"]))
    assert first.command is not None and other.command is not None
    assert first.command.stdout != other.command.stdout


def test_it_kills_the_kernel(bpftool_root: Path) -> None:
    """A loader that takes the kernel with it, in every guest, has answered: the sentence says when."""
    crash = {"rootfs": str(bpftool_root), "argv": ["echo c > /proc/sysrq-trigger"], "shell": True}
    spec, pair = object_spec("crash", {"source": OBJECT, "command": crash}, ROOT, "test"), Pair("crash", KERNEL)
    asker = asking(spec)
    asker.forget(asker.probe_action(pair))
    found = asker.verdict(pair)
    assert (found.answer, found.cause) == (Answer.INCOMPATIBLE, "kernel-crash")
    assert "dies while the project's loader runs" in found.sentence
