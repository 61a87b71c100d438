"""Strict verification of one verdict after the other, beside the signatures alone; of distinct bundles."""

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from bench.measure import Row
from bench.registries import KEY, LOG_KEY, NOW, ORIGIN, POLICY, items
from bpfcompat import envelope, tlog
from bpfcompat.logentry import LogEntry, log_id
from bpfcompat.note import sign_note, split_note
from bpfcompat.policy import Policy
from bpfcompat.registry.verify import Trust
from bpfcompat.statement import verdict_payload

ROUNDS = 15


def verifying(quick: bool) -> Iterator[Row]:
    """In no log, each in a log of its own size, all below one checkpoint: against what the library itself needs."""
    count = 200 if quick else 2000
    signed = [envelope.parse(envelope.sign(verdict_payload(item.claim), KEY)) for item in items(count)]
    bare = [envelope.bundle_bytes(one) for one in signed]
    own, shared = _logged(signed)
    notes = [split_note(entry.checkpoint) for one in own if (entry := envelope.parse(one).entry)]
    said, digests = [envelope.pae(one.payload) for one in signed], [one.digest for one in signed]
    key, algorithm, log = KEY.public_key(), ec.ECDSA(hashes.SHA256()), LOG_KEY.public_key()
    readers = [Trust(POLICY, NOW) for _ in range(ROUNDS)]  # one a round, so that none knows a checkpoint
    in_turn = chain.from_iterable([reader] * count for reader in readers)
    trust, plain = Trust(POLICY, NOW), Trust(Policy.of_keys([key]), NOW)
    p256, both, unlogged, first, later = _each(
        count,
        lambda n: key.verify(signed[n].signature, said[n], algorithm),
        lambda n: (
            key.verify(signed[n].signature, said[n], algorithm),
            log.verify(notes[n][1][0].signature, notes[n][0]),
        ),
        lambda n: plain.claim(bare[n], digests[n]),
        lambda n: next(in_turn).claim(own[n], digests[n]),
        lambda n: trust.claim(shared[n], digests[n]),
    )
    yield Row("verify: signature", (p256,), note=f"ECDSA P-256 alone, by the library that we use: {_us(p256)}")
    yield Row("verify: signatures", (both,), note=f"and Ed25519 of its checkpoint after it: {_us(both)}")
    yield _against("verify: no log", unlogged, p256, "without a log entry, against P-256")
    yield _against("verify: logged", first, both, "each with a checkpoint of its own, against both signatures")
    yield _against("verify: one log", later, p256, "all with one checkpoint, which is checked once, against P-256")


def _against(name: str, seconds: float, limit: float, what: str) -> Row:
    return Row(name, (seconds,), seconds / limit, f"{_us(seconds)}, {limit / seconds:.0%} of the limit: {what}")


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} µs of CPU"


def _logged(signed: Sequence[envelope.Envelope]) -> tuple[list[bytes], list[bytes]]:
    """The bundles of one log: each below the checkpoint that its leaf was the last of, and each below the newest."""
    tiles: dict[str, bytes] = {}
    leaves = [envelope.leaf_of(one, KEY.public_key()) for one in signed]
    log, roots = log_id(POLICY.log[0]), [tlog.EMPTY_ROOT]
    for size, leaf in enumerate(leaves):
        grown = tlog.append(size, roots[-1], tiles.get, [leaf])
        tiles.update(grown.tiles)
        roots.append(grown.root)

    def bundle(index: int, size: int) -> bytes:
        note = sign_note(tlog.Checkpoint(ORIGIN, size, roots[size]).text(), ORIGIN, LOG_KEY)
        proof = tlog.inclusion_proof(tlog.Tree(size, tiles.get), index)
        return envelope.logged(signed[index], LogEntry(leaves[index], index, size, roots[size], proof, note, log))

    return [bundle(n, n + 1) for n in range(len(signed))], [bundle(n, len(signed)) for n in range(len(signed))]


def _each(count: int, *calls: Callable[[int], object]) -> list[float]:
    """CPU seconds of each call, the least of many rounds in turn, so that others' load is not measured."""
    least = [float("inf")] * len(calls)
    for _ in range(ROUNDS):
        for which, call in enumerate(calls):
            start = time.process_time()
            for n in range(count):
                call(n)
            least[which] = min(least[which], (time.process_time() - start) / count)
    return least
