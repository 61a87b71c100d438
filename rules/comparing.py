"""What `bpfcompat compare` is given, as sides: a run's matrix.json, a registry, a kernel or an object, a file of one.

Nothing is booted or made, and what a stranger's file says is bounded and cleaned before it is shown.
"""

import fnmatch
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bpfcompat import envelope, veristat
from bpfcompat.comparing import Cell, Comparison, Side, as_json, as_markdown, as_text, compare
from bpfcompat.control import Controller
from bpfcompat.costs import measures_from_json
from bpfcompat.errors import BpfcompatError, ConfigError, TrustError, did_you_mean
from bpfcompat.files import read_bounded, write_atomic
from bpfcompat.gate import Row
from bpfcompat.keys import PublicKey
from bpfcompat.libbpfs import MARK
from bpfcompat.manifest import MAX_MATRIX_BYTES, parse_matrix_statement
from bpfcompat.model import Answer, Attach, ObjectSpec, ProgramVerdict
from bpfcompat.origins import name_of
from bpfcompat.plan import Matrix, Pair
from bpfcompat.realise import NotThere
from bpfcompat.registry import layout
from bpfcompat.registry.client import Source, open_source
from bpfcompat.rules.publishing import REPORTS
from bpfcompat.rules.roots import sessions_of
from bpfcompat.rules.session import Session
from bpfcompat.statement import parse_verdict_statement
from bpfcompat.voice import clean

MAX_RUN = 512 << 20  # bytes of a matrix.json: 100,000 pairs with their programs
MAX_PAIRS = 1_000_000
_NOT_OURS = (KeyError, TypeError, ValueError, AttributeError, RecursionError)


def sides(root: Path, a: str, b: str, keys: Sequence[PublicKey]) -> tuple[Side, Side]:
    """The two sides; ConfigError where a name is nothing that can be compared, or the two are not of one kind."""
    one, other = (_stored(text, keys) for text in (a, b))
    if one is not None and other is not None:
        return one, other
    if one is not None or other is not None:
        name = b if one is not None else a
        hint = "two runs or registries, two kernels, or two objects"
        raise ConfigError(f"{clean(name, 200)}: neither a run's matrix.json nor a registry", hint=hint)
    return _of_project(root, a, b)


def _stored(text: str, keys: Sequence[PublicKey]) -> Side | None:
    """A run or a registry; None for what may be a name of the project."""
    if text.startswith(("http://", "https://")):
        return _registry(text, open_source(text), keys)
    place = Path(text)
    if _is_object(place):
        return None
    if place.is_dir():
        if (place / layout.FORMAT_FILE).exists():
            return _registry(text, open_source(text), keys)
        return _run(text, place / REPORTS[0])
    return _run(text, place) if place.is_file() else None


# --- a run


def _run(name: str, place: Path) -> Side:
    data = read_bounded(place, MAX_RUN, ConfigError)
    try:
        raw = json.loads(data)
        if raw["format"] != 1:
            raise ConfigError(f"{place}: format {str(raw['format'])[:20]}, this program reads 1")
        return Side(name, {_label(p): _cell(p) for p in raw["pairs"][:MAX_PAIRS]})
    except _NOT_OURS as error:
        hint = "name the reports' matrix.json, or the folder that it is in"
        raise ConfigError(f"{place}: not a run's matrix.json: {type(error).__name__}", hint=hint) from error


def _label(pair: Any) -> str:
    return clean(f"{pair['object']}@{pair['kernel']}", 400)


def _cell(pair: Any) -> Cell:
    programs = tuple(_program(p) for p in pair["programs"])
    answer = Answer(pair["answer"])
    asked = answer is not Answer.INCONCLUSIVE or bool(pair["cause"])  # without a cause nobody could be asked
    return Cell(clean(str(pair["release"]), 100), answer if asked else None, clean(str(pair["cause"]), 100), programs)


def _program(raw: Any) -> ProgramVerdict:
    name, section, type_, cause = (clean(str(raw[k]), 300) for k in ("name", "section", "type", "cause"))
    if not isinstance(raw["loaded"], bool):
        raise TypeError("loaded")
    measures = measures_from_json(raw["measures"])
    return ProgramVerdict(name, section, type_, raw["loaded"], Attach(raw["attach"]), cause, measures=measures)


# --- a registry


def _registry(name: str, source: Source, keys: Sequence[PublicKey]) -> Side:
    head = source.read(layout.MATRIX, MAX_MATRIX_BYTES)
    if head is None:
        raise ConfigError(f"{clean(name, 200)}: a registry without a matrix", hint="publish one first")
    matrix = parse_matrix_statement(_payload(head, keys, MAX_MATRIX_BYTES))
    cells = {}
    for row in matrix.rows:
        claim = None
        if row.bundle is not None:
            data = source.read(layout.bundle_path(row.bundle), envelope.MAX_BYTES)
            if data is None:
                raise TrustError(f"{layout.bundle_path(row.bundle)}: is missing")
            payload = _payload(data, keys, envelope.MAX_BYTES)
            if envelope.pae_digest(payload) != row.bundle:
                raise TrustError(f"{layout.bundle_path(row.bundle)}: holds another statement than its name says")
            claim = parse_verdict_statement(payload)
        answer = row.answer if claim or row.cause not in ("no-answer", "not-to-be-had") else None
        programs = claim.verdict.programs if claim else ()
        cells[clean(row.label, 400)] = Cell(clean(row.kernel_release, 100), answer, clean(row.cause, 100), programs)
    return Side(name_of(name), cells, "" if keys else "signatures were not checked: give --key, or bpfcompat verify")


def _payload(data: bytes, keys: Sequence[PublicKey], limit: int) -> bytes:
    found = envelope.verify(data, keys, limit) if keys else envelope.parse(data, limit)
    return found.payload


# --- the project's store


def _is_object(place: Path) -> bool:
    """Whether this is an object's file: no run, but one version of an object."""
    return place.suffix == ".o" and place.is_file()


def _of_project(root: Path, a: str, b: str) -> tuple[Side, Side]:
    sessions = sessions_of(root)
    for session in sessions:
        matrix = session.matrix
        if a in matrix.columns and b in matrix.columns:
            return (_column(session, a), _column(session, b))
        if all(n in matrix.rows or _is_object(Path(n)) for n in (a, b)):
            like = next((n for n in (a, b) if n in matrix.rows), None)
            one, other = (_object(session, n) if n in matrix.rows else _version(session, Path(n), like) for n in (a, b))
            return one, other
    known = [n for s in sessions for n in (*s.matrix.columns, *s.matrix.rows)]
    lost = next((n for n in (a, b) if n not in known), None)
    if lost is None:
        raise ConfigError(f"{a} and {b}: a kernel and an object", hint="compare two kernels, or two objects")
    hint = did_you_mean(lost, known, "a run's matrix.json, a registry, a kernel or an object")
    raise ConfigError(f"{clean(lost, 200)}: nothing to compare has this name", hint=hint)


def _column(session: Session, kernel: str) -> Side:
    objects = [o for o, asked in session.matrix.rows.items() if kernel in asked]
    return _from_store(kernel, {o: _of_row(session.row(Pair(o, kernel))) for o in objects})


def _object(session: Session, name: str) -> Side:
    asked = [k for k in session.matrix.columns if k in session.matrix.rows[name]]
    return _from_store(name, {k: _of_row(session.row(Pair(name, k))) for k in asked})


def _version(session: Session, place: Path, like: str | None) -> Side:
    """What the store knows of an object file, asked as the object `like` is: an earlier version of it, say."""
    shop, name = session.asker.shop, "version"
    spec = replace(shop.matrix.objects[like], name=name) if like else ObjectSpec(name)
    spec = replace(spec, prebuilt=place.absolute(), source=None, package=None, member=None, embedded=0)
    asked = session.matrix.rows[like] if like else frozenset(k for k in session.matrix.columns if MARK not in k)
    rows = {**shop.matrix.rows, name: asked}
    matrix = Matrix({**shop.matrix.objects, name: spec}, shop.matrix.kernels, shop.matrix.columns, rows)
    asker, cells = Controller(replace(shop, matrix=matrix)), {}
    for kernel in (k for k in matrix.columns if k in asked):
        try:
            found = asker.verdict(Pair(name, kernel), make=False)
            release = asker.kernel(kernel, make=False).release
            cells[kernel] = Cell(release, found.answer, found.cause, found.programs)
        except (NotThere, BpfcompatError):
            cells[kernel] = Cell("", None)
    return _from_store(str(place), cells)


def _from_store(name: str, cells: dict[str, Cell]) -> Side:
    lost = sum(c.answer is None for c in cells.values())
    return Side(name, cells, f"{lost} of {len(cells)} are not in the store: doit matrix asks them" if lost else "")


def _of_row(row: Row) -> Cell:
    found = row.verdict
    return Cell(row.release, found.answer, found.cause, found.programs) if found else Cell(row.release, None)


# --- out


def narrowed(side: Side, words: Iterable[str]) -> Side:
    """The cells whose key matches a pattern; all without one."""
    patterns = tuple(words)
    kept = {k: c for k, c in side.cells.items() if not patterns or any(fnmatch.fnmatch(k, p) for p in patterns)}
    return Side(side.name, kept, side.about)


def _check_patterns(words: Sequence[str], known: Sequence[str]) -> None:
    """A misspelt pattern would compare nothing, and find nothing wrong."""
    lost = next((w for w in words if not fnmatch.filter(known, w)), None)
    if lost is not None:
        hint = did_you_mean(lost, known, f"there are {clean(', '.join(known[:3]), 200) or 'none'}, ...")
        raise ConfigError(f"--only {clean(lost, 200)}: matches nothing of the two", hint=hint)


def shown(found: Comparison, form: str) -> str:
    """The comparison as `text`, `md` or `json`."""
    if form == "json":
        return json.dumps(as_json(found), indent=1)
    return as_markdown(found).rstrip("\n") if form == "md" else as_text(found)


def run(root: Path, a: str, b: str, keys: Sequence[PublicKey], only: Sequence[str]) -> Comparison:
    """Compare two of a kind; ConfigError for a pattern that nothing of either matches."""
    one, other = sides(root, a, b, keys)
    _check_patterns(only, [*one.cells, *other.cells])
    return compare(narrowed(one, only), narrowed(other, only))


def export(found: Comparison, folder: Path) -> list[Path]:
    """Both sides as veristat's CSV, `a.csv` and `b.csv` in a folder."""
    places = [folder / "a.csv", folder / "b.csv"]
    for place, side in zip(places, (found.a, found.b), strict=True):
        write_atomic(place, veristat.as_csv(side).encode())
    return places
