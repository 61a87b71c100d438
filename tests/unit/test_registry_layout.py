"""The one grammar of paths, and the small files."""

import pytest

from bpfcompat.digest import digest_bytes
from bpfcompat.errors import StoreError, TrustError
from bpfcompat.model import Answer
from bpfcompat.registry import layout

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


NO_PATHS = [
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
    layout.check_format(layout.format_bytes())
    with pytest.raises(StoreError, match=r"format 2, this program knows 1 \(hint: use a newer bpfcompat\)"):
        layout.check_format(b'{"format":2}')
    for data in (b"{}", b"[]", b'{"format":"1"}', b"junk"):
        with pytest.raises(StoreError):
            layout.check_format(data)


def test_index() -> None:
    """A pair's index comes back as it was; any other spelling is refused."""
    entries = (layout.Entry(DIGEST, Answer.INCOMPATIBLE, "helper-missing"),)
    assert layout.parse_index(layout.index_bytes(entries)) == entries
    for data in (b"{}", b"[{}]", b"[1]", b"null", b"[ ]", b'[{"answer":"compatible","bundle":"x","cause":""}]'):
        with pytest.raises(TrustError, match="pair index"):
            layout.parse_index(data)
