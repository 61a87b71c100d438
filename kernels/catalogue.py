"""The kernels that exist for a project: one small TOML file each, its name the kernel's name.

Says nothing of versions: a file names a suite and a pattern, the lock says which package that was.
"""

from collections.abc import Sequence
from pathlib import Path

from bpfcompat.config import NAME, kernel_spec, parse_toml
from bpfcompat.errors import ConfigError
from bpfcompat.files import read_bounded
from bpfcompat.model import KernelSpec

SHIPPED = Path(__file__).resolve().parent
MAX_BYTES = 64 << 10
MAX_FILES = 1000


def load_catalogue(folders: Sequence[Path] = (SHIPPED,)) -> dict[str, KernelSpec]:
    """Name → kernel, from the *.toml files of these folders, sorted within each folder.

    A name that two folders have is a ConfigError: nobody could say which kernel a verdict is about.
    """
    found: dict[str, KernelSpec] = {}
    for folder in folders:
        for path in _files(folder):
            if path.stem in found:
                raise ConfigError(f"{path}: there is another kernel named {path.stem!r}", hint="rename the file")
            found[path.stem] = read_kernel(path)
    return found


def read_kernel(path: Path) -> KernelSpec:
    """One file of the catalogue; a relative `dir` is below the file's folder."""
    if not NAME.fullmatch(path.stem):
        raise ConfigError(f"{path}: expected a file name of letters, digits, _ . + - before .toml")
    where = f"{path.parent.name}/{path.name}"
    return kernel_spec(path.stem, parse_toml(read_bounded(path, MAX_BYTES, ConfigError), where), path.parent, where)


def _files(folder: Path) -> list[Path]:
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".toml")
    except OSError as error:
        raise ConfigError(f"{folder}: catalogue: cannot read the folder: {error.strerror}") from error
    if len(paths) > MAX_FILES:
        raise ConfigError(f"{folder}: catalogue: {len(paths)} files, at most {MAX_FILES} expected")
    return paths
