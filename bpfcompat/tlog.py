"""The transparency log's arithmetic: RFC 6962 hashes, proofs, and tiles as C2SP tlog-tiles lays them out.  No IO.

A tile holds 256 hashes, or fewer at the right edge (`.p/W`); tile (L, N) holds the hashes of complete subtrees of
256^L leaves, from the (256 N)th on.  Entries tiles hold the leaves themselves.  Tiles are read through a `Reader`, so
that a folder, a server and a writer's own memory are the same here.  A tile is not believed: what comes of it is
checked against a signed root.
"""

import base64
import re
from binascii import a2b_base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from bpfcompat.digest import raw_digest
from bpfcompat.errors import TrustError
from bpfcompat.note import Kind, Note, NoteKey, verify_note

WIDTH = 256
HASH_BYTES = 32
STRIDE = 4  # levels of a proof that are climbed at once
MAX_SIZE = 2**63 - 1
MAX_LEAF_BYTES = (1 << 16) - 1
MAX_TILE_BYTES = WIDTH * HASH_BYTES
MAX_ENTRIES_BYTES = WIDTH * (2 + MAX_LEAF_BYTES)
EMPTY_ROOT = raw_digest(b"")
TILE_PATH = (
    r"tile/(?:entries|[0-9]|[1-5][0-9]|6[0-3])/(?:x(?!000)[0-9]{3}/(?:x[0-9]{3}/){0,5})?[0-9]{3}"
    r"(?:\.p/(?:[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5]))?"
)
_JUST_HASHES = {HASH_BYTES}
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ORIGIN = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_SIZE = re.compile("0|[1-9][0-9]{0,18}")
HASH = "[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="
"""The pattern of 32 bytes in base64, unused bits zero: they have no other spelling."""
_ROOT = re.compile(HASH)

Reader = Callable[[str], bytes | None]
"""The bytes of a tile by its path, None when there is none."""


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf's bytes."""
    return raw_digest(b"\0" + leaf)


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash over two subtrees."""
    return raw_digest(b"\1" + left + right)


def tree_root(hashes: Sequence[bytes]) -> bytes:
    """The root over all leaf hashes at once."""
    rows = list(hashes)
    while len(rows) > 1:
        odd = rows[len(rows) & ~1 :]
        rows = [node_hash(rows[i], rows[i + 1]) for i in range(0, len(rows) - 1, 2)] + odd
    return rows[0] if rows else EMPTY_ROOT


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says of itself: its name, how many leaves it has, and the root over them (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def text(self) -> bytes:
        """The text of the note, ready to be signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n".encode()


def parse_checkpoint(text: bytes) -> Checkpoint:
    """A checkpoint's text: exactly three lines, each in its one spelling; extension lines are refused."""
    lines = text.decode("utf-8", "replace").split("\n")
    if len(lines) != 4 or lines[3]:
        raise TrustError(f"checkpoint: expected origin, size and root on three lines, got {len(lines) - 1}")
    origin, size, root, _ = lines
    check_origin(origin)
    if not _SIZE.fullmatch(size) or int(size) > MAX_SIZE:
        raise TrustError(f"checkpoint: size: expected a decimal number, got {size[:40]!r}")
    if not _ROOT.fullmatch(root):
        raise TrustError(f"checkpoint: root: expected base64 of 32 bytes, got {root[:80]!r}")
    found = Checkpoint(origin, int(size), a2b_base64(root))
    if found.size == 0 and found.root != EMPTY_ROOT:
        raise TrustError("checkpoint: size 0, but not the root of an empty tree")
    return found


@lru_cache(maxsize=64)
def check_origin(origin: str) -> None:
    """TrustError unless this can name a log of ours: a host name without port and path, since cosign wants it so."""
    if not _ORIGIN.fullmatch(origin):
        raise TrustError(f"origin: expected a lower-case host name without port and path, got {origin[:80]!r}")


def open_checkpoint(data: bytes, keys: Sequence[NoteKey]) -> tuple[Checkpoint, Note]:
    """The checkpoint in a signed note, and its signers among these keys, of which one is the log of its origin."""
    note = verify_note(data, keys)
    found = parse_checkpoint(note.text)
    if not any(s.key.kind is Kind.LOG and s.key.name == found.origin for s in note.signers):
        raise TrustError(f"checkpoint: of the log {found.origin}, but not signed by its key")
    return found, note


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile's place; `level` is None for entries, `width` 256 for a full one."""

    level: int | None
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Where it lies in a registry."""
        digits = str(self.index)
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
        number = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        part = f".p/{self.width}" if self.width < WIDTH else ""
        return f"tile/{'entries' if self.level is None else self.level}/{number}{part}"


def parse_tile(path: str) -> Tile | None:
    """The tile that is called so; None for any other path."""
    if not re.fullmatch(TILE_PATH, path):
        return None
    _, level, *rest = path.split("/")
    width = int(rest.pop()) if ".p/" in path else WIDTH
    number = int("".join(group.removesuffix(".p").removeprefix("x") for group in rest))
    return Tile(None if level == "entries" else int(level), number, width)


def tiles_of(size: int) -> Iterator[Tile]:
    """Every tile of a tree: those of entries, then level by level."""
    for level in (None, *range(8)):
        count = size >> 8 * (level or 0)
        yield from (Tile(level, n) for n in range(count // WIDTH))
        if count % WIDTH:
            yield Tile(level, count // WIDTH, count % WIDTH)


def tile_at(size: int, level: int | None, index: int) -> Tile:
    """Tile (level, index) as a tree of this size has it; TrustError beyond its end."""
    left = (size >> 8 * (level or 0)) - index * WIDTH
    if index < 0 or left <= 0:
        raise TrustError(f"log: a tree of {size} leaves has no tile {level}/{index}")
    return Tile(level, index, min(left, WIDTH))


def entries_bytes(leaves: Sequence[bytes]) -> bytes:
    """An entries tile: each leaf after its length in two bytes."""
    for leaf in leaves:
        if len(leaf) > MAX_LEAF_BYTES:
            raise TrustError(f"log: a leaf of {len(leaf)} bytes, at most {MAX_LEAF_BYTES} fit")
    return b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in leaves)


def parse_entries(data: bytes, width: int) -> tuple[bytes, ...]:
    """The leaves of an entries tile: just this many, and not a byte behind them."""
    leaves: list[bytes] = []
    at = 0
    while at < len(data) and len(leaves) < width:
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        leaves.append(data[at + 2 : end])
        at = end
    if at != len(data) or len(leaves) != width:
        raise TrustError(f"log: an entries tile of {len(data)} bytes does not hold {width} leaves")
    return tuple(leaves)


class Tree:
    """A tree of a known size over tiles; each is read once.  Raises TrustError where a tile is missing or too short."""

    def __init__(self, size: int, read: Reader) -> None:
        if not 0 <= size <= MAX_SIZE:
            raise TrustError(f"log: size: expected 0 to 2^63-1, got {size}")
        self.size = size
        self._read = read
        self._rows: dict[tuple[int, int], list[list[bytes]]] = {}
        self._proved: set[tuple[int, int]] = set()

    def root(self) -> bytes:
        """The root, from the tiles at the right edge."""
        return self.range(0, self.size)

    def range(self, start: int, end: int) -> bytes:
        """The hash over leaves start to end, which are a subtree as RFC 6962 cuts them."""
        if start == end:
            return EMPTY_ROOT
        height = (end - start - 1).bit_length()
        if end - start == 1 << height:
            return self._complete(height, start >> height)
        middle = start + (1 << height - 1)
        return node_hash(self.range(start, middle), self.range(middle, end))

    def leaves(self, index: int) -> tuple[bytes, ...]:
        """The leaves of the entries tile with this index; TrustError unless they hash to the tile above them."""
        tile = tile_at(self.size, None, index)
        leaves = parse_entries(self.fetch(tile), tile.width)
        if [leaf_hash(leaf) for leaf in leaves] != self._row(0, index)[0]:
            raise TrustError(f"{tile.path}: a leaf is not what the tree's hashes say")
        return leaves

    def proved_leaves(self, index: int, root: bytes) -> tuple[bytes, ...]:
        """The leaves of the entries tile with this index; TrustError unless they are shown to be under this root.

        A whole tile's are held against the one hash over them all, so its own 256 hashes are not read.
        """
        tile = tile_at(self.size, None, index)
        if tile.width < WIDTH:
            self._prove(0, index, root)
            return self.leaves(index)
        self._prove(1, index // WIDTH, root)
        leaves = parse_entries(self.fetch(tile), WIDTH)
        if tree_root([leaf_hash(leaf) for leaf in leaves]) != self._row(1, index // WIDTH)[0][index % WIDTH]:
            raise TrustError(f"{tile.path}: a leaf is not what the tree's hashes say")
        return leaves

    def _prove(self, level: int, index: int, root: bytes) -> None:
        """TrustError unless a tile is under this root: through the tiles above it, or as one of the right edge."""
        if (level, index) in self._proved:
            return
        tile = tile_at(self.size, level, index)
        if tile.width < WIDTH:  # each of its hashes is needed for the root
            if self.root() != root:
                raise TrustError(f"log: its tiles do not lead to the root of its {self.size} leaves")
        else:
            above = self._row(level + 1, index // WIDTH)[0]
            if self._row(level, index)[-1][0] != above[index % WIDTH]:
                raise TrustError(f"{tile.path}: is not what the tile above it says")
            self._prove(level + 1, index // WIDTH, root)
        self._proved.add((level, index))

    def fetch(self, tile: Tile) -> bytes:
        """A tile's bytes, just its width.  A publisher may drop a partial tile once the full one is there."""
        for found in dict.fromkeys((tile, Tile(tile.level, tile.index))):
            data = self._read(found.path)
            if data is None:
                continue
            if tile.level is None:
                return data if found == tile else entries_bytes(parse_entries(data, WIDTH)[: tile.width])
            if len(data) != found.width * HASH_BYTES:
                raise TrustError(f"{found.path}: {len(data)} bytes, expected {found.width * HASH_BYTES}")
            return data[: tile.width * HASH_BYTES]
        raise TrustError(f"{tile.path}: is missing", hint="is the registry whole?  `bpfcompat fsck` says")

    def _complete(self, height: int, index: int) -> bytes:
        """The hash of a complete subtree: the index-th one of 2^height leaves."""
        level, within = divmod(height, 8)
        tile, place = divmod(index << within, WIDTH)
        return self._row(level, tile)[within][place >> within]

    def _row(self, level: int, index: int) -> list[list[bytes]]:
        """A tile's hashes and, above them, those of the complete pairs in it, pairs of pairs, …"""
        if (level, index) not in self._rows:
            data = self.fetch(tile_at(self.size, level, index))
            rows = [_hashes(data)]
            while len(rows[-1]) > 1:
                below = rows[-1]
                rows.append([node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)])
            self._rows[level, index] = rows
        return self._rows[level, index]


def inclusion_proof(tree: Tree, index: int) -> tuple[bytes, ...]:
    """The hashes from leaf `index` up to the tree's root, nearest first."""
    if not 0 <= index < tree.size:
        raise TrustError(f"log: leaf {index} is not in a tree of {tree.size}")
    start, end, proof = 0, tree.size, []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(tree.range(middle, end))
            end = middle
        else:
            proof.append(tree.range(start, middle))
            start = middle
    return tuple(reversed(proof))


def check_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """TrustError unless the leaf of this hash is leaf `index` of the tree of this size and root (RFC 9162 2.1.3.2)."""
    if not 0 <= index < size <= MAX_SIZE:
        raise TrustError(f"inclusion proof: leaf {index} is not in a tree of {size}")
    _check_hashes("inclusion proof", [leaf, root, *proof])
    found = _climbed(leaf, index, size - 1, tuple(proof))
    if found is None:
        raise TrustError(f"inclusion proof: {len(proof)} hashes are too many for leaf {index} of {size}")
    if found != root:
        raise TrustError(f"inclusion proof: does not lead from leaf {index} to the root of the tree of {size}")


def _climbed(found: bytes, node: int, last: int, proof: tuple[bytes, ...]) -> bytes | None:
    """The root that a proof leads to, b"" where it ends too early, None where it goes on too long."""
    for other in proof[:STRIDE]:
        if last == 0:
            return None
        if node & 1 or node == last:
            found = raw_digest(b"\1" + other + found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = raw_digest(b"\1" + found + other)
        node, last = node >> 1, last >> 1
    if len(proof) > STRIDE:
        return _climbed_before(found, node, last, proof[STRIDE:])
    return b"" if last else found


_climbed_before = lru_cache(maxsize=1024)(_climbed)  # neighbours go the same way from where they meet


def consistency_proof(tree: Tree, old: int) -> tuple[bytes, ...]:
    """The hashes that show that the tree's first `old` leaves were all of it once (RFC 6962 2.1.2)."""
    if not 0 <= old <= tree.size:
        raise TrustError(f"log: a tree of {tree.size} never had {old} leaves")
    if old in (0, tree.size):
        return ()
    start, end, proof = 0, tree.size, []
    while end != old:
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(tree.range(middle, end))
            end = middle
        else:
            proof.append(tree.range(start, middle))
            start = middle
    return tuple(reversed([*proof, tree.range(start, end)] if start else proof))


def check_consistency(old: Checkpoint, new: Checkpoint, proof: Sequence[bytes]) -> None:
    """TrustError unless the new tree begins with the old one (RFC 9162 2.1.4.2).  Origins are not compared."""
    _check_hashes("consistency proof", [old.root, new.root, *proof])
    if old.size > new.size:
        raise TrustError(f"consistency proof: from {old.size} leaves to {new.size}: a log never shrinks")
    if old.size in (0, new.size):
        if proof or (old.size == new.size and old.root != new.root) or (old.size == 0 and old.root != EMPTY_ROOT):
            raise TrustError(f"consistency proof: two roots of a tree of {old.size}")
        return
    if _both_roots(old, new.size, proof) != (old.root, new.root):
        raise TrustError(f"consistency proof: the tree of {new.size} does not begin with the tree of {old.size}")


def _both_roots(old: Checkpoint, size: int, proof: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """The roots of both trees as the proof has them; None when it has too many hashes or too few."""
    node, last = old.size - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    hashes = list(proof) if node else [old.root, *proof]  # a complete old tree is its own first hash
    if not hashes:
        return None
    before = after = hashes[0]
    for other in hashes[1:]:
        if last == 0:
            return None
        if node & 1 or node == last:
            before, after = node_hash(other, before), node_hash(other, after)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            after = node_hash(after, other)
        node, last = node >> 1, last >> 1
    return None if last else (before, after)


@dataclass(frozen=True, slots=True)
class Grown:
    """A tree after leaves were added; `tiles` are the new files, path and bytes, in the order to write them."""

    size: int
    root: bytes
    tiles: tuple[tuple[str, bytes], ...]


def append(size: int, root: bytes, read: Reader, leaves: Sequence[bytes]) -> Grown:
    """Add leaves to the tree of this size and root, whose right edge is read.

    TrustError when that edge is not the tree of this root, or a leaf is too long.  No file that is there is changed:
    full tiles stay, and a partial tile of another width has another name.
    """
    edge = Tree(size, read)
    if edge.root() != root:
        raise TrustError(f"log: the tiles at the edge of the tree of {size} do not lead to its root")
    if not leaves:
        return Grown(size, root, ())
    kept = edge.leaves(size // WIDTH) if size % WIDTH else ()
    tiles = dict(_filled(None, size // WIDTH, [*kept, *leaves], entries_bytes))
    level, added = 0, [leaf_hash(leaf) for leaf in leaves]
    while added:
        count = size >> 8 * level
        before = _hashes(edge.fetch(tile_at(size, level, count // WIDTH))) if count % WIDTH else []
        row = before + added
        tiles.update(_filled(level, count // WIDTH, row, b"".join))
        added = [tree_root(row[i : i + WIDTH]) for i in range(0, len(row) - WIDTH + 1, WIDTH)]
        level += 1
    grown = size + len(leaves)
    return Grown(grown, Tree(grown, _over(tiles, read)).root(), tuple(tiles.items()))


def _filled(
    level: int | None, first: int, row: Sequence[bytes], pack: Callable[[Sequence[bytes]], bytes]
) -> Iterator[tuple[str, bytes]]:
    for n, i in enumerate(range(0, len(row), WIDTH)):
        part = row[i : i + WIDTH]
        yield Tile(level, first + n, len(part)).path, pack(part)


def _over(tiles: Mapping[str, bytes], read: Reader) -> Reader:
    return lambda path: tiles[path] if path in tiles else read(path)


def _hashes(data: bytes) -> list[bytes]:
    return [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)]


def _split(count: int) -> int:
    """The largest power of two below a count."""
    return 1 << (count - 1).bit_length() - 1


def _check_hashes(what: str, hashes: Sequence[bytes]) -> None:
    if set(map(len, hashes)) != _JUST_HASHES:
        raise TrustError(f"{what}: expected hashes of {HASH_BYTES} bytes")
