"""The catalogue: the files that ship, and files that are wrong."""

from pathlib import Path

import pytest

from bpfcompat.errors import ConfigError
from bpfcompat.kernels.catalogue import MAX_BYTES, SHIPPED, load_catalogue, read_kernel
from bpfcompat.kernels.lock import read_lock
from bpfcompat.model import AptSource, DirSource

GOOD = 'apt = { suite = "bookworm", package = "linux-image-6.1.*-cloud-amd64" }\n'


def put(tmp_path: Path, text: str, name: str = "mine.toml") -> Path:
    (tmp_path / name).write_text(text)
    return tmp_path / name


def test_shipped() -> None:
    """The default matrix's four kernels ship, each with words about it; only the newest may be missing."""
    found = load_catalogue()
    assert [found[n].optional for n in ("debian-11", "debian-12", "debian-13", "debian-13-backports")] == [
        False
    ] * 3 + [True]
    assert all(spec.about and spec.arch == "amd64" for spec in found.values())


def test_locked() -> None:
    """Every kernel that must be there is in the repository's lock, and none that the catalogue does not know."""
    catalogue, locked = load_catalogue(), read_lock(SHIPPED.parent / "bpfcompat.lock").kernels
    assert {spec.locked_as for spec in catalogue.values() if not spec.optional} <= set(locked) <= set(catalogue)


def test_apt(tmp_path: Path) -> None:
    """The file's name is the kernel's; what is not said has its default."""
    spec = read_kernel(put(tmp_path, GOOD))
    assert (spec.name, spec.arch, spec.optional) == ("mine", "amd64", False)
    assert spec.source == AptSource("bookworm", "amd64", "linux-image-6.1.*-cloud-amd64", "main")


def test_dir(tmp_path: Path) -> None:
    """A relative folder is beside the file."""
    assert read_kernel(put(tmp_path, 'dir = "built"\n')).source == DirSource(tmp_path / "built")


def test_folders(tmp_path: Path) -> None:
    """Other folders add to ours; a name that is there already is an error."""
    put(tmp_path, GOOD)
    put(tmp_path, "not toml", "README.md")
    assert "mine" in load_catalogue([SHIPPED, tmp_path])
    put(tmp_path, GOOD, "debian-12.toml")
    with pytest.raises(ConfigError, match="another kernel named 'debian-12'"):
        load_catalogue([SHIPPED, tmp_path])


def test_unknown_key(tmp_path: Path) -> None:
    """An unknown key is an error that names its nearest neighbour."""
    with pytest.raises(ConfigError) as caught:
        read_kernel(put(tmp_path, "optinal = true\n" + GOOD))
    assert caught.value.hint == "did you mean optional?"


@pytest.mark.hostile
@pytest.mark.parametrize(
    "text", ["", "about = 1\n" + GOOD, "x = [", GOOD + 'dir = "x"', "apt = 1", 'arch = "vax"\n' + GOOD]
)
def test_bad(tmp_path: Path, text: str) -> None:
    """No source, two sources, other types, no TOML: a ConfigError with the file's name."""
    with pytest.raises(ConfigError, match=r"mine\.toml"):
        read_kernel(put(tmp_path, text))


@pytest.mark.hostile
def test_bounds(tmp_path: Path) -> None:
    """A file that is too long, a name that is none, a folder that is not there: refused."""
    with pytest.raises(ConfigError, match="at most"):
        read_kernel(put(tmp_path, "#" * (MAX_BYTES + 1)))
    with pytest.raises(ConfigError, match="file name"):
        read_kernel(put(tmp_path, GOOD, "a b.toml"))
    with pytest.raises(ConfigError, match="cannot read the folder"):
        load_catalogue([tmp_path / "none"])
