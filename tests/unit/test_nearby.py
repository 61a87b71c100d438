"""What a kernel's BTF has in place of a name that it lacks."""

import pytest

from bpfcompat.btftypes import Kind, Types
from bpfcompat.errors import ObjectError
from bpfcompat.nearby import Near, functions_near, near
from tests.unit.test_fitting import Btf


def types() -> Types:
    """struct inode { union { u32 __i_ctime; }; u32 __i_atime; struct sb *i_sb; struct list i_list[2] }, and more."""
    btf = Btf()
    u32 = btf.int("u32", 4)
    times = btf.struct("", 4, [("__i_ctime", u32, 0)])
    entry = btf.struct("list", 4, [("next_one", u32, 0)])
    pointer = btf.add(Kind.PTR, "", u32)
    members = [("", times, 0), ("__i_atime", u32, 32), ("i_sb", pointer, 64), ("i_list", btf.array(entry, 2), 128)]
    btf.struct("inode", 64, members)
    btf.add(Kind.ENUM, "bpf_func_id", 4, btf.words(btf.text("BPF_FUNC_a_helper"), 1), 1)
    proto = btf.add(Kind.FUNC_PROTO, "", 0)
    for name in ("do_unlinkat", "do_linkat.isra.0", "vfs_read"):
        btf.add(Kind.FUNC, name, proto)
    return Types(btf.data())


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("struct inode.i_atime", Near("struct inode", "i_atime", ("__i_atime", "__i_ctime"), "__i_atime")),
        ("struct inode___x.i_ctime (0:1 @ offset 8)", Near("struct inode", "i_ctime", ("__i_ctime",), "__i_ctime")),
        ("[7] struct inode.i_list[1].next_two", Near("struct list", "next_two", ("next_one",), "")),
        ("struct inode.i_list[1].next_one", Near("struct list", "")),
        ("struct inode.i_sb", Near("struct inode", "")),
        ("struct inodes", Near("", "struct inodes", ("inode",), "inode")),
        ("enum bpf_func_id::BPF_FUNC_a_helper = 1", Near("enum bpf_func_id", "")),
        ("enum bpf_func_id::BPF_FUNC_b = 2", Near("enum bpf_func_id", "BPF_FUNC_b", ("BPF_FUNC_a_helper",), "")),
        ("typedef pid_t", None),
        ("", None),
        ("\x1b[31m", None),
    ],
)  # fmt: skip
def test_near(spec: str, expected: Near | None) -> None:
    """A specification leads to the type that lacks the name, through arrays and anonymous structures, with its kin."""
    found = near(types(), spec)
    if expected is None or found is None:
        assert found is expected
        return
    assert (found.where, found.missing, found.renamed) == (expected.where, expected.missing, expected.renamed)
    assert set(expected.closest) <= set(found.closest)


def test_functions() -> None:
    """A function that is there is told as itself; else what a compiler made of it is among the closest."""
    assert functions_near(types(), "vfs_read") == ("vfs_read",)
    assert "do_linkat.isra.0" in functions_near(types(), "do_linkat")


def test_a_structure_in_itself() -> None:
    """An anonymous structure that holds itself ends the walk, and BTF that is cut is an error, not a loop."""
    btf = Btf()
    btf.struct("", 4, [("", 1, 0)])
    btf.struct("outer", 4, [("", 1, 0)])
    found = near(Types(btf.data()), "struct outer.x")
    assert found == Near("struct outer", "x")
    with pytest.raises(ObjectError):
        near(Types(btf.data()[:40]), "struct inode.x")
