"""Attacks on a registry's log, and the reader that sees them; each ends in exit code 4."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bpfcompat import envelope
from bpfcompat.digest import digest_bytes
from bpfcompat.errors import Exit
from bpfcompat.manifest import Matrix, matrix_payload, parse_matrix_statement
from bpfcompat.note import Kind, NoteKey, sign_note
from bpfcompat.policy import Policy, VerdictKey
from bpfcompat.registry import layout
from bpfcompat.registry.client import Folder, open_source
from bpfcompat.registry.log import opened
from bpfcompat.registry.state import Memory
from bpfcompat.registry.verify import Verification, verify
from bpfcompat.tlog import Checkpoint
from tests.claims import (
    BAD,
    KEY,
    LOG,
    LOG_KEY,
    NOW,
    ORIGIN,
    OTHER,
    POLICY,
    claim,
    put,
    registry,
    row,
    signer,
    two_claims,
)
from tests.logs import logged
from tests.serving import reply, serving

pytestmark = pytest.mark.hostile
GOOD, OLD = two_claims()
THIRD = claim(kernel_name="debian-13", vmlinuz=digest_bytes(b"third"))


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A registry that was published to twice."""
    folder = tmp_path / "registry"
    registry(folder, GOOD)
    registry(folder, GOOD, OLD)
    return folder


def check(folder: Path, policy: Policy = POLICY, **more: object) -> Verification:
    """Verify a folder now."""
    return verify(Folder(folder), policy, **{"now": NOW, **more})  # type: ignore[arg-type]


def refuse(folder: Path, words: str, policy: Policy = POLICY, **more: object) -> None:
    """Assert that a folder is not trusted, for a reason with these words."""
    found = check(folder, policy, **more)
    assert found.exit_code is Exit.UNTRUSTED
    assert words in "\n".join(found.problems), found.problems


def cut(folder: Path, log: Checkpoint | None) -> None:
    """Sign the matrix anew, cut from another log."""
    found = parse_matrix_statement(envelope.parse((folder / layout.MATRIX).read_bytes()).payload)
    payload = matrix_payload(Matrix(found.rows, found.not_before, found.expires, log))
    (folder / layout.MATRIX).write_bytes(envelope.sign(payload, KEY))


def test_good(good: Path) -> None:
    """Untouched, it is trusted; bundles carry proofs to the checkpoints of their time."""
    assert check(good).exit_code is Exit.OK
    sizes = {e.size for e in (envelope.parse(p.read_bytes()).entry for p in (good / "bundles").iterdir()) if e}
    assert sizes == {1, 2}


def test_no_log(good: Path) -> None:
    """Who knows the log's key believes nothing without the log."""
    (good / layout.CHECKPOINT).unlink()
    refuse(good, "checkpoint: is missing")


def test_matrix_of_another_checkpoint(good: Path) -> None:
    """A matrix that is cut from a larger log, another root, another log or none is refused."""
    last = Checkpoint(ORIGIN, 2, b"")
    for log, words in (
        (replace(last, root=digest_bytes(b"x").encode()[:32]), "cut from another log than the served one"),
        (Checkpoint(ORIGIN, 3, bytes(32)), "cut from another log than the served one"),
        (Checkpoint("other.test", 1, bytes(32)), "is of log other.test"),
        (None, "is not cut from a log"),
    ):
        cut(good, log)
        refuse(good, words)


def test_served_checkpoint_is_older_than_the_matrix(good: Path, tmp_path: Path) -> None:
    """Checkpoint A served beside a matrix that was cut from B is refused."""
    old = (good / layout.CHECKPOINT).read_bytes()
    registry(good, GOOD, OLD, THIRD)
    (good / layout.CHECKPOINT).write_bytes(old)
    refuse(good, "cut from another log than the served one")


def test_older_matrix(good: Path) -> None:
    """A matrix that was cut from an older checkpoint of the same log is good, while it lives."""
    old = (good / layout.MATRIX).read_bytes()
    registry(good, GOOD, OLD, THIRD)
    (good / layout.MATRIX).write_bytes(old)
    assert check(good).exit_code is Exit.OK


def test_deleted_verdict(good: Path) -> None:
    """A bundle that is gone is missed because of its leaf, also when the matrix no longer has its row."""
    registry(good, GOOD)
    assert len(check(good).rows) == 1
    (good / layout.bundle_path(row(OLD).bundle or "")).unlink()
    (good / layout.pair_path(row(OLD).pair or "")).unlink()
    refuse(good, f"{layout.bundle_path(row(OLD).bundle or '')}: is missing")
    assert check(good, Policy.of_keys([KEY.public_key()])).exit_code is Exit.OK


def test_bundle_that_is_not_logged(good: Path) -> None:
    """A signed verdict that never went through the log is not believed: a stolen key alone makes none."""
    place = good / layout.bundle_path(row(OLD).bundle or "")
    found = envelope.parse(place.read_bytes())
    place.write_bytes(envelope.bundle_bytes(replace(found, entry=None)))
    refuse(good, "is in no log")


def test_bundle_of_another_tree(good: Path) -> None:
    """A bundle in a log of the same name and key that the served one does not begin with: a split view."""
    place = good / layout.bundle_path(row(OLD).bundle or "")
    place.write_bytes(logged(envelope.parse(place.read_bytes()).payload)[0])
    refuse(good, "consistency proof")


def answer_from(folder: Path, handler: Any) -> None:
    """Serve a folder."""
    place = folder / handler.path[1:]
    reply(handler, *((200, place.read_bytes()) if place.is_file() else (404, b"")))


TILES: dict[str, Callable[[bytes], bytes]] = {
    "flipped": lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
    "short": lambda data: data[:-1],
    "long": lambda data: data + b"x",
    "empty": lambda data: b"",
}


@pytest.mark.parametrize("name", ["tile/0/000.p/2", "tile/entries/000.p/2"])
@pytest.mark.parametrize("change", TILES.values(), ids=TILES.keys())
def test_tiles(good: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """Tiles that are not what the checkpoint signs are refused, and so are missing ones."""
    (good / name).write_bytes(change((good / name).read_bytes()))
    assert check(good).exit_code is Exit.UNTRUSTED
    (good / name).unlink()
    refuse(good, f"{name}: is missing")


def test_rewritten_history(good: Path, tmp_path: Path) -> None:
    """A publisher who replaces a verdict and signs everything anew convinces a first visitor, and no returning one."""
    memory = tmp_path / "state"
    assert check(good, memory=Memory(memory, POLICY.log)).exit_code is Exit.OK
    for name in ("registry", "registry.records"):
        shutil.rmtree(tmp_path / name)
    registry(good, GOOD, claim(kernel_name="debian-10", vmlinuz=digest_bytes(b"old kernel"), verdict=GOOD.verdict))
    assert check(good).exit_code is Exit.OK
    refuse(good, "fork", memory=Memory(memory, POLICY.log))
    said = "\n".join(check(good, memory=Memory(memory, POLICY.log)).problems)
    assert "seen before:" in said and "served now:" in said and said.count(f"  {ORIGIN}") == 2


def test_old_tree(good: Path, tmp_path: Path) -> None:
    """Yesterday's tree is refused by who has seen today's, and believed by others until its matrix expires."""
    shutil.copytree(good, tmp_path / "mirror")
    registry(good, GOOD, OLD, THIRD)
    memory = tmp_path / "state"
    assert check(good, memory=Memory(memory, POLICY.log)).exit_code is Exit.OK
    refuse(tmp_path / "mirror", "rollback", memory=Memory(memory, POLICY.log))
    assert check(tmp_path / "mirror").exit_code is Exit.OK
    assert check(good, memory=Memory(memory, POLICY.log)).exit_code is Exit.OK


def test_no_witness(good: Path) -> None:
    """A policy that needs a witness refuses a log that none has seen."""
    witness = NoteKey("w.test", Ed25519PrivateKey.generate().public_key(), Kind.WITNESS)
    refuse(good, "witnesses needed", replace(POLICY, witnesses=(witness,), needed=1))


def test_revoked_by_index(good: Path) -> None:
    """A key that holds below an index is believed up to there, and not for one leaf more: no row may rest on that."""
    both = Policy((VerdictKey(KEY.public_key(), below=1), VerdictKey(OTHER.public_key())), log=(LOG,))
    put(good, [], [row(GOOD)], OTHER)
    assert (check(good, both).exit_code, check(good, both).void) == (Exit.OK, 1)
    put(good, [], [row(GOOD), row(OLD)], OTHER)
    refuse(good, "holds only below log index 1, this is log index 1", both)
    two = Policy((VerdictKey(KEY.public_key(), below=2), VerdictKey(OTHER.public_key())), log=(LOG,))
    assert check(good, two).exit_code is Exit.OK


def test_another_answer_in_the_log(good: Path) -> None:
    """Another answer to the same question is a conflict, not a replacement: both leaves are there."""
    registry(good, OLD, claim(verdict=BAD))
    found = check(good)
    assert (found.exit_code, len(found.conflicts)) == (Exit.UNEXPECTED, 1)


def test_leaf_of_nothing(good: Path) -> None:
    """A log whose key holder put a foreign leaf into it is not one of ours."""
    with opened(good, signer(good)) as log:
        log.append([b"foreign"])
    refuse(good, "no hashedrekord")


def test_growing_while_being_read(good: Path, tmp_path: Path) -> None:
    """A publish between a reader's two requests is no reason for distrust."""
    shutil.copytree(good, tmp_path / "old")
    registry(good, OLD, claim(classifier="9"))
    asked = []

    def answer(handler: Any) -> None:
        name = handler.path[1:]
        first = name == layout.CHECKPOINT and name not in asked
        asked.append(name)
        answer_from(tmp_path / "old" if first else good, handler)

    old = (tmp_path / "old" / layout.MATRIX).read_bytes()
    (good / layout.MATRIX).write_bytes(old)
    with serving(answer) as server:
        found = verify(open_source(server.url), POLICY, now=NOW, every=True)
    assert (found.problems, found.exit_code) == ((), Exit.OK)
    assert asked.count(layout.CHECKPOINT) == 2


@pytest.mark.parametrize("every", [False, True])
def test_deleted_verdict_over_http(good: Path, every: bool) -> None:
    """Over HTTP too a deleted verdict that no row names is missed: its leaf is there, and has no bundle."""
    registry(good, GOOD)
    (good / layout.bundle_path(row(OLD).bundle or "")).unlink()
    with serving(lambda handler: answer_from(good, handler)) as server:
        found = verify(open_source(server.url), POLICY, now=NOW, every=every)
    assert found.exit_code is Exit.UNTRUSTED and "is missing" in "".join(found.problems)


def test_checkpoint_with_another_text(good: Path) -> None:
    """A checkpoint of the right key that says nonsense is refused."""
    for text in (b"x\n", f"{ORIGIN}\n02\nAA==\n".encode(), f"{ORIGIN}\n2\n\n".encode()):
        (good / layout.CHECKPOINT).write_bytes(sign_note(text, ORIGIN, LOG_KEY))
        refuse(good, "checkpoint:")
