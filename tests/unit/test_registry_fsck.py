"""fsck: a whole registry is whole, and whatever is damaged, missing or too much is named."""

import gzip
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bpfcompat import cli, envelope
from bpfcompat.errors import Exit, StoreError
from bpfcompat.files import TEMP_PREFIX
from bpfcompat.registry import fsck as looking
from bpfcompat.registry import layout
from bpfcompat.registry.fsck import Found, fsck, lines
from bpfcompat.registry.log import opened
from bpfcompat.statement import pair_id
from tests.claims import KEY, claim, registry, row, signer, two_claims
from tests.formats import format_1

GOOD, OLD = two_claims()
DIGEST = row(GOOD).bundle or ""
BUNDLE, PAIR, EVIDENCE = layout.bundle_path(DIGEST), layout.pair_path(pair_id(GOOD)), layout.evidence_path(GOOD.report)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A registry that was published to twice."""
    place = tmp_path / "registry"
    registry(place, OLD)
    registry(place, OLD, GOOD)
    return place


def names(found: Found) -> str:
    """The problems, one a line."""
    return "\n".join(found.problems)


def test_whole(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is wrong with what publish writes; partial tiles of earlier checkpoints are no strays."""
    found = fsck(folder)
    assert (found.problems, found.notes, found.leaves, found.bundles) == ((), (), 2, 2)
    assert (folder / "tile/0/000.p/1").exists()
    assert cli.main(["fsck", str(folder)]) == Exit.OK
    assert capsys.readouterr().out.startswith("whole: 2 leaves, 2 bundles, ")


def test_many(folder: Path) -> None:
    """Full tiles and several levels are built again, and roots of every size between."""
    leaves = [envelope.parse((folder / BUNDLE).read_bytes())]
    assert leaves[0].entry is not None
    with opened(folder, signer(folder)) as log:
        body = leaves[0].entry.body
        for count in (300, 1, 2, 600):
            log.append([body] * count)
    found = fsck(folder)
    assert len(found.problems) == 903 and all("is leaf 1 once more" in p for p in found.problems)


FILES = [BUNDLE, PAIR, EVIDENCE, layout.MATRIX, layout.CHECKPOINT, "tile/0/000.p/2", "tile/entries/000.p/2",
         "tile/0/000.p/1"]  # fmt: skip


@pytest.mark.parametrize("name", [*FILES, "packs"])
def test_damage(folder: Path, name: str) -> None:
    """A file in which one bit is other than it was is named."""
    if name == "packs":
        name = f"packs/{min(place.name for place in (folder / name).iterdir())}"
    data = (folder / name).read_bytes()
    for place in (0, len(data) // 2, len(data) - 1):
        (folder / name).write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        found = fsck(folder)
        assert found.exit_code is Exit.UNTRUSTED
        assert name.partition(".p/")[0] in names(found) or layout.CHECKPOINT in names(found), (place, names(found))


@pytest.mark.parametrize("name", [BUNDLE, EVIDENCE, layout.MATRIX, layout.CHECKPOINT, "tile/0/000.p/2"])
def test_missing(folder: Path, name: str) -> None:
    """A file that is gone is named."""
    (folder / name).unlink()
    assert name in names(fsck(folder))


def test_pack(folder: Path) -> None:
    """A pack that is damaged, or gone although the matrix names it, is named."""
    packs = sorted((folder / "packs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    for path in packs:
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        assert f"packs/{path.name}: its bytes are not what its name says" in names(fsck(folder))
        path.write_bytes(whole)
    packs[-1].unlink()
    assert f"packs/{packs[-1].name}: is missing" in names(fsck(folder))


@pytest.mark.parametrize("name", ["notes.txt", "bundles/readme.txt", "tile/0/000.p/0", "x/y/z", ".hidden"])
def test_strays(folder: Path, name: str) -> None:
    """A file that no registry has is named, and left."""
    place = folder / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"x")
    assert name in names(fsck(folder))
    assert place.exists()


def test_compressed_copies(folder: Path) -> None:
    """The compressed copy of a file is no stray; one that is not of its bytes is damage, and so is one of nothing."""
    index = folder / "index.html"
    copies = [folder / "index.html.gz", *(p.with_name(p.name + ".gz") for p in (folder / "packs").iterdir())]
    for copy in copies:
        of = copy.with_suffix("")
        copy.write_bytes(gzip.compress(of.read_bytes()))
        os.utime(copy, ns=(of.stat().st_mtime_ns,) * 2)
    assert fsck(folder).problems == ()
    for wrong in (gzip.compress(b"other"), b"x"):
        copies[0].write_bytes(wrong)
        os.utime(copies[0], ns=(index.stat().st_mtime_ns,) * 2)
        assert "index.html.gz: is not the compressed copy" in names(fsck(folder))
    os.utime(copies[0], ns=(1, 1))
    assert fsck(folder).problems == ()
    (folder / "tile/entries/000.gz").write_bytes(b"x")
    assert "tile/entries/000.gz: no registry has such a file" in names(fsck(folder))


def test_bundle_without_leaf(folder: Path) -> None:
    """A bundle that is in no leaf is a stray, however well it is signed."""
    signed = envelope.sign(b'{"a":1}', KEY)
    name = layout.bundle_path(envelope.parse(signed).digest)
    (folder / name).write_bytes(signed)
    assert names(fsck(folder)) == f"{name}: has no leaf in the log"


def test_swapped(folder: Path) -> None:
    """Whole bundles under each other's names are named."""
    other = layout.bundle_path(row(OLD).bundle or "")
    one, two = (folder / BUNDLE).read_bytes(), (folder / other).read_bytes()
    (folder / BUNDLE).write_bytes(two)
    (folder / other).write_bytes(one)
    said = names(fsck(folder))
    assert f"{BUNDLE}: holds another payload" in said and f"{other}: holds another payload" in said


def test_bundle_signed_again(folder: Path) -> None:
    """A bundle with another signature than its leaf holds is named, and one without its entry."""
    found = envelope.parse((folder / BUNDLE).read_bytes())
    again = envelope.parse(envelope.sign(found.payload, KEY))
    (folder / BUNDLE).write_bytes(envelope.bundle_bytes(replace(again, entry=found.entry)))
    assert f"{BUNDLE}: log entry: is of another signature" in names(fsck(folder))
    (folder / BUNDLE).write_bytes(envelope.bundle_bytes(again))
    assert "its entry says None" in names(fsck(folder))


def test_left_over(folder: Path) -> None:
    """What a killed run left is said, and is no damage: pending bundles, temporary files, tiles beyond the end."""
    payload = b'{"waiting":1}'
    signed = envelope.sign(payload, KEY)
    (folder / layout.pending_path(envelope.pae_digest(payload))).write_bytes(signed)
    (folder / "bundles/.tmp-1234").write_bytes(b"half")
    (folder / "tile/0/000.p/9").write_bytes(bytes(9 * 32))
    found = fsck(folder)
    assert found.exit_code is Exit.OK
    said = "\n".join(lines(found))
    assert "1 signed verdicts wait" in said and "1 temporary files" in said and "1 tiles beyond" in said


def test_hard_links(folder: Path) -> None:
    """A file with a second name, as a snapshot of links makes it, is said, and is no damage."""
    assert "second name" not in "".join(lines(fsck(folder)))
    (folder.parent / "snapshot").hardlink_to(folder / layout.MATRIX)
    found = fsck(folder)
    assert not found.problems and "1 files have a second name" in "".join(lines(found))


def test_replaced_meanwhile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A publisher's temporary file that is gone before it is looked at is no damage, and ends no check."""
    listed = looking._files

    def files(root: Path, below: str) -> Iterator[str]:
        yield from listed(root, below)
        yield f"{TEMP_PREFIX}gone"

    monkeypatch.setattr(looking, "_files", files)
    found = fsck(folder)
    assert not found.problems and "second name" not in "".join(lines(found))


def test_format_1(folder: Path) -> None:
    """A registry without a log is looked at as far as there is something to see."""
    format_1(folder)
    found = fsck(folder)
    assert (found.problems, found.leaves, found.bundles) == ((), 0, 2)
    assert "there is no log" in found.notes[0]
    (folder / BUNDLE).write_bytes((folder / BUNDLE).read_bytes()[:-1])
    assert BUNDLE in names(fsck(folder))


def test_keys(folder: Path) -> None:
    """A key under another name is named, and bundles whose key is gone do not verify."""
    (key,) = (folder / "keys").iterdir()
    key.rename(key.with_name("0" * 64 + ".pem"))
    assert f"keys/{'0' * 64}.pem: is another key than its name says" in names(fsck(folder))
    assert f"{BUNDLE}: bundle: signed by SHA256:" in names(fsck(folder))


def test_wrong_log(folder: Path, tmp_path: Path) -> None:
    """Bundles of another log of the same name and key are named."""
    other = tmp_path / "other"
    registry(other, claim(classifier="1"), OLD)
    registry(other, GOOD)
    shutil.copy(other / BUNDLE, folder / BUNDLE)
    assert BUNDLE in names(fsck(folder))


def test_no_registry(tmp_path: Path) -> None:
    """A folder without registry.json is the caller's mistake."""
    with pytest.raises(StoreError, match="is this a registry's folder"):
        fsck(tmp_path)


def test_many_problems(folder: Path) -> None:
    """A long list is cut, and nothing in it can move the cursor."""
    for n in range(60):
        (folder / f"evil\x1b[2J{n}").write_bytes(b"")
    said = list(lines(fsck(folder)))
    assert "damaged: 10 more" in said and not any("\x1b" in line for line in said)


def test_shared_out(folder: Path) -> None:
    """Several processes find what one finds, and say it in the same order."""
    for name in (BUNDLE, EVIDENCE, PAIR):
        (folder / name).write_bytes(b"x" + (folder / name).read_bytes())
    (folder / layout.bundle_path(row(OLD).bundle or "")).unlink()
    alone, together = fsck(folder, jobs=1), fsck(folder, jobs=3)
    assert together == alone and len(alone.problems) >= 4
