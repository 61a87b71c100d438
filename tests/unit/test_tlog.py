"""The log's arithmetic against its definition in RFC 6962, written down here once more as plainly as can be."""

import base64
import random
import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bpfcompat import tlog
from bpfcompat.digest import raw_digest
from bpfcompat.errors import TrustError
from bpfcompat.note import Kind, NoteKey, cosign, sign_note
from bpfcompat.tlog import (
    EMPTY_ROOT,
    TILE_PATH,
    Checkpoint,
    Tile,
    Tree,
    append,
    check_consistency,
    check_inclusion,
    check_origin,
    consistency_proof,
    entries_bytes,
    inclusion_proof,
    leaf_hash,
    open_checkpoint,
    parse_checkpoint,
    parse_entries,
    parse_tile,
    tile_at,
    tiles_of,
    tree_root,
)

SIZES = [0, 1, 2, 3, 4, 5, 7, 8, 9, 31, 33, 255, 256, 257, 300, 511, 512, 513, 770]


def leaf(n: int) -> bytes:
    """The bytes of leaf n."""
    return b"leaf %d" % n


def defined_root(hashes: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962 2.1, word for word."""
    if len(hashes) < 2:
        return hashes[0] if hashes else raw_digest(b"")
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return raw_digest(b"\x01" + defined_root(hashes[:k]) + defined_root(hashes[k:]))


LEAVES = [leaf(n) for n in range(770)]
HASHES = [leaf_hash(data) for data in LEAVES]
ROOTS = {size: defined_root(HASHES[:size]) for size in SIZES}


def point(size: int) -> Checkpoint:
    """The checkpoint of the log of these leaves."""
    return Checkpoint("log.example", size, ROOTS[size])


@pytest.fixture(scope="module")
def tiles() -> dict[str, bytes]:
    """The files of a log that grew by every step of SIZES."""
    files: dict[str, bytes] = {}
    for before, after in pairwise(SIZES):
        grown = append(before, ROOTS[before], files.get, LEAVES[before:after])
        assert (grown.size, grown.root) == (after, ROOTS[after])
        assert not files.keys() & dict(grown.tiles).keys(), "a file that was there is written again"
        files |= dict(grown.tiles)
    return files


def test_roots() -> None:
    """The root over all hashes is that of the definition, and the empty tree has one."""
    for size in SIZES:
        assert tree_root(HASHES[:size]) == ROOTS[size]
    assert ROOTS[0] == EMPTY_ROOT


def test_tiles(tiles: dict[str, bytes]) -> None:
    """Grown by steps or at once, a log has the same tiles, and they give the root of every size it had."""
    at_once = dict(append(0, EMPTY_ROOT, {}.get, LEAVES).tiles)
    assert {path: tiles[path] for path in at_once} == at_once
    assert {tile.path for tile in tiles_of(770)} == at_once.keys()
    for size in SIZES:
        assert Tree(size, tiles.get).root() == ROOTS[size]
        assert all(tile.path in tiles for tile in tiles_of(size))


def test_example_of_the_specification() -> None:
    """A tree of 70,000 leaves has the tiles that C2SP tlog-tiles counts, and 1234067 is x001/x234/067."""
    found = [tile for tile in tiles_of(70_000) if tile.level is not None]
    assert [sum(t.level == level and t.width == 256 for t in found) for level in range(3)] == [273, 1, 0]
    assert [(t.level, t.width) for t in found if t.width < 256] == [(0, 112), (1, 17), (2, 1)]
    assert Tile(0, 1234067).path == "tile/0/x001/x234/067"


def test_proofs(tiles: dict[str, bytes]) -> None:
    """Every leaf is proved in every size, and every size begins with every smaller one."""
    for size in SIZES:
        tree = Tree(size, tiles.get)
        for index in range(0, size, 1 if size < 40 else 13):
            check_inclusion(HASHES[index], index, size, inclusion_proof(tree, index), ROOTS[size])
        for old in SIZES[: SIZES.index(size) + 1]:
            check_consistency(point(old), point(size), consistency_proof(tree, old))


def test_no_other_proof_holds(tiles: dict[str, bytes]) -> None:
    """A proof with a hash swapped, dropped, added or changed, for another leaf or another size, is refused."""
    dice = random.Random(6)
    tree, size, index = Tree(300, tiles.get), 300, 133
    proof = list(inclusion_proof(tree, index))
    bad = list(altered(proof, dice))
    for changed in bad:
        with pytest.raises(TrustError, match="inclusion proof"):
            check_inclusion(HASHES[index], index, size, changed, ROOTS[size])
    for place in (-1, 0, 132, 134, 299, 300, 2**63, 2**200):
        with pytest.raises(TrustError, match="inclusion proof"):
            check_inclusion(HASHES[index], place, size, proof, ROOTS[size])
    # 257 is not among them: the path has the same shape, and it is the signed root that has the size
    for other in (0, 133, 255, 513, 2**63, 2**200):
        with pytest.raises(TrustError, match="inclusion proof"):
            check_inclusion(HASHES[index], index, other, proof, ROOTS[size])
    with pytest.raises(TrustError, match="inclusion proof"):
        check_inclusion(HASHES[index + 1], index, size, proof, ROOTS[size])


@pytest.mark.parametrize(("old", "new"), [(1, 2), (3, 7), (4, 8), (33, 300), (256, 257), (256, 512), (511, 770)])
def test_no_other_consistency_proof_holds(tiles: dict[str, bytes], old: int, new: int) -> None:
    """The same for proofs that one tree begins with another; neither root can be another."""
    proof = list(consistency_proof(Tree(new, tiles.get), old))
    for changed in altered(proof, random.Random(old)):
        with pytest.raises(TrustError, match="consistency proof"):
            check_consistency(point(old), point(new), changed)
    false = Checkpoint("log.example", old, ROOTS[9])
    for one, other in ((false, point(new)), (point(old), Checkpoint("log.example", new, ROOTS[9]))):
        with pytest.raises(TrustError, match="consistency proof"):
            check_consistency(one, other, proof)


def altered(proof: list[bytes], dice: random.Random) -> list[list[bytes]]:
    """Proofs that differ from this one: a bit, a hash more or less, two in each other's place, a hash cut short."""
    made = [[*proof, bytes(32)], [bytes(32), *proof], [*proof, *proof[-1:]], proof[1:], proof[:-1]]
    for place, found in enumerate(proof):
        flipped = bytearray(found)
        flipped[dice.randrange(32)] ^= 1 << dice.randrange(8)
        made += [[*proof[:place], other, *proof[place + 1 :]] for other in (bytes(flipped), found[:-1], b"")]
        made.append([*proof[:place], *proof[place + 1 :]])
    made += [[*proof[:i], proof[i + 1], proof[i], *proof[i + 2 :]] for i in range(len(proof) - 1)]
    return [changed for changed in made if changed != proof]


def test_shrunk_or_forked(tiles: dict[str, bytes]) -> None:
    """A smaller tree, and another root at the same size, are never consistent; the empty tree begins everything."""
    with pytest.raises(TrustError, match="never shrinks"):
        check_consistency(point(9), point(8), ())
    with pytest.raises(TrustError, match="two roots"):
        check_consistency(point(9), Checkpoint("log.example", 9, ROOTS[8]), ())
    with pytest.raises(TrustError, match="two roots"):
        check_consistency(point(9), point(9), [bytes(32)])
    with pytest.raises(TrustError, match="two roots"):
        check_consistency(Checkpoint("log.example", 0, ROOTS[8]), point(9), ())
    check_consistency(point(0), point(9), ())
    for old in (-1, 10):
        with pytest.raises(TrustError, match="never had"):
            consistency_proof(Tree(9, tiles.get), old)


def test_every_flipped_bit_of_a_tile(tiles: dict[str, bytes]) -> None:
    """One bit of a tile or of an entries tile, and the log does not come to its root, or its leaves are refused."""
    for path in ("tile/0/000.p/7", "tile/entries/000.p/7"):
        for place in range(len(tiles[path]) * 8):
            data = bytearray(tiles[path])
            data[place // 8] ^= 1 << place % 8
            tree = Tree(7, {**tiles, path: bytes(data)}.get)
            assert ("entries" in path) is (tree.root() == ROOTS[7])
            with pytest.raises(TrustError):
                tree.leaves(0)


@pytest.mark.parametrize("size", [256, 300, 512, 65_536, 65_800, 131_073])
def test_leaves_under_a_root(size: int) -> None:
    """Leaves are given only where they are under the signed root, however many tiles lie between, and entries lie."""
    made = dict(append(0, EMPTY_ROOT, {}.get, [b"%d" % n for n in range(size)]).tiles)
    root = Tree(size, made.get).root()
    for index in {0, (size - 1) // 512, (size - 1) // 256}:
        tree = Tree(size, made.get)
        assert tree.proved_leaves(index, root)[0] == b"%d" % (index * 256)
        entries, hashes = tile_at(size, None, index), tile_at(size, 0, index)
        leaves = [b"a lie", *tree.leaves(index)[1:]]
        lie = {entries.path: entries_bytes(leaves), hashes.path: b"".join(map(leaf_hash, leaves))}
        assert Tree(size, {**made, **lie}.get).leaves(index)[0] == b"a lie"
        with pytest.raises(TrustError):
            Tree(size, {**made, **lie}.get).proved_leaves(index, root)


def test_append_refuses_a_false_edge(tiles: dict[str, bytes]) -> None:
    """Nothing is added to tiles that do not lead to the last root: missing, short or changed."""
    with pytest.raises(TrustError, match="do not lead to its root"):
        append(300, ROOTS[9], tiles.get, [b"x"])
    for path in ("tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/001.p/44"):
        gone = {name: data for name, data in tiles.items() if name != path and not name.endswith("/001")}
        with pytest.raises(TrustError, match="is missing"):
            append(300, ROOTS[300], gone.get, [b"x"])
        with pytest.raises(TrustError):
            append(300, ROOTS[300], {**tiles, path: tiles[path][:-1]}.get, [b"x"])
    assert append(300, ROOTS[300], tiles.get, []).tiles == ()


def test_dropped_partial_tiles(tiles: dict[str, bytes]) -> None:
    """A reader of an old checkpoint finds what it needs in the full tile when the partial one is gone."""
    whole = {path: data for path, data in tiles.items() if ".p/" not in path}
    tree = Tree(33, whole.get)
    assert tree.root() == ROOTS[33] and tree.leaves(0) == tuple(LEAVES[:33])
    short = {**whole, "tile/0/000": whole["tile/0/000"][:-32]}
    with pytest.raises(TrustError, match="expected 8192"):
        Tree(33, short.get).root()


def test_entries() -> None:
    """Leaves are kept with their length; one that does not fit is refused, and so is anything but just that many."""
    leaves = (b"", b"x", b"y" * 65_535)
    data = entries_bytes(leaves)
    assert parse_entries(data, 3) == leaves
    with pytest.raises(TrustError, match="at most 65535"):
        entries_bytes([b"z" * 65_536])
    for changed, width in ((data, 2), (data, 4), (data[:-1], 3), (data + b"\0", 3), (b"", 1), (b"\0", 1)):
        with pytest.raises(TrustError, match="does not hold"):
            parse_entries(changed, width)


@pytest.mark.parametrize(
    "tile", [Tile(None, 0), Tile(0, 999, 1), Tile(5, 1000), Tile(63, 10**9, 255), Tile(None, 70_000, 100)]
)
def test_paths(tile: Tile) -> None:
    """A tile's path says its place, and there is one path for it."""
    assert re.fullmatch(TILE_PATH, tile.path) and parse_tile(tile.path) == tile


NO_PATHS = [
    *("tile/0/0", "tile/00/000", "tile/64/000", "tile/0/x000/001", "tile/0/1000", "tile/0/001/002", "tile/0/000.p/0"),
    *("tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p", "tile/data/000", "tile/0/x001", "tile/0/000/"),
    *("/tile/0/000", "tile/-1/000", "tile/0/00\N{ARABIC-INDIC DIGIT ZERO}", "tile/0/000\n"),
]


@pytest.mark.parametrize("path", NO_PATHS)
def test_no_other_path(path: str) -> None:
    """Nothing else is a tile's path."""
    assert parse_tile(path) is None


def test_no_tile_beyond() -> None:
    """A tree has no tiles beyond its end, and no size is negative or too large."""
    for level, index in ((0, 1), (None, 1), (1, 0), (0, -1)):
        with pytest.raises(TrustError, match="has no tile"):
            tile_at(200, level, index)
    for size in (-1, 2**63):
        with pytest.raises(TrustError, match="2\\^63"):
            Tree(size, {}.get)


ROOT_TEXT = base64.b64encode(ROOTS[3]).decode()
GOOD = f"log.example\n3\n{ROOT_TEXT}\n"


def test_checkpoint() -> None:
    """A checkpoint is its three lines, and the three lines are it."""
    assert point(3).text().decode() == GOOD and parse_checkpoint(GOOD.encode()) == point(3)
    assert parse_checkpoint(point(0).text()) == point(0)


NO_SIZES = ("007", "+7", "-3", "3 ", " 3", "3.0", "0x3", "", "٣", "3" * 30, "9223372036854775808", "00", "0")
NO_ORIGINS = (
    *("", "Log.example", "log.example/x", "log.example:80", "a b", "-a", "a..b", "a.", "lög", "a+b", "x" * 64),
    *("a." * 127 + "a", "\N{EM DASH}"),
)
NO_ROOTS = (
    *("", ROOT_TEXT[:-1], ROOT_TEXT[:-4], ROOT_TEXT[:-2] + "_=", ROOT_TEXT + " ", ROOT_TEXT + "\nextension"),
    ROOT_TEXT[:-2] + chr(ord(ROOT_TEXT[-2]) + 1) + "=",  # the same bytes, with a bit set that nobody reads
)
NO_CHECKPOINTS = [
    *(GOOD.replace("\n3\n", f"\n{size}\n") for size in NO_SIZES),
    *(GOOD.replace("log.example", name) for name in NO_ORIGINS),
    *(GOOD.replace(ROOT_TEXT, root) for root in NO_ROOTS),
    *("", "log.example\n3\n", "3\n" + ROOT_TEXT + "\n", "\n" + GOOD, GOOD + "\n", GOOD[:-1], GOOD + GOOD),
    GOOD.replace("\n", "\r\n"),
]


@pytest.mark.parametrize("text", NO_CHECKPOINTS)
def test_no_other_checkpoint(text: str) -> None:
    """Another spelling of a number, a name, a root, and a line more or less are refused."""
    with pytest.raises(TrustError, match=r"checkpoint|origin"):
        parse_checkpoint(text.encode())


def test_open_checkpoint() -> None:
    """A checkpoint is believed when the log that it names signed it; a witness, or another log, is not enough."""
    key, eyes = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    log, other = NoteKey("log.example", key.public_key()), NoteKey("other.example", key.public_key())
    witness = NoteKey("w", eyes.public_key(), Kind.WITNESS)
    note = sign_note(point(9).text(), "log.example", key)
    assert open_checkpoint(note, [log, witness])[0] == point(9)
    alone = point(9).text() + b"\n" + cosign(point(9).text(), "w", eyes, 5)
    for data in (sign_note(point(9).text(), "other.example", key), alone):
        with pytest.raises(TrustError, match="not signed by its key"):
            open_checkpoint(data, [log, other, witness])


@pytest.mark.parametrize("name", ["a", "log.example", "0.x-y.z9", "x" * 63])
def test_origins(name: str) -> None:
    """A host name is an origin."""
    check_origin(name)


def test_climbed_before() -> None:
    """A way that was climbed before helps no other: each proof with a changed, missing or added hash is refused."""
    size = 300
    grown = tlog.append(0, tlog.EMPTY_ROOT, {}.get, [b"%d" % n for n in range(size)])
    tree = tlog.Tree(size, dict(grown.tiles).get)
    for index in (0, 1, 255, 256, 299):
        leaf, proof = tlog.leaf_hash(b"%d" % index), tlog.inclusion_proof(tree, index)
        tlog.check_inclusion(leaf, index, size, proof, grown.root)
        others = [(*proof[:n], bytes(32), *proof[n + 1 :]) for n in range(len(proof))]
        for other in (*others, proof[:-1], (*proof, bytes(32)), proof[1:]):
            with pytest.raises(TrustError, match="inclusion proof"):
                tlog.check_inclusion(leaf, index, size, other, grown.root)
