"""The one grammar of paths, and the small files."""

import pytest

from bpfcompat.digest import digest_bytes
from bpfcompat.errors import StoreError, TrustError
from bpfcompat.model import Answer
from bpfcompat.registry import layout
from tests.claims import LOG

DIGEST = digest_bytes(b"")
PAIR = DIGEST[7:]


def test_every_path_is_served() -> None:
    """The server's grammar knows every path that the publisher writes, and which ones never change."""
    fixed = [
        place(DIGEST)
        for place in (layout.bundle_path, layout.manifest_path, layout.evidence_path, layout.inventory_path)
    ]
    fixed += [layout.key_path(PAIR)]
    moving = [layout.pair_path(PAIR), layout.page_path(PAIR), layout.kernel_page_path(DIGEST)]
    moving += [layout.FORMAT_FILE, layout.MATRIX, layout.INDEX, layout.STYLE]
    for path in fixed + moving:
        found = layout.SERVED.fullmatch(path)
        assert found and bool(found["addressed"]) == (path in fixed), path


TILES = [
    "tile/0/000", "tile/0/255.p/1", "tile/63/x001/x234/067.p/255", "tile/entries/000", "tile/entries/x001/000.p/25",
    "tile/entries/x999/x999/x999/x999/x999/999.p/99",
]  # fmt: skip


@pytest.mark.parametrize("path", [*TILES, f"packs/{PAIR}.pack"])
def test_tiles(path: str) -> None:
    """Tiles, whole and partial, and packs are served and never change."""
    found = layout.SERVED.fullmatch(path)
    assert found and found["addressed"] == path


@pytest.mark.parametrize("path", ["checkpoint", "root/1.json", "root/999999999.json"])
def test_moving(path: str) -> None:
    """The checkpoint moves, and a root document is asked for again: a number is no digest."""
    found = layout.SERVED.fullmatch(path)
    assert found and not found["addressed"]


NO_PATHS = [
    "checkpoint/", "checkpoint.json", "root/0.json", "root/01.json", "root/1000000000.json", "root/1", "tile/0/0",
    "tile/0/1000", "tile/0/0000", "tile/64/000", "tile/00/000", "tile/-1/000", "tile/0/x000/001", "tile/0/x001/001/",
    "tile/0/001/001", "tile/0/x001", "tile/0/x01/001", "tile/0/X001/001", "tile/0/000.p/0", "tile/0/000.p/256",
    "tile/0/000.p/01", "tile/0/000.p", "tile/0/000.p/", "tile/0/٠٠٠", "tile/data/000", "tile/000", "tile",
    "tile/0/x001/x001/x001/x001/x001/x001/001", f"packs/{PAIR}.json", f"packs/{PAIR}.pack.gz",
    "", ".lock", "key", "bundles", "bundles/", f"bundles/{PAIR}", f"bundles/{PAIR.upper()}.json",
    f"bundles/.tmp-{PAIR}", f"bundles/../bundles/{PAIR}.json", f"pairs/{PAIR}.json\n",
]  # fmt: skip


@pytest.mark.parametrize("path", NO_PATHS)
def test_nothing_else_is(path: str) -> None:
    """A lock, a folder, a temporary file, or another spelling of a path is no path."""
    assert layout.SERVED.fullmatch(path) is None


def test_names() -> None:
    """A digest is read from exactly `<64 hex>.json`."""
    assert layout.digest_named(f"{PAIR}.json") == DIGEST
    assert layout.digest_named(PAIR) is None
    assert layout.digest_named("x.json") is None
    with pytest.raises(TrustError):
        layout.bundle_path("sha256:../../etc/passwd")


def test_format() -> None:
    """A newer registry is refused by naming both versions; nonsense is refused too."""
    assert layout.parse_format(layout.format_bytes(LOG.vkey)) == LOG.vkey
    assert layout.parse_format(b'{"format":1}') is None
    with pytest.raises(StoreError, match=r"format 3, this program knows 1 and 2 \(hint: use a newer bpfcompat\)"):
        layout.parse_format(b'{"format":3}')
    for data in (b"{}", b"[]", b'{"format":"1"}', b'{"format":true}', b'{"format":1,"x":1}', b"junk", b'{"format":2}',
                 b'{"format":2,"log":7}'):  # fmt: skip
        with pytest.raises(StoreError):
            layout.parse_format(data)


def test_index() -> None:
    """A pair's index comes back as it was; any other spelling is refused."""
    entries = (layout.Entry(DIGEST, Answer.INCOMPATIBLE, "helper-missing"),)
    assert layout.parse_index(layout.index_bytes(entries)) == entries
    for data in (b"{}", b"[{}]", b"[1]", b"null", b"[ ]", b'[{"answer":"compatible","bundle":"x","cause":""}]'):
        with pytest.raises(TrustError, match="pair index"):
            layout.parse_index(data)
