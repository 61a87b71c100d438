"""Objects compiled here from Debian's source packages: bcc's libbpf-tools and the kernel's own selftests.

What does not compile with this machine's clang is left out and counted: it is no object.
"""

import io
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bench.corpora.index import Origin
from bpfcompat.asking import Asker
from bpfcompat.errors import BpfcompatError, BuildError
from bpfcompat.files import ensure_dir, read_bounded
from bpfcompat.kernels.apt import Archive, resolve, resolve_source
from bpfcompat.kernels.expand import expanding
from bpfcompat.kernels.extract import deb_member
from bpfcompat.kernels.sources import obtain_file
from bpfcompat.model import AptSource
from bpfcompat.process import check, find_tool

MAX_EXPANDED = 3 << 30
MAX_TARBALL = 256 << 20
MAX_KEPT = 256 << 20
MAX_FILE = 16 << 20
COMPILE_S = 120.0
WORKERS = 2
BASE = ("-g", "-O2", "-target", "bpf", "-D__TARGET_ARCH_x86", "-mlittle-endian", "-std=gnu11", "-w")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Tree:
    """Where to compile objects from.

    `source` is a source package, or with `member` a binary package that carries the tarball under that path.  `wanted`
    matches members below the tarball's top folder; `programs` is a glob of the sources; `flags` name folders below
    the unpacked tree.  `vmlinux` is a glob of the tree's own vmlinux.h, of which the last is taken; "" for ours.
    """

    corpus: str
    source: AptSource
    member: str
    wanted: str
    programs: str
    flags: tuple[str, ...]
    vmlinux: str = ""


TREES = (
    Tree(
        "libbpf-tools", AptSource("forky", "amd64", "bpfcc"), "",
        r"libbpf-tools/(x86/)?[\w.-]+\.[ch]", "libbpf-tools/*.bpf.c", ("-Ilibbpf-tools",),
        "libbpf-tools/x86/vmlinux_*.h",
    ),
    Tree(
        "selftests", AptSource("trixie", "amd64", "linux-source-6.12"), "usr/src/linux-source-6.12.tar.xz",
        r"tools/(testing/selftests/bpf/([\w-]+/)*[\w.-]+\.[ch]|include/uapi/([\w-]+/)*[\w.-]+\.h)",
        "tools/testing/selftests/bpf/progs/*.c",
        ("-Itools/testing/selftests/bpf", "-Itools/include/uapi", "-mcpu=v3", "-fno-strict-aliasing"),
    ),
)  # fmt: skip


def compiled(tree: Tree, archive: Archive, asker: Asker, cache: Path, work: Path,
             say: Say) -> Iterator[tuple[bytes, Origin]]:  # fmt: skip
    """Every object of a tree that this machine's clang makes; a tree that is not to be had is said and left out."""
    try:
        locked = resolve(archive, tree.source) if tree.member else resolve_source(archive, tree.source, "*")
        file = obtain_file(locked.files[0], lambda: archive.mirror, cache)
        packed = deb_member(file, tree.member, MAX_TARBALL) if tree.member else read_bounded(file, MAX_TARBALL)
        unpack(io.BytesIO(packed), tree.wanted, folder := ensure_dir(work / tree.corpus))
    except BpfcompatError as error:
        say(f"left out: {tree.corpus}: {error.message}")
        return
    place(own_headers(asker), folder / "own")
    for theirs in sorted(folder.glob(tree.vmlinux))[-1:] if tree.vmlinux else ():
        theirs.replace(folder / "own/vmlinux.h")
    made, failed = 0, 0
    for source, data in compile_all(folder, tree):
        made, failed = made + (data is not None), failed + (data is None)
        if data is not None:
            yield data, Origin(tree.corpus, locked.package, locked.version, str(source))
    say(f"{tree.corpus}: {locked.package} {locked.version}: {made} compiled, {failed} did not")


def own_headers(asker: Asker) -> Mapping[str, bytes]:
    """vmlinux.h and libbpf's headers as this repository's objects get them."""
    store, outputs = asker.shop.store, asker.validator().outputs
    found = {n.removeprefix("include/"): store.read(b) for n, b in outputs.items() if n.startswith("include/")}
    return {**found, "vmlinux.h": store.read(asker.header())}


def place(headers: Mapping[str, bytes], into: Path) -> None:
    """Write the headers below a folder."""
    for name, data in headers.items():
        ensure_dir((into / name).parent)
        (into / name).write_bytes(data)


def unpack(packed: BinaryIO, wanted: str, into: Path) -> int:
    """Write the members that match, without their top folder; their number.  A name is matched whole: none climbs."""
    pattern, kept, count = re.compile(rf"[^/]+/({wanted})"), 0, 0
    plain = expanding(packed, MAX_EXPANDED, "source tarball")
    with tarfile.open(fileobj=plain, mode="r|") as archive:
        for member in archive:
            match = pattern.fullmatch(member.name.removeprefix("./"))
            stream = archive.extractfile(member) if match and member.isreg() and member.size <= MAX_FILE else None
            if match is None or stream is None:
                continue
            kept, count = kept + member.size, count + 1
            if kept > MAX_KEPT:
                raise BuildError(f"source tarball: more than {MAX_KEPT} bytes wanted of it")
            ensure_dir((into / match[1]).parent)
            (into / match[1]).write_bytes(stream.read())
    return count


def compile_all(folder: Path, tree: Tree) -> Iterator[tuple[Path, bytes | None]]:
    """Each source's path below the folder, and its object or None."""
    sources = sorted(p.relative_to(folder) for p in folder.glob(tree.programs))
    with ThreadPoolExecutor(WORKERS) as pool:
        yield from zip(sources, pool.map(lambda s: compile_one(folder, s, tree.flags), sources), strict=True)


def compile_one(folder: Path, source: Path, flags: tuple[str, ...]) -> bytes | None:
    """One object without its DWARF, or None where clang refuses the source."""
    clang = find_tool("clang", "clang")
    out = folder / f"{source}.o"
    own = ("-Iown", "-idirafter", "/usr/include", "-idirafter", "/usr/include/x86_64-linux-gnu")
    place = f"-ffile-prefix-map={folder}=."  # no name of a temporary folder in it: the same sources, the same digest
    argv = ["nice", clang, *BASE, *flags, *own, place, "-c", str(source), "-o", str(out)]
    try:
        check(argv, what=str(source), cwd=folder, timeout_s=COMPILE_S)
        check(["llvm-strip", "-g", str(out)], what=str(source), cwd=folder, timeout_s=COMPILE_S)
    except BuildError as error:
        out.with_suffix(".why").write_text(f"{error}\n{error.tail}")
        return None
    return read_bounded(out, 64 << 20) or None
