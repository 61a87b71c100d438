"""An audit of a release: what is claimed of every pair, by whom, since when, what it ran on, and what is missing.

Two things are never one: whether a claim is the signer's and in the log (its *standing*), and what it says (its
*answer*).  A signed and logged `incompatible` is verified, and a `compatible` that nobody can check is no answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from bpfcompat.digest import digest_bytes, short
from bpfcompat.errors import ConfigError, Exit, TrustError, did_you_mean
from bpfcompat.keys import fingerprint
from bpfcompat.manifest import Row
from bpfcompat.model import Answer
from bpfcompat.note import Kind, NoteKey
from bpfcompat.policy import CLOCK_SKEW_S, Policy
from bpfcompat.registry import layout
from bpfcompat.registry.client import Source
from bpfcompat.registry.ledger import Ledger
from bpfcompat.registry.state import Memory
from bpfcompat.registry.verify import Check, examine
from bpfcompat.rootdoc import Root
from bpfcompat.statement import Claim, pair_id


class Standing(StrEnum):
    """What there is for a pair; it says nothing of the answer."""

    VERIFIED = "verified"  # signed by a key that counts, in the log, and as its row says
    SIGNED = "signed"  # the same, but nobody was told the log's key
    REFUSED = "refused"  # there is a bundle, and it is not to be believed
    MISSING = "missing"  # the matrix names a bundle, and it is not there
    NONE = "no claim"  # inconclusive: nobody claims anything

    @property
    def holds(self) -> bool:
        """True when the claim is the signer's."""
        return self in (Standing.VERIFIED, Standing.SIGNED)


class Evidence(StrEnum):
    """Whether the report is there that a claim rests on."""

    THERE = "there"
    MISSING = "missing"
    DAMAGED = "damaged"
    NONE = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """A row of the matrix and what stands behind it.

    `why` says what is wrong with the claim.  `claim`, `signer` and `index` (in the log) are None or "" unless it holds.
    """

    row: Row
    standing: Standing
    why: str = ""
    claim: Claim | None = None
    signer: str = ""
    index: int | None = None
    evidence: Evidence = Evidence.NONE
    conflict: bool = False

    @property
    def answer(self) -> Answer | None:
        """The answer that may be believed; None where nothing holds it up, and where there are two."""
        if self.conflict:
            return None
        return self.row.answer if self.standing.holds or self.standing is Standing.NONE else None

    @property
    def as_expected(self) -> bool:
        """False too where there is nothing to believe."""
        return self.answer is not None and self.row.as_expected


class Gap(NamedTuple):
    """Something that should be there: a `verdict`, `bundle`, `leaf` (its bundle) or `evidence`; where, and why not.

    `expected`: nobody wanted it, as a verdict where none is expected.
    """

    what: str
    where: str
    why: str
    required: bool
    expected: bool = False


class KeyLine(NamedTuple):
    """A key that the reader trusts, and until when.  `current`: it may sign today.  Times are Unix seconds."""

    id: str
    role: str
    name: str
    not_before: int | None = None
    not_after: int | None = None
    below: int | None = None
    current: bool = True


@dataclass(frozen=True, slots=True)
class LogLine:
    """The log as it was served.  `seen` is when enough witnesses had seen it: no leaf below `size` is younger."""

    origin: str
    size: int
    root: bytes
    signers: tuple[str, ...]
    witnesses: tuple[tuple[str, int], ...]
    seen: int | None


@dataclass(frozen=True, slots=True)
class Audit:
    """The whole report.  `at` is this machine's clock, and `problems` are reasons to believe none of it.

    `void` counts bundles beside the pairs whose key does not count, `unborn` leaves whose bundle is on its way.
    """

    at: int
    problems: tuple[str, ...]
    keys: tuple[KeyLine, ...] = ()
    signer: str = ""
    not_before: int = 0
    expires: int = 0
    pairs: tuple[Pair, ...] = ()
    conflicts: tuple[str, ...] = ()
    gaps: tuple[Gap, ...] = ()
    log: LogLine | None = None
    void: int = 0
    unborn: int = 0

    @property
    def trusted(self) -> bool:
        """True when nothing spoke against believing."""
        return not self.problems

    @property
    def unexpected(self) -> tuple[Pair, ...]:
        """Required pairs that are not as expected, those without anything to believe among them."""
        return tuple(pair for pair in self.pairs if pair.row.required and not pair.as_expected)

    @property
    def exit_code(self) -> Exit:
        """4 not trusted; 1 a required answer is not as expected, or there are two; 3 something required is missing."""
        if not self.trusted:
            return Exit.UNTRUSTED
        if self.conflicts or any(pair.answer is not Answer.INCONCLUSIVE for pair in self.unexpected):
            return Exit.UNEXPECTED
        lacking = any(gap.required and gap.what != "verdict" for gap in self.gaps)
        return Exit.INCONCLUSIVE if self.unexpected or lacking else Exit.OK


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects: by name, and by digest of a file (digest → what the user called it).  Neither: all."""

    names: Sequence[str] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    def of(self, rows: Sequence[Row]) -> tuple[Row, ...]:
        """The rows of these objects.  ConfigError: a name that the matrix has not.  TrustError: bytes that it has not.

        A row without a verdict has no digest; it goes with the object of its name.
        """
        if not self.names and not self.files:
            return tuple(rows)
        known = {row.object_name for row in rows}
        for name in self.names:
            if name not in known:
                hint = did_you_mean(name, known, "the matrix has other objects; for a file, give its path")
                raise ConfigError(f"--object {name[:80]}: no such file, and no object of the matrix", hint=hint)
        for digest, path in self.files.items():
            if all(row.object_digest != digest for row in rows):
                raise TrustError(f"matrix: has no row for {path}, {short(digest)}: these bytes were not asked about")
        named = {row.object_name for row in rows if row.object_digest in self.files}
        return tuple(
            row
            for row in rows
            if row.object_name in self.names
            or row.object_digest in self.files
            or (row.object_digest is None and row.object_name in named)
        )


def audit(
    source: Source,
    policy: Policy,
    *,
    now: int,
    root: Root | None = None,
    memory: Memory | None = None,
    selection: Selection = Selection(),
    allow_expired: bool = False,
) -> Audit:
    """Read and check all that a registry has for these objects, every leaf of its log, and the evidence.

    `now` in Unix seconds; `root` is the document that `policy` comes from.  Reasons not to believe are in the report.
    ConfigError: an object's name that the matrix has not.
    """
    check = examine(source, policy, now=now, allow_expired=allow_expired, every=True, memory=memory)
    keys = tuple(_root_keys(root, now) if root else _pinned_keys(policy))
    if check.matrix is None:
        return Audit(now, tuple(check.problems), keys)
    try:
        rows = selection.of(check.matrix.rows)
    except TrustError as error:
        check.problems.append(str(error))
        rows = ()
    answers = _answers(check)
    pairs = tuple(_pair(check, row, answers) for row in rows)
    problems = [*check.problems, *_damaged(check, pairs)]
    return Audit(
        now, tuple(problems), keys, check.signer, check.matrix.not_before, check.matrix.expires, pairs,
        tuple(check.conflicts()), tuple(_gaps(check, pairs)), _log(check.ledger, now) if check.ledger else None,
        len(check.void), check.unborn,
    )  # fmt: skip


def _answers(check: Check) -> Mapping[str, set[Answer]]:
    found: dict[str, set[Answer]] = {}
    for claim in check.claims.values():
        found.setdefault(pair_id(claim), set()).add(claim.verdict.answer)
    return found


def _pair(check: Check, row: Row, answers: Mapping[str, set[Answer]]) -> Pair:
    if row.bundle is None:
        return Pair(row, Standing.NONE, row.cause)
    claim = check.claims.get(row.bundle)
    if claim is None:
        why = check.void.get(row.bundle) or check.refused.get(row.bundle, "was not read")
        missing = check.refused.get(row.bundle) == "is missing"
        return Pair(row, Standing.MISSING if missing else Standing.REFUSED, why)
    try:
        check.trust.row(row, claim)
    except TrustError as error:
        return Pair(row, Standing.REFUSED, error.message)
    signer, index = check.places[row.bundle]
    standing = Standing.VERIFIED if check.ledger is not None and index is not None else Standing.SIGNED
    told = check.matrix.conflicts if check.matrix is not None else ()
    conflict = len(answers.get(row.pair or "", ())) > 1 or row.pair in told
    evidence = _evidence(check.source, claim)
    return Pair(row, standing, "", claim, signer, index if check.ledger else None, evidence, conflict)


def _evidence(source: Source, claim: Claim) -> Evidence:
    try:
        data = source.read(layout.evidence_path(claim.report), layout.MAX_EVIDENCE_BYTES)
    except TrustError:
        return Evidence.DAMAGED
    if data is None:
        return Evidence.MISSING
    return Evidence.THERE if digest_bytes(data) == claim.report else Evidence.DAMAGED


def _damaged(check: Check, pairs: Sequence[Pair]) -> Iterator[str]:
    """What a check that lists nothing could not see."""
    listing = check.source.names("evidence") is not None
    for path in dict.fromkeys(
        layout.evidence_path(pair.claim.report) for pair in pairs if pair.claim and pair.evidence is Evidence.DAMAGED
    ):
        if not listing:
            yield f"{path}: its bytes are not what its name says"


def _gaps(check: Check, pairs: Sequence[Pair]) -> Iterator[Gap]:
    for pair in pairs:
        row, needed = pair.row, pair.row.required
        if pair.standing is Standing.NONE:
            yield Gap("verdict", row.label, row.cause, needed, row.as_expected)
        elif pair.standing is Standing.MISSING and row.bundle:
            yield Gap("bundle", row.label, f"{layout.bundle_path(row.bundle)} is missing", needed)
        elif pair.evidence is Evidence.MISSING and pair.claim:
            yield Gap("evidence", row.label, f"{layout.evidence_path(pair.claim.report)} is missing", needed)
    named = {row.bundle for row in check.matrix.rows} if check.matrix else set()
    for digest, why in check.refused.items():
        if digest not in named and why == "is missing":
            yield Gap("leaf", layout.bundle_path(digest), "is in the log, and is missing", True)


def _log(ledger: Ledger, now: int) -> LogLine:
    signers = ledger.note.signers
    found, seen, latest = ledger.checkpoint, ledger.witnessed, now + CLOCK_SKEW_S
    return LogLine(
        found.origin, found.size, found.root,
        tuple(signer.key.name for signer in signers if signer.key.kind is Kind.LOG),
        tuple((s.key.name, s.time) for s in signers if s.time is not None and s.time <= latest),
        seen if seen is not None and seen <= latest else None,
    )  # fmt: skip


def _root_keys(root: Root, now: int) -> Iterator[KeyLine]:
    for holder in root.holders:
        yield KeyLine(fingerprint(holder), "root", root.name)
    for key in root.keys:
        yield KeyLine(key.id, key.role, key.name, key.not_before, key.not_after, key.below, key.current(now))


def _pinned_keys(policy: Policy) -> Iterator[KeyLine]:
    for known in policy.verdict:
        yield KeyLine(known.id, "verdict", "", known.not_before, known.not_after, known.below)
    for role, noted in (("log", policy.log), ("witness", policy.witnesses)):
        yield from (_noted(key, role) for key in noted)


def _noted(key: NoteKey, role: str) -> KeyLine:
    return KeyLine(fingerprint(key.key), role, key.name)
