"""libbpf from its source package and the validator on top of it: same inputs, same bytes.

Refuses to use an installed libbpf: which one judged an object is part of every verdict, so it is an input like others.
"""

import io
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bpfcompat.digest import digest_file
from bpfcompat.errors import BuildError
from bpfcompat.files import ensure_dir, read_bounded
from bpfcompat.process import check, find_tool
from bpfcompat.validator import HERE, SOURCES

OLDEST = (1, 1)  # that can be a loader beside the project's own
OLDEST_OWN = (1, 5)  # of which host and objects have what they need

# Stripped, without build ids or host paths: two builds give the same bytes.
COMMON_FLAGS = ("-O2", "-Wl,--build-id=none", "-s", "-fno-ident")
LIBBPF_FLAGS = ("-std=gnu11", "-fPIC", "-fvisibility=hidden", "-D_LARGEFILE64_SOURCE", "-D_FILE_OFFSET_BITS=64")
# libbpf's own calls of these go through the validator: said.c, measure.c, load.c and types.c say why
WRAPPED = ("bpf_prog_load", "bpf_btf_load", "bpf_map_update_elem", "btf__load_vmlinux_btf", "btf__free",
           "btf__find_by_name_kind")  # fmt: skip
VALIDATOR_FLAGS = ("-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-static", *(f"-Wl,--wrap={n}" for n in WRAPPED))

# The guest's own program for uprobes and USDT, put inside the validator by target_file.c.
TARGET = "target.c"
TARGET_FLAGS = ("-std=gnu11", "-O1", "-Wall", "-Wextra", "-Wl,--build-id=none", "-fno-ident", "-fcf-protection=none",
                "-ffreestanding", "-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fno-pie", "-no-pie",
                "-static", "-nostdlib")  # fmt: skip

# The static libraries that end up inside the validator, and the Debian packages that carry them.
STATIC_LIBS = {"libelf.a": "libelf-dev", "libz.a": "zlib1g-dev", "libc.a": "libc6-dev"}
# What an object's source may include of libbpf; the rest is for loaders.
OBJECT_HEADERS = (
    "bpf_core_read.h", "bpf_endian.h", "bpf_helper_defs.h", "bpf_helpers.h", "bpf_tracing.h", "usdt.bpf.h",
)  # fmt: skip
# libelf needs it from elfutils 0.189 on, built as Debian does.
OPTIONAL_LIBS = ("libzstd.a",)

_MAX_TARBALL = 32 << 20
_MAX_UNPACKED = 256 << 20
_MAX_MEMBERS = 10_000
_WANTED = re.compile(r"[^/]+/((?:src|include)/(?:\w[\w-]*/)*\w[\w.-]*\.(?:c|h|map)|src/Makefile)")
_VERSION = re.compile(r"^LIBBPF_(MAJOR|MINOR|PATCH)_VERSION := (\d{1,4})$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Built:
    """What a build made: the guest's init, libbpf for the host, headers for objects, libbpf's version.

    `attach_table` is what the validator prints of its own table, see bpfcompat.attachtable.
    """

    validator: Path
    libbpf_so: Path
    headers: tuple[Path, ...]
    version: str
    attach_table: bytes


def compiler_identity(cc: str) -> dict[str, str]:
    """What of the host's toolchain enters the validator: version line, target, digests of the static libraries.

    Raises BuildError with the package to install when a part is missing.
    """
    tool = find_tool(cc, "gcc")
    identity = {"version": _say(tool, "--version").splitlines()[0], "target": _say(tool, "-dumpmachine").strip()}
    for name, path in _static_libs(tool).items():
        identity[name] = digest_file(path)
    return identity


def build_libbpf(tarball: Path, out_dir: Path, cc: str) -> tuple[Path, Path]:
    """Compile libbpf's source package; returns (libbpf.a, libbpf.so) in `out_dir`.

    The headers that belong to them go to `out_dir/include` (`bpf/…`, `linux/…`).
    """
    tool = find_tool(cc, "gcc")
    ensure_dir(out_dir)
    with tempfile.TemporaryDirectory(prefix="libbpf-") as name:
        work = Path(name)
        unpack(tarball, work)
        _compile_libbpf(work, tool)
        _copy_headers(work, out_dir / "include")
        return _keep(work / "src/libbpf.a", out_dir), _keep(work / "src/libbpf.so", out_dir)


def build_validator(tarball: Path, out_dir: Path, cc: str, uapi: Path | None = None) -> Built:
    """Build everything from libbpf's source package into `out_dir`.

    `uapi` is the project's own source package, when this one is only a loader: of the two, the newer one's Linux
    headers are the validator's, so that what it asks the kernel itself does not depend on the loader's age.
    Raises BuildError that names the package when a tool or a static library is missing.
    """
    tool = find_tool(cc, "gcc")
    libs = _static_libs(tool)
    version, features = libbpf_version(tarball, OLDEST if uapi else OLDEST_OWN), libbpf_features(tarball)
    archive, shared = build_libbpf(tarball, out_dir.resolve(), cc)
    if uapi is not None:
        _take_newer_uapi(tarball, uapi, archive.parent / "include")
    include, validator = archive.parent / "include", archive.parent / "validator"
    target = _build_target(tool, archive.parent)
    sources = [path.name for path in SOURCES if path.suffix == ".c" and path.name != TARGET]
    zstd = ["-lzstd"] if "libzstd.a" in libs else []
    check(
        [tool, *COMMON_FLAGS, *VALIDATOR_FLAGS, f'-DLIBBPF_RELEASE="{version}"', f"-DLIBBPF_FEATURES={features}",
         f'-DTARGET_BUILT="{target}"', "-isystem", str(include),
         *sources, str(archive), "-lelf", "-lz", *zstd, "-o", str(validator)],
        what="validator", cwd=HERE,
    )  # fmt: skip
    table = check([str(validator), "--table"], what="validator --table", cwd=HERE, timeout_s=30, max_stdout=1 << 20)
    return Built(validator, shared, tuple(include / "bpf" / name for name in OBJECT_HEADERS), version, table)


def _build_target(tool: str, out_dir: Path) -> Path:
    """The program that probes of user space are attached to: not stripped, its symbols are what it is for."""
    built = out_dir / "target"
    check([tool, *TARGET_FLAGS, TARGET, "-o", str(built)], what="target", cwd=HERE)
    return built


def libbpf_version(tarball: Path, oldest: tuple[int, int] = OLDEST_OWN) -> str:
    """The version that a source package says it has, `major.minor.patch`; BuildError below the oldest that will do."""
    makefiles = [data for name, data in _members(tarball) if name == "src/Makefile"]
    found = dict(_VERSION.findall(makefiles[0].decode("utf-8", "replace"))) if makefiles else {}
    if len(found) != 3:
        raise BuildError(f"{tarball.name}: no libbpf version in src/Makefile, expected libbpf's source package")
    numbers = (int(found["MAJOR"]), int(found["MINOR"]), int(found["PATCH"]))
    version = ".".join(map(str, numbers))
    if numbers[:2] < oldest:
        raise BuildError(f"{tarball.name}: libbpf {version}, at least {oldest[0]}.{oldest[1]} expected")
    return version


def libbpf_features(tarball: Path) -> int:
    """How many features of a kernel this libbpf asks for; 0 when it keeps no such list."""
    headers = [data for name, data in _members(tarball) if name == "src/libbpf_internal.h"]
    listed = re.search(rb"enum kern_feature_id \{(.*?)__FEAT_CNT", headers[0], re.DOTALL) if headers else None
    return len(re.findall(rb"^\s*FEAT_\w+,", listed[1], re.MULTILINE)) if listed else 0


def unpack(tarball: Path, into: Path) -> None:
    """Write the sources that we compile below `into` (`src/…`, `include/…`); nothing else leaves the archive."""
    for name, data in _members(tarball):
        target = into / PurePosixPath(name)
        ensure_dir(target.parent)
        target.write_bytes(data)


def _members(tarball: Path) -> Iterator[tuple[str, bytes]]:
    """Wanted regular files as (path below the top folder, bytes); names are matched whole, so none can climb out."""
    data = read_bounded(tarball, _MAX_TARBALL, BuildError)
    total = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:*") as archive:
            for count, member in enumerate(archive):
                total += member.size
                if total > _MAX_UNPACKED or count >= _MAX_MEMBERS:
                    raise BuildError(f"{tarball.name}: more than {_MAX_UNPACKED} bytes or {_MAX_MEMBERS} files inside")
                match = _WANTED.fullmatch(member.name)
                stream = archive.extractfile(member) if match and member.isreg() else None
                if match and stream:
                    yield match[1], stream.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise BuildError(f"{tarball.name}: not a readable tar archive: {error}") from error


def _compile_libbpf(work: Path, tool: str) -> None:
    """Objects, archive and shared library in `work/src`; all names are relative, so no path can leak into them."""
    src = work / "src"
    names = sorted(path.name for path in src.glob("*.c"))
    objects = [name[:-2] + ".o" for name in names]
    flags = [*COMMON_FLAGS, *LIBBPF_FLAGS, "-I.", "-I../include", "-I../include/uapi"]
    check([tool, *flags, "-c", *names], what="libbpf", cwd=src)
    check([find_tool("ar", "binutils"), "rcsD", "libbpf.a", *objects], what="libbpf.a", cwd=src)
    check(
        [tool, *COMMON_FLAGS, "-shared", "-Wl,--version-script=libbpf.map", "-Wl,-soname,libbpf.so.1",
         *objects, "-lelf", "-lz", "-o", "libbpf.so"],
        what="libbpf.so", hint="apt-get install libelf-dev zlib1g-dev", cwd=src,
    )  # fmt: skip


def headers(tarball: Path, uapi: Path, into: Path) -> None:
    """What the validator's sources include of libbpf, in `into`; `uapi` lends the Linux headers."""
    with tempfile.TemporaryDirectory(prefix="libbpf-") as name:
        unpack(tarball, Path(name))
        _copy_headers(Path(name), into)
    _take_newer_uapi(tarball, uapi, into)


def _take_newer_uapi(loader: Path, tarball: Path, include: Path) -> None:
    """Put the Linux headers of another source package in the place of those that came with an older loader."""
    ages = [tuple(map(int, libbpf_version(path, OLDEST).split("."))) for path in (loader, tarball)]
    if ages[0] >= ages[1]:
        return
    shutil.rmtree(include / "linux", ignore_errors=True)
    for name, data in _members(tarball):
        path = PurePosixPath(name)
        if path.parts[:3] == ("include", "uapi", "linux"):
            target = include / PurePosixPath(*path.parts[2:])
            ensure_dir(target.parent)
            target.write_bytes(data)


def _copy_headers(work: Path, include: Path) -> None:
    shutil.rmtree(include, ignore_errors=True)
    shutil.copytree(work / "include/uapi/linux", ensure_dir(include) / "linux")
    ensure_dir(include / "bpf")
    for header in sorted((work / "src").glob("*.h")):
        shutil.copyfile(header, include / "bpf" / header.name)


def _keep(made: Path, out_dir: Path) -> Path:
    return Path(shutil.copyfile(made, out_dir / made.name))


def _static_libs(tool: str) -> dict[str, Path]:
    """Where the compiler finds each static library; it answers with the bare name when it finds none."""
    found = {}
    for name in (*STATIC_LIBS, *OPTIONAL_LIBS):
        path = Path(_say(tool, f"-print-file-name={name}").strip())
        if path.is_absolute():
            found[name] = path
        elif name in STATIC_LIBS:
            raise BuildError(f"{name}: not found by {Path(tool).name}", hint=f"apt-get install {STATIC_LIBS[name]}")
    return found


def _say(tool: str, option: str) -> str:
    answer = check([tool, option], what="compiler", cwd=HERE, timeout_s=30, max_stdout=1 << 16)
    return answer.decode("utf-8", "replace")
