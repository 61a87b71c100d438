"""docs/validator.md: its tables, from the validator's own table and from the reports of this project's matrix."""

from collections.abc import Iterator
from pathlib import Path

from bpfcompat.attachtable import attach_rows, newer_rows, page_part, replaced
from bpfcompat.files import read_bounded
from bpfcompat.libbpfs import column
from bpfcompat.model import ProgramReport
from bpfcompat.rules.session import Session, open_session

PAGE = Path("docs/validator.md")
MAX_PAGE = 1 << 20


def current(session: Session, page: str) -> str:
    """The page as it must be now; a pair that was not asked yet is asked."""
    kernels = [name for name in session.config["matrix.kernels"] if name in session.matrix.kernels]
    loaders, own = session.matrix.loaders, attach_rows(_table(session, ""))
    rows = own + newer_rows(own, {loader: _table(session, loader) for loader in loaders})
    programs = {name: {v: list(_programs(session, column(name, v))) for v in ("", *loaders)} for name in kernels}
    return replaced(page, page_part(rows, programs))


def _table(session: Session, loader: str) -> str:
    asker = session.asker
    return asker.shop.store.read(asker.validator(loader=loader).outputs["attach.tsv"]).decode()


def _programs(session: Session, kernel: str) -> Iterator[ProgramReport]:
    for pair in session.matrix.pairs:
        if pair.kernel == kernel and session.matrix.objects[pair.object].attach.attaches:
            yield from session.asker.report(pair).programs


def write(root: Path) -> None:
    """Write the page of the project at `root` anew."""
    place = root / PAGE
    page = read_bounded(place, MAX_PAGE).decode()
    place.write_text(current(open_session(root), page))
