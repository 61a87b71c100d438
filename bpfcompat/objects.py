"""An object's bytes: compiled by clang from exactly the files in its key, or read as they lie."""

import re
from collections.abc import Mapping
from pathlib import Path

from bpfcompat.config import Config
from bpfcompat.errors import BuildError, ObjectError
from bpfcompat.files import ensure_dir, explain_os, read_bounded
from bpfcompat.includes import source_files, system_files
from bpfcompat.model import ObjectSpec
from bpfcompat.process import check, find_tool

# -fdebug-compilation-dir: BTF line info and DWARF must not name this machine's folders
# -nostdlibinc: of this machine's /usr/include only what was found to be included, and is in the key, can be seen
FLAGS = ("-g", "-O2", "-target", "bpf", "-nostdlibinc", "-D__TARGET_ARCH_x86", "-Wall", "-fdebug-compilation-dir=.")
FOLDERS = ("-Iinclude", "-I.", "-idirafter", "system")
COMPILE_S = 300.0


def sources_of(spec: ObjectSpec, config: Config) -> dict[str, Path]:
    """Every file that this object is compiled from, by its place in the folder that clang sees.

    Files of the project keep their path, the host's headers go below `system/`.  ObjectError when the source is not
    there.
    """
    assert spec.source is not None
    if not spec.source.is_file():
        hint = f"see [objects.{spec.name}] source"
        raise ObjectError(f"object {spec.name!r}: {spec.source}: no such file", hint=hint)
    own = source_files(spec.source, config.root, (*config["build.cflags"], *spec.cflags))
    host = {f"system/{name}": path for name, path in system_files(own).items()}
    return {**{str(path.relative_to(config.root)): path for path in own}, **host}


def read_prebuilt(path: Path, limit: int) -> bytes:
    """An object as it lies there, whatever is in it; ObjectError when it is no readable regular file."""
    return read_bounded(path, limit, ObjectError)


def clang_identity(clang: Path) -> str:
    """What makes two clangs the same compiler to us: the version line that it prints."""
    out = check([str(clang), "--version"], what="clang", cwd=Path("/"), timeout_s=30)
    return out.decode("utf-8", "replace").partition("\n")[0].strip()


def compile_object(spec: ObjectSpec, config: Config, headers: Mapping[str, bytes], work: Path) -> bytes:
    """Compile in a folder that holds the sources and headers of the key and nothing else; stripped of DWARF.

    BuildError carries clang's words.
    """
    for name, path in sources_of(spec, config).items():
        _place(work / name, read_bounded(path, 16 << 20))
    for name, data in headers.items():
        _place(work / name, data)
    assert spec.source is not None
    source = str(spec.source.resolve().relative_to(config.root))
    clang = find_tool(config["build.clang"], "clang")
    argv = [clang, *FLAGS, *config["build.cflags"], *spec.cflags, *FOLDERS, "-c", source, "-o", "object.o"]
    what = f"object {spec.name!r}"
    check(argv, what=what, hint=_hint(source), cwd=work, timeout_s=COMPILE_S)
    strip = find_tool(re.sub(r"clang(?=[^/]*$)", "llvm-strip", clang), "llvm")
    check([strip, "-g", "object.o"], what=what, cwd=work, timeout_s=COMPILE_S)
    data = read_bounded(work / "object.o", 64 << 20)
    if not data:
        raise BuildError(f"{what}: clang wrote an empty file", argv=tuple(argv))
    return data


def _hint(source: str) -> str:
    return f"see {source}; a file that it includes must lie beside it or in a -I folder of the project"


def _place(path: Path, data: bytes) -> None:
    ensure_dir(path.parent)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise explain_os(error, path, "cannot write") from error
