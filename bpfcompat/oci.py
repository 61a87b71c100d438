"""An OCI image layout on disk: from its index to its layers, every digest and size checked, nothing fetched.

Facts of the OCI image specification 1.1 (image-layout.md, manifest.md, config.md).  `docker buildx build -o type=oci`,
`skopeo copy … oci:DIR` and `podman save --format oci-dir` write one.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bpfcompat.digest import digest_bytes, hex_of, is_digest
from bpfcompat.errors import ConfigError, TrustError
from bpfcompat.files import read_bounded
from bpfcompat.rootfs import MAX_EXPANDED, Tree, add_layer, plain
from bpfcompat.strictjson import parse_json

MARK = "oci-layout"
MAX_JSON = 4 << 20
MAX_LAYER = 1 << 30
MAX_LAYERS = 128
MAX_DEPTH = 3  # of an index inside an index
ARCHITECTURE = "amd64"
_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_LAYERS = (
    "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd", "application/vnd.docker.image.rootfs.diff.tar.gzip",
)  # fmt: skip


def is_layout(path: Path) -> bool:
    """True for a folder that says that it is an OCI image layout."""
    return (path / MARK).is_file()


def layout_key(path: Path, where: str) -> str:
    """Digest of the one image in a layout: everything in it is named by digest from there."""
    return str(_manifest_of(path, where)["digest"])


def add_image(tree: Tree, path: Path) -> None:
    """The layers of the one image of a layout, in their order."""
    chosen = _manifest_of(path, tree.where)
    manifest = _json(path, chosen, tree.where)
    layers = _list(manifest, "layers", tree.where)
    config = _json(path, _table(manifest.get("config"), tree.where), tree.where)
    wanted = _list(_table(config.get("rootfs"), tree.where), "diff_ids", tree.where)
    if len(layers) != len(wanted) or len(layers) > MAX_LAYERS:
        raise ConfigError(f"{tree.where}: {len(layers)} layers and {len(wanted)} diff_ids, at most {MAX_LAYERS}")
    for layer, diff_id in zip(layers, wanted, strict=True):
        add_layer(tree, _layer(path, _table(layer, tree.where), diff_id, tree.where))


def _manifest_of(path: Path, where: str) -> Mapping[str, Any]:
    """The descriptor of the one manifest for our architecture; its bytes are not looked at yet."""
    index = _parsed(read_bounded(path / "index.json", MAX_JSON, ConfigError), where)
    for _ in range(MAX_DEPTH):
        fitting = [d for d in (_table(d, where) for d in _list(index, "manifests", where)) if _fits(d)]
        if len(fitting) != 1:
            hint = "keep one image in a layout (skopeo copy … oci:DIR)"
            raise ConfigError(f"{where}: expected one image for linux/{ARCHITECTURE}, got {len(fitting)}", hint=hint)
        if fitting[0].get("mediaType") not in _INDEXES:
            return fitting[0]
        index = _json(path, fitting[0], where)
    raise ConfigError(f"{where}: an index inside an index, more than {MAX_DEPTH} deep")


def _fits(descriptor: Mapping[str, Any]) -> bool:
    platform = descriptor.get("platform")
    kind = descriptor.get("mediaType")
    if kind not in (*_INDEXES, *_MANIFESTS):
        return False
    if not isinstance(platform, dict):
        return True
    return (platform.get("os"), platform.get("architecture")) == ("linux", ARCHITECTURE)


def _layer(path: Path, descriptor: Mapping[str, Any], diff_id: Any, where: str) -> bytes:
    if descriptor.get("mediaType") not in _LAYERS:
        raise ConfigError(f"{where}: a layer of type {str(descriptor.get('mediaType'))[:100]!r} is not known here")
    packed = _blob(path, descriptor, MAX_LAYER, where)
    data = plain(io.BytesIO(packed), where).read(MAX_EXPANDED)
    if digest_bytes(data) != diff_id:
        raise ConfigError(f"{where}: layer {str(descriptor['digest'])[:19]}: expanded, it is not what its diff_id says")
    return data


def _json(path: Path, descriptor: Mapping[str, Any], where: str) -> dict[str, Any]:
    return _parsed(_blob(path, descriptor, MAX_JSON, where), where)


def _parsed(data: bytes, where: str) -> dict[str, Any]:
    try:
        return _table(parse_json(data, where, MAX_JSON), where)
    except TrustError as error:
        raise ConfigError(error.message) from error


def _blob(path: Path, descriptor: Mapping[str, Any], limit: int, where: str) -> bytes:
    digest, size = descriptor.get("digest"), descriptor.get("size")
    if not isinstance(digest, str) or not is_digest(digest) or type(size) is not int or not 0 <= size <= limit:
        raise ConfigError(f"{where}: a descriptor: expected a sha256 digest and a size of at most {limit}")
    data = read_bounded(path / "blobs" / "sha256" / hex_of(digest), limit, ConfigError)
    if len(data) != size or digest_bytes(data) != digest:
        raise ConfigError(f"{where}: blob {digest[:19]}: its bytes are not what its descriptor says")
    return data


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: expected an object, got {str(value)[:60]!r}")
    return value


def _list(table: Mapping[str, Any], name: str, where: str) -> list[Any]:
    found = table.get(name)
    if not isinstance(found, list):
        raise ConfigError(f"{where}: {name}: expected a list, got {str(found)[:60]!r}")
    return found
