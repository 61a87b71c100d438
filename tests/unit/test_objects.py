"""An object's bytes: compiled from exactly what is in its key."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bpfcompat import config, objects
from bpfcompat.config import Config
from bpfcompat.errors import BuildError, ObjectError
from bpfcompat.model import ObjectSpec

SOURCE = """
#include "vmlinux.h"
#include <stddef.h>
__attribute__((section("socket"))) int f(struct ctx *ctx) { return ctx->len; }
char terms[] __attribute__((section("license"))) = "GPL";
"""
HEADERS = {"include/vmlinux.h": b"struct ctx { int len; };\n"}
needs_clang = pytest.mark.skipif(shutil.which("clang") is None, reason="no clang here")


def project(root: Path, source: str = SOURCE, cflags: tuple[str, ...] = ()) -> tuple[ObjectSpec, Config]:
    """A project with one object."""
    root.mkdir(exist_ok=True)
    (root / "x.bpf.c").write_text(source)
    return ObjectSpec("x", source=root / "x.bpf.c", cflags=cflags), config.from_dict({}, root.resolve())


def compiled(root: Path, work: Path, source: str = SOURCE, cflags: tuple[str, ...] = ()) -> bytes:
    """What clang makes of it."""
    work.mkdir()
    return objects.compile_object(*project(root, source, cflags), HEADERS, work)


@needs_clang
def test_repeatable(tmp_path: Path) -> None:
    """Two folders, two work folders, one object: no path of this machine is in it, and it has BTF and no DWARF."""
    one = compiled(tmp_path / "p", tmp_path / "w")
    assert one == compiled(tmp_path / "another-project", tmp_path / "another-work")
    assert one[:4] == b"\x7fELF" and b".BTF" in one and b".debug_info" not in one
    assert str(tmp_path).encode() not in one


@needs_clang
def test_host_headers(tmp_path: Path) -> None:
    """The host's <linux/bpf.h> can be used without vmlinux.h, and is named among the sources, so it is in the key."""
    source = "#include <linux/bpf.h>\nint n = BPF_MAP_TYPE_RINGBUF;\n"
    assert compiled(tmp_path / "p", tmp_path / "w", source)
    assert (tmp_path / "w" / "system" / "linux" / "bpf.h").is_file()
    assert not (tmp_path / "w" / "system" / "stdio.h").exists()


@needs_clang
@pytest.mark.parametrize("header", ["<bpf/bpf.h>", '"missing.h"'])
def test_what_is_in_no_key_is_out_of_reach(header: str, tmp_path: Path) -> None:
    """A header that is in no key cannot be read: the build fails instead of going stale unseen."""
    with pytest.raises(BuildError, match="file not found"):
        compiled(tmp_path / "p", tmp_path / "w", f"#include {header}\n")


@needs_clang
def test_only_what_was_found_is_there(tmp_path: Path) -> None:
    """A file of the project that the scan could not see (its name made by a macro) is not there for clang."""
    source = '#define NAME "hidden.h"\n#include NAME\n'
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "hidden.h").write_text("")
    with pytest.raises(BuildError, match=r"hidden.h' file not found"):
        compiled(tmp_path / "p", tmp_path / "w", source)


@needs_clang
def test_project_headers(tmp_path: Path) -> None:
    """Headers in folders of the project are there, in their places."""
    (tmp_path / "p" / "lib").mkdir(parents=True)
    (tmp_path / "p" / "lib" / "n.h").write_text("#define N 3\n")
    assert compiled(tmp_path / "p", tmp_path / "w", SOURCE + "#include <n.h>\nint n = N;\n", ("-Ilib",))


@needs_clang
def test_clangs_words(tmp_path: Path) -> None:
    """What clang says is kept, the object is named, and the hint names the source."""
    with pytest.raises(BuildError, match=r"object 'x': clang: exit 1 \(hint: see x.bpf.c") as caught:
        compiled(tmp_path / "p", tmp_path / "w", "int f( {\n")
    assert "x.bpf.c:1:8: error" in caught.value.tail


@needs_clang
def test_flags_count(tmp_path: Path) -> None:
    """An object's own flags reach clang."""
    with pytest.raises(BuildError, match="--no-such-flag"):
        compiled(tmp_path / "p", tmp_path / "w", cflags=("--no-such-flag",))


@needs_clang
def test_identity_is_one_line(tmp_path: Path) -> None:
    """A compiler is known by the one line that names its version."""
    clang = shutil.which("clang")
    assert clang
    said = objects.clang_identity(Path(clang))
    assert "clang version" in said and "\n" not in said


def test_missing_source(tmp_path: Path) -> None:
    """A source that is not there names the object and the line to look at."""
    spec, settings = project(tmp_path)
    gone = replace(spec, source=tmp_path / "gone.c")
    with pytest.raises(ObjectError, match=r"object 'x': .*gone.c: no such file \(hint: see \[objects.x\] source\)"):
        objects.sources_of(gone, settings)


def test_missing_clang(tmp_path: Path) -> None:
    """Without the compiler that the settings name, its package is named."""
    spec, settings = project(tmp_path)
    settings = config.from_dict({"build": {"clang": "no-such-clang"}}, settings.root)
    with pytest.raises(BuildError, match="no-such-clang: program not found"):
        objects.compile_object(spec, settings, HEADERS, tmp_path / "w")


def test_prebuilt(tmp_path: Path) -> None:
    """A prebuilt object is taken byte for byte, ELF or not; a folder or a giant is not."""
    (tmp_path / "x.o").write_bytes(b"not an ELF")
    assert objects.read_prebuilt(tmp_path / "x.o", 10) == b"not an ELF"
    for path in (tmp_path, tmp_path / "gone", tmp_path / "x.o"):
        with pytest.raises(ObjectError):
            objects.read_prebuilt(path, 9)
