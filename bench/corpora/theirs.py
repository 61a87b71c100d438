"""What Debian's bpftool says: `bpftool prog loadall`, a fresh process for each object, on the same kernels.

The program and its libraries are those of a suite, fetched like any package, so it is not this machine's bpftool that
is asked.  One guest takes many objects in turn; whatever was pinned is gone before the next.  An object that the
kernel dies of is named, and the rest is asked in a new guest.
"""

import io
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

from bench.corpora.index import Item, Shelf
from bench.corpora.packages import Say, file_of, found_packages
from bpfcompat.asking import Asker
from bpfcompat.errors import BuildError, GuestError
from bpfcompat.guest import Limits, run_cold
from bpfcompat.initramfs import Entry, pack
from bpfcompat.kernels.apt import Archive
from bpfcompat.kernels.deb import deb_files
from bpfcompat.kernels.sources import obtain_file
from bpfcompat.qemu import COMMAND_LINE, Job

BUSYBOX = ("bookworm", "busybox-static")
NEEDED = ("bpftool", "libc6", "libelf1", "libelf1t64", "zlib1g", "libcap2", "libzstd1", "libssl3", "libssl3t64",
          "libbpf1")  # fmt: skip
INTERPRETER = "ld-linux-x86-64.so.2"
MAX_FILE = 64 << 20
OBJECT_S = 240  # what one bpftool may take of the guest's time
MEMORY_MB = 1024
BATCH = 200
BATCH_BYTES = 128 << 20
SAID = 2500  # bytes of each refusal's end
LINE = "\x1f"  # between the lines of what was said

INIT = """#!/bin/busybox sh
B=/bin/busybox
$B mkdir -p /proc /sys /dev /tmp
$B mount -t proc proc /proc
$B mount -t sysfs sysfs /sys
$B mount -t devtmpfs dev /dev
$B mount -t bpf bpf /sys/fs/bpf
$B mount -t tracefs tracefs /sys/kernel/tracing
$B stty -F /dev/ttyS1 raw
ulimit -l unlimited
for path in /objects/*; do
    name=${path##*/}
    echo "begin $name" >/dev/ttyS1
    $B timeout -s KILL SECONDS /loader/ld.so --library-path /loader /loader/bpftool \
prog loadall $path /sys/fs/bpf/x >/tmp/said 2>&1
    code=$?
    $B rm -rf /sys/fs/bpf/x
    words=
    [ $code = 0 ] || words=$($B tail -c BYTES /tmp/said | $B tr '\\n' '\\037')
    $B printf 'object %s %s %s\\n' "$name" "$code" "$words" >/dev/ttyS1
done
echo done >/dev/ttyS1
$B sleep 600
"""


@dataclass(frozen=True, slots=True)
class Theirs:
    """bpftool's answer for one pair: `loads`, `refused`, `dies` or `no-answer`, and the end of what it said."""

    object: str
    kernel: str
    outcome: str
    words: str


@dataclass(frozen=True, slots=True)
class Loader:
    """A suite's bpftool with its libraries by soname, and a busybox."""

    suite: str
    version: str
    files: Mapping[str, bytes]
    busybox: bytes


# --- the program


def loader(archive: Archive, cache: Path, suite: str, say: Say) -> Loader:
    """A suite's bpftool and what it needs."""
    packages = {p["Package"]: p for p in found_packages(archive, (suite,), frozenset(NEEDED), say)}
    if "bpftool" not in packages:
        raise BuildError(f"suite {suite!r}: no bpftool")
    program, libraries = b"", dict[str, bytes]()
    for name, paragraph in packages.items():
        for path, data in deb_files(
            obtain_file(file_of(paragraph), lambda: archive.mirror, cache), lambda path: True, MAX_FILE
        ):
            if name == "bpftool" and path.endswith("sbin/bpftool"):
                program = data
            elif ".so" in path.rpartition("/")[2] and data[:4] == b"\x7fELF":
                libraries.setdefault(names_of(data)[0] or path.rpartition("/")[2], data)
    files = {"bpftool": program, "ld.so": libraries[INTERPRETER], **closure(program, libraries)}
    return Loader(suite, packages["bpftool"]["Version"], files, _busybox(archive, cache, say))


def _busybox(archive: Archive, cache: Path, say: Say) -> bytes:
    suite, name = BUSYBOX
    for paragraph in found_packages(archive, (suite,), frozenset([name]), say):
        for path, data in deb_files(
            obtain_file(file_of(paragraph), lambda: archive.mirror, cache), lambda path: True, MAX_FILE
        ):
            if path.endswith("bin/busybox"):
                return data
    raise BuildError(f"suite {suite!r}: no {name}")


def names_of(data: bytes) -> tuple[str, tuple[str, ...]]:
    """A library's own name and those that it needs."""
    own, needed = "", []
    for section in ELFFile(io.BytesIO(data)).iter_sections():
        for tag in section.iter_tags() if isinstance(section, DynamicSection) else ():
            own = getattr(tag, "soname", own)
            needed += [tag.needed] if hasattr(tag, "needed") else []
    return own, tuple(needed)


def closure(program: bytes, libraries: Mapping[str, bytes]) -> dict[str, bytes]:
    """The libraries that a program needs, and those that they need; BuildError for one that is not there."""
    found: dict[str, bytes] = {}
    waiting = list(names_of(program)[1])
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        if name not in libraries:
            raise BuildError(f"bpftool: needs {name}, which no package of NEEDED has")
        found[name] = libraries[name]
        waiting += names_of(found[name])[1]
    return found


# --- the guest


def ask_all(asker: Asker, shelf: Shelf, tool: Loader, items: Sequence[Item], kernel: str, work: Path,
            say: Say) -> Iterator[Theirs]:  # fmt: skip
    """Every object on one kernel, as many in a guest as fit."""
    for batch in batches(items):
        waiting = list(batch)
        while waiting:
            answers, death = _ask_batch(asker, shelf, tool, waiting, kernel, work)
            yield from answers
            told = {a.object for a in answers}
            waiting = [i for i in waiting if i.name not in told]
            if death:
                say(f"bpftool@{tool.suite}: {kernel}: {death}; {len(waiting)} left of this guest")
            if not answers:
                yield from (Theirs(i.name, kernel, "no-answer", death) for i in waiting)
                break


def batches(items: Sequence[Item]) -> Iterator[list[Item]]:
    """The objects in groups that a guest has room for."""
    batch: list[Item] = []
    for item in items:
        if batch and (len(batch) == BATCH or sum(i.size for i in batch) + item.size > BATCH_BYTES):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def _ask_batch(asker: Asker, shelf: Shelf, tool: Loader, items: Sequence[Item], kernel: str,
               work: Path) -> tuple[list[Theirs], str]:  # fmt: skip
    image = work / f"{tool.suite}-{kernel}.cpio"
    objects = {item.name: shelf.path(item).read_bytes() for item in items}
    image.write_bytes(initramfs(asker, kernel, tool, objects))
    size = image.stat().st_size >> 20
    job = Job(asker.job(kernel, b"", b"").image, image, b"", b"", COMMAND_LINE, MEMORY_MB + 2 * size)
    limits = Limits(total_s=len(items) * OBJECT_S, silence_s=2 * OBJECT_S, first_byte_s=600)
    try:
        ended = run_cold(asker.qemu(kernel), job, limits, lambda report: report.endswith(b"done\n"))
        return told(ended.report, kernel, ""), ""
    except GuestError as error:
        return told(error.heard, kernel, error.message), error.message
    finally:
        image.unlink()


def initramfs(asker: Asker, kernel: str, tool: Loader, objects: Mapping[str, bytes]) -> bytes:
    """A guest with busybox, bpftool, the kernel's configuration and the objects."""
    found = asker.kernel(kernel)
    files = {"bin/busybox": tool.busybox, **{f"loader/{name}": data for name, data in tool.files.items()}}
    files |= {f"objects/{name}": data for name, data in objects.items()}
    if found.config is not None:
        files[f"boot/config-{found.release}"] = asker.shop.store.read(found.config)
    files["init"] = INIT.replace("SECONDS", str(OBJECT_S)).replace("BYTES", str(SAID)).encode()
    folders = {str(f) for name in files for f in Path(name).parents} - {"."}
    entries = [Entry(name, stat.S_IFDIR | 0o755) for name in sorted(folders | {"dev"})]
    entries.append(Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)))
    return pack([*entries, *(Entry(name, stat.S_IFREG | 0o755, data) for name, data in files.items())])


def told(report: bytes, kernel: str, death: str) -> list[Theirs]:
    """What a guest said, by object; the one that it was at when it was lost (`death`) is what it was lost to."""
    found, begun = [], ""
    for line in report.decode("utf-8", "replace").split("\n"):
        word, _, rest = line.partition(" ")
        if word == "begin":
            begun = rest.strip()
        elif word == "object" and len(parts := rest.split(" ", 2)) == 3:
            found.append(Theirs(parts[0], kernel, outcome_of(parts[1], parts[2]), parts[2].replace(LINE, "\n").strip()))
            begun = ""
    if begun and death:
        found.append(Theirs(begun, kernel, "dies", death))
    return found


def outcome_of(code: str, words: str) -> str:
    """bpftool's exit code as an outcome.  Pinning comes after loading, so what cannot be pinned was loaded."""
    if code == "0" or "failed to pin all programs" in words:
        return "loads"
    return "no-answer" if code == "137" else "refused"


def merged(answers: Iterable[Theirs]) -> dict[tuple[str, str], Theirs]:
    """Answers by object and kernel."""
    return {(a.object, a.kernel): a for a in answers}
