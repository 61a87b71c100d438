"""What was found whole in the store, remembered beside it, so that a null run opens no entry and lists no shelf.

The store stays the truth.  An index is believed as long as stat() says of every shelf what it said before the shelves
were read: a file that was added, dropped or renamed in one changes its folder's time.  A folder younger than two
seconds may change once more within the clock's grain and look the same, so nothing is concluded from it.  Where a
shelf did change, all of them are listed, and a pair counts as proved when its entry is the very file that was read
then, and all that it rests on is there by name.  An index that is lost, damaged or another project's costs time.

What no folder's time tells, a file whose bytes were changed in place, is found when the file is read or verified.
"""

import json
import os
import re
import struct
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpfcompat.digest import canonical, digest_bytes, hex_of
from bpfcompat.errors import StoreError, TrustError
from bpfcompat.files import read_bounded, write_atomic
from bpfcompat.memo import YOUNG_NS
from bpfcompat.model import Blob
from bpfcompat.store import Entry

FORMAT = 1
KINDS = ("validator", "kernel", "header", "object", "guest", "probe", "borrowed", "verdict")
MAX_HEAD = 64 << 20
MAX_PROOFS = 1 << 30
DIGEST = 32
NAME = re.compile(r"[0-9a-f]{64}(\.json)?")
SEEN = struct.Struct("=QQ")  # mtime_ns and inode of a probe's entry


@dataclass(frozen=True, slots=True)
class Proof:
    """A pair that is proved: key and entry file of its probe or loan, its verdict's key, and the blobs of both."""

    probe: bytes
    seen: bytes
    verdict: bytes
    blobs: tuple[bytes, ...]


def raw(digest: str) -> bytes:
    """The 32 bytes of a digest."""
    return bytes.fromhex(hex_of(digest))


def seen(path: Path) -> bytes:
    """Which file this is, as stat() tells."""
    found = os.stat(path)
    return SEEN.pack(found.st_mtime_ns, found.st_ino)


class Index:
    """One project's index of a store, compared with the shelves as they are now."""

    def __init__(self, root: Path, name: str) -> None:
        self.root = root
        self._place = root / "index" / name
        self._state = _state(root)
        self._head = _read_head(self._place.with_suffix(".json"))
        self._lies_there = ""  # digest of the proofs that were read
        self.current = bool(self._state) and self._head.get("state") == self._state

    @property
    def settled(self) -> str | None:
        """The key of the matrix that was whole, if no shelf has changed since."""
        return self._head.get("settled") if self.current else None

    def entries(self) -> dict[str, Entry]:
        """The entries that all pairs share, by key, if no shelf has changed since they were read."""
        held = self._head["entries"] if self.current else {}
        return {k: Entry({n: Blob(*b) for n, b in outputs.items()}, facts) for k, (outputs, facts) in held.items()}

    def proved(self, classifier: str) -> dict[bytes, bytes]:
        """Probe key → proof of every pair that is whole in the store now, classified by this classifier."""
        if self._head.get("classifier") != classifier:
            return {}
        data = _read_proofs(self._place.with_suffix(".proofs"), self._head["proofs"])
        self._lies_there = digest_bytes(data)
        row = struct.Struct(f"={DIGEST}s{SEEN.size}s" + f"{DIGEST}s" * self._head["width"])
        if len(data) % row.size:
            return {}
        rows = (data[at : at + row.size] for at in range(0, len(data), row.size))
        if self.current:
            return {r[:DIGEST]: r for r in rows}
        probes, verdicts, blobs = _probes(self.root), _names(self.root / "actions/verdict"), _names(self.root / "blobs")
        whole = {}
        for one in rows:
            probe, was, verdict, *below = row.unpack(one)
            if probes.get(probe) == was and verdict in verdicts and blobs.issuperset(below):
                whole[probe] = one
        return whole

    def save(self, settled: str | None, classifier: str, entries: Mapping[str, Entry],
             kept: Iterable[bytes], new: Iterable[Proof], fresh: bool = True) -> None:  # fmt: skip
        """Remember proofs, old ones as they were given and new ones; believed at once only if all was read `fresh`.

        A store that cannot be written has no index; whoever has something to put there will say so.
        """
        rows = [*kept, *_packed(list(new))]
        width = max((len(r) for r in rows), default=0)
        # a row that has fewer blobs than others repeats its last one
        data = b"".join(r if len(r) == width else r + r[-DIGEST:] * ((width - len(r)) // DIGEST) for r in rows)
        head = {
            "format": FORMAT,
            "state": self._state if fresh else "",
            "settled": settled,
            "classifier": classifier,
            "width": max(0, width - DIGEST - SEEN.size) // DIGEST,
            "proofs": digest_bytes(data),
            "entries": {
                k: [{n: [b.digest, b.size] for n, b in e.outputs.items()}, e.facts] for k, e in entries.items()
            },
        }
        body = canonical(head)
        try:
            if head["proofs"] != self._lies_there:
                write_atomic(self._place.with_suffix(".proofs"), data)
            write_atomic(self._place.with_suffix(".json"), digest_bytes(body).encode() + b"\n" + body)
        except StoreError:
            return


def _packed(proofs: list[Proof]) -> list[bytes]:
    return [p.probe + p.seen + p.verdict + b"".join(p.blobs) for p in proofs]


def _state(root: Path) -> str:
    """Digest of what stat() says of every shelf; empty when one of them is too young to be told from a later one."""
    young = time.time_ns() - YOUNG_NS
    found: list[tuple[str, int, int, int]] = []
    for folder in (*(root / "actions" / kind for kind in KINDS), root / "blobs"):
        found.append((folder.name, 0, 0, 0))
        for entry in _shelves(folder):
            stat = entry.stat(follow_symlinks=False)
            # what lies behind a link can change and leave the link's own time as it is
            if entry.is_symlink() or max(stat.st_mtime_ns, stat.st_ctime_ns) > young:
                return ""
            found.append((entry.name, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino))
    return digest_bytes(repr(found).encode())


def _shelves(folder: Path) -> list[os.DirEntry[str]]:
    try:
        return sorted(os.scandir(folder), key=lambda e: e.name)
    except OSError:  # not there, or not to be read: whoever needs it says so
        return []


def _names(folder: Path) -> set[bytes]:
    """What lies on the shelves of a folder; what has no digest for a name is no concern here."""
    return {bytes.fromhex(e.name[:64]) for e in _files(folder)}


def _probes(root: Path) -> dict[bytes, bytes]:
    found = {}
    for entry in (e for kind in ("probe", "borrowed") for e in _files(root / "actions" / kind)):
        stat = entry.stat()
        found[bytes.fromhex(entry.name[:64])] = SEEN.pack(stat.st_mtime_ns, stat.st_ino)
    return found


def _files(folder: Path) -> Iterable[os.DirEntry[str]]:
    try:
        shelves = [e.path for e in _shelves(folder) if e.is_dir()]
        return [e for shelf in shelves for e in os.scandir(shelf) if NAME.fullmatch(e.name)]
    except OSError:
        return []


def _read_head(path: Path) -> dict[str, Any]:
    """The head as it was written, or nothing."""
    try:
        told, _, body = read_bounded(path, MAX_HEAD).partition(b"\n")
        head = json.loads(body) if digest_bytes(body).encode() == told else {}
    except (StoreError, ValueError):
        return {}
    return head if head.get("format") == FORMAT else {}


def _read_proofs(path: Path, digest: str) -> bytes:
    try:
        data = read_bounded(path, MAX_PROOFS)
        return data if digest_bytes(data) == digest else b""
    except (StoreError, TrustError):
        return b""
