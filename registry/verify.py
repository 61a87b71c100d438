"""Check, then believe: a registry's matrix, its bundles, and that they are about the files at hand.

`Trust` holds all belief, takes bytes and does no IO; `verify` reads and hands it over.  Nothing that a registry says of
itself (paths, pair indexes, pages, the keys it carries) is believed.  A missing, damaged or contradicting file is a
problem, and one problem is enough: the registry is then not trusted.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bpfcompat import envelope
from bpfcompat.digest import digest_bytes, digest_file, short
from bpfcompat.errors import ConfigError, Exit, StoreError, TrustError
from bpfcompat.keys import PublicKey
from bpfcompat.manifest import MAX_MATRIX_BYTES, Matrix, Row, Rows, parse_matrix_statement, row_of
from bpfcompat.model import Answer
from bpfcompat.policy import CLOCK_SKEW_S, Policy, Uncounted
from bpfcompat.registry import layout
from bpfcompat.registry.client import Source
from bpfcompat.registry.leaves import Said, answers, look, said
from bpfcompat.registry.ledger import Ledger
from bpfcompat.registry.pack import MAX_PACK_BYTES, check_pack
from bpfcompat.registry.state import Memory
from bpfcompat.registry.text import plain, when
from bpfcompat.statement import Claim, pair_id, parse_verdict_statement
from bpfcompat.tlog import Checkpoint
from bpfcompat.trailhead import Head, is_head, parse_head


class Trust:
    """What a reader with this policy believes at `now` (Unix seconds).

    Every method takes bytes or values and raises TrustError.  With a log's key in the policy, nothing is believed that
    is not in that log: the matrix must be cut from it, and a bundle must prove its place.
    """

    def __init__(self, trusted: Policy | Sequence[PublicKey], now: int = 0) -> None:
        self.policy = trusted if isinstance(trusted, Policy) else Policy.of_keys(trusted)
        self._verifier = envelope.Verifier(self.policy)
        self._now = now

    def matrix(self, data: bytes) -> tuple[Matrix, str]:
        """A signed matrix, and who signed it.  Its time is not judged here, nor the checkpoint that it names."""
        signed = self._verifier.verify(data, MAX_MATRIX_BYTES)
        self.policy.allows(signed.keyid, None, None, self._now)
        matrix = parse_matrix_statement(signed.payload)
        if self.policy.log and matrix.log is None:
            raise TrustError("matrix: is not cut from a log", hint="publish anew, or leave the log's key out")
        return matrix, signed.keyid

    def claim(self, data: bytes, digest: str, ledger: Ledger | None = None) -> Claim:
        """The claim in a bundle that is named by this pae digest; see `signed`."""
        return self.signed(data, digest, ledger)[0]

    def signed(self, data: bytes, digest: str, ledger: Ledger | None = None) -> tuple[Claim, envelope.Envelope]:
        """The same, and the envelope that it came in, which says who signed it and where it is in the log."""
        signed = self.opened(data, digest, ledger)
        return parse_verdict_statement(signed.payload), signed

    def opened(self, data: bytes, digest: str, ledger: Ledger | None = None) -> envelope.Envelope:
        """A bundle that is named by this pae digest, whatever its statement is about.

        With a `ledger` that log must begin with the checkpoint that the bundle's proof leads to, and its witnesses say
        when the leaf was seen.
        """
        signed = self._verifier.verify(data)
        index = None
        if self.policy.log:
            checkpoint, index = self._verifier.checkpoint(signed), signed.index
            if ledger is not None:
                ledger.cover(checkpoint)
        found = signed.digest
        if found != digest:
            raise TrustError(f"bundle: is {short(found)}, its name says {short(digest)}")
        # before it is read: what a thief of a key put into the log stays there, whatever it says
        self.policy.allows(signed.keyid, index, ledger.witnessed if ledger is not None else None, self._now)
        return signed

    def row(self, row: Row, claim: Claim) -> None:
        """A row says just what its bundle says: digests, names, recomputed pair id, answer and cause."""
        wanted = row_of(claim, row.expected, row.required)
        for name in ("object_digest", "vmlinuz", "pair", "answer", "cause"):
            told, found = getattr(row, name), getattr(wanted, name)
            if told != found:
                raise TrustError(f"{row.label}: {name}: the matrix says {told}, its bundle {found}")
        if row != wanted:
            raise TrustError(f"{row.label}: the matrix names another object, kernel or bundle than its bundle")

    def life(self, matrix: Matrix, now: int) -> None:
        """Now is within the matrix's life, give or take CLOCK_SKEW_S at its start."""
        if now + CLOCK_SKEW_S < matrix.not_before:
            raise TrustError(f"matrix: not valid before {when(matrix.not_before)}", hint="check this machine's clock")
        if now >= matrix.expires:
            hint = "ask the publisher for a newer one, or allow expired ones"
            raise TrustError(f"matrix: expired at {when(matrix.expires)}", hint=hint)


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of a check.

    `rows` are those that were asked about: all, or those of the given object and kernel file.  `problems` are reasons
    not to believe; `conflicts` are pairs with two signed answers.  `bundles` counts the bundles that hold; `loaders`
    are those of bundles, by digest, that were not made with libbpf.
    `declared` are the pair ids whose answer is as declared, not the object's as it came.  `log` says what the log is in
    words, "" when no log's key was given; `unborn` counts its newest leaves, whose bundles no matrix can name yet,
    `unseen` those that were too many to look at in one go;
    `void` counts bundles by a key that does not count for them, `heads` those that are heads of the publisher's trail.
    """

    signer: str = ""
    rows: tuple[Row, ...] = ()
    bundles: int = 0
    not_before: int = 0
    expires: int = 0
    problems: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    declared: frozenset[str] = frozenset()
    loaders: Mapping[str, str] = field(default_factory=dict)
    log: str = ""
    unborn: int = 0
    void: int = 0
    unseen: int = 0
    heads: int = 0

    @property
    def trusted(self) -> bool:
        """True when nothing spoke against believing."""
        return not self.problems

    @property
    def as_expected(self) -> bool:
        """True when every required row is as expected and no question has two answers."""
        return not self.conflicts and all(row.as_expected for row in self.rows if row.required)

    @property
    def exit_code(self) -> Exit:
        """0 trusted and as expected, 1 trusted and not, 4 not trusted."""
        if not self.trusted:
            return Exit.UNTRUSTED
        return Exit.OK if self.as_expected else Exit.UNEXPECTED


@dataclass(slots=True)
class Check:
    """One run: what was read so far, and what spoke against it.

    `matrix` is None where none is to be believed; `claims` are those that hold, `heads` are of the publisher's audit
    trail, `places` who signed each and its index in the log, `refused` and `void` why others do not; all by bundle
    digest.
    """

    source: Source
    trust: Trust
    matrix: Matrix | None = None
    signer: str = ""
    ledger: Ledger | None = None
    unborn: int = 0
    unseen: int = 0
    claims: dict[str, Claim] = field(default_factory=dict)
    heads: dict[str, Head] = field(default_factory=dict)
    places: dict[str, tuple[str, int | None]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    void: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def bundle(self, digest: str) -> Claim | None:
        """The claim of a bundle, read and checked once; None after a problem, and for one whose key does not count.

        Such a one is a problem only where a row rests on it: it stays in the log, and readers pass it over.
        """
        if not any(digest in known for known in (self.claims, self.refused, self.void, self.heads)):
            path = layout.bundle_path(digest)
            try:
                data = self.source.read(path, envelope.MAX_BYTES)
                if data is None:
                    raise TrustError("is missing")
                signed = self.trust.opened(data, digest, self.ledger)
                if is_head(signed.payload):
                    self.heads[digest] = parse_head(signed.payload)
                else:
                    self.claims[digest] = parse_verdict_statement(signed.payload)
                self.places[digest] = signed.keyid, signed.index
            except Uncounted as error:
                self.void[digest] = error.message
            except TrustError as error:
                self.refused[digest] = error.message
                self.problems.append(f"{path}: {error}")
        return self.claims.get(digest)

    def row(self, row: Row) -> None:
        """A row, its bundle, and what the pair's index names beside it."""
        if row.bundle is None or row.pair is None:
            return
        claim = self.bundle(row.bundle)
        try:
            if row.bundle in self.heads:
                raise TrustError(f"{row.label}: its bundle is the head of an audit trail, and no verdict")
            if row.bundle in self.void:
                raise TrustError(f"{row.label}: {self.void[row.bundle]}", hint="ask the publisher to publish it anew")
            if claim is not None:
                self.trust.row(row, claim)
            self.index(row.pair)
        except TrustError as error:
            self.problems.append(str(error))

    def index(self, pair: str) -> None:
        """Every bundle that a pair's index names must hold and be what the index says; no index is no problem."""
        path = layout.pair_path(pair)
        data = self.source.read(path, layout.MAX_SMALL_BYTES)
        for entry in layout.parse_index(data) if data is not None else ():
            claim = self.bundle(entry.bundle)
            told = (pair_id(claim), claim.verdict.answer) if claim is not None else None
            if entry.bundle in self.heads or (told is not None and told != (pair, entry.answer)):
                raise TrustError(f"{path}: says {entry.answer}, bundle {short(entry.bundle)} says something else")

    def listed(self) -> None:
        """Where the source can list: every bundle holds, and evidence and inventories are what their names say."""
        for name in self.source.names("bundles") or ():
            digest = layout.digest_named(name)
            if digest is None:
                self.problems.append(f"bundles/{name}: expected <64 hex digits>.json")
            else:
                self.bundle(digest)
        for folder in ("evidence", "inventories"):
            for name in self.source.names(folder) or ():
                data = self.source.read(f"{folder}/{name}", layout.MAX_EVIDENCE_BYTES)
                if data is None or digest_bytes(data) != layout.digest_named(name):
                    self.problems.append(f"{folder}/{name}: its bytes are not what its name says")

    def known(self, matrix: Matrix) -> None:
        """What the matrix names of its kernels beside verdicts is there; its bytes, where the listing did not look."""
        listed = self.source.names("inventories") is not None
        for path in {layout.inventory_path(d) for k in matrix.known for d in (k.inventory, k.said) if d}:
            data = self.source.read(path, layout.MAX_EVIDENCE_BYTES)
            if data is None:
                self.problems.append(f"{path}: is missing, and the matrix names it")
            elif not listed and layout.inventory_path(digest_bytes(data)) != path:
                self.problems.append(f"{path}: its bytes are not what its name says")

    def leaves(self, below: int) -> None:
        """Every leaf below this size has its bundle, which holds; later ones may still be on their way."""
        if self.ledger is None:
            return
        for index, digest in self.ledger.digests():
            if index < below:
                self.bundle(digest)
            elif digest not in self.claims and digest not in self.void and digest not in self.heads:
                self.unborn += self.source.read(layout.bundle_path(digest), envelope.MAX_BYTES) is None

    def beside(self, matrix: Matrix, below: int) -> None:
        """The same without fetching what a row names or what was looked at before; and what answers a row otherwise."""
        if self.ledger is None:
            return
        found = look(self.ledger, below, self._said, self.source.read)
        for _index, bundle, *_ in found.others(answers(Rows.of(matrix.rows))):
            self.bundle(bundle)
        self.unseen = found.left

    def _said(self, digests: Sequence[str]) -> Mapping[str, Said]:
        """What the bundles among these that hold answer."""
        return {digest: said(self.claims[digest]) for digest in digests if digest in self.claims}

    def conflicts(self) -> Iterator[str]:
        """Questions that were answered in two ways, by bundles that hold or by the matrix's own word."""
        found: dict[str, set[Answer]] = {}
        for claim in self.claims.values():
            found.setdefault(pair_id(claim), set()).add(claim.verdict.answer)
        labels = {pair_id(claim): f"{claim.object_name}@{claim.kernel_name}" for claim in self.claims.values()}
        named = set(self.matrix.conflicts) if self.matrix else set()
        for pair in sorted(named | {pair for pair, several in found.items() if len(several) > 1}):
            told = " and as ".join(sorted(found.get(pair, ())))
            otherwise = ", and otherwise, as the matrix says" if len(found.get(pair, ())) < 2 else ""
            yield f"{labels.get(pair, 'a pair')}: signed as {told}{otherwise} (pair {pair[:12]})"


def verify(
    source: Source,
    trusted: Policy | Sequence[PublicKey],
    *,
    now: int,
    object_file: Path | None = None,
    kernel_file: Path | None = None,
    allow_expired: bool = False,
    every: bool = False,
    memory: Memory | None = None,
) -> Verification:
    """Check a whole registry, and that it speaks about the given files; `now` is in Unix seconds.

    `memory` is what this reader saw of the log before, and then of this.  With `every`, or where the source can list,
    each leaf of the log must have its bundle.  Reasons not to believe are in `problems`, never raised.  ConfigError for
    a local file that cannot be read, StoreError for a memory that cannot be written: neither says anything of the
    registry.
    """
    wanted = {"object_digest": _local(object_file), "vmlinuz": _local(kernel_file)}
    check = examine(source, trusted, now=now, allow_expired=allow_expired, every=every, memory=memory)
    matrix = check.matrix
    if matrix is None:
        return Verification(problems=tuple(check.problems))
    rows = tuple(r for r in matrix.rows if all(d is None or getattr(r, name) == d for name, d in wanted.items()))
    if not rows:
        given = ", ".join(f"{name} {short(d)}" for name, d in wanted.items() if d)
        check.problems.append(f"matrix: has no row for {given}")
    return Verification(
        check.signer, rows, len(check.claims), matrix.not_before, matrix.expires,
        tuple(check.problems), tuple(check.conflicts()),
        frozenset(pair_id(claim) for claim in check.claims.values() if claim.as_declared),
        {digest: claim.loader for digest, claim in check.claims.items() if "command" in claim.spec},
        str(check.ledger or ""), check.unborn, len(check.void), check.unseen, len(check.heads),
    )  # fmt: skip


def examine(
    source: Source,
    trusted: Policy | Sequence[PublicKey],
    *,
    now: int,
    allow_expired: bool = False,
    every: bool = False,
    memory: Memory | None = None,
) -> Check:
    """Check a whole registry, as `verify` does, and give all that was found."""
    check = Check(source, Trust(trusted, now))
    try:
        _known_format(source)
        matrix, check.signer = check.trust.matrix(_matrix_bytes(source))
        if check.trust.policy.log and matrix.log is not None:
            # after the matrix, which is never newer than its log
            check.ledger = Ledger(source, check.trust.policy, memory, now, matrix.not_before)
            _cut_from(check.ledger, matrix.log)
    except TrustError as error:
        check.problems += str(error).splitlines()  # two notes, where the log contradicts itself
        return check
    check.matrix = matrix
    _contents(check, matrix, now, allow_expired, every)
    return check


def _contents(check: Check, matrix: Matrix, now: int, allow_expired: bool, every: bool) -> None:
    try:
        check.trust.life(matrix, min(now, matrix.expires - 1) if allow_expired else now)
    except TrustError as error:
        check.problems.append(str(error))
    for row in matrix.rows:
        check.row(row)
    try:
        _packed(check, matrix)
        check.listed()
        listing = check.source.names("bundles") is not None
        if every or listing:
            check.known(matrix)
        below = matrix.log.size if matrix.log else 0
        if every or listing:
            check.leaves(below)
        else:
            check.beside(matrix, below)
    except TrustError as error:
        check.problems.append(str(error))


def _packed(check: Check, matrix: Matrix) -> None:
    """The pack that a matrix names has just its bundles, as far as they hold, and their reports."""
    named = [(row.bundle, check.claims[row.bundle].report) for row in matrix.rows if row.bundle in check.claims]
    if matrix.pack is None or len(named) < sum(row.bundle is not None for row in matrix.rows):
        return  # what is missing or void was told already
    path = layout.pack_path(matrix.pack)
    data = check.source.read(path, MAX_PACK_BYTES)
    if data is None:
        raise TrustError(f"{path}: is missing")
    check_pack(data, matrix.pack, named)


def _cut_from(ledger: Ledger, log: Checkpoint) -> None:
    try:
        ledger.cover(log)
    except TrustError as error:
        raise TrustError(f"matrix: cut from another log than the served one: {error.message}", error.hint) from None


def _matrix_bytes(source: Source) -> bytes:
    data = source.read(layout.MATRIX, MAX_MATRIX_BYTES)
    if data is None:
        raise TrustError(f"{layout.MATRIX}: is missing", hint="is this a registry?")
    return data


def _known_format(source: Source) -> None:
    data = source.read(layout.FORMAT_FILE, layout.MAX_SMALL_BYTES)
    if data is None:
        raise TrustError(f"{layout.FORMAT_FILE}: is missing", hint="is this a registry?")
    try:
        layout.parse_format(data)
    except StoreError as error:
        raise TrustError(error.message, hint=error.hint) from None


def _local(path: Path | None) -> str | None:
    try:
        return digest_file(path) if path is not None else None
    except OSError as error:
        raise ConfigError(f"{path}: cannot read: {error.strerror}") from error


def format_verification(found: Verification) -> str:
    """The outcome as lines for a terminal; nothing in it can move the cursor or change what was printed before."""
    if not found.trusted:
        lines = [f"not trusted: {plain(problem)}" for problem in found.problems[:20]]
        more = len(found.problems) - 20
        return "\n".join([*lines, *([f"not trusted: {more} more"] if more > 0 else [])])
    width = max(len(plain(row.label, 60)) for row in found.rows)
    lines = [
        _row_line(row, width, row.pair in found.declared, found.loaders.get(row.bundle or "")) for row in found.rows
    ]
    lines += [f"conflict: {plain(text)}" for text in found.conflicts]
    lines.append(f"signed by {found.signer}, {found.bundles} bundles hold, valid until {when(found.expires)}")
    lines.append(found.log or "the log was not checked: give its key (--log-key), or history can be rewritten unseen")
    if found.unborn:
        lines.append(f"{found.unborn} newer leaves of the log have no bundle yet: a publish is running, or was killed")
    if found.unseen:
        lines.append(f"{found.unseen} leaves of the log were not looked at yet: verify again, or with --all")
    if found.heads:
        lines.append(f"{found.heads} more bundles are heads of the publisher's audit trail: docs/trail.md")
    if found.void:
        lines.append(f"{found.void} more bundles are by a key that does not count for them: passed over")
    lines.append("trusted, and as expected" if found.as_expected else "trusted, and not as expected")
    return "\n".join(lines)


def _row_line(row: Row, width: int, declared: bool, loader: str | None) -> str:
    answer = f"{row.answer} {plain(row.cause, 60)}".rstrip() + (", as declared" if declared else "")
    remark = "" if row.as_expected else f"  expected {row.expected}"
    who = f"  by {loader}" if loader else ""
    return f"{plain(row.label, 60):<{width}}  {answer}{plain(who, 160)}{plain(remark)}"
