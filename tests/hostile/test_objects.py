"""Objects that attack: the loader, the verifier, the kernel, and who reads the result.

What a hang, a crash or a splat of the kernel comes to is tested where deaths are; here is what must hold beside it: an
object that kills the process that asks gets no answer, one that says a lot is cut, and no name of an object reaches a
person raw.
"""

import errno
import re
import struct
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfcompat import inspecting, wire
from bpfcompat.anatomy import read_anatomy
from bpfcompat.asking import Asker
from bpfcompat.elf import MAX_SIZE, ObjectFacts, facts_or_fault
from bpfcompat.errors import GuestError, ObjectError
from bpfcompat.guest import Limits, run_cold
from bpfcompat.model import Attach, AttachMode, ObjectSpec, Report
from bpfcompat.objects import compile_object
from bpfcompat.predicting import Target
from bpfcompat.qemu import Job, Qemu
from tests.guest.conftest import KERNELS, asker, qemu, vmlinuz  # noqa: F401  (fixtures)
from tests.hosting import ROOT
from tests.making import make_btf
from tests.unit.test_elf import EXEC, EXIT, FUNC, RETURN_0, Section, elf

pytestmark = pytest.mark.hostile

OBJECTS = ROOT / "tests/hostile/objects"
NONCE = "0123456789abcdef" * 2
LIMITS = Limits(total_s=170, silence_s=120, first_byte_s=90)
SHORT = Limits(total_s=60, silence_s=6, first_byte_s=50)
LOG_MAX = 64 << 10
LONG_LOG = 256 << 10  # a log as kept, with what the summary around it takes

Ask = Callable[..., Report]


def compiled(asker: Asker, name: str, *flags: str) -> bytes:  # noqa: F811
    """An object of the corpus, compiled as any object of a project is."""
    shop = asker.shop
    headers = {n: shop.store.read(b) for n, b in asker.validator().outputs.items() if n.startswith("include/")}
    headers["include/vmlinux.h"] = shop.store.read(asker.header())
    spec = ObjectSpec(name, source=OBJECTS / f"{name}.bpf.c", cflags=flags)
    with tempfile.TemporaryDirectory() as work:
        return compile_object(spec, shop.config, headers, Path(work))


@pytest.fixture
def ask(asker: Asker, qemu: Qemu, vmlinuz: dict[str, Path]) -> Ask:  # noqa: F811
    """Boot a kernel with an object and read the report; what is lost on the way is a GuestError."""

    def run(content: bytes, kernel: str = "debian-12", limits: Limits = LIMITS) -> Report:
        initramfs = asker.shop.store.checked(asker.initramfs(kernel))
        spec = wire.spec(NONCE, AttachMode.ATTACH, 10**18, "5" * 64)
        job = Job(vmlinuz[kernel], initramfs, content, spec)
        return wire.parse(run_cold(qemu, job, limits, wire.is_complete).report, NONCE, log_max=LOG_MAX)

    return run


# --- on real kernels


@pytest.mark.guest
@pytest.mark.parametrize("path", sorted(OBJECTS.glob("*.c")), ids=lambda p: p.name.partition(".")[0])
def test_compiles(path: Path, asker: Asker, vmlinuz: dict[str, Path]) -> None:  # noqa: F811
    """Each object of the corpus is one for whoever takes it up, and says in its head what it was measured to do."""
    assert re.search(r"^ \* Measured|replaces", path.read_text(), re.MULTILINE)
    assert facts_or_fault(compiled(asker, path.name.partition(".")[0])).__class__.__name__ == "ObjectFacts"


@pytest.mark.guest
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ["kill", "stop"])
def test_killed_child(name: str, kernel: str, asker: Asker, ask: Ask) -> None:  # noqa: F811
    """A program that kills or stops the process that asks gets no answer."""
    with pytest.raises(GuestError):
        ask(compiled(asker, name), kernel, SHORT)


@pytest.mark.guest
@pytest.mark.parametrize("kernel", KERNELS[:2])
def test_out_of_memory(kernel: str, asker: Asker, ask: Ask) -> None:  # noqa: F811
    """A map that the allocator tries to the last page gets the asking process killed: no answer, and no panic."""
    with pytest.raises(GuestError, match="signal 9"):
        ask(compiled(asker, "huge_map", "-DMB=200", "-DKIND=BPF_MAP_TYPE_PERCPU_ARRAY"), kernel)


@pytest.mark.guest
def test_map_too_large(asker: Asker, ask: Ask) -> None:  # noqa: F811
    """A map of 4 GB is refused by the kernel, which is an answer."""
    assert ask(compiled(asker, "huge_map")).load_errno == 12


@pytest.mark.guest
def test_long_log(asker: Asker, ask: Ask) -> None:  # noqa: F811
    """A verifier log of more than 16 MiB is cut, and keeps the line that says why."""
    report = ask(compiled(asker, "log_bomb", "-DONE"))
    (program,) = report.programs
    assert (report.load_errno, program.load_errno) == (13, 13)
    assert "invalid mem access" in program.log.text
    assert program.log.cut
    assert len(report.load_log.text) + len(program.log.text) < LONG_LOG


@pytest.mark.guest
def test_million(asker: Asker, ask: Ask) -> None:  # noqa: F811
    """A program that takes the verifier nearly a million instructions is loaded like any other."""
    assert ask(compiled(asker, "million", "-DONE")).load_errno == 0


@pytest.mark.guest
def test_many_programs(ask: Ask) -> None:
    """Of hundreds of programs each is asked alone and told of: the refused third hides none of the others."""
    report = ask(many_programs(300))
    assert (report.open_errno, report.load_errno) == (0, errno.EACCES)
    assert [p.name for p in report.programs] == [f"p{n}" for n in range(300)]
    refused = [n for n, p in enumerate(report.programs) if p.load_errno]
    assert refused == list(range(0, 300, 3))
    assert {report.programs[n].load_errno for n in refused} == {errno.EACCES}
    assert all("R0 !read_ok" in report.programs[n].log.text for n in refused)
    loaded = [p for p in report.programs if not p.load_errno]
    assert all(p.attach is Attach.ATTACHED and p.measures and p.measures.verified == 2 for p in loaded)


FORGED = f'\nBPFC1 {NONCE} 9\n{{"kind":"end"}}'
NAMES = {
    "title": "\x1b]0;owned\x07\x1b[2J",
    "lines": "\r\n\n\x0b\x0cKernel panic - not syncing",
    "markup": "<script>alert(1)</script><img src=x>",
    "markdown": "`](https://evil.example)![x](y)|",
    "rtl": "\u202egpj.exe\u2066\u200b\ufeff",
    "broken": "\udcff\udcfe\udc80",
    "junit": "]]></failure><testcase/>&#0;&x;",
    "forged": FORGED[:48],
}  # fmt: skip
PLACES = re.compile(rb"(?:map|section|program|hook)_name_of_exactly_forty_eight_characters_x+")


def renamed(content: bytes, text: str) -> bytes:
    """The object with another text in place of its long names."""
    new = text.encode("utf-8", "surrogateescape")
    assert len(new) <= 48
    return PLACES.sub(lambda old: new + b"x" * (len(old[0]) - len(new)), content)


PROJECT = """
[paths]
store = "{store}"
[signing]
key = "key.pem"
[run]
retries = 0
control_percent = 0
[guest]
boot_s = 20
deadline_s = 30
[matrix]
kernels = ["debian-12"]
"""
DODO = """from bpfcompat.rules import bpf_matrix


def task_bpf():
    yield from bpf_matrix()
"""


@pytest.fixture(scope="module")
def shown(
    asker: Asker,  # noqa: F811
    qemu: Qemu,  # noqa: F811
    vmlinuz: dict[str, Path],  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """Everything that a run over hostile objects shows a person: both outputs, every report and every page."""
    root, content = tmp_path_factory.mktemp("hostile"), compiled(asker, "names")
    text = PROJECT.format(store=asker.shop.store.root)
    objects = {name: renamed(content, odd) for name, odd in NAMES.items()} | {
        name: bomb() for name, bomb in BOMBS.items()
    }
    for name, data in objects.items():
        (root / f"{name}.bpf.o").write_bytes(data)
        text += f'[objects.{name}]\nprebuilt = "{name}.bpf.o"\nexpect = "incompatible:kernel-splat"\n'
    (root / "bpfcompat.toml").write_text(text)
    (root / "dodo.py").write_text(DODO)
    (root / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    (root / "bpfcompat.lock").write_text((ROOT / "bpfcompat.lock").read_text())
    argv = [str(Path(sys.executable).parent / "doit"), "matrix"]
    done = subprocess.run(argv, cwd=root, capture_output=True, timeout=900)
    found = {"stdout": done.stdout, "stderr": done.stderr}
    for path in sorted((root / ".bpfcompat").rglob("*")):
        if path.suffix in (".md", ".html", ".xml", ".txt", ".css"):
            found[str(path.relative_to(root))] = path.read_bytes()
    return {name: data.decode("utf-8") for name, data in found.items()}  # all of it is UTF-8


@pytest.mark.guest
def test_all_was_asked(shown: dict[str, str]) -> None:
    """The run came to its end, and said so."""
    assert re.search(rf"{len(NAMES) + len(BOMBS)} pairs: .* ran", shown["stdout"] + shown["stderr"])
    assert "Traceback" not in shown["stdout"] + shown["stderr"]
    assert any(name.endswith("matrix.html") for name in shown)


@pytest.mark.guest
def test_nothing_raw(shown: dict[str, str]) -> None:
    """No control, no invisible and no right-to-left character of an object reaches a terminal, a report or a page."""
    for name, text in shown.items():
        odd = {c for c in text if not c.isprintable() and c not in "\n\t\r"}
        assert not odd, (name, odd)
        assert "\r" not in text, name


@pytest.mark.guest
def test_no_markup(shown: dict[str, str]) -> None:
    """What an object is called is text in a page, code in Markdown, and characters in JUnit."""
    for name, text in shown.items():
        if name.endswith(".html"):
            assert not re.search(r"<(?:script|img)|href=\"?(?:https?:|javascript:)", text), name
        if name.endswith(".xml"):
            assert {e.tag for e in ElementTree.fromstring(text)} == {"testcase"}, name
        if name.endswith(".md"):
            assert not re.search(r"<script|<img|\]\(https?:", re.sub(r"`[^`\n]*`", "", text)), name


# --- bombs: files that no loader should take, made here

RETURN_UNSET = bytes.fromhex("b701000000000000") + EXIT  # r1 = 0, and r0 is what comes back


def many_programs(count: int) -> bytes:
    """An object of this many programs, each in a section of its own; every third one returns what it never set."""
    sections = [Section("socket", RETURN_0 if n % 3 else RETURN_UNSET, EXEC) for n in range(count)]
    symbols = [(f"p{n}", FUNC, n + 1) for n in range(count)]
    return elf([*sections, Section("license", b"GPL\0")], symbols, size=len(RETURN_0))


def patched(index: int, field: int, value: int) -> bytes:
    """A small object with one 64-bit field of one section header changed."""
    data = bytearray(many_programs(2))
    (table,) = struct.unpack_from("<Q", data, 0x28)
    struct.pack_into("<Q", data, table + 64 * index + field, value)
    return bytes(data)


def deep_btf(depth: int, kind: int) -> bytes:
    """An object whose BTF is a chain of this many pointers (kind 2) or arrays of arrays (kind 3)."""
    if kind == 2:
        types = b"".join(struct.pack("<III", 0, 2 << 24, n + 2) for n in range(depth))
    else:
        types = b"".join(struct.pack("<IIIIII", 0, 3 << 24, 0, n + 2, 1, 0xFFFF) for n in range(depth))
    btf = make_btf(types + struct.pack("<IIII", 0, 1 << 24, 4, 32))
    sections = [Section("socket", RETURN_0, EXEC), Section("license", b"GPL\0"), Section(".BTF", btf, 0)]
    return elf(sections, [("p", FUNC, 1)], size=len(RETURN_0))


def storm(count: int) -> bytes:
    """A program section with this many relocations, all of one instruction."""
    relocations = struct.pack("<QQ", 0, 1 << 32 | 1) * count
    data = bytearray(elf([Section("socket", EXIT, EXEC), Section(".relsocket", relocations, 0, 9)], [("p", FUNC, 1)]))
    (table,) = struct.unpack_from("<Q", data, 0x28)
    struct.pack_into("<II", data, table + 64 * 2 + 40, 3, 1)  # linked to the symbols, about section 1
    struct.pack_into("<Q", data, table + 64 * 2 + 56, 16)
    return bytes(data)


BOMBS: dict[str, Callable[[], bytes]] = {
    "size_4g": lambda: patched(1, 32, 4 << 30),
    "size_most": lambda: patched(1, 32, 2**64 - 1),
    "offset_most": lambda: patched(1, 24, 2**64 - 8),
    "overlapping": lambda: patched(2, 24, 0),
    "symbols_loop": lambda: patched(4, 40, 4),  # the symbol table, linked to itself
    "sections_65k": lambda: elf([Section("", b"", 0)] * 65_000),
    "strings_8m": lambda: elf([Section("x" * (8 << 20), EXIT, EXEC)]),
    "pointers_deep": lambda: deep_btf(500_000, 2),
    "arrays_deep": lambda: deep_btf(250_000, 3),
    "btf_60m": lambda: elf([Section("socket", EXIT, EXEC), Section(".BTF", make_btf(bytes(60 << 20)), 0)]),
    "relocations": lambda: storm(1_000_000),
    "zeros": lambda: elf([Section("", b"", EXEC), Section("license"), Section(".maps"), Section(".BTF")]),
    "symbols_200k": lambda: elf([Section("socket", EXIT, EXEC)], [("", FUNC, 1)] * 200_000),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bomb_on_the_host(name: str) -> None:
    """What we read of a bomb ourselves is little and soon done; whatever it is, it is no traceback."""
    data = BOMBS[name]()
    assert len(data) <= MAX_SIZE
    found = facts_or_fault(data)
    assert isinstance(found, ObjectFacts) or found.isprintable()
    assert looked_at(data)


def looked_at(data: bytes) -> str:
    """What a look before any boot says, or the words in which it refuses."""
    try:
        return inspecting.text(inspecting.look("bomb", len(data), read_anatomy(data), [Target("any", "6.1.0", None)]))
    except ObjectError as error:
        assert error.message.isprintable()
        return error.message
