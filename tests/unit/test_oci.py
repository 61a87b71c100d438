"""OCI image layouts: layers in order, every digest and size checked, one image for our architecture."""

import gzip
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bpfcompat.digest import digest_bytes, hex_of
from bpfcompat.errors import ConfigError
from bpfcompat.oci import add_image, is_layout, layout_key
from bpfcompat.rootfs import Tree
from tests.unit.test_rootfs import found, tarred

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LOWER = tarred(("bin/sh", b"old", 0o755), ("etc/gone", b"x", 0o644))
UPPER = tarred(("bin/sh", b"new", 0o755), ("etc/.wh.gone", b"", 0o644))
Change = Callable[[dict[str, Any]], object]


class Layout:
    """A layout on disk, written part by part so that each can be another than it should."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "blobs/sha256").mkdir(parents=True)
        (root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def blob(self, data: bytes, kind: str, **more: Any) -> dict[str, Any]:
        """Write a blob; its descriptor."""
        digest = digest_bytes(data)
        (self.root / "blobs/sha256" / hex_of(digest)).write_bytes(data)
        return {"mediaType": kind, "digest": digest, "size": len(data), **more}

    def json(self, value: Any, kind: str, **more: Any) -> dict[str, Any]:
        """Write a JSON blob."""
        return self.blob(json.dumps(value).encode(), kind, **more)

    def image(self, *layers: bytes, change: Change = lambda m: None, **more: Any) -> dict[str, Any]:
        """Write an image of these layers, the first packed; `change` edits its manifest."""
        diff_ids = [digest_bytes(layer) for layer in layers]
        config = self.json({"os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}, "config")
        blobs = [self.blob(gzip.compress(d), f"{LAYER}+gzip") if n == 0 else self.blob(d, LAYER)
                 for n, d in enumerate(layers)]  # fmt: skip
        manifest = {"schemaVersion": 2, "config": config, "layers": blobs}
        change(manifest)
        return self.json(manifest, MANIFEST, **more)

    def index(self, *descriptors: dict[str, Any]) -> Path:
        """Write the index."""
        (self.root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": list(descriptors)}))
        return self.root


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


def files(path: Path) -> dict[str, bytes]:
    """Regular files of the image."""
    tree = Tree("x")
    add_image(tree, path)
    return {n: e.data for n, e in found(tree).items() if stat.S_ISREG(e.mode)}


def test_layers(layout: Layout) -> None:
    """Layers lie one over another, packed or not, and whiteouts are obeyed."""
    path = layout.index(layout.image(LOWER, UPPER))
    assert is_layout(path)
    assert files(path) == {"bin/sh": b"new"}


def test_platform(layout: Layout) -> None:
    """Of several images the one for linux/amd64 is meant, also inside an index of its own."""
    other = layout.image(LOWER, platform={"os": "linux", "architecture": "arm64"})
    ours = layout.image(UPPER, platform={"os": "linux", "architecture": "amd64"})
    nested = layout.json({"schemaVersion": 2, "manifests": [other, ours]}, INDEX)
    for path in (layout.index(other, ours), layout.index(nested)):
        assert files(path) == {"bin/sh": b"new"}
        assert layout_key(path, "x") == ours["digest"]


def test_which_image(layout: Layout) -> None:
    """Two images, or none for our architecture, are not guessed at."""
    for descriptors in ((layout.image(LOWER), layout.image(UPPER)), ()):
        with pytest.raises(ConfigError, match="expected one image for linux/amd64") as error:
            files(layout.index(*descriptors))
        assert "skopeo" in (error.value.hint or "")


def nested(layout: Layout, depth: int) -> dict[str, Any]:
    """An index in an index in an index …"""
    inner = layout.image(LOWER)
    for _ in range(depth):
        inner = layout.json({"manifests": [inner]}, INDEX)
    return inner


def test_no_end(layout: Layout) -> None:
    """An index inside an index inside an index is followed to a bound."""
    with pytest.raises(ConfigError, match="more than 3 deep"):
        files(layout.index(nested(layout, 9)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m["layers"][0].update(size=3), "are not what its descriptor says"),
        (lambda m: m["layers"][0].update(size=-1), "a descriptor: expected"),
        (lambda m: m["layers"][0].update(size=1 << 40), "a descriptor: expected"),
        (lambda m: m["layers"][0].update(digest="sha256:../../../../etc/passwd"), "a descriptor: expected"),
        (lambda m: m["layers"][0].update(digest="md5:" + "0" * 32), "a descriptor: expected"),
        (lambda m: m["layers"][0].update(digest="sha256:" + "0" * 64), "cannot open: No such file"),
        (lambda m: m["layers"][0].update(mediaType="application/x-squashfs"), "is not known here"),
        (lambda m: m["layers"].reverse(), "not what its diff_id says"),
        (lambda m: m["layers"].pop(), "1 layers and 2 diff_ids"),
        (lambda m: m.update(layers={}), "layers: expected a list"),
        (lambda m: m.update(config=None), "expected an object"),
    ],
)
def test_refused(layout: Layout, change: Change, words: str) -> None:
    """What is not what its digest, size or type says is refused."""
    with pytest.raises(ConfigError, match=words):
        files(layout.index(layout.image(LOWER, UPPER, change=change)))


def test_changed_blob(layout: Layout) -> None:
    """One byte changed in a blob is seen."""
    image = layout.image(LOWER)
    place = layout.root / "blobs/sha256" / hex_of(image["digest"])
    place.write_bytes(place.read_bytes().replace(b"schemaVersion", b"schemaversion"))
    with pytest.raises(ConfigError, match="are not what its descriptor says"):
        files(layout.index(image))


@pytest.mark.parametrize("text", [b"", b"[]", b'{"manifests": 1}', b'{"manifests": [1]}', b"\xff", b"[" * 100000])
def test_index(layout: Layout, text: bytes) -> None:
    """An index that is none is refused in words."""
    (layout.root / "index.json").write_bytes(text)
    with pytest.raises(ConfigError):
        files(layout.root)
