"""The whole log of a program that a verifier refused: what the report holds, or what lies beside it."""

from pathlib import Path

from bpfcompat.beside import OBJECT, log_name
from bpfcompat.errors import ConfigError
from bpfcompat.plan import Pair
from bpfcompat.realise import NotThere
from bpfcompat.rules.roots import pair_named
from bpfcompat.rules.session import Session
from bpfcompat.squeezed import from_archive
from bpfcompat.voice import clean


def whole_log(root: Path, name: str, program: str | None) -> str:
    """The text for people; ConfigError for a pair that is none or was not asked, or a program that is not there."""
    session, pair = pair_named(root, name)
    try:
        text = _text(session, pair, program)
    except NotThere as error:
        raise ConfigError(f"{name}: not asked yet: waits for {error.label}", hint=f"doit probe:{pair}") from None
    return "".join(f"{clean(line)}\n" for line in text.splitlines())


def _text(session: Session, pair: Pair, program: str | None) -> str:
    asker = session.asker
    entry, report = asker.probe(pair, make=False), asker.report(pair)
    found, where = report.load_log, OBJECT
    if program is not None:
        index = next((n for n, p in enumerate(report.programs) if p.name == program), None)
        if index is None:
            raise ConfigError(f"{pair}: no program {program!r}", hint=", ".join(p.name for p in report.programs[:8]))
        found, where = report.programs[index].log, log_name(index)
    blob = entry.outputs.get("logs")
    whole = from_archive(asker.shop.store.read(blob), where) if blob and found.left_out else None
    cut = "(the verifier said more than 16 MiB: this is not all)\n" if found.cut else ""
    return cut + (found.text if whole is None else whole)
