"""Objects that Debian's packages ship, as files or inside programs, along the archive's own chain of trust."""

from collections.abc import Callable, Iterator
from pathlib import Path

from bench.corpora.index import Origin
from bpfcompat.carve import objects_in
from bpfcompat.errors import BpfcompatError
from bpfcompat.kernels import control
from bpfcompat.kernels.apt import Archive, newest
from bpfcompat.kernels.control import Paragraph, need
from bpfcompat.kernels.deb import deb_files
from bpfcompat.kernels.sources import obtain_file
from bpfcompat.model import LockedFile

SUITES = ("bookworm", "trixie", "forky", "sid")
NAMES = (
    "bpfilter", "bpftop", "ceccomp", "delve", "golang-github-cilium-ebpf-dev", "ir-keytable", "libbpf-tools",
    "libbpftune0", "libdtrace2", "libknot13", "libknot14", "libknot15", "libknot16", "libsystemd-shared", "libxdp1",
    "mimic", "network-manager", "nsd", "oar-common", "opensnitch-ebpf-modules", "pcp", "pwru", "qemu-system-x86",
    "qemu-system-common", "rsched", "rtc-testbench", "runsc", "suricata", "systemd", "systemd-container",
    "systemd-tests", "udev-hid-bpf", "xdp-tests", "xdp-tools",
)  # fmt: skip
MAX_DEB = 64 << 20
MAX_FILE = 512 << 20

Say = Callable[[str], None]


def found_packages(archive: Archive, suites: tuple[str, ...], names: frozenset[str], say: Say) -> Iterator[Paragraph]:
    """The newest of each name in each suite; what a suite lacks is left out, a suite that is not to be had is said."""
    for suite in suites:
        for component in ("main", "contrib"):
            try:
                index = archive.index(suite, f"{component}/binary-amd64/Packages")
            except BpfcompatError as error:
                say(f"left out: {error}")
                continue
            paragraphs = list(control.paragraphs(index, lambda name: name in names))
            for name in sorted({p["Package"] for p in paragraphs}):
                chosen = newest(p for p in paragraphs if p["Package"] == name)
                if chosen is not None:
                    yield chosen


def file_of(paragraph: Paragraph) -> LockedFile:
    """The package's file."""
    path, size, digest = (need(paragraph, name) for name in ("Filename", "Size", "SHA256"))
    return control.locked_file(path, size, digest)


def shipped(archive: Archive, cache: Path, say: Say) -> Iterator[tuple[bytes, Origin]]:
    """Every object of the packages above; a package that is not to be had is said and left out."""
    seen: set[str] = set()
    for paragraph in found_packages(archive, SUITES, frozenset(NAMES), say):
        file, name = file_of(paragraph), f"{paragraph['Package']} {paragraph['Version']}"
        if file.digest in seen:
            continue
        seen.add(file.digest)
        if file.size > MAX_DEB:
            say(f"left out: {name}: {file.size} bytes")
            continue
        try:
            deb = obtain_file(file, lambda: archive.mirror, cache)
            count = 0
            for data, path, offset in _objects(deb):
                count += 1
                yield data, Origin("packages", paragraph["Package"], paragraph["Version"], path, offset)
            say(f"{name}: {count} objects")
        except BpfcompatError as error:
            say(f"left out: {name}: {error.message}")


def _objects(deb: Path) -> Iterator[tuple[bytes, str, int]]:
    for path, content in deb_files(deb, lambda path: True, MAX_FILE):
        for cut in objects_in(content):
            yield cut.data, path, cut.offset
