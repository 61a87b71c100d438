"""What the log costs: growing it, proving leaves, checking proofs, and catching a log that was rewritten."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.measure import Row
from bpfcompat.errors import TrustError
from bpfcompat.note import NoteKey, sign_note
from bpfcompat.registry.state import Contradiction, Memory
from bpfcompat.tlog import EMPTY_ROOT, Checkpoint, Grown, Tree, append, check_inclusion, inclusion_proof, leaf_hash

ORIGIN = "log.example"
T = TypeVar("T")
LEAF = 600  # bytes, about what the entry of a verdict has


def log(quick: bool) -> Iterator[Row]:
    """A log of 100,000 verdicts in memory, in this one process."""
    count, runs = (10_000, 3) if quick else (100_000, 5)
    leaves = [(b'{"leaf":%d}' % n).ljust(LEAF) for n in range(count)]
    built = [_timed(lambda: append(0, EMPTY_ROOT, {}.get, leaves)) for _ in range(runs)]
    grown = built[0][1]
    files, size = dict(grown.tiles), sum(len(data) for _, data in grown.tiles)
    yield Row("log: grow", _seconds(built), note=f"{count:,} leaves at once, {len(files)} tiles, {size / 1e6:.0f} MB")
    one = [_timed(lambda: append(count, grown.root, files.get, [b"one more"])) for _ in range(runs)]
    yield Row("log: append", _seconds(one), note=f"one leaf more, {len(one[0][1].tiles)} files")
    proved = [_timed(lambda: _proofs(files, count)) for _ in range(runs)]
    yield Row("log: prove", _seconds(proved), note=_rate(proved, count, "inclusion proofs from tiles"))
    proofs, hashes = proved[0][1], [leaf_hash(leaf) for leaf in leaves]
    held = [_timed(lambda: _check(hashes, proofs, grown)) for _ in range(runs)]
    yield Row("log: check", _seconds(held), note=_rate(held, count, "inclusion proofs hold"))
    yield from _rewritten(leaves, grown, runs)


def _proofs(files: dict[str, bytes], count: int) -> list[tuple[bytes, ...]]:
    tree = Tree(count, files.get)
    return [inclusion_proof(tree, n) for n in range(count)]


def _check(hashes: list[bytes], proofs: list[tuple[bytes, ...]], grown: Grown) -> None:
    for n, (found, proof) in enumerate(zip(hashes, proofs, strict=True)):
        check_inclusion(found, n, grown.size, proof, grown.root)


def _rewritten(leaves: list[bytes], before: Grown, runs: int) -> Iterator[Row]:
    """One leaf of an old log is another, and the log has grown: what a reader needs to refuse it, disk included."""
    key = Ed25519PrivateKey.generate()
    after = append(0, EMPTY_ROOT, {}.get, [b"another answer", *leaves[1:], *leaves[:1000]])
    files = dict(after.tiles)
    old, new = (sign_note(Checkpoint(ORIGIN, g.size, g.root).text(), ORIGIN, key) for g in (before, after))
    keys = [NoteKey(ORIGIN, key.public_key())]
    caught = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            Memory(Path(folder), keys).meet(old, {}.get)
            caught.append(_timed(lambda: _refused(Path(folder), keys, new, files)))  # called at once
    yield Row("log: rewritten", _seconds(caught), note="refused by a reader who comes back, evidence on disk")


def _refused(folder: Path, keys: list[NoteKey], note: bytes, files: dict[str, bytes]) -> None:
    try:
        Memory(folder, keys).meet(note, files.get)
    except Contradiction:
        return
    raise TrustError("a log that was rewritten was believed")


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    made = work()
    return time.perf_counter() - began, made


def _seconds(timed: Sequence[tuple[float, object]]) -> tuple[float, ...]:
    return tuple(seconds for seconds, _ in timed)


def _rate(timed: Sequence[tuple[float, object]], count: int, what: str) -> str:
    return f"{count / sorted(_seconds(timed))[len(timed) // 2] / 1000:,.0f} k/s: {what}"
