"""Writes docs/causes.md anew: `doit causes_page`."""

from pathlib import Path

from bpfcompat.causespage import current, goldens_of
from bpfcompat.files import read_bounded

PAGE = Path("docs/causes.md")
GOLDENS = Path("tests/golden/verdicts")
MAX_PAGE = 1 << 20


def written(root: Path) -> str:
    """The page of the project at `root` as it must be."""
    texts = {p.stem: read_bounded(p, MAX_PAGE).decode() for p in sorted((root / GOLDENS).glob("*.json"))}
    return current(read_bounded(root / PAGE, MAX_PAGE).decode(), goldens_of(texts))


def write(root: Path) -> None:
    """Write the page."""
    text = written(root)
    (root / PAGE).write_text(text)
