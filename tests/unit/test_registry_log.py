"""A registry's log as its publisher writes it: what extends what, and what is never signed."""

import json
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bpfcompat import envelope, logentry, tlog
from bpfcompat.digest import digest_bytes, raw_digest
from bpfcompat.errors import ConfigError, StoreError, TrustError
from bpfcompat.note import NoteKey, parse_vkey
from bpfcompat.registry import layout
from bpfcompat.registry.log import Log, LogSigner, named, opened, record_of
from tests.claims import KEY, LOG, LOG_KEY, ORIGIN, claim, registry, signer, two_claims

LEAVES = [
    logentry.body_of(raw_digest(b"%d" % n), b"signature", logentry.spki(KEY.public_key())) for n in range(600)
]  # what the log is of, the log does not ask


def grow(folder: Path, *leaves: bytes) -> tuple[tlog.Checkpoint, bytes]:
    """Append leaves; the checkpoint and its note."""
    with opened(folder, signer(folder)) as log:
        log.append(leaves)
        return log.last, log.note


def same(folder: Path) -> Log:
    """The log as it is found again."""
    return Log(folder, LOG, signer(folder))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A place for a registry, with room for records beside it."""
    return tmp_path / "registry"


def test_grows(folder: Path) -> None:
    """Leaves go behind leaves; the checkpoint is in the registry and recorded outside, and tiles are as C2SP says."""
    for count, end in ((1, 1), (0, 1), (299, 300), (300, 600)):
        last, note = grow(folder, *LEAVES[end - count : end])
        assert (last.size, last.origin) == (end, ORIGIN)
        assert last.root == tlog.tree_root([tlog.leaf_hash(leaf) for leaf in LEAVES[:end]])
        assert (folder / layout.CHECKPOINT).read_bytes() == note == record_of(signer(folder), ORIGIN).read_bytes()
        assert tlog.open_checkpoint(note, [LOG])[0] == last
    found = {str(p.relative_to(folder)) for p in (folder / "tile").rglob("*") if p.is_file()}
    assert {tile.path for tile in tlog.tiles_of(600)} <= found
    assert all(layout.SERVED.fullmatch(path) for path in found)


def test_empty(folder: Path) -> None:
    """A log without a leaf is signed as such, so that there is a checkpoint from the beginning."""
    last, note = grow(folder)
    assert (last.size, last.root) == (0, tlog.EMPTY_ROOT)
    assert grow(folder) == (last, note)


def test_entries_and_places(folder: Path) -> None:
    """A leaf is found where it is, another of the same bundle is not it; its proof leads to the newest checkpoint."""
    last, note = grow(folder, *LEAVES)
    wanted = {logentry.digest_in(LEAVES[n]): n for n in (0, 255, 256, 599)}
    log = same(folder)
    leaves = {digest: LEAVES[n] for digest, n in wanted.items()}
    assert log.find({**leaves, digest_bytes(b"none"): LEAVES[1]}) == wanted
    assert log.find({logentry.digest_in(LEAVES[5]): LEAVES[6]}) == {}
    for entry, index in zip(log.entries(list(wanted.values())), wanted.values(), strict=True):
        entry.check(LEAVES[index])
        assert (entry.index, entry.size, entry.root, entry.checkpoint) == (index, last.size, last.root, note)


def test_names(folder: Path, tmp_path: Path) -> None:
    """A log keeps its name; without one it gets one that no other has.  Its key for readers lies beside the record."""
    nameless = LogSigner(LOG_KEY, tmp_path / "records")
    names = set()
    for place in (folder, tmp_path / "other"):
        with opened(place, nameless) as log:
            log.append(LEAVES[:1])
        found = named(place)
        assert found == log.key and found is not None
        assert parse_vkey((tmp_path / f"records/{found.name}.vkey").read_text()) == found
        root = json.loads((tmp_path / f"records/{found.name}.trusted_root.json").read_bytes())
        assert root["tlogs"][0]["baseUrl"] == f"https://{found.name}"
        names.add(found.name)
        with opened(place, nameless) as log:
            assert log.last.size == 1
    assert len(names) == 2
    with pytest.raises(ConfigError, match="a log keeps its name"), opened(folder, signer(folder)):
        pass
    with pytest.raises(TrustError, match="origin"), opened(tmp_path / "third", signer(folder, origin="Upper")):
        pass


def test_record_ahead(folder: Path) -> None:
    """A run that was killed after it recorded what it signs is carried on: its checkpoint is put in its place."""
    before, _ = grow(folder, *LEAVES[:3])
    old = (folder / layout.CHECKPOINT).read_bytes()
    last, note = grow(folder, *LEAVES[3:9])
    (folder / layout.CHECKPOINT).write_bytes(old)
    assert same(folder).last == last != before
    assert (folder / layout.CHECKPOINT).read_bytes() == note
    (folder / layout.CHECKPOINT).unlink()
    assert same(folder).last == last


def test_record_behind(folder: Path) -> None:
    """Where the registry has grown elsewhere, with the same key, the record follows; and a lost record is made anew."""
    grow(folder, *LEAVES[:3])
    record = record_of(signer(folder), ORIGIN)
    old = record.read_bytes()
    last, note = grow(folder, *LEAVES[3:9])
    record.write_bytes(old)
    assert (same(folder).last, record.read_bytes()) == (last, note)
    record.unlink()
    assert (same(folder).last, record.read_bytes()) == (last, note)


def test_old_copy(folder: Path, tmp_path: Path) -> None:
    """An old copy that was put back is refused, and so is one that went another way; nothing is written."""
    grow(folder, *LEAVES[:3])
    shutil.copytree(folder, tmp_path / "old")
    grow(folder, *LEAVES[3:9])
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "old", folder)
    before = (folder / layout.CHECKPOINT).read_bytes()
    with pytest.raises(TrustError, match="3 leaves here do not go together with the 9 that were signed last"):
        grow(folder, LEAVES[20])
    assert (folder / layout.CHECKPOINT).read_bytes() == before


@pytest.mark.parametrize("leaves", [3, 9, 12])
def test_fork(folder: Path, tmp_path: Path, leaves: int) -> None:
    """A log of the same key and name with other leaves, fewer, as many or more, is refused."""
    other = tmp_path / "other"
    grow(other, *LEAVES[100 : 100 + leaves])
    grow(folder, *LEAVES[:9])
    shutil.rmtree(folder)
    shutil.copytree(other, folder)
    with pytest.raises(TrustError, match="a log is never signed backwards"):
        same(folder)


def test_other_key(folder: Path) -> None:
    """Another log key carries a log on only where the record says what was signed last."""
    grow(folder, *LEAVES[:3])
    new = LogSigner(Ed25519PrivateKey.generate(), signer(folder).records, ORIGIN)
    with opened(folder, new) as log:
        log.append(LEAVES[3:5])
    key = NoteKey(ORIGIN, new.key.public_key())
    assert named(folder) == key
    assert tlog.open_checkpoint((folder / layout.CHECKPOINT).read_bytes(), [key])[0].size == 5
    record_of(new, ORIGIN).unlink()
    with pytest.raises(TrustError, match="start a new registry"):
        Log(folder, LOG, signer(folder))


@pytest.mark.parametrize("name", ["tile/0/000.p/9", "tile/entries/000.p/9"])
def test_damaged_tiles(folder: Path, name: str) -> None:
    """Nothing is put behind tiles that do not lead to the signed root."""
    grow(folder, *LEAVES[:9])
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(TrustError):
        grow(folder, *LEAVES[9:11])
    (folder / name).unlink()
    with pytest.raises(TrustError, match="is missing"):
        grow(folder, *LEAVES[9:11])
    assert tlog.open_checkpoint((folder / layout.CHECKPOINT).read_bytes(), [LOG])[0].size == 9


def test_checkpoint_of_another(folder: Path) -> None:
    """A checkpoint that our key did not sign is refused, whatever lies beside it."""
    grow(folder, *LEAVES[:9])
    (folder / layout.CHECKPOINT).write_bytes(b"junk")
    with pytest.raises(TrustError):
        same(folder)


def test_vkey_of_nobody(folder: Path) -> None:
    """A registry.json whose log is no key is named."""
    grow(folder, *LEAVES[:1])
    (folder / layout.FORMAT_FILE).write_text('{"format":2,"log":"x"}')
    with pytest.raises(StoreError, match=r"registry.json: log: vkey"):
        named(folder)


def test_witness_lines_stay(folder: Path) -> None:
    """What witnesses put below a checkpoint stays there for as long as the checkpoint does."""
    grow(folder, *LEAVES[:9])
    note = (folder / layout.CHECKPOINT).read_bytes() + "\N{EM DASH} w.test AAAAAAAA\n".encode()
    (folder / layout.CHECKPOINT).write_bytes(note)
    assert b"w.test" not in same(folder).note
    assert (folder / layout.CHECKPOINT).read_bytes() == note


def test_leaf_and_bundle(folder: Path) -> None:
    """What a publish puts into the log is the leaf of each of its bundles, in the order of its items."""
    good, bad = two_claims()
    registry(folder, good, bad, claim(kernel_name="third", vmlinuz=digest_bytes(b"third")))
    bundles = [envelope.parse(place.read_bytes()) for place in (folder / "bundles").iterdir()]
    entries = {found.index: found.entry for found in bundles}
    log = same(folder)
    assert sorted(entries) == [0, 1, 2] == list(range(log.last.size))
    assert [entries[i] for i in range(3)] == log.entries([0, 1, 2])
    kernels = [
        json.loads(b.payload)["predicate"]["configuration"][0] for b in sorted(bundles, key=lambda b: b.index or 0)
    ]
    assert [kernel["annotations"]["name"] for kernel in kernels] == ["debian-12", "debian-10", "third"]
