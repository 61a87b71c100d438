"""A kernel that lies in a folder: which of its files is what.  Looks at names only, so that planning costs little."""

from pathlib import Path

from bpfcompat.errors import KernelError
from bpfcompat.model import DirSource


def dir_members(source: DirSource) -> dict[str, Path]:
    """The files of a folder by role: `vmlinuz` or the one `vmlinuz-*`, and `config` likewise, if there is one.

    Beside a `vmlinuz-RELEASE` the config of the same release goes first.
    """
    vmlinuz = _one_file(source.path, "vmlinuz")
    if vmlinuz is None:
        raise KernelError(f"{source.path}: expected a file vmlinuz or vmlinuz-*, got none")
    same = source.path / vmlinuz.name.replace("vmlinuz", "config", 1)
    config = same if same.is_file() else _one_file(source.path, "config")
    return {"vmlinuz": vmlinuz, **({"config": config} if config else {})}


def _one_file(folder: Path, name: str) -> Path | None:
    plain = folder / name
    found = [plain] if plain.is_file() else sorted(folder.glob(f"{name}-*"))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise KernelError(f"{folder}: expected one {name}, got {names[:200]}", hint=f"name the right one {name!r}")
    return found[0] if found else None
