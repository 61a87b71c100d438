"""A publisher that is killed at any write, sync, rename or removal: old or new, never between, and nothing twice."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bpfcompat.digest import digest_bytes
from bpfcompat.errors import Exit
from bpfcompat.policy import Policy
from bpfcompat.registry import layout
from bpfcompat.registry.client import Folder
from bpfcompat.registry.fsck import fsck
from bpfcompat.registry.ledger import Ledger
from bpfcompat.registry.verify import Trust, Verification, verify
from bpfcompat.statement import Claim
from bpfcompat.trailhead import Head, head_payload
from tests.claims import BAD, KEY, NOW, POLICY, claim, item, put, registry, row, two_claims
from tests.formats import format_1
from tests.killing import killed_at

pytestmark = pytest.mark.hostile
POLICY_OF_KEYS = Policy.of_keys([KEY.public_key()])
GOOD, OLD = two_claims()
NEWER = claim(kernel_name="debian-13", vmlinuz=digest_bytes(b"newer kernel"))
ANSWERED_AGAIN = claim(verdict=BAD, classifier="5")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder in memory where there is one: a thousand syncs are nothing to it."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


def nothing(folder: Path) -> None:
    """No registry at all."""


def grown(folder: Path) -> None:
    """A registry of two verdicts."""
    registry(folder, GOOD, OLD)


def of_format_1(folder: Path) -> None:
    """A registry of the same that an older version has written."""
    registry(folder, GOOD, OLD)
    format_1(folder)


BEFORE: dict[str, tuple[Callable[[Path], None], tuple[Claim, ...]]] = {
    "the first publish": (nothing, (GOOD, OLD)),
    "more verdicts": (grown, (GOOD, OLD, NEWER)),
    "an upgrade from format 1": (of_format_1, (GOOD, OLD, NEWER)),
}


def copies(base: Path) -> Iterator[Path]:
    """The same registry and records again and again, each in a place of its own."""
    number = 0
    while True:
        place = base.with_name(f"try-{number}")
        for suffix in ("", ".records"):
            if base.with_name(base.name + suffix).exists():
                shutil.copytree(base.with_name(base.name + suffix), place.with_name(place.name + suffix))
        yield place
        number += 1


def seen(folder: Path) -> Verification | None:
    """What a reader makes of a folder; None while it has no matrix, as before the first publish.

    Who knows the log's key asks for the log from the first matrix on that is cut from it.
    """
    if not (folder / layout.MATRIX).exists():
        return None
    matrix = Trust(POLICY_OF_KEYS).matrix((folder / layout.MATRIX).read_bytes())[0]
    return verify(Folder(folder), POLICY if matrix.log else POLICY_OF_KEYS, now=NOW)


def leaves(folder: Path) -> list[str]:
    """The bundles in the log."""
    return [digest for _, digest in Ledger(Folder(folder), POLICY).digests()]


@pytest.mark.parametrize("case", BEFORE)
def test_killed_at_every_step(place: Path, case: str, record_property: Callable[[str, object], None]) -> None:
    """Readers see the matrix of before or of after, all of it true; the next publish ends it, no leaf is doubled."""
    prepare, claims = BEFORE[case]
    base = place / "base"
    prepare(base)
    steps, rows = 0, set()
    for steps, folder in enumerate(copies(base)):
        if not killed_at(steps, lambda folder=folder: registry(folder, *claims)):  # type: ignore[misc]
            break
        found = seen(folder)
        if found is not None:
            assert found.exit_code is Exit.OK, (steps, found.problems)
            rows.add(len(found.rows))
        registry(folder, *claims)
        after = verify(Folder(folder), POLICY, now=NOW)
        assert (after.exit_code, len(after.rows), after.unborn, after.bundles) == (Exit.OK, len(claims), 0, len(claims))
        assert len(leaves(folder)) == len(set(leaves(folder))) == len(claims)
        assert not list((folder / layout.PENDING).iterdir())
        shutil.rmtree(folder)
    record_property("steps", steps)
    assert steps > 80
    assert rows <= {2, len(claims)} and len(claims) in rows


def test_killed_while_another_answer_is_published(place: Path) -> None:
    """A verdict that a killed run had signed is logged by the next one, whatever that one publishes."""
    base = place / "base"
    registry(base, GOOD)
    signed = set()
    for step, folder in zip(range(0, 400, 7), copies(base), strict=False):
        if not killed_at(step, lambda folder=folder: registry(folder, ANSWERED_AGAIN)):  # type: ignore[misc]
            break
        registry(folder, GOOD)
        signed.add(len(leaves(folder)))
        assert verify(Folder(folder), POLICY, now=NOW).trusted
    assert signed == {1, 2}


def test_killed_while_a_head_is_logged(place: Path) -> None:
    """Heads of the audit trail are logged or not, and never half; the next publish, with a newer head, ends it."""
    base, heads = place / "base", set()
    registry(base, GOOD)

    def publish(folder: Path, number: int) -> None:
        payload = head_payload(Head(number, digest_bytes(b"%d" % number)))
        put(folder, [item(GOOD), item(NEWER)], [row(GOOD), row(NEWER)], head=payload)

    for step, folder in zip(range(0, 400, 7), copies(base), strict=False):
        if not killed_at(step, lambda folder=folder: publish(folder, 1)):  # type: ignore[misc]
            break
        found = seen(folder)
        assert found is not None and found.trusted, found
        publish(folder, 2)
        after = verify(Folder(folder), POLICY, now=NOW)
        assert (after.trusted, after.bundles, after.unborn, fsck(folder).problems) == (True, 2, 0, ())
        heads.add(after.heads)
    assert heads == {1, 2}
