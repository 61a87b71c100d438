"""Is a registry whole?  Every tile is built again from the leaves, every leaf meets its bundle, every file is read.

What `verify` asks for a reader, this asks for the publisher: nothing is taken from what the registry says of itself but
the public keys, unless others are given.  Damage is named by file; nothing is changed.  A hundred thousand verdicts are
a few hundred thousand files, so a file is opened once, and what bundles have in common is checked once.
"""

import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from bpfcompat import envelope, process, tlog
from bpfcompat.digest import digest_bytes, digest_file, hex_of
from bpfcompat.envelope import Envelope
from bpfcompat.errors import BpfcompatError, Exit, StoreError, TrustError
from bpfcompat.files import TEMP_PREFIX, read_beneath
from bpfcompat.keys import PublicKey, hex_fingerprint, load_public
from bpfcompat.logentry import digest_in
from bpfcompat.manifest import MAX_MATRIX_BYTES, parse_matrix_statement
from bpfcompat.note import MAX_NOTE_BYTES, NoteKey, verify_note
from bpfcompat.policy import Policy
from bpfcompat.registry import layout
from bpfcompat.registry.log import named
from bpfcompat.registry.pack import MAX_PACK_BYTES
from bpfcompat.registry.roots import published
from bpfcompat.registry.text import plain
from bpfcompat.rootchain import follow, pinned
from bpfcompat.rootdoc import MAX_BYTES as MAX_ROOT_BYTES
from bpfcompat.rootdoc import Document
from bpfcompat.tlog import MAX_ENTRIES_BYTES, WIDTH, Checkpoint, Tile, parse_tile, tree_root

SHOWN = 50
CHUNK = 500  # files that a process looks at between two words to the others
FEW = 4 * CHUNK  # are looked at by one process
_REPORT = b'"},"name":"report"}'  # behind the digest of the report
_ENTRY = rf'\{{"answer":"(?:in)?compatible","bundle":"sha256:{layout.HEX}","cause":"[a-z-]*"\}}'
_INDEX = re.compile(rf"\[{_ENTRY}(?:,{_ENTRY})*\]".encode())
_BUNDLES = re.compile(rf'"bundle":"sha256:({layout.HEX})"'.encode())
_HEX_NAMED = re.compile(rf"({layout.HEX})\.json")
Progress = Callable[[str], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """What came of it: reasons for worry, what is merely said, and how much was looked at."""

    leaves: int
    bundles: int
    files: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def exit_code(self) -> Exit:
        """0 whole, 4 damaged."""
        return Exit.UNTRUSTED if self.problems else Exit.OK


@dataclass(slots=True)
class _Log:
    """The log as its entries say: leaves, their hashes, and the roots of the sizes that were asked for."""

    leaves: list[bytes]
    levels: list[list[bytes]]
    roots: dict[int, bytes] = field(default_factory=dict)

    def root(self, size: int) -> bytes | None:
        """The root over the first `size` leaves, None beyond the end."""
        if size > len(self.leaves):
            return None
        if size not in self.roots:
            self.roots[size] = tree_root(self._cover(size))
        return self.roots[size]

    def _cover(self, size: int) -> list[bytes]:
        """Hashes of as few subtrees as make up the tree: whole ones of 256 leaves, and the rest as one more.

        The root over them is the root over the leaves, for RFC 6962 splits there too, at powers of two.
        """
        whole = size // WIDTH
        rest = self.levels[0][whole * WIDTH : size]
        return [*(self.levels[1][:whole] if whole else ()), *([tree_root(rest)] if rest else ())]


class _Check:
    def __init__(self, registry: Path, policy: Policy | None, say: Progress, jobs: int | None) -> None:
        self.root = registry
        self.say = say
        self.jobs = jobs
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.files = 0
        self.folders: dict[str, int] = {}
        self.policy = policy or self._own()
        self.log = _Log([], [])
        self.checkpoint: Checkpoint | None = None
        self.reports: set[str] = set()
        self.pack: str | None = None
        self.named: set[str] = set()

    def _own(self) -> Policy:
        """The keys that the registry carries: good for finding damage, not for trust."""
        keys: list[PublicKey] = []
        for name in self._names("keys"):
            with self.about(f"keys/{name}"):
                key = load_public(self._read(f"keys/{name}", layout.MAX_SMALL_BYTES), "key")
                if f"{hex_fingerprint(key)}.pem" != name:
                    raise TrustError("is another key than its name says")
                keys.append(key)
        return Policy(Policy.of_keys(keys).verdict, log=self._logs())

    def _logs(self) -> tuple[NoteKey, ...]:
        """The log's keys, those of old too where the registry has a root document."""
        log, newest = named(self.root), None
        with self.about("root/"):
            newest = published(self.root)
        found = (*((log,) if log else ()), *(newest.root.logs if newest else ()))
        return tuple({key.raw: key for key in found}.values())

    def about(self, path: str) -> "_About":
        """What goes wrong within is said of this file."""
        return _About(self, path)

    def _read(self, path: str, limit: int) -> bytes:
        self.files += 1
        folder, _, name = path.rpartition("/")
        if folder not in self.folders:
            self.folders[folder] = self._opened(folder)
        return read_beneath(self.folders[folder], name, limit, TrustError)

    def _opened(self, folder: str) -> int:
        try:
            return os.open(self.root / folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise TrustError(f"is missing: {folder or self.root}: {error.strerror}") from error

    def close(self) -> None:
        """Let go of the folders."""
        for fd in self.folders.values():
            os.close(fd)

    def _names(self, folder: str) -> list[str]:
        try:
            names = set(os.listdir(self.root / folder))
            return sorted(n for n in names if not (n.endswith(layout.TWIN) and n.removesuffix(layout.TWIN) in names))
        except FileNotFoundError:
            return []

    def _each(self, what: str, look: Callable[[T], None], things: Sequence[T]) -> None:
        """Look at all of them, many by several processes; what these find is put together in the order of things."""
        jobs = self.jobs or (len(os.sched_getaffinity(0)) if len(things) > FEW else 1)
        if jobs == 1:
            return self._some(look, things)

        def part(start: int, stop: int) -> tuple[list[str], list[str], int]:
            self.problems, self.reports, self.files = [], set(), 0
            self._some(look, things[start:stop])
            return self.problems, sorted(self.reports), self.files

        for number, (problems, reports, files) in enumerate(process.shared_out(part, len(things), CHUNK, jobs), 1):
            self.problems += problems
            self.reports.update(reports)
            self.files += files
            if number * CHUNK % 10_000 == 0:
                self.say(f"fsck: {number * CHUNK} of {len(things)} {what}")
        return None

    def _some(self, look: Callable[[T], None], things: Iterable[T]) -> None:
        for thing in things:
            look(thing)

    # --- the log

    def tiles(self) -> None:
        """The checkpoint holds, and every tile is what the leaves make."""
        with self.about(layout.CHECKPOINT):
            data = self._read(layout.CHECKPOINT, MAX_NOTE_BYTES)
            self.checkpoint = tlog.open_checkpoint(data, (*self.policy.log, *self.policy.witnesses))[0]
        if self.checkpoint is None:
            return
        leaves = [leaf for tile in self._entries(self.checkpoint.size) for leaf in tile]
        self.log = _Log(leaves, _levels([tlog.leaf_hash(leaf) for leaf in leaves]))
        if len(leaves) == self.checkpoint.size and self.log.root(len(leaves)) != self.checkpoint.root:
            self.problems.append(f"{layout.CHECKPOINT}: its root is not the one over the leaves in tile/entries")
        for tile in tlog.tiles_of(self.checkpoint.size):
            if tile.level is not None and len(leaves) == self.checkpoint.size:
                with self.about(tile.path):
                    if self._tile(tile) != self._made(tile):
                        raise TrustError("is not what the leaves below it make")

    def _entries(self, size: int) -> Iterator[tuple[bytes, ...]]:
        for tile in tlog.tiles_of(size):
            if tile.level is None:
                with self.about(tile.path):
                    yield tlog.parse_entries(self._tile(tile), tile.width)

    def _tile(self, tile: Tile) -> bytes:
        """A tile's bytes; a partial one may have gone when the full one came."""
        return self._read(tile.path, MAX_ENTRIES_BYTES)

    def _made(self, tile: Tile) -> bytes:
        first = tile.index * WIDTH
        if tile.level is None:
            return tlog.entries_bytes(self.log.leaves[first : first + tile.width])
        return b"".join(self.log.levels[tile.level][first : first + tile.width])

    def old_tiles(self, paths: Iterable[str], size: int) -> None:
        """Tiles that are not of this checkpoint: narrower ones of earlier ones, or what a killed run had begun."""
        begun = 0
        for path in paths:
            tile = parse_tile(path)
            count = size >> 8 * (tile.level or 0) if tile is not None else 0
            if tile is None or tile.index * WIDTH + tile.width > count:
                begun += 1
            else:
                with self.about(path):
                    if self._tile(tile) != self._made(tile):
                        raise TrustError("is not what the log's leaves make")
        if begun:
            self.notes.append(f"tile/: {begun} tiles beyond the checkpoint, of a publish that runs or was killed")

    # --- bundles

    def bundles(self) -> None:
        """Every leaf has its bundle and every bundle its leaf; signatures, proofs and names hold."""
        names = set(self._names("bundles"))
        seen: dict[str, list[int]] = {}
        first: dict[bytes, int] = {}
        for index, leaf in enumerate(self.log.leaves):
            with self.about(f"leaf {index}"):
                seen.setdefault(digest_in(leaf), []).append(index)
                # a verdict that was signed anew has two leaves, of one payload by two signatures
                if first.setdefault(leaf, index) != index:
                    raise TrustError(f"is leaf {first[leaf]} once more")
        verifier = envelope.Verifier(self.policy)
        there = [(digest, indexes) for digest, indexes in seen.items() if f"{digest[7:]}.json" in names]
        self._each("bundles", lambda leaf: self._named_bundle(verifier, *leaf), there)
        anew = len(self.log.leaves) - len(seen)
        if anew > 0 and not self.problems:
            self.notes.append(f"{anew} leaves are of verdicts that were signed anew, by a key that counts")
        self._missing(seen, names)
        names -= {f"{digest[7:]}.json" for digest in seen}
        for name in sorted(name for name in names if not name.startswith(TEMP_PREFIX)):
            self._stray_bundle(name)

    def _named_bundle(self, verifier: envelope.Verifier, digest: str, indexes: Sequence[int]) -> None:
        path = layout.bundle_path(digest)
        with self.about(path):
            self.bundle(verifier, self._read(path, envelope.MAX_BYTES), digest, indexes)

    def bundle(self, verifier: envelope.Verifier, data: bytes, digest: str, indexes: Sequence[int]) -> None:
        """One bundle; TrustError when it is not that of one of its leaves."""
        found = verifier.verify(data)
        if found.digest != digest:
            raise TrustError("holds another payload than its name says")
        index = found.index
        if found.entry is None or index not in indexes:
            raise TrustError(f"is leaf {indexes[-1]} of the log, but its entry says {index}")
        checkpoint = verifier.checkpoint(found)
        if self.log.root(checkpoint.size) != checkpoint.root:
            raise TrustError(f"its checkpoint of {checkpoint.size} leaves is not of this log")
        if index is None or found.entry.body != self.log.leaves[index]:
            raise TrustError(f"its signature is not the one in leaf {index}")
        self._rests_on(found)

    def _rests_on(self, found: Envelope) -> None:
        end = found.payload.rfind(_REPORT)
        if end >= 64:
            self.reports.add(found.payload[end - 64 : end].decode("ascii", "replace"))

    def _missing(self, seen: dict[str, list[int]], names: set[str]) -> None:
        for digest, (index, *_) in seen.items():
            # what waits is said with what is pending
            if f"{digest[7:]}.json" not in names and not (self.root / layout.pending_path(digest)).exists():
                self.problems.append(f"{layout.bundle_path(digest)}: is missing, and leaf {index} is of it")

    def _stray_bundle(self, name: str) -> None:
        with self.about(f"bundles/{name}"):
            if _HEX_NAMED.fullmatch(name) is None:
                raise TrustError("expected <64 hex digits>.json")
            if not self.log.leaves:
                return self._unlogged(name)
            raise TrustError("has no leaf in the log")

    def _unlogged(self, name: str) -> None:
        """A bundle of a registry without a log."""
        found: Envelope = envelope.verify(self._read(f"bundles/{name}", envelope.MAX_BYTES), self.policy)
        if f"{found.digest[7:]}.json" != name:
            raise TrustError("holds another payload than its name says")
        self._rests_on(found)

    # --- the rest

    def named_by_content(self, folder: str, wanted: set[str], suffix: str = ".json") -> None:
        """Files of a folder are what their names say, and the wanted ones are there."""
        names = [name for name in self._names(folder) if not name.startswith(TEMP_PREFIX)]
        self._each(folder, lambda name: self._content(folder, name, suffix), names)
        for missing in sorted(wanted.difference(name.removesuffix(".json") for name in names)):
            self.problems.append(f"{folder}/{missing}.json: is missing, and a bundle rests on it")

    def _content(self, folder: str, name: str, suffix: str) -> None:
        with self.about(f"{folder}/{name}"):
            data = self._read(f"{folder}/{name}", MAX_PACK_BYTES)
            if f"{digest_bytes(data)[7:]}{suffix}" != name:
                raise TrustError("its bytes are not what its name says")

    def matrices(self) -> None:
        """Every matrix there ever was is signed and named by what it says, and is cut from this log."""
        verifier = envelope.Verifier(self.policy)
        places = [f"manifests/{name}" for name in self._names("manifests") if not name.startswith(TEMP_PREFIX)]
        for path in (*places, layout.MATRIX):
            with self.about(path):
                payload = verifier.verify(self._read(path, MAX_MATRIX_BYTES), MAX_MATRIX_BYTES).payload
                if path != layout.MATRIX and layout.manifest_path(envelope.pae_digest(payload)) != path:
                    raise TrustError("holds another matrix than its name says")
                if b'"predicateType":"urn:bpfcompat:matrix:v1"' in payload:
                    continue  # of format 1, which nobody reads any more
                matrix = parse_matrix_statement(payload)
                log, self.pack = matrix.log, matrix.pack  # the newest one is read last
                self.named |= {layout.inventory_path(d) for k in matrix.known for d in (k.inventory, k.said) if d}
                if log is not None and self.checkpoint is not None and self.log.root(log.size) != log.root:
                    raise TrustError(f"is cut from a log of {log.size} leaves that this one does not begin with")

    def packs(self) -> None:
        """Every pack is what its name says, and the newest matrix's is there; what is in it, verify reads."""
        names = [name for name in self._names("packs") if not name.startswith(TEMP_PREFIX)]
        for path in (f"packs/{name}" for name in names):
            with self.about(path):
                if layout.pack_path(digest_bytes(self._read(path, MAX_PACK_BYTES))) != path:
                    raise TrustError("its bytes are not what its name says")
        if self.pack is not None and layout.pack_path(self.pack) not in {f"packs/{name}" for name in names}:
            self.problems.append(f"{layout.pack_path(self.pack)}: is missing, and the matrix names it: publish again")

    def known(self) -> None:
        """What any matrix says of its kernels is there."""
        there = {f"inventories/{name}" for name in self._names("inventories")}
        self.problems += [f"{path}: is missing, and a matrix names it" for path in sorted(self.named - there)]

    def blobs(self) -> None:
        """What is lent is what its name says."""
        for name in self._names("blobs"):
            with self.about(f"blobs/{name}"):
                self.files += 1
                if not name.startswith(TEMP_PREFIX) and hex_of(digest_file(self.root / "blobs" / name)) != name:
                    raise TrustError("its bytes are not what its name says")

    def pairs(self) -> None:
        """Every index names bundles that are there."""
        known = set(self._names("bundles"))
        names = [name for name in self._names("pairs") if not name.startswith(TEMP_PREFIX)]
        self._each("pairs", lambda name: self._pair(name, known), names)

    def _pair(self, name: str, known: set[str]) -> None:
        with self.about(f"pairs/{name}"):
            data = self._read(f"pairs/{name}", layout.MAX_SMALL_BYTES)
            if _INDEX.fullmatch(data) is None:  # else it is what parse_index would take
                layout.parse_index(data)
            for bundle in _BUNDLES.findall(data):
                if f"{bundle.decode()}.json" not in known:
                    raise TrustError(f"names a bundle that is not there: sha256:{bundle[:12].decode()}")

    def roots(self) -> None:
        """Root documents are a chain without a gap, and the head of the audit trail is signed by the log's key."""
        chain: list[Document] = []
        for version in range(1, 1 + len(self._names("root"))):
            path = layout.root_path(version)
            with self.about(path):
                data = self._read(path, MAX_ROOT_BYTES)
                chain.append(follow(chain[-1], data) if chain else pinned(data, path))
            if len(chain) < version:
                break  # what follows from a damaged one cannot be judged
        if (self.root / layout.TRAIL).exists():
            with self.about(layout.TRAIL):
                verify_note(self._read(layout.TRAIL, MAX_NOTE_BYTES), self.policy.log)

    def _copy(self, path: str) -> bool:
        """True for the compressed copy of a file that is there; one that the server would send must have its bytes."""
        of = path.removesuffix(layout.TWIN)
        if of == path or not layout.SERVED.fullmatch(of) or not (self.root / of).is_file():
            return False
        with self.about(path):
            whole, copy = self._read(of, MAX_PACK_BYTES), self._read(path, MAX_PACK_BYTES)
            current = (self.root / of).stat().st_mtime_ns == (self.root / path).stat().st_mtime_ns
            if current and _expanded(copy, len(whole) + 1) != whole:
                raise TrustError("is not the compressed copy of the file beside it: publish again")
        return True

    def strays(self) -> None:
        """Files that no registry has; temporary and pending ones are said."""
        size = self.checkpoint.size if self.checkpoint is not None else 0
        current = {tile.path for tile in tlog.tiles_of(size)}
        old, temporary, waiting, linked = [], 0, 0, 0
        for path in _files(self.root, ""):
            name = path.rpartition("/")[2]
            linked += _names_of(f"{self.root}/{path}") > 1
            if name.startswith(TEMP_PREFIX):
                temporary += 1
            elif path.startswith("tile/") and layout.SERVED.fullmatch(path):
                old += [path] if path not in current else []
            elif path.startswith(f"{layout.PENDING}/") and layout.digest_named(name):
                waiting += 1
            elif path != layout.LOCK_FILE and not layout.SERVED.fullmatch(path) and not self._copy(path):
                self.problems.append(f"{path}: no registry has such a file")
        self.old_tiles(old, size)
        if linked:
            self.notes.append(f"{linked} files have a second name (hard link): `bpfcompat serve` sends no such file")
        if waiting:
            self.notes.append(f"{layout.PENDING}/: {waiting} signed verdicts wait for the log: publish again")
        if temporary:
            self.notes.append(
                f"{temporary} temporary files of killed writes: they may be deleted while nobody publishes"
            )


class _About:
    def __init__(self, check: _Check, path: str) -> None:
        self._check, self._path = check, path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, BpfcompatError):
            said = error.message.removeprefix(f"{self._check.root}/{self._path}: ")
            self._check.problems.append(f"{self._path}: {said}")
            return True
        return False


def fsck(
    registry: Path, policy: Policy | None = None, say: Progress = lambda text: None, jobs: int | None = None
) -> Found:
    """Look at every file of a registry; its own keys are used where no policy is given.

    `jobs` processes read its files; None is one for a few files, and as many as there are cores for many.
    StoreError: no registry, or one of a newer format.  Everything else is in `problems`.
    """
    if not (registry / layout.FORMAT_FILE).is_file():
        raise StoreError(f"{registry / layout.FORMAT_FILE}: is missing", hint="is this a registry's folder?")
    check = _Check(registry, policy, say, jobs)
    try:
        return _looked(check)
    finally:
        check.close()


def _looked(check: _Check) -> Found:
    if named(check.root) is None:
        check.notes.append("format 1: there is no log; the next publish makes one")
    else:
        check.tiles()
    check.bundles()
    check.say("fsck: evidence, indexes, matrices")
    check.named_by_content("evidence", check.reports)
    check.named_by_content("inventories", set())
    check.named_by_content("packs", set(), ".pack")
    check.pairs()
    check.blobs()
    check.matrices()
    check.roots()
    check.packs()
    check.known()
    check.strays()
    return Found(len(check.log.leaves), len(check._names("bundles")), check.files,
                 tuple(check.problems), tuple(check.notes))  # fmt: skip


def lines(found: Found) -> Iterator[str]:
    """What to print."""
    yield from (f"damaged: {plain(problem)}" for problem in found.problems[:SHOWN])
    if len(found.problems) > SHOWN:
        yield f"damaged: {len(found.problems) - SHOWN} more"
    yield from (f"note: {plain(note)}" for note in found.notes)
    state = "damaged" if found.problems else "whole"
    yield f"{state}: {found.leaves} leaves, {found.bundles} bundles, {found.files} files read"


def _expanded(data: bytes, most: int) -> bytes | None:
    """What gzip has packed, as far as `most` bytes; None for what it has not."""
    try:
        return zlib.decompressobj(31).decompress(data, most)
    except zlib.error:
        return None


def _levels(hashes: list[bytes]) -> list[list[bytes]]:
    """Hashes of complete subtrees by the levels of tiles: of one leaf, of 256, of 65,536, …"""
    levels = [hashes]
    while len(levels[-1]) >= WIDTH:
        below = levels[-1]
        levels.append([tree_root(below[i : i + WIDTH]) for i in range(0, len(below) - WIDTH + 1, WIDTH)])
    return levels


def _names_of(path: str) -> int:
    """How many names a file has; none where a publisher has just put another in its place."""
    try:
        return os.lstat(path).st_nlink
    except FileNotFoundError:
        return 0


def _files(root: Path, below: str) -> Iterator[str]:
    """Every path below a folder, whatever lies there but folders."""
    with os.scandir(root / below) as found:
        for entry in found:
            path = f"{below}/{entry.name}" if below else entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _files(root, path)
            else:
                yield path
