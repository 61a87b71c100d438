"""Publishing: append-only, atomic, and whole after a kill at any write."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bpfcompat import envelope
from bpfcompat.builds import Build, to_bytes
from bpfcompat.buildtext import Asked, said_bytes
from bpfcompat.digest import digest_bytes
from bpfcompat.envelope import parse
from bpfcompat.errors import Exit, StoreError, TrustError
from bpfcompat.manifest import MAX_MATRIX_BYTES, Known, parse_matrix_statement
from bpfcompat.model import Answer
from bpfcompat.registry import layout
from bpfcompat.registry.client import Folder
from bpfcompat.registry.fsck import fsck
from bpfcompat.registry.pack import pack, unpack
from bpfcompat.registry.publish import VALID_S, Item
from bpfcompat.registry.verify import examine, format_verification, verify
from bpfcompat.statement import pair_id
from tests.claims import BAD, GOOD, KEY, NOW, ORIGIN, OTHER, POLICY, claim, item, put, registry, report, row, two_claims
from tests.killing import in_child


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a folder and its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_first_time(tmp_path: Path) -> None:
    """A publish makes every file of the layout and a registry that verifies."""
    done = registry(tmp_path)
    assert (done.new, done.known, done.manifest_new, done.conflicts) == (2, 0, True, ())
    names = set(tree(tmp_path)) - {layout.LOCK_FILE}
    assert all(layout.SERVED.fullmatch(name) for name in names)
    folders = {"bundles", "evidence", "keys", "manifests", "packs", "pair", "pairs", "tile"}
    assert {name.split("/")[0] for name in names if "/" in name} == folders
    assert {name for name in names if "/" not in name} == {
        "checkpoint", "index.html", "matrix.json", "registry.json", "style.css",
    }  # fmt: skip
    found = verify(Folder(tmp_path), POLICY, now=NOW)
    assert (found.problems, found.exit_code, found.bundles, found.unborn) == ((), Exit.OK, 2, 0)
    assert format_verification(found).count(f"log {ORIGIN}: 2 leaves, signed by {ORIGIN}") == 1


def test_inventories(tmp_path: Path) -> None:
    """A build's inventory lies there by its digest, with one page for all its names, and the matrix links to it."""
    data = to_bytes(Build("6.1.0-<b>", helpers={"loop": 181}, kfuncs={"bpf_x": frozenset(["acquire"])}))
    made = claim()
    put(tmp_path, [item(made)], [row(made)], KEY, now=NOW, inventories={"debian-12": data, "other": data})
    digest = digest_bytes(data)
    assert (tmp_path / layout.inventory_path(digest)).read_bytes() == data
    page = (tmp_path / layout.kernel_page_path(digest)).read_text()
    assert all(word in page for word in ("debian-12", "other", "6.1.0-&lt;b&gt;", "loop", "bpf_x acquire"))
    assert f'href="{layout.kernel_page_path(digest)}">debian-12<' in (tmp_path / layout.INDEX).read_text()
    assert len(list((tmp_path / "kernel").iterdir())) == 1
    (tmp_path / layout.inventory_path(digest)).write_bytes(data + b" ")
    found = verify(Folder(tmp_path), [KEY.public_key()], now=NOW)
    assert found.problems == (f"{layout.inventory_path(digest)}: its bytes are not what its name says",)


def test_said_by_guests(tmp_path: Path) -> None:
    """What guests said lies beside the inventory, the matrix signs both digests, and one that is gone is missed."""
    data = to_bytes(Build("6.1.0", helpers={"loop": 181}))
    told = Asked({"lockdown": "none", "lsm": ["bpf"]}, {"xdp": ("loop",), "netfilter": None})
    made, more = claim(), {"inventories": {"debian-12": data, "other": data}}
    first = put(tmp_path, [item(made)], [row(made)], KEY, now=NOW, **more)
    again = put(tmp_path, [item(made)], [row(made)], KEY, now=NOW, **more, said={"debian-12": told, "sid": told})
    assert (first.manifest_new, again.manifest_new, again.new) == (True, True, 0)
    digest, said = digest_bytes(data), digest_bytes(said_bytes(told))
    found = examine(Folder(tmp_path), POLICY, now=NOW)
    assert found.matrix is not None
    assert (found.problems, found.matrix.known) == ([], (Known("debian-12", digest, said),))
    page = (tmp_path / layout.kernel_page_path(digest)).read_text()
    assert all(word in page for word in ("xdp\t1: loop", "netfilter\tno such type", "lsm\t[&#34;bpf&#34;]"))
    (tmp_path / layout.inventory_path(said)).unlink()
    problem = f"{layout.inventory_path(said)}: is missing, and the matrix names it"
    assert verify(Folder(tmp_path), POLICY, now=NOW).problems == (problem,)
    assert problem.replace("the matrix", "a matrix") in fsck(tmp_path, POLICY).problems


def test_nothing_new_writes_nothing(tmp_path: Path) -> None:
    """The same work published again signs nothing and changes no byte, until half of the matrix's life is over."""
    registry(tmp_path)
    before = tree(tmp_path)
    done = registry(tmp_path, now=NOW + VALID_S // 2 - 1)
    assert (done.new, done.known, done.manifest_new) == (0, 2, False)
    del before[layout.LOCK_FILE]
    assert {name: data for name, data in tree(tmp_path).items() if name in before} == before
    assert registry(tmp_path, now=NOW + VALID_S // 2).manifest_new


def test_changed_rows_are_signed_anew(tmp_path: Path) -> None:
    """A matrix with another row, by another key, or from the future is signed anew; the old one stays."""
    registry(tmp_path)
    assert registry(tmp_path, claim()).manifest_new
    assert registry(tmp_path, claim(), key=OTHER).manifest_new
    assert registry(tmp_path, claim(), key=OTHER, now=NOW - 5).manifest_new
    assert len(list((tmp_path / "manifests").iterdir())) == 3


def test_conflict(tmp_path: Path) -> None:
    """Another answer to the same question is kept beside the first, reported, and shown."""
    registry(tmp_path, claim())
    done = registry(tmp_path, claim(verdict=BAD))
    (conflict,) = done.conflicts
    assert (conflict.before, conflict.now) == ((Answer.COMPATIBLE,), Answer.INCOMPATIBLE)
    assert str(conflict).startswith("ringbuf@debian-12: now incompatible, published before: compatible")
    entries = layout.parse_index((tmp_path / layout.pair_path(pair_id(claim()))).read_bytes())
    assert [e.answer for e in entries] == [Answer.COMPATIBLE, Answer.INCOMPATIBLE]
    assert "Two signed answers" in (tmp_path / layout.page_path(pair_id(claim()))).read_text()
    found = verify(Folder(tmp_path), [KEY.public_key()], now=NOW)
    assert (found.trusted, len(found.conflicts), found.exit_code) == (True, 1, Exit.UNEXPECTED)


def test_as_declared(tmp_path: Path) -> None:
    """An answer that rests on declarations says so to whoever verifies it, and on both pages; others do not."""
    spec = {"attach": "attach", "declared": {"format": 1, "maps": {"m": {"max_entries": 4}}}}
    made = claim(object_name="sized", spec=spec)
    registry(tmp_path, claim(), made)
    found = verify(Folder(tmp_path), [KEY.public_key()], now=NOW)
    assert found.declared == {pair_id(made)}
    plain, declared = format_verification(found).splitlines()[:2]
    assert declared.startswith("sized@") and declared.endswith("compatible, as declared")
    assert "as declared" not in plain
    assert (tmp_path / "index.html").read_text().count("as declared</span>") == 1
    pages = {c.object_name: (tmp_path / layout.page_path(pair_id(c))).read_text() for c in (claim(), made)}
    assert {name: "As declared:" in text for name, text in pages.items()} == {"ringbuf": False, "sized": True}
    assert "&#34;max_entries&#34;:4" in pages["sized"]


def test_same_answer_again_is_no_conflict(tmp_path: Path) -> None:
    """Another statement with the same answer (here: a newer classifier) is appended and harmless."""
    registry(tmp_path, claim())
    done = registry(tmp_path, claim(classifier="4"))
    assert (done.new, done.conflicts) == (1, ())


def test_newer_format(tmp_path: Path) -> None:
    """A registry of a newer format is not touched."""
    (tmp_path / layout.FORMAT_FILE).write_text('{"format":3}')
    with pytest.raises(StoreError, match="format 3, this program knows 1 and 2"):
        registry(tmp_path)
    assert not (tmp_path / "bundles").exists()


@pytest.mark.parametrize("folder", ["bundles", "evidence", "keys", "pairs"])
def test_damage_is_not_overwritten(tmp_path: Path, folder: str) -> None:
    """A damaged file is named and left for its owner to judge."""
    registry(tmp_path)
    path = min((tmp_path / folder).iterdir())
    data = path.read_bytes()[:-1]
    path.write_bytes(data)
    with pytest.raises(StoreError, match="it is damaged"):
        registry(tmp_path)
    assert path.read_bytes() == data


def test_damaged_matrix_is_replaced(tmp_path: Path) -> None:
    """matrix.json is the one signed file that may change, so a damaged one is signed anew."""
    registry(tmp_path)
    (tmp_path / layout.MATRIX).write_bytes(b"junk")
    assert registry(tmp_path).manifest_new


def test_refused_input(tmp_path: Path) -> None:
    """A report that is not the claim's, a row without its bundle or unlike it, and an inconclusive claim."""
    made = claim()
    with pytest.raises(StoreError, match="report: expected"):
        put(tmp_path, [Item(made, b"other")], [row(made)], KEY, now=NOW)
    with pytest.raises(StoreError, match="neither given nor in"):
        put(tmp_path, [], [row(made)], KEY, now=NOW)
    with pytest.raises(StoreError, match="not what bundle"):
        put(tmp_path, [item(made)], [replace(row(made), kernel_release="9.9")], KEY, now=NOW)
    with pytest.raises(TrustError, match="never stated"):
        registry(tmp_path, claim(verdict=replace(GOOD, answer=Answer.INCONCLUSIVE)))


def test_rows_of_older_bundles(tmp_path: Path) -> None:
    """A matrix may name bundles that an earlier publish wrote."""
    good, bad = two_claims()
    registry(tmp_path, good)
    put(tmp_path, [item(bad)], [row(good), row(bad)], KEY, now=NOW)
    assert verify(Folder(tmp_path), [KEY.public_key()], now=NOW).exit_code is Exit.OK


def test_key_rotation(tmp_path: Path) -> None:
    """After a change of keys the old bundles stay as they are, and a reader who trusts both keys believes all."""
    registry(tmp_path, claim())
    good, bad = two_claims()
    done = registry(tmp_path, good, bad, key=OTHER)
    assert (done.new, done.known) == (1, 1)
    assert verify(Folder(tmp_path), [KEY.public_key(), OTHER.public_key()], now=NOW).exit_code is Exit.OK
    assert verify(Folder(tmp_path), [OTHER.public_key()], now=NOW).exit_code is Exit.UNTRUSTED


def killed_after(renames: int, work: Callable[[], None]) -> bool:
    """Do work in a process that kills itself right before rename number `renames`; False when it got to the end."""

    def run() -> None:
        import sys

        left = renames

        def hook(event: str, _: object) -> None:
            nonlocal left
            if event == "os.rename":
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1

        sys.addaudithook(hook)
        work()

    return os.WIFSIGNALED(in_child(run))


def test_killed_at_any_write(tmp_path: Path) -> None:
    """Whichever write a kill comes before, readers see a registry that verifies, and the next publish completes it."""
    good, bad = two_claims()
    renames = 0
    while True:
        folder = tmp_path / str(renames)
        registry(folder, good)
        if not killed_after(renames, lambda folder=folder: registry(folder, good, bad)):  # type: ignore[misc]
            break
        found = verify(Folder(folder), [KEY.public_key()], now=NOW)
        assert found.exit_code is Exit.OK, (renames, found.problems)
        registry(folder, good, bad)
        assert len(verify(Folder(folder), [KEY.public_key()], now=NOW).rows) == 2
        renames += 1
    assert renames >= 7


def test_identity_is_not_the_signature(tmp_path: Path) -> None:
    """A bundle's name is the digest of what was signed, so anyone can compute it before there is a signature."""
    registry(tmp_path, claim())
    (path,) = (tmp_path / "bundles").iterdir()
    payload = envelope.parse(path.read_bytes()).payload
    assert path.name == digest_bytes(envelope.pae(payload))[7:] + ".json"
    assert (tmp_path / layout.evidence_path(claim().report)).read_bytes() == report(claim())


def pack_of(folder: Path) -> Path:
    """The pack that the newest matrix names."""
    matrix = parse_matrix_statement(parse((folder / layout.MATRIX).read_bytes(), MAX_MATRIX_BYTES).payload)
    return folder / layout.pack_path(matrix.pack or "")


def test_pack(tmp_path: Path) -> None:
    """The pack has each bundle and its report as they lie there, in the order of the rows; of old ones one is kept."""
    folder, seen = tmp_path / "r", []
    for count in (1, 2, 3):
        claims = [claim(kernel_name=f"k{n}", vmlinuz=digest_bytes(b"%d" % n)) for n in range(count)]
        registry(folder, *claims)
        seen.append(pack_of(folder))
        bundles = [(folder / layout.bundle_path(row(c).bundle or "")).read_bytes() for c in claims]
        assert list(unpack(seen[-1].read_bytes(), 3)) == [(b, report(c)) for b, c in zip(bundles, claims, strict=True)]
    assert sorted((folder / "packs").iterdir()) == sorted(seen[1:])


def test_lost_pack(tmp_path: Path) -> None:
    """A pack that is lost or damaged is told of by who verifies, and a lost one is made again by the next publish."""
    registry(tmp_path / "r")
    path = pack_of(tmp_path / "r")
    whole = path.read_bytes()
    for data in (whole[:-1], pack([(b"{}", b"{}")] * 2), b""):
        path.write_bytes(data or b"")
        assert any("pack: " in p for p in verify(Folder(tmp_path / "r"), POLICY, now=NOW).problems)
    path.unlink()
    assert any("is missing" in p for p in verify(Folder(tmp_path / "r"), POLICY, now=NOW).problems)
    registry(tmp_path / "r")
    assert pack_of(tmp_path / "r").read_bytes() == whole
    assert verify(Folder(tmp_path / "r"), POLICY, now=NOW).problems == ()
