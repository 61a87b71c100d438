"""Names that resemble one that is missing."""

import time

import pytest

from bpfcompat.likeness import MOST, renamed, similar


@pytest.mark.parametrize(
    ("name", "names", "close"),
    [
        ("i_atime", ["i_mtime_sec", "__i_atime", "i_atime_sec", "i_ino"], ("__i_atime", "i_atime_sec", "i_mtime_sec")),
        ("do_linkat", ["do_linkat.isra.0", "vfs_link"], ("do_linkat.isra.0",)),
        ("bpf_x", ["a_very_long_name_with_bpf_x_in_it"], ("a_very_long_name_with_bpf_x_in_it",)),
        ("state", ["states", "state"], ("state", "states")),
        ("xyz", ["i_ino", ""], ()),
        ("x", [], ()),
        ("", ["a", "b"], ()),
        ("__", ["_", "___"], ()),
    ],
)
def test_similar(name: str, names: list[str], close: tuple[str, ...]) -> None:
    """Itself comes first, then those spelt much like it, then those that hold it; names of nothing are none."""
    assert similar(name, names) == close


def test_of_many() -> None:
    """Of very many names few are told, and only kin are compared: half a million take no minute."""
    started = time.process_time()
    found = similar("vfs_unlink", (f"vfs_{n}_unlink" for n in range(500_000)))
    assert len(found) == MOST and time.process_time() - started < 30


@pytest.mark.parametrize(
    ("name", "close", "one"),
    [
        ("state", ("__state", "states_of"), "__state"),
        ("state", ("__state", "_state"), ""),  # two that are as good are no new name
        ("i_atime", ("i_ctime_sec",), ""),
        ("do_unlinkat", ("do_unlinkat2",), "do_unlinkat2"),
        ("x", (), ""),
    ],
)
def test_renamed(name: str, close: tuple[str, ...], one: str) -> None:
    """One single name that so resembles it is likely the new one."""
    assert renamed(name, close) == one
