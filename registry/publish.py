"""Claims in, files out: sign, write once, append, never take back.

One exclusive lock; every write is atomic, and the order (evidence, signed bundles in a place that is not served, the
log, bundles with their proofs, pair indexes, manifest, matrix.json, pages) means that a kill between any two leaves a
registry that verifies, and that the next publish completes.  A bundle that is there already is not signed again.
Another answer to a known question is a conflict: kept beside the first, and returned to be shown.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bpfcompat.as_declared import is_remark
from bpfcompat.builds import from_json
from bpfcompat.buildtext import Asked, said_bytes
from bpfcompat.digest import digest_bytes, short
from bpfcompat.envelope import bundle_bytes, pae_digest, parse, sign, verify
from bpfcompat.errors import StoreError, TrustError
from bpfcompat.files import locked, read_bounded, write_all, write_atomic
from bpfcompat.keys import PrivateKey, fingerprint, hex_fingerprint, public_pem
from bpfcompat.manifest import MAX_MATRIX_BYTES, Known, Matrix, Row, matrix_payload, parse_matrix_statement, row_of
from bpfcompat.model import Answer
from bpfcompat.policy import Policy
from bpfcompat.registry import compressed, layout, pages, pending
from bpfcompat.registry.layout import Entry
from bpfcompat.registry.log import Log, LogSigner, named, opened
from bpfcompat.registry.pack import pack
from bpfcompat.statement import Claim, pair_id, parse_verdict_statement, verdict_payload
from bpfcompat.tlog import Checkpoint

VALID_S = 30 * 86400


@dataclass(frozen=True, slots=True)
class Item:
    """One verdict to publish, and the report it rests on: bytes whose digest is `claim.report`."""

    claim: Claim
    report: bytes


@dataclass(frozen=True, slots=True)
class Conflict:
    """One question with two signed answers; `before` are the answers that were there."""

    label: str
    pair: str
    before: tuple[Answer, ...]
    now: Answer

    def __str__(self) -> str:
        before = ", ".join(self.before)
        return f"{self.label}: now {self.now}, published before: {before} (pair {self.pair[:12]})"


@dataclass(frozen=True, slots=True)
class Published:
    """What one publish did.  `manifest` is the pae digest of the matrix that readers now see, `log` its log's end."""

    new: int
    known: int
    manifest: str
    manifest_new: bool
    conflicts: tuple[Conflict, ...]
    log: Checkpoint


def publish(
    registry: Path,
    items: Sequence[Item],
    rows: Sequence[Row],
    key: PrivateKey,
    *,
    log: LogSigner,
    now: int,
    valid_s: int = VALID_S,
    inventories: Mapping[str, bytes] | None = None,
    said: Mapping[str, Asked] = MappingProxyType({}),
    waiting: Callable[[str], None] | None = None,
    explained: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    policy: Policy | None = None,
    head: bytes | None = None,
) -> Published:
    """Add verdicts to a registry and make `rows` its matrix; `now` is in Unix seconds.

    `policy` is what readers trust: a bundle whose key does not count by it is signed anew, and conflicts with nothing.

    `inventories` are what the builds of the matrix's kernels have, `said` what their guests said, by the kernel's name;
    the matrix signs their digests.
    `head` is a statement of the audit trail's head, which gets a leaf too.
    `explained`: label of a row → explanation.to_json() of it, for its page.

    Each conclusive row names a bundle of `items` or one that is in the registry.  StoreError: another format, a damaged
    file, a row without its bundle.  TrustError: a claim that readers would refuse, a log that is not what `log` signed.
    """
    payloads = {pae_digest(payload): payload for payload in map(_checked, items)}
    signer = fingerprint(key.public_key())
    with locked(registry / layout.LOCK_FILE, waiting), _prepared(registry, key, log, waiting) as book:
        _write_once(registry, {layout.evidence_path(item.claim.report): item.report for item in items})
        void = partial(_void, registry, policy, now)
        new = _sign_new(registry, payloads, key, void)
        pending.settle(registry, book, [*new, *_sign_head(registry, head, key)])
        conflicts = _index(registry, [item.claim for item in items], list(payloads), void)
        claims = _check_rows(registry, rows, key)
        known = _write_known(registry, rows, inventories or {}, said)
        indexes = {r.pair: read_index(registry / layout.pair_path(r.pair)) for r in rows if r.bundle and r.pair}
        disputed = tuple(sorted(pair for pair, entries in indexes.items() if len(_answers(entries, void)) > 1))
        wanted = Matrix(tuple(rows), now, now + valid_s, book.last, known=known, conflicts=disputed)
        matrix, digest, fresh = _write_matrix(registry, wanted, key)
        shown = _write_kernel_pages(registry, inventories or {}, said, signer)
        _write_pages(registry, matrix, digest, claims, signer, shown, explained, indexes)
        compressed.refresh(registry)
    return Published(len(new), len(items) - len(new), digest, fresh, conflicts, book.last)


def _checked(item: Item) -> bytes:
    claim = item.claim
    if digest_bytes(item.report) != claim.report:
        label = f"{claim.object_name}@{claim.kernel_name}"
        raise StoreError(f"{label}: report: expected {short(claim.report)}, got {short(digest_bytes(item.report))}")
    return verdict_payload(claim)


@contextmanager
def _prepared(registry: Path, key: PrivateKey, log: LogSigner, waiting: Callable[[str], None] | None) -> Iterator[Log]:
    """The log of a registry that has our public key; one of format 1 is taken over."""
    old = (registry / layout.FORMAT_FILE).exists() and named(registry) is None
    public = key.public_key()
    _write_once(registry, {layout.key_path(hex_fingerprint(public)): public_pem(public)})
    if old:
        pending.take_over(registry)
    with opened(registry, log, waiting) as book:
        yield book


def _write_once(registry: Path, made: Mapping[str, bytes]) -> None:
    """Write files that are named by their content; one that is there must hold the same bytes."""
    for name, data in made.items():
        path = registry / name
        if path.exists() and read_bounded(path, max(len(data), 1)) != data:
            raise pending.damaged(path, "holds other bytes than its name says")
    write_all((registry / name, data) for name, data in made.items() if not (registry / name).exists())


def _void(registry: Path, policy: Policy | None, now: int, digest: str) -> bool:
    """Whether a bundle that is there is by a key that does not count for it."""
    if policy is None:
        return False
    found = pending.read(registry / layout.bundle_path(digest), digest)
    try:
        policy.allows(found.keyid, found.index, None, now)
    except TrustError:
        return True
    return False


def _sign_new(registry: Path, payloads: Mapping[str, bytes], key: PrivateKey, void: Callable[[str], bool]) -> list[str]:
    """Sign what nobody signed whose word counts, and keep it for the log; the digests of what is new."""
    left = pending.waiting(registry)
    there = [digest for digest in payloads if (registry / layout.bundle_path(digest)).exists()]
    known = [digest for digest in there if not void(digest)]
    for digest in known:
        _read_bundle(registry, digest, key)
    new = [digest for digest in payloads if digest not in left and digest not in known]
    pending.put(registry, {digest: sign(payloads[digest], key) for digest in new})
    return new


def _sign_head(registry: Path, head: bytes | None, key: PrivateKey) -> list[str]:
    """Keep the trail's head for the log, if there is one to be logged; its digest."""
    if head is None or (registry / layout.bundle_path(pae_digest(head))).exists():
        return []
    pending.put(registry, {pae_digest(head): sign(head, key)})
    return [pae_digest(head)]


def _read_bundle(registry: Path, digest: str, key: PrivateKey) -> bytes:
    """The payload of a bundle that is there; one of an older key is left to readers who trust that key."""
    path = registry / layout.bundle_path(digest)
    found = pending.read(path, digest)
    if found.keyid == fingerprint(key.public_key()):
        try:
            verify(bundle_bytes(found), [key.public_key()])
        except TrustError as error:
            raise pending.damaged(path, error.message) from None
    return found.payload


def _index(
    registry: Path, claims: Sequence[Claim], bundles: Sequence[str], void: Callable[[str], bool]
) -> tuple[Conflict, ...]:
    """Append bundles to their pairs' indexes; a Conflict for each to which an older entry has another answer."""
    found: dict[str, tuple[Entry, ...]] = {}
    changed: dict[str, bytes] = {}
    conflicts = []
    for claim, bundle in zip(claims, bundles, strict=True):
        pair, verdict, path = pair_id(claim), claim.verdict, layout.pair_path(pair_id(claim))
        entries = found[path] if path in found else read_index(registry / path)
        if bundle not in {e.bundle for e in entries}:
            entries += (Entry(bundle, verdict.answer, verdict.cause),)
            changed[path] = layout.index_bytes(entries)
        found[path] = entries
        others = tuple(sorted(_answers(entries, void) - {verdict.answer}))
        if others:
            conflicts.append(Conflict(f"{claim.object_name}@{claim.kernel_name}", pair, others, verdict.answer))
    write_all((registry / path, data) for path, data in changed.items())
    return tuple(conflicts)


def _answers(entries: Sequence[Entry], void: Callable[[str], bool]) -> set[Answer]:
    """What the entries answer; where that is more than one thing, without those whose word does not count."""
    found = {entry.answer for entry in entries}
    return found if len(found) < 2 else {entry.answer for entry in entries if not void(entry.bundle)}


def read_index(path: Path) -> tuple[Entry, ...]:
    """The entries of a pair's index, none when it is not there."""
    if not path.exists():
        return ()
    try:
        return layout.parse_index(read_bounded(path, layout.MAX_SMALL_BYTES))
    except TrustError as error:
        raise pending.damaged(path, error.message) from None


def _write_matrix(registry: Path, wanted: Matrix, key: PrivateKey) -> tuple[Matrix, str, bool]:
    """The matrix that readers see from now on, its pae digest, and whether it was signed anew."""
    current = _current(registry, key)
    if current is not None:
        matrix, digest = current
        half = (wanted.expires - wanted.not_before) // 2
        lasting = matrix.not_before <= wanted.not_before and matrix.expires - wanted.not_before > half
        whole = matrix.pack is None or (registry / layout.pack_path(matrix.pack)).exists()
        same = _told(matrix) == _told(wanted)
        if lasting and whole and same:
            return matrix, digest, False
    wanted = replace(wanted, pack=_write_pack(registry, wanted.rows))
    payload = matrix_payload(wanted)
    digest = pae_digest(payload)
    bundle = sign(payload, key, MAX_MATRIX_BYTES)
    write_atomic(registry / layout.manifest_path(digest), bundle)
    write_atomic(registry / layout.MATRIX, bundle)
    _drop_packs(registry)
    return wanted, digest, True


def _told(matrix: Matrix) -> tuple[object, ...]:
    """What a matrix says, without how long it lives and where copies lie."""
    return matrix.rows, matrix.log, matrix.known, matrix.conflicts


def _write_pack(registry: Path, rows: Sequence[Row]) -> str | None:
    """All bundles of the rows and their reports in one file; None where a report is not there, or too much is."""
    files = [layout.bundle_path(row.bundle) for row in rows if row.bundle]
    bundles = [read_bounded(registry / name, layout.MAX_SMALL_BYTES) for name in files]
    reports = [registry / layout.evidence_path(parse_verdict_statement(parse(b).payload).report) for b in bundles]
    if not bundles or not all(path.exists() for path in reports):
        return None
    data = pack(zip(bundles, (read_bounded(path, layout.MAX_EVIDENCE_BYTES) for path in reports), strict=True))
    if data is None:
        return None
    digest = digest_bytes(data)
    _write_once(registry, {layout.pack_path(digest): data})
    return digest


def _drop_packs(registry: Path) -> None:
    """Keep the newest two packs: who has just read the matrix before may still want the other; all are copies."""
    packs = sorted((registry / "packs").glob("*.pack"), key=lambda path: path.stat().st_mtime_ns)
    for path in packs[:-2]:
        path.unlink(missing_ok=True)


def _current(registry: Path, key: PrivateKey) -> tuple[Matrix, str] | None:
    """The matrix that is there, when it is whole and signed by this key; a damaged one is simply signed anew."""
    try:
        data = read_bounded(registry / layout.MATRIX, MAX_MATRIX_BYTES)
        payload = verify(data, [key.public_key()], MAX_MATRIX_BYTES).payload
        return parse_matrix_statement(payload), pae_digest(payload)
    except (StoreError, TrustError):
        return None


def _check_rows(registry: Path, rows: Sequence[Row], key: PrivateKey) -> dict[str, Claim]:
    """The claim behind every conclusive row, by bundle; StoreError where a row is not what its bundle says."""
    claims: dict[str, Claim] = {}
    for row in rows:
        if row.bundle is None:
            continue
        if not (registry / layout.bundle_path(row.bundle)).exists():
            raise StoreError(f"{row.label}: bundle {short(row.bundle)} is neither given nor in {registry}")
        claim = parse_verdict_statement(_read_bundle(registry, row.bundle, key))
        if row_of(claim, row.expected, row.required) != row:
            raise StoreError(f"{row.label}: the row is not what bundle {short(row.bundle)} says")
        claims[row.bundle] = claim
    return claims


def _write_known(
    registry: Path, rows: Sequence[Row], found: Mapping[str, bytes], said: Mapping[str, Asked]
) -> tuple[Known, ...]:
    """Each inventory and what guests said, by digest, and what the matrix is to say of them."""
    asked = {name: said_bytes(told) for name, told in said.items() if name in found}
    made = {layout.inventory_path(digest_bytes(data)): data for data in (*found.values(), *asked.values())}
    _write_once(registry, made)
    named = {row.kernel_name for row in rows}
    return tuple(
        Known(name, digest_bytes(found[name]), digest_bytes(asked[name]) if name in asked else None)
        for name in sorted(named & found.keys())
    )


def _write_kernel_pages(
    registry: Path, found: Mapping[str, bytes], said: Mapping[str, Asked], signer: str
) -> dict[str, str]:
    """The page of each inventory; the pages' paths by kernel.  Two names of one build have one page."""
    names: dict[bytes, list[str]] = {}
    for name, data in found.items():
        names.setdefault(data, []).append(name)
    shown: dict[str, str] = {}
    for data, of in names.items():
        digest = digest_bytes(data)
        path = layout.kernel_page_path(digest)
        told = {name: said[name] for name in of if name in said}
        _write_changed(registry, {path: pages.kernel(of, from_json(data), digest, signer, told)})
        shown |= dict.fromkeys(of, path)
    return shown


def _write_pages(
    registry: Path,
    matrix: Matrix,
    digest: str,
    claims: Mapping[str, Claim],
    signer: str,
    kernels: Mapping[str, str],
    explained: Mapping[str, Mapping[str, Any]],
    indexes: Mapping[str, tuple[Entry, ...]],
) -> None:
    """Style first, index last: a page that can be seen has what it links to."""
    made = {layout.STYLE: pages.style()}
    for row in matrix.rows:
        if row.bundle and row.pair:
            why = explained.get(row.label)
            made[layout.page_path(row.pair)] = pages.pair(claims[row.bundle], row, indexes[row.pair], signer, why)
    named = {row.pair: claims[row.bundle] for row in matrix.rows if row.bundle and row.pair}
    noted = {pair for pair, claim in named.items() if any(map(is_remark, claim.verdict.notes))}
    declared = {claim.object_name for claim in named.values() if claim.as_declared}
    made[layout.INDEX] = pages.index(matrix, digest, signer, set(matrix.conflicts), noted, declared, kernels)
    _write_changed(registry, made)


def _write_changed(registry: Path, made: Mapping[str, str]) -> None:
    """Write pages whose bytes differ, in this order: an unchanged page keeps its ETag."""
    pages = [(registry / name, text.encode()) for name, text in made.items()]
    write_all((path, data) for path, data in pages if not _holds(path, data))


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data
