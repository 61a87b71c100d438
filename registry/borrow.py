"""Verdicts from other registries: one round trip each, and belief only after every check.

A registry's matrix is asked which bundle answers a question that was computed here, from what lies here; then the
bundle's signature, its statement, its place in the log, the question in it and the report it rests on must all hold.
What does not is a problem that is told, and no answer: the kernel is asked here then.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from bpfcompat import envelope
from bpfcompat.digest import digest_bytes, hex_of, short
from bpfcompat.errors import BpfcompatError, TrustError
from bpfcompat.manifest import MAX_MATRIX_BYTES, Matrix, Rows
from bpfcompat.model import Answer
from bpfcompat.policy import Uncounted
from bpfcompat.registry import layout
from bpfcompat.registry.client import Source
from bpfcompat.registry.leaves import Leaves, Said, answered, look
from bpfcompat.registry.ledger import Ledger
from bpfcompat.registry.pack import MAX_PACK_BYTES, unpack
from bpfcompat.registry.state import Memory
from bpfcompat.registry.text import plain
from bpfcompat.registry.verify import Trust
from bpfcompat.statement import Claim, pair_id

FEW = 3  # so many pairs are fetched one by one, two files each; of more the whole pack
SHOWN = 3  # problems of one registry that are told in full

Outcome = tuple[Answer, str]


@dataclass(frozen=True, slots=True)
class Loan:
    """What one registry says of one question; every check of this module has passed.

    `report` is what the verdict rests on, `bundle` the pae digest, `signer` the fingerprint of the key, `url` whose
    registry it is.
    """

    claim: Claim
    report: bytes
    bundle: str
    signer: str
    url: str

    @property
    def outcome(self) -> Outcome:
        """Answer and cause."""
        return self.claim.verdict.answer, self.claim.verdict.cause


@dataclass(slots=True)
class Told:
    """What came of asking.

    `loans`: pair id → equal answers, by as many keys as were needed.  `conflicts`: pair id → who says what, in words.
    `problems` are reasons not to have believed something, one line each.
    """

    loans: dict[str, tuple[Loan, ...]] = field(default_factory=dict)
    conflicts: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class Lender:
    """One registry, asked once: its matrix, its log's checkpoint, and then what is wanted of it.

    With a log's key in the policy, `remember` opens what this reader saw of logs before: one that was rolled back or
    rewritten since lends nothing.
    """

    def __init__(
        self, url: str, source: Source, trust: Trust, now: int, remember: Callable[[], Memory] | None = None
    ) -> None:
        self.url = url
        self.problems: list[str] = []
        self._source, self._trust, self._now, self._remember = source, trust, now, remember
        self._ledger: Ledger | None = None
        self._rows = Rows.of(())
        self._pack: str | None = None
        self._packed_bytes: bytes | None = None
        self._few: dict[str, bytes] = {}
        self._answers: dict[bytes, int] = {}
        self._disputed = frozenset[str]()
        self._leaves = Leaves(b"")

    def open(self, wanted: Iterable[str]) -> bool:
        """Read the signed matrix and, where it answers what is wanted, its log; False when it is not to be believed."""
        try:
            data = self._source.read(layout.MATRIX, MAX_MATRIX_BYTES)
            if data is None:
                raise TrustError(f"{layout.MATRIX}: is missing", hint="is this a registry?")
            matrix, _signer = self._trust.matrix(data)
            self._trust.life(matrix, self._now)
            self._ledger = self._log(matrix) if self._trust.policy.log else None
            rows, self._disputed = Rows.of(matrix.rows), frozenset(matrix.conflicts)
            answers, self._pack = _answers(rows), matrix.pack
            if self._ledger and matrix.log and not answers.keys().isdisjoint(map(bytes.fromhex, wanted)):
                self._leaves = look(self._ledger, matrix.log.size, partial(self._said, rows), self._once)
        except BpfcompatError as error:
            self._problem(error)
            return False
        self._rows, self._answers = rows, answers
        return True

    def _said(self, rows: Rows, leaves: Sequence[str]) -> Mapping[str, Said]:
        """What the bundles in the pack answer, where it has more of these leaves than are fetched one by one."""
        named = {rows.bundles[32 * at : 32 * at + 32].hex() for at in rows.answered}
        if self._pack is None or sum(hex_of(digest) in named for digest in leaves) <= FEW:
            return {}
        found = {}
        items = unpack(self._pack_bytes(self._pack), len(rows.answered))
        for _at, (bundle, _report) in zip(rows.answered, items, strict=False):
            with suppress(TrustError):  # a damaged one is no leaf's: that one is fetched alone
                signed = envelope.parse(bundle)
                if (said := answered(signed.payload)) is not None:
                    found[signed.digest] = said
        return found

    def _log(self, matrix: Matrix) -> Ledger:
        memory = self._remember() if self._remember else None
        ledger = Ledger(self._source, self._trust.policy, memory, self._now, matrix.not_before)
        if matrix.log is not None:
            ledger.cover(matrix.log)
        return ledger

    @property
    def logged(self) -> bool:
        """Whether a log's key is known, so that nothing is believed which is not in that log."""
        return bool(self._trust.policy.log)

    def outcome(self, pair: str) -> Outcome | None:
        """What the matrix says of a question, None where it gives no answer; its bundle must still prove it."""
        at = self._answers.get(bytes.fromhex(pair))
        return None if at is None else self._rows.outcomes[self._rows.columns["outcome"][at]]

    def disputes(self, pairs: Iterable[str]) -> dict[str, str]:
        """Those of these questions that the registry has signed in two ways, each with who says so, in words."""
        found = dict.fromkeys(self._disputed, f"{self.url}'s matrix says that it signed two answers")
        told = {pair: outcome[0] for pair in pairs if (outcome := self.outcome(pair))}
        for index, bundle, raw, answer in self._leaves.others({bytes.fromhex(pair): told[pair] for pair in told}):
            if raw.hex() not in found and self._stands(bundle):
                found[raw.hex()] = f"{self.url} says {told[raw.hex()]}, and {answer} in leaf {index} of its log"
        if left := self._leaves.left:
            self._problem(TrustError(f"{left} leaves of its log were not looked at yet: the next run goes on"))
        return found

    def _stands(self, digest: str) -> bool:
        """Whether the bundle of a leaf speaks against another; not when its key is known not to count for it."""
        try:
            self._trust.signed(self._file(layout.bundle_path(digest), envelope.MAX_BYTES), digest, self._ledger)
        except Uncounted:
            return False
        except TrustError:
            return True  # a bundle that was taken away or damaged since: no reason to believe its opposite
        return True

    def loans(self, pairs: Sequence[str]) -> Iterator[tuple[str, Loan]]:
        """What there is of these questions and holds, each as soon as it is checked; `outcome` knows all of them."""
        try:
            for pair, bundle, report in self._singles(pairs) if len(pairs) <= FEW else self._packed(pairs):
                try:
                    yield pair, self._checked(pair, bundle, report)
                except BpfcompatError as error:
                    self._problem(error)
        except BpfcompatError as error:
            self._problem(error)

    def _checked(self, pair: str, bundle: bytes, report: bytes) -> Loan:
        digest = self._bundle(pair)
        claim, signed = self._trust.signed(bundle, digest, self._ledger)
        label = f"{claim.object_name}@{claim.kernel_name}"
        if pair_id(claim) != pair:
            raise TrustError(f"{label}: bundle {short(digest)} answers another question than its row says")
        if digest_bytes(report) != claim.report:
            raise TrustError(f"{label}: the report is not the one that its verdict rests on")
        loan = Loan(claim, report, digest, signed.keyid, self.url)
        if loan.outcome != self.outcome(pair):
            raise TrustError(f"{label}: the matrix says another answer than its bundle")
        return loan

    def _bundle(self, pair: str) -> str:
        return self._rows[self._answers[bytes.fromhex(pair)]].bundle or ""

    def _singles(self, pairs: Iterable[str]) -> Iterator[tuple[str, bytes, bytes]]:
        for pair in pairs:
            try:
                path = layout.bundle_path(self._bundle(pair))
                bundle = self._few.get(path) or self._file(path, envelope.MAX_BYTES)
                claim = self._trust.claim(bundle, self._bundle(pair))
                yield pair, bundle, self._file(layout.evidence_path(claim.report), layout.MAX_EVIDENCE_BYTES)
            except BpfcompatError as error:
                self._problem(error)

    def _packed(self, pairs: Iterable[str]) -> Iterator[tuple[str, bytes, bytes]]:
        """A pack has an item for each row with a bundle, in the matrix's order."""
        wanted = {self._answers[bytes.fromhex(pair)]: pair for pair in pairs}
        if self._pack is None:
            raise TrustError(f"has no pack, and {len(wanted)} pairs are not fetched one by one")
        there = self._rows.answered
        for at, item in zip(there, unpack(self._pack_bytes(self._pack), len(there)), strict=False):
            if at in wanted:
                yield (wanted[at], *item)
        self._packed_bytes = None

    def _once(self, path: str, limit: int) -> bytes | None:
        """A file, kept while there are few: where little is new, the leaves that are looked at are those wanted."""
        data = self._source.read(path, limit)
        if data is not None and len(self._few) < FEW:
            self._few[path] = data
        return data

    def _pack_bytes(self, digest: str) -> bytes:
        """The pack, fetched once."""
        if self._packed_bytes is None:
            self._packed_bytes = self._file(layout.pack_path(digest), MAX_PACK_BYTES)
            if digest_bytes(self._packed_bytes) != digest:
                raise TrustError(f"{layout.pack_path(digest)}: its bytes are not what its name says")
        return self._packed_bytes

    def _file(self, path: str, limit: int) -> bytes:
        data = self._source.read(path, limit)
        if data is None:
            raise TrustError(f"{path}: is missing")
        return data

    def _problem(self, error: BpfcompatError) -> None:
        self.problems.append(plain(f"{self.url}: {error}", 400))


def borrow(lenders: Sequence[Lender], wanted: Mapping[str, str], needed: int) -> Told:
    """What these registries say of the wanted questions (pair id → label), where `needed` keys say the same.

    Every matrix is read, so that a disagreement is seen; bundles come from the first registry that can give them.
    """
    there = [lender for lender in lenders if lender.open(wanted)]
    told = Told()
    said = {pair: {lender: found for lender in there if (found := lender.outcome(pair))} for pair in wanted}
    for lender in there:
        told.conflicts |= {p: f"{wanted[p]}: {why}" for p, why in lender.disputes(wanted).items() if p in wanted}
    for pair, outcomes in said.items():
        if len(set(outcomes.values())) > 1:
            words = ", ".join(f"{lender.url} says {_words(found)}" for lender, found in outcomes.items())
            told.conflicts[pair] = f"{wanted[pair]}: {words}"
    lendable = [pair for pair, found in said.items() if len(found) >= needed and pair not in told.conflicts]
    held: dict[str, dict[str, Loan]] = {pair: {} for pair in lendable}
    for lender in there:
        lacking = [pair for pair, loans in held.items() if len(loans) < needed and lender in said[pair]]
        for pair, loan in lender.loans(lacking) if lacking else ():
            held[pair].setdefault(loan.signer, loan)
    told.loans = {pair: tuple(loans.values()) for pair, loans in held.items() if len(loans) >= needed}
    told.problems = [line for lender in lenders for line in _shown(lender)]
    return told


def _answers(rows: Rows) -> dict[bytes, int]:
    """Question → number of the row that answers it; a question with two answers in one matrix has none."""
    found: dict[bytes, int] = {}
    outcome, twice = rows.columns["outcome"], set[bytes]()
    for at in rows.answered:
        pair = rows.pairs[32 * at : 32 * at + 32]
        if outcome[found.setdefault(pair, at)] != outcome[at]:
            twice.add(pair)
    return {pair: at for pair, at in found.items() if pair not in twice}


def _shown(lender: Lender) -> list[str]:
    more = len(lender.problems) - SHOWN
    return [*lender.problems[:SHOWN], *([f"{lender.url}: and {more} more problems"] if more > 0 else [])]


def _words(outcome: Outcome) -> str:
    answer, cause = outcome
    return f"{answer}{cause and ': ' + plain(cause, 60)}"
