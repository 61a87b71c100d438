"""Compressed copies: made of these very bytes, or not used."""

import gzip
import os
from pathlib import Path

import pytest

from bpfcompat.registry.compressed import SMALLEST, refresh

LARGE = b"<p>a page</p>\n" * SMALLEST


def page(registry: Path, name: str = "index.html", data: bytes = LARGE) -> Path:
    """A file of a registry."""
    path = registry / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_made_once(tmp_path: Path) -> None:
    """A copy unpacks to its original, has its time, always the same bytes, and is made once."""
    path = page(tmp_path)
    assert refresh(tmp_path) == 1
    copy = tmp_path / "index.html.gz"
    first = copy.read_bytes()
    assert gzip.decompress(first) == LARGE
    assert copy.stat().st_mtime_ns == path.stat().st_mtime_ns
    assert refresh(tmp_path) == 0
    copy.unlink()
    assert refresh(tmp_path) == 1 and copy.read_bytes() == first


def test_follows_its_original(tmp_path: Path) -> None:
    """Another original has another copy; without an original there is none."""
    path = page(tmp_path)
    refresh(tmp_path)
    page(tmp_path, data=LARGE[::-1])
    assert refresh(tmp_path) == 1
    assert gzip.decompress((tmp_path / "index.html.gz").read_bytes()) == LARGE[::-1]
    path.unlink()
    assert refresh(tmp_path) == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name, data",
    [
        ("index.html", b"x" * (SMALLEST - 1)),
        ("packs/" + "0" * 64 + ".pack", os.urandom(2 * SMALLEST)),
        ("evidence/" + "0" * 64 + ".json", LARGE),
        ("secret.html", LARGE),
        ("pair/.tmp-1", LARGE),
    ],
)
def test_not_worth_it(tmp_path: Path, name: str, data: bytes) -> None:
    """No copy of what is small, does not shrink, is read by programs alone, or is no file of a registry."""
    page(tmp_path, name, data)
    assert refresh(tmp_path) == 0
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == 1


def test_links_are_left_alone(tmp_path: Path) -> None:
    """A link is neither followed nor replaced."""
    outside = page(tmp_path / "outside", "secret")
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry/index.html").symlink_to(outside)
    assert refresh(tmp_path / "registry") == 0
    assert [p.name for p in (tmp_path / "registry").iterdir()] == ["index.html"]
