"""A kernel that lies in a folder."""

from pathlib import Path

import pytest

from bpfcompat.errors import KernelError
from bpfcompat.kernels.folder import dir_members
from bpfcompat.model import DirSource


def members(folder: Path, *names: str) -> dict[str, str]:
    """The names by role, of a folder with these files."""
    for name in names:
        (folder / name).write_bytes(b"")
    return {role: path.name for role, path in dir_members(DirSource(folder)).items()}


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["vmlinuz"], {"vmlinuz": "vmlinuz"}),
        (["vmlinuz", "config"], {"vmlinuz": "vmlinuz", "config": "config"}),
        (["vmlinuz-1", "config-1", "config-2"], {"vmlinuz": "vmlinuz-1", "config": "config-1"}),
        (["vmlinuz", "vmlinuz-1", "vmlinuz-2"], {"vmlinuz": "vmlinuz"}),
        (["vmlinuz-1", "config-2"], {"vmlinuz": "vmlinuz-1", "config": "config-2"}),
    ],
)
def test_roles(names: list[str], found: dict[str, str], tmp_path: Path) -> None:
    """The plain name goes first, then the one with a release; the config of the same release goes before another's."""
    assert members(tmp_path, *names) == found


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "expected a file vmlinuz or vmlinuz-\\*, got none"),
        (["vmlinuz-1", "vmlinuz-2"], "expected one vmlinuz, got vmlinuz-1, vmlinuz-2"),
        (["vmlinuz", "config-1", "config-2"], "expected one config, got config-1, config-2"),
    ],
)
def test_unclear(names: list[str], said: str, tmp_path: Path) -> None:
    """None, or several of which none has the plain name, is an error that names them."""
    with pytest.raises(KernelError, match=said):
        members(tmp_path, *names)
