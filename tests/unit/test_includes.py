"""Which files a source reads: what is found enters the key, what is outside the project never does."""

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat import includes
from bpfcompat.errors import BpfcompatError, ConfigError, ObjectError
from bpfcompat.includes import source_files


def project(root: Path, **files: str) -> Path:
    """A project of these files (`__` for a slash, `_h` and `_c` for the ending)."""
    for name, text in files.items():
        path = root / (name.replace("__", "/")[:-2] + "." + name[-1])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def found(root: Path, *cflags: str, source: str = "a.c") -> list[str]:
    """The names of what a source reads."""
    return [str(p.relative_to(root.resolve())) for p in source_files(root / source, root, cflags)]


def test_alone(tmp_path: Path) -> None:
    """A source without includes is one file; what the project does not have is the compiler's to miss."""
    assert found(project(tmp_path, a_c='#include <linux/x.h>\n#include "gone.h"\n')) == ["a.c"]


def test_transitive(tmp_path: Path) -> None:
    """Headers of headers are found, each beside the file that names it."""
    root = project(tmp_path, a_c='#include "d/b.h"\n', d__b_h='#include "c.h"\n', d__c_h="", c_h="")
    assert found(root) == ["a.c", "d/b.h", "d/c.h"]


@pytest.mark.parametrize(
    "line",
    ['#include "b.h"', "#include <b.h>", '  #  include\t"b.h" // x', '#\tinclude"b.h"', '\ufeff\n#include "b.h"'],
)
def test_spellings(line: str, tmp_path: Path) -> None:
    """An include is seen however it is spaced."""
    assert found(project(tmp_path, a_c=line, b_h="")) == ["a.c", "b.h"]


def test_false_positive_is_harmless(tmp_path: Path) -> None:
    """An include behind #if 0 or in a comment is taken along: too much in a key is safe, too little is not."""
    assert found(project(tmp_path, a_c='#if 0\n#include "b.h"\n#endif\n', b_h="")) == ["a.c", "b.h"]


def test_include_folders(tmp_path: Path) -> None:
    """-I folders of the project are searched in their order, after the including file's own."""
    root = project(tmp_path, a_c="#include <b.h>\n", x__b_h="", y__b_h="")
    assert found(root, "-Iy", "-Ix") == ["a.c", "y/b.h"]
    assert found(project(tmp_path, b_h=""), "-Iy") == ["a.c", "b.h"]


def test_cycle(tmp_path: Path) -> None:
    """Two headers that include each other, and one that includes itself, come to an end."""
    root = project(tmp_path, a_c='#include "b.h"\n', b_h='#include "c.h"\n', c_h='#include "b.h"\n#include "c.h"\n')
    assert found(root) == ["a.c", "b.h", "c.h"]


def test_order_is_stable(tmp_path: Path) -> None:
    """The answer does not depend on the order of the lines."""
    root = project(tmp_path, a_c='#include "c.h"\n#include "b.h"\n', b_h="", c_h="")
    assert found(root) == ["a.c", "b.h", "c.h"]


@pytest.mark.parametrize("way", ["../secret.h", "link/secret.h", "link.h", "d/../../secret.h"])
def test_nothing_from_outside(way: str, tmp_path: Path) -> None:
    """By no way of writing does a file outside the project come in: not by .., and not by a link."""
    root = project(tmp_path / "project", a_c=f'#include "{way}"\n', d__x_h="")
    (tmp_path / "secret.h").write_text("")
    (root / "link").symlink_to(tmp_path)
    (root / "link.h").symlink_to(tmp_path / "secret.h")
    assert found(root, "-I..", "-Ilink") == ["a.c"]


def test_absolute_include(tmp_path: Path) -> None:
    """clang would read an absolute path wherever it runs: it is refused, there or not."""
    with pytest.raises(ObjectError, match="an absolute path is in no key"):
        found(project(tmp_path, a_c='#include "/usr/include/stdio.h"\n'))


@pytest.mark.parametrize(
    "flags",
    ["-I/usr/include", "-I /x", "-isystem/x", "-isystem /x", "-include/x.h", "--sysroot=/", "-iquote/x", "/x.h"],
)
def test_absolute_flag(flags: str, tmp_path: Path) -> None:
    """A flag that names a place on this machine is refused, in one word or two."""
    for cflags in ([flags], flags.split()):
        with pytest.raises(ConfigError, match="an absolute path is in no key"):
            found(project(tmp_path, a_c=""), *cflags)


@pytest.mark.parametrize("flag", ["-DROOT=/", "-Iinclude", "-O1", "-Wno-x", "-I.", "-I../x", "-mcpu=v3"])
def test_other_flags(flag: str, tmp_path: Path) -> None:
    """Flags without such a place are the compiler's business."""
    assert found(project(tmp_path, a_c=""), flag) == ["a.c"]


def test_link_inside(tmp_path: Path) -> None:
    """A link that stays in the project counts as the file it points to."""
    root = project(tmp_path, a_c='#include "l.h"\n', d__b_h="")
    (root / "l.h").symlink_to("d/b.h")
    assert found(root) == ["a.c", "d/b.h"]


def test_source_outside(tmp_path: Path) -> None:
    """A source that is not the project's is refused, also behind a link."""
    root = project(tmp_path / "project", b_c="")
    project(tmp_path, a_c="")
    (root / "a.c").symlink_to(tmp_path / "a.c")
    for source in (tmp_path / "a.c", root / "a.c"):
        with pytest.raises(ObjectError, match="not below the project"):
            source_files(source, root, ())


def test_too_many(tmp_path: Path) -> None:
    """A chain without end is an error, not a wait."""
    for n in range(includes.MAX_FILES + 1):
        (tmp_path / f"h{n}.h").write_text(f'#include "h{n + 1}.h"\n')
    with pytest.raises(ObjectError, match="more than 2000 files"):
        source_files(tmp_path / "h0.h", tmp_path, ())


def test_header_is_no_file(tmp_path: Path) -> None:
    """A FIFO or folder under a header's name is not read."""
    root = project(tmp_path, a_c='#include "fifo.h"\n#include "d"\n', d__x_h="")
    os.mkfifo(root / "fifo.h")
    assert found(root) == ["a.c"]


def test_too_large(tmp_path: Path) -> None:
    """A source beyond the bound is refused before it is read."""
    with open(tmp_path / "a.c", "wb") as stream:
        stream.truncate(includes.MAX_BYTES + 1)
    with pytest.raises(ConfigError, match="at most"):
        found(tmp_path)


@given(st.binary(max_size=200))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Whatever bytes a source has, the answer is files of the project or one of our errors."""
    root = tmp_path_factory.mktemp("p")
    (root / "a.c").write_bytes(b'#include "' + data + b'"\n' + data)
    with contextlib.suppress(BpfcompatError):
        assert found(root) == ["a.c"]


def test_host_headers(tmp_path: Path) -> None:
    """Of the host's headers exactly those that are included, directly or not, are found; ours are never the host's."""
    host = project(tmp_path / "host", linux__bpf_h="#include <asm/x.h>\n", asm__x_h="", linux__other_h="", bpf__b_h="")
    source = project(tmp_path / "own", a_c="#include <linux/bpf.h>\n#include <bpf/b.h>\n") / "a.c"
    assert list(includes.system_files([source], [host])) == ["asm/x.h", "linux/bpf.h"]


def test_host_headers_stay_below(tmp_path: Path) -> None:
    """An include that climbs out of the host's folder finds nothing."""
    project(tmp_path, secret_h="")
    source = project(tmp_path / "own", a_c="#include <../secret.h>\n") / "a.c"
    (tmp_path / "host").mkdir()
    assert includes.system_files([source], [tmp_path / "host"]) == {}
