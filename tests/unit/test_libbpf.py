"""libbpf asked through cffi: the type of a section name, and a header from BTF."""

import struct
from pathlib import Path

import pytest

from bpfcompat import libbpf
from bpfcompat.errors import BuildError

FOUND = sorted(Path("/usr/lib").glob("*/libbpf.so.1"))
pytestmark = pytest.mark.skipif(not FOUND, reason="no libbpf.so.1 on this machine (apt-get install libbpf1)")


@pytest.fixture
def so() -> Path:
    """The system's libbpf."""
    return FOUND[0]


def btf() -> bytes:
    """BTF of `struct pair { int left; int right; }`."""
    names = b"\0int\0pair\0left\0right\0"
    types = struct.pack("<IIII", 1, 1 << 24, 4, 1 << 24 | 32)
    types += struct.pack("<III", 5, 4 << 24 | 2, 8) + struct.pack("<IIIIII", 10, 1, 0, 15, 1, 32)
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(names)) + types + names


def test_version(so: Path) -> None:
    """The library says its own version."""
    assert libbpf.version(so).startswith("v1.")


def test_section_type(so: Path) -> None:
    """A section name has the type that libbpf gives it; `?` is not part of the name; some names have none."""
    assert libbpf.section_type(so, "?fentry/vfs_read") == ("tracing", "trace_fentry")
    assert libbpf.section_type(so, "xdp") == ("xdp", "xdp")
    assert libbpf.section_type(so, "filter") is None
    assert libbpf.section_type(so, "xdp\0") is None


def test_header(so: Path, tmp_path: Path) -> None:
    """BTF becomes C declarations whose records keep their access index, the same every time."""
    one, two = tmp_path / "a" / "vmlinux.h", tmp_path / "b" / "vmlinux.h"
    libbpf.dump_header(so, btf(), one)
    libbpf.dump_header(so, btf(), two)
    text = one.read_text()
    assert "struct pair {\n\tint left;\n\tint right;\n};" in text
    assert text.index("attribute push (__attribute__((preserve_access_index))") < text.index("struct pair")
    assert text.rstrip().endswith("#endif /* __VMLINUX_H__ */")
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("data", [b"", b"x" * 100, btf()[:40], btf().replace(b"\x9f\xeb", b"\xeb\x9f")])
def test_bad_btf(so: Path, tmp_path: Path, data: bytes) -> None:
    """BTF that libbpf does not take is a BuildError, and no header is left behind."""
    with pytest.raises(BuildError, match="kernel BTF"):
        libbpf.dump_header(so, data, tmp_path / "vmlinux.h")
    assert not list(tmp_path.iterdir())


def test_not_a_library(tmp_path: Path) -> None:
    """A file that is no libbpf is named, with what was expected."""
    other = tmp_path / "libbpf.so"
    other.write_text("no")
    with pytest.raises(BuildError, match=r"expected a loadable libbpf\.so"):
        libbpf.version(other)
