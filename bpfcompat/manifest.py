"""A matrix as one signed in-toto Statement, and back: every pair's question and answer under a single signature.

Rows are columns: names, outcomes and expectations stand once in tables, and a row is an index into each and two
digests, written as hex digits of fixed width.  So a hundred thousand rows are six long strings, which C reads, and a
Row is made only for who asks for one.  Reading is as strict as a verdict's: the payload must be, byte for byte, what
this module writes for the value it was read as.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from operator import itemgetter
from typing import Any, TypeVar, overload

from bpfcompat.digest import canonical, hex_of
from bpfcompat.envelope import pae_digest
from bpfcompat.errors import TrustError
from bpfcompat.gate import meets
from bpfcompat.model import Answer, Expectation
from bpfcompat.statement import (
    STATEMENT_TYPE,
    WRONG_SHAPE,
    Claim,
    brief,
    check_type,
    pair_id,
    sha256_set,
    text,
    verdict_payload,
)
from bpfcompat.strictjson import parse_json
from bpfcompat.tlog import MAX_SIZE, Checkpoint, check_origin

FORMAT = 2  # of the predicate
MATRIX_TYPE = "urn:bpfcompat:matrix:v2"
MAX_MATRIX_BYTES = 32 << 20
NOT_TO_BE_HAD = "not-to-be-had"  # the cause of an inconclusive row whose optional kernel or object could not be got
MAX_TABLE = 1 << 16  # an index has four hex digits
NONE = bytes(32)  # stands for no digest
_PLACE = "\0rows"  # where the columns go; no name can hold a NUL
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Row:
    """One pair of a published matrix.

    `bundle` is the pae digest of the verdict's bundle, None exactly when the answer is inconclusive; `cause` is then
    NOT_TO_BE_HAD or why the kernel could not be asked.  Digests and pair id are None where there was nothing to name.
    """

    object_name: str
    object_digest: str | None
    kernel_name: str
    kernel_release: str
    vmlinuz: str | None
    pair: str | None
    bundle: str | None
    answer: Answer
    cause: str
    expected: Expectation
    required: bool = True

    @property
    def as_expected(self) -> bool:
        """The gate's rule; a kernel that is optional and not to be had is nobody's failure."""
        return _as_expected((self.answer, self.cause), self.expected)

    @property
    def label(self) -> str:
        """The pair as people type it: `ringbuf@debian-12`."""
        return f"{self.object_name}@{self.kernel_name}"


class Rows(Sequence[Row]):
    """Rows as columns.  Tables are in order of first use, without a value twice; columns hold places in them.

    `objects`: name and digest; `kernels`: name, release and vmlinuz; `outcomes`: answer and cause; `wanted`:
    expectation, and whether it is required.  `pairs` and `bundles` are 32 bytes a row, NONE where there is nothing.
    """

    def __init__(self, tables: Mapping[str, Sequence[Any]], columns: Mapping[str, Sequence[int]],
                 pairs: bytes, bundles: bytes) -> None:  # fmt: skip
        self.objects: Sequence[tuple[str, str | None]] = tables["object"]
        self.kernels: Sequence[tuple[str, str, str | None]] = tables["kernel"]
        self.outcomes: Sequence[tuple[Answer, str]] = tables["outcome"]
        self.wanted: Sequence[tuple[Expectation, bool]] = tables["wanted"]
        self.tables, self.columns = tables, columns
        self.pairs, self.bundles = pairs, bundles

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Rows":
        """Rows as columns; TrustError for a digest that is none."""
        if isinstance(rows, Rows):
            return rows
        parts: dict[str, tuple[list[Any], tuple[int, ...]]] = {
            "object": _table((r.object_name, r.object_digest) for r in rows),
            "kernel": _table((r.kernel_name, r.kernel_release, r.vmlinuz) for r in rows),
            "outcome": _table((r.answer, r.cause) for r in rows),
            "wanted": _table((r.expected, r.required) for r in rows),
        }
        pairs = b"".join(_raw(None if r.pair is None else f"sha256:{r.pair}") for r in rows)
        bundles = b"".join(_raw(r.bundle) for r in rows)
        return cls({n: t for n, (t, _) in parts.items()}, {n: c for n, (_, c) in parts.items()}, pairs, bundles)

    def __len__(self) -> int:
        return len(self.columns["object"])

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, at: int | slice) -> Row | tuple[Row, ...]:
        if isinstance(at, slice):
            return tuple(self[n] for n in range(*at.indices(len(self))))
        at = range(len(self))[at]
        found = [self.tables[name][column[at]] for name, column in self.columns.items()]
        (named, digest), (kernel, release, vmlinuz), (answer, cause), (expected, required) = found
        pair, bundle = self.pairs[32 * at : 32 * at + 32], self.bundles[32 * at : 32 * at + 32]
        return Row(named, digest, kernel, release, vmlinuz, None if pair == NONE else pair.hex(),
                   None if bundle == NONE else f"sha256:{bundle.hex()}", answer, cause, expected, required)  # fmt: skip

    def __iter__(self) -> Iterator[Row]:
        return map(self.__getitem__, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        try:
            its = Rows.of(other)
        except (TrustError, AttributeError):
            return False
        mine, theirs = ((r.tables, r.columns, r.pairs, r.bundles) for r in (self, its))
        return mine == theirs

    __hash__ = None  # type: ignore[assignment]

    @property
    def as_expected(self) -> bool:
        """True when every required row is as expected."""
        used = set(zip(self.columns["outcome"], self.columns["wanted"], strict=True))
        return all(
            _as_expected(self.outcomes[found], self.wanted[wanted][0])
            for found, wanted in used
            if self.wanted[wanted][1]
        )

    @cached_property
    def by_bundle(self) -> Mapping[bytes, int]:
        """Pae digest, 32 bytes → place in `outcomes`: what a verdict of this name has to say."""
        return _keyed(self._bundles, self.columns["outcome"])

    @cached_property
    def answered(self) -> Sequence[int]:
        """Numbers of the rows that name a bundle."""
        return [at for at, bundle in enumerate(self._bundles) if bundle != NONE]

    @cached_property
    def _bundles(self) -> tuple[bytes, ...]:
        return _split(self.bundles)

    @cached_property
    def _pairs(self) -> tuple[bytes, ...]:
        return _split(self.pairs)

    def check(self) -> None:
        """TrustError unless these rows may be stated."""
        tables = ((self.objects, "object"), (self.kernels, "kernel"))
        names = (_named(table, self.columns[name]) for table, name in tables)
        # numbers and not tuples, of which a hundred thousand would keep the collector busy
        if not len(self) or len({one << 16 | other for one, other in zip(*names, strict=True)}) != len(self):
            raise TrustError("matrix: expected at least one row and no pair twice")
        for digest in (*map(itemgetter(1), self.objects), *map(itemgetter(2), self.kernels)):
            _raw(digest)
        for at, (conclusive, bundle, *named) in self._kinds().items():
            if conclusive != bundle or (conclusive and not all(named)):
                label = self[at].label
                raise TrustError(f"matrix: {label}: exactly a conclusive row names a bundle, its pair and its digests")

    def _kinds(self) -> dict[int, tuple[bool, ...]]:
        """Number of a row → what it has: an answer, bundle, pair, object's digest, vmlinuz; a row of each kind."""
        tables = (
            [answer is not Answer.INCONCLUSIVE for answer, _ in self.outcomes],
            [digest is not None for _, digest in self.objects],
            [vmlinuz is not None for _, _, vmlinuz in self.kernels],
        )
        if all(map(all, tables)) and not any(names.count(NONE) for names in (self._bundles, self._pairs)):
            return {}  # every row has all there is, as most matrices have it
        answered, objects, kernels = (
            map(table.__getitem__, self.columns[name])
            for table, name in zip(tables, ("outcome", "object", "kernel"), strict=True)
        )
        named = (map(NONE.__ne__, names) for names in (self._bundles, self._pairs))
        kinds = zip(answered, *named, objects, kernels, strict=True)
        return {at: kind for kind, at in dict(zip(kinds, range(len(self)), strict=True)).items()}


@dataclass(frozen=True, slots=True)
class Known:
    """What is published of a kernel beside its verdicts: digests of its inventory, and of what its guests said.

    `said` is None where no guest was asked.
    """

    kernel: str
    inventory: str
    said: str | None = None


@dataclass(frozen=True, slots=True)
class Matrix:
    """A whole published matrix: rows in the order of the plan, its life in Unix seconds, and the log it was cut from.

    Every bundle of its rows is in that log; None for a registry that has none (format 1).  `pack` is the digest of the
    file that has all bundles of its rows and their reports, None where there is no such file.  `known` is sorted by
    kernel; one that was built without BTF has no inventory.  `conflicts` are the pair ids of rows, sorted, whose
    question has another signed answer in the registry besides the row's: who reads no more than this is told so.
    """

    rows: Sequence[Row]
    not_before: int
    expires: int
    log: Checkpoint | None = None
    pack: str | None = None
    known: tuple[Known, ...] = ()
    conflicts: tuple[str, ...] = ()

    @property
    def as_expected(self) -> bool:
        """True when every required row is as expected and no question has two answers."""
        return not self.conflicts and Rows.of(self.rows).as_expected


def row_of(claim: Claim, expected: Expectation, required: bool = True) -> Row:
    """A claim as a row of a matrix; its bundle has a name before it is signed, as no signature is part of that."""
    verdict = claim.verdict
    return Row(
        claim.object_name, claim.object_digest, claim.kernel_name, claim.kernel_release, claim.vmlinuz,
        pair_id(claim), pae_digest(verdict_payload(claim)), verdict.answer, verdict.cause, expected, required,
    )  # fmt: skip


def matrix_payload(matrix: Matrix) -> bytes:
    """The exact bytes that are signed for a matrix; TrustError for rows that may not be stated."""
    payload = _spelled(matrix)
    parse_matrix_statement(payload)
    return payload


def parse_matrix_statement(payload: bytes) -> Matrix:
    """The matrix in a payload whose signature has been checked; TrustError unless it is exactly one of ours."""
    statement = parse_json(payload, "matrix", MAX_MATRIX_BYTES)
    check_type(statement, MATRIX_TYPE)
    try:
        predicate = statement["predicate"]
        if predicate["format"] != FORMAT:
            raise TrustError(f"matrix: format {str(predicate['format'])[:20]}, this program reads {FORMAT}")
        log = _log(predicate["log"]) if "log" in predicate else None
        pack = text(predicate["pack"]) if "pack" in predicate else None
        known = tuple(
            Known(text(k["kernel"]), text(k["inventory"]), _maybe(k["said"])) for k in predicate.get("known", ())
        )
        life = _seconds(predicate["not_before"]), _seconds(predicate["expires"])
        conflicts = tuple(text(pair) for pair in predicate.get("conflicts", ()))
        matrix = Matrix(_rows(predicate), *life, log, pack, known, conflicts)
        same = _spelled(matrix) == payload
    except WRONG_SHAPE as error:
        raise TrustError(f"matrix: not as docs/statement.md says: {brief(error)}") from None
    if not same:
        raise TrustError("matrix: has other fields or another spelling than docs/statement.md says")
    return matrix


def parse_expectation(text: str) -> Expectation:
    """`any`, `may-fail[:CAUSE]`, `unknown`, or an answer, as Expectation prints itself; ValueError otherwise."""
    word, _, cause = text.partition(":")
    lenient = word in ("any", "may-fail", "unknown")
    found = Expectation(None, cause or None, word) if lenient else Expectation(Answer(word), cause or None)
    if str(found) != text or (cause and word in ("any", "unknown")):
        raise ValueError(f"expectation {text[:80]!r}")
    return found


def _spelled(matrix: Matrix) -> bytes:
    """The payload: canonical JSON, with the columns put where they belong, as hex digits need no escaping."""
    rows = Rows.of(matrix.rows)
    rows.check()
    known = sorted({(name, digest) for name, digest in rows.objects if digest})
    head = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": sha256_set(digest)} for name, digest in known],
        "predicateType": MATRIX_TYPE,
        "predicate": {
            "format": FORMAT,
            "not_before": _time(matrix.not_before),
            "expires": _time(matrix.expires),
            "as_expected": not matrix.conflicts and rows.as_expected,
            **({"log": _log_json(matrix.log)} if matrix.log is not None else {}),
            **({"pack": f"sha256:{hex_of(matrix.pack)}"} if matrix.pack is not None else {}),
            **({"known": list(_known_json(matrix.known, rows))} if matrix.known else {}),
            **({"conflicts": _conflicts_json(matrix.conflicts, rows)} if matrix.conflicts else {}),
            **_tables_json(rows),
            "rows": _PLACE,
        },
    }
    before, after = canonical(head).split(canonical(_PLACE))
    columns = {**{n: _hex(c) for n, c in rows.columns.items()}, "pair": rows.pairs.hex(), "bundle": rows.bundles.hex()}
    told = ",".join(f'"{name}":"{columns[name]}"' for name in sorted(columns))
    return b"%b{%b}%b" % (before, told.encode(), after)


def _known_json(known: Sequence[Known], rows: Rows) -> Iterator[dict[str, Any]]:
    names = [entry.kernel for entry in known]
    if names != sorted(set(names)) or not set(names) <= {name for name, *_ in rows.kernels}:
        raise TrustError("matrix: known: expected kernels of its rows, sorted, none twice")
    for entry in known:
        for digest in (entry.inventory, *([entry.said] if entry.said is not None else [])):
            hex_of(digest)
        yield {"kernel": entry.kernel, "inventory": entry.inventory, "said": entry.said}


def _conflicts_json(conflicts: Sequence[str], rows: Rows) -> list[str]:
    answered = {rows.pairs[32 * at : 32 * at + 32].hex() for at in rows.answered}
    if list(conflicts) != sorted(set(conflicts)) or not answered.issuperset(conflicts):
        raise TrustError("matrix: conflicts: expected pair ids of its answered rows, sorted, none twice")
    return list(conflicts)


def _tables_json(rows: Rows) -> dict[str, Any]:
    return {
        "objects": [{"name": name, "digest": digest} for name, digest in rows.objects],
        "kernels": [{"name": name, "release": release, "vmlinuz": file} for name, release, file in rows.kernels],
        "outcomes": [{"answer": str(answer), "cause": cause} for answer, cause in rows.outcomes],
        "wanted": [{"expected": str(expected), "required": required} for expected, required in rows.wanted],
    }


def _rows(predicate: Mapping[str, Any]) -> Rows:
    """Tables and columns of a predicate; what must hold of them, or a wrong shape's exception of Python's."""
    tables: dict[str, list[Any]] = {
        "object": [(text(o["name"]), _maybe(o["digest"])) for o in predicate["objects"]],
        "kernel": [(text(k["name"]), text(k["release"]), _maybe(k["vmlinuz"])) for k in predicate["kernels"]],
        "outcome": [(Answer(o["answer"]), text(o["cause"])) for o in predicate["outcomes"]],
        "wanted": [(parse_expectation(text(w["expected"])), _flag(w["required"])) for w in predicate["wanted"]],
    }
    told = predicate["rows"]
    columns = {name: _column(told[name], len(table)) for name, table in tables.items()}
    for name, table in tables.items():
        if len(set(table)) != len(table):
            raise ValueError(f"{name}: a value twice in its table")
    pairs, bundles = (bytes.fromhex(text(told[name])) for name in ("pair", "bundle"))
    if {len(c) * 32 for c in columns.values()} != {len(pairs)} or len(bundles) != len(pairs):
        raise ValueError("rows: columns of different lengths")
    return Rows(tables, columns, pairs, bundles)


def _column(digits: Any, size: int) -> tuple[int, ...]:
    """A column of places in a table of this size, each of which must be used, in the table's order."""
    raw = bytes.fromhex(text(digits))
    if len(raw) % 2:
        raise ValueError("rows: an index of other than four digits")
    column = struct.unpack(f">{len(raw) // 2}H", raw)
    if list(dict.fromkeys(column)) != list(range(size)):
        raise ValueError("rows: a table that is not in order of first use")
    return column


def _hex(column: Sequence[int]) -> str:
    return struct.pack(f">{len(column)}H", *column).hex()


def _table(values: Iterable[_Value]) -> tuple[list[_Value], tuple[int, ...]]:
    """Each value once, in order of first use, and the places of all."""
    places: dict[_Value, int] = {}
    column = tuple(places.setdefault(value, len(places)) for value in values)
    if len(places) > MAX_TABLE:
        raise TrustError(f"matrix: {len(places)} different values, at most {MAX_TABLE} expected")
    return list(places), column


def _named(table: Sequence[tuple[Any, ...]], column: Sequence[int]) -> Iterable[int]:
    """A column by names alone: two entries of a table can have one name."""
    names, ids = _table(map(itemgetter(0), table))
    return column if len(names) == len(table) else map(ids.__getitem__, column)


def _split(raw: bytes) -> tuple[bytes, ...]:
    return struct.unpack("32s" * (len(raw) // 32), raw)


def _keyed(names: Iterable[bytes], values: Iterable[int]) -> Mapping[bytes, int]:
    found = dict(zip(names, values, strict=True))
    found.pop(NONE, None)
    return found


def _raw(digest: str | None) -> bytes:
    return NONE if digest is None else bytes.fromhex(hex_of(digest))


def _as_expected(outcome: tuple[Answer, str], expected: Expectation) -> bool:
    answer, cause = outcome
    return cause == NOT_TO_BE_HAD or meets(expected, answer, cause)


def _log_json(log: Checkpoint) -> dict[str, Any]:
    check_origin(log.origin)
    return {"origin": log.origin, "size": log.size, "root": log.root.hex()}


def _log(entry: Mapping[str, Any]) -> Checkpoint:
    size = entry["size"]
    if type(size) is not int or not 0 <= size <= MAX_SIZE:
        raise TypeError("log: size: expected a whole number")
    return Checkpoint(text(entry["origin"]), size, _raw(f"sha256:{text(entry['root'])}"))


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(told: str) -> int:
    return int(datetime.strptime(told, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())


def _maybe(value: Any) -> str | None:
    return None if value is None else text(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("required: expected true or false")
    return value
