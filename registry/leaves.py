"""What each leaf of a log answers, looked at once: so that a second answer shows, and a bundle that is gone.

A matrix names one bundle for a question, and whoever signs it can leave out what was answered before, or pass a bundle
off for another question.  So a reader of the log looks at the bundle of every leaf below that matrix, and takes no
row's word for it.  What it answers is remembered, a record a leaf: bundle, question, answer.  A record is a hint and no
more: an answer beside the matrix's is judged by whoever asked, from its bundle.
"""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from bpfcompat import envelope
from bpfcompat.digest import hex_of
from bpfcompat.errors import TrustError
from bpfcompat.manifest import Rows
from bpfcompat.model import Answer
from bpfcompat.registry import layout
from bpfcompat.registry.ledger import Ledger
from bpfcompat.statement import Claim, pair_id, parse_verdict_statement
from bpfcompat.tlog import WIDTH

MAX_TILES, MAX_BUNDLES = 256, 512  # at one visit; the next one goes on from there
Said = tuple[bytes, Answer]
"""Pair id, 32 bytes, and what a bundle answers to it."""
Read = Callable[[str, int], bytes | None]
Known = Callable[[Sequence[str]], Mapping[str, Said]]
"""What is known of some of these bundles, by digest: from their own statements, never from a row."""
_RECORD = struct.Struct(">32s32sB")
_CODES = {Answer.COMPATIBLE: 1, Answer.INCOMPATIBLE: 2, Answer.INCONCLUSIVE: 3}
_ANSWERS = {code: answer for answer, code in _CODES.items()}
_NO_VERDICT = _RECORD.pack(bytes(32), bytes(32), 0)


@dataclass(frozen=True, slots=True)
class Leaves:
    """What the first leaves answer, and how many more there are, below the matrix, that were not looked at yet."""

    records: bytes
    left: int = 0

    def others(self, answers: Mapping[bytes, Answer]) -> Iterator[tuple[int, str, bytes, Answer]]:
        """The leaves that answer one of these questions otherwise: index, bundle, pair id, and what it answers."""
        for index, (bundle, pair, code) in enumerate(_RECORD.iter_unpack(self.records)):
            if pair in answers and _ANSWERS[code] is not answers[pair]:
                yield index, f"sha256:{bundle.hex()}", pair, _ANSWERS[code]


def look(ledger: Ledger, below: int, known: Known, read: Read) -> Leaves:
    """Look at the leaves below this index that were not looked at before; what is not `known` costs a bundle.

    TrustError: a leaf whose bundle is gone, or is not what the leaf says, which the honest end of a log never has.
    """
    kept = ledger.remembered()
    kept = kept[: len(kept) - len(kept) % _RECORD.size]
    start = len(kept) // _RECORD.size
    leaves = [digest for _, digest in islice(ledger.digests(start), max(0, min(below - start, MAX_TILES * WIDTH)))]
    fresh = list(_fresh(start, leaves, known(leaves) if leaves else {}, read))
    records = kept + b"".join(fresh)
    if fresh:
        ledger.remember(records)
    return Leaves(records, max(0, below - start - len(fresh)))


def answers(rows: Rows) -> dict[bytes, Answer]:
    """What a matrix answers, by pair id."""
    outcomes, column = rows.outcomes, rows.columns["outcome"]
    return {rows.pairs[32 * at : 32 * at + 32]: outcomes[column[at]][0] for at in rows.answered}


def answered(payload: bytes) -> Said | None:
    """What a payload answers; None for one that is no verdict, such as a thief of a key can leave in a log for good."""
    try:
        claim = parse_verdict_statement(payload)
    except TrustError:
        return None
    return said(claim)


def said(claim: Claim) -> Said:
    """What a claim answers."""
    return bytes.fromhex(pair_id(claim)), claim.verdict.answer


def _fresh(start: int, leaves: Sequence[str], known: Mapping[str, Said], read: Read) -> Iterator[bytes]:
    """A record for each leaf, as many as one visit may cost."""
    fetched = 0
    for index, digest in enumerate(leaves, start):
        fetched += digest not in known
        if fetched > MAX_BUNDLES:
            return
        found = known.get(digest) or answered(_payload(index, digest, read))
        yield _RECORD.pack(bytes.fromhex(hex_of(digest)), found[0], _CODES[found[1]]) if found else _NO_VERDICT


def _payload(index: int, digest: str, read: Read) -> bytes:
    """What the log's signer saw signed when it took in a leaf."""
    path = layout.bundle_path(digest)
    try:
        data = read(path, envelope.MAX_BYTES)
        if data is None:
            raise TrustError("is missing")
        found = envelope.parse(data)
        if found.digest != digest:
            raise TrustError("is not what its name says")
    except TrustError as error:
        hint = "somebody took it away or damaged it: ask another mirror, or the publisher"
        raise TrustError(f"{path}: leaf {index} of the log: {error.message}", hint) from None
    return found.payload
