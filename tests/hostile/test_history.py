"""What whoever holds the keys, or serves the files, can do to a registry's history, and which reader catches it.

The table of docs/log.md, acted out: three readers meet each attack.  `plain` pins the verdict key, `returning` also the
log's key and remembers what it saw, `witnessed` asks besides that a witness, whom nobody here controls, has looked.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bpfcompat import envelope
from bpfcompat.cli import main
from bpfcompat.errors import Exit, StoreError, TrustError
from bpfcompat.keys import public_pem
from bpfcompat.note import cosign
from bpfcompat.policy import Policy
from bpfcompat.registry import layout
from bpfcompat.registry.client import Folder
from bpfcompat.registry.ledger import Ledger
from bpfcompat.registry.log import opened
from bpfcompat.registry.state import Contradiction, Memory
from bpfcompat.registry.verify import Verification, format_verification, verify
from bpfcompat.registry.witness import add_line, witness
from tests.claims import BAD, GOOD, KEY, LOG, NOW, POLICY, claim, item, put, registry, row, signer
from tests.histories import EYES, WITNESSES
from tests.sumdb import oracle

pytestmark = pytest.mark.hostile

DAY = 86400
EYE, WITNESS = EYES[0], WITNESSES[0]
WITNESSED = replace(POLICY, witnesses=(WITNESS,), needed=1, max_age_s=DAY)
FAILED = claim(verdict=BAD)
PASSED = claim(verdict=GOOD)
THIRD = claim(kernel_name="debian-13", kernel_release="6.12.0", vmlinuz="sha256:" + "7" * 64)


@dataclass(frozen=True, slots=True)
class Scene:
    """What the readers saw first, what they are served then, and how long after."""

    before: Path
    after: Path
    later_s: int = 60


def look(folder: Path, state: Path, now: int = NOW) -> None:
    """The witness comes by and, when it finds what it expects, the publisher adds its line."""
    add_line(folder, witness(Folder(folder), POLICY, WITNESS.name, EYE, state, now).line, WITNESS)


def copied(folder: Path, name: str) -> Path:
    """A mirror of a registry."""
    return Path(shutil.copytree(folder, folder.with_name(name)))


def honest(tmp_path: Path) -> Path:
    """A registry with a verdict that somebody would rather not have given; the witness has seen it."""
    folder = tmp_path / "honest"
    registry(folder, FAILED)
    look(folder, tmp_path / "eyes")
    return folder


def edited(tmp_path: Path) -> Scene:
    """A mirror changes a verdict."""
    mirror = copied(before := honest(tmp_path), "mirror")
    (bundle,) = (mirror / "bundles").iterdir()
    data = bundle.read_bytes()
    bundle.write_bytes(data.replace(data[-9:-8], b"A" if data[-9:-8] != b"A" else b"B"))
    return Scene(before, mirror)


def replaced(tmp_path: Path) -> Scene:
    """The publisher makes its history anew, with the other answer in the place of the one it gave."""
    before = honest(tmp_path)
    registry(tmp_path / "anew", PASSED)
    return Scene(before, tmp_path / "anew")


def replaced_and_grown(tmp_path: Path) -> Scene:
    """The same, and more verdicts on top, so that the log is larger than anything that was seen."""
    before = honest(tmp_path)
    registry(tmp_path / "anew", PASSED, THIRD)
    return Scene(before, tmp_path / "anew")


def old(tmp_path: Path) -> Scene:
    """A mirror keeps serving what there was two days ago."""
    mirror = copied(before := honest(tmp_path), "mirror")
    put(before, [item(THIRD)], [row(THIRD)], now=NOW + 2 * DAY)
    look(before, tmp_path / "eyes", NOW + 2 * DAY)
    return Scene(before, mirror, 2 * DAY)


def forked_by_a_thief(tmp_path: Path) -> Scene:
    """A thief of the log's key, and of no verdict key, puts a known leaf in the place of the newest verdict's.

    The matrix of before, which still lives, goes with it.
    """
    mirror = copied(before := honest(tmp_path), "mirror")
    (bundle,) = (mirror / "bundles").iterdir()
    leaf = envelope.leaf_of(envelope.parse(bundle.read_bytes()), KEY.public_key())
    put(before, [item(THIRD)], [row(THIRD)], now=NOW)
    look(before, tmp_path / "eyes")
    with opened(mirror, signer(mirror)) as log:
        log.append([leaf])
    return Scene(before, mirror)


def deleted(tmp_path: Path) -> Scene:
    """The publisher takes the verdict away, and signs a matrix that never had it."""
    before = honest(tmp_path)
    after = copied(before, "after")
    shutil.copytree(tmp_path / "honest.records", tmp_path / "after.records")
    put(after, [item(THIRD)], [row(THIRD)], now=NOW)
    look(after, tmp_path / "eyes")
    for path in [*(after / "pairs").iterdir(), *(after / "bundles").iterdir()]:
        if path.name in {p.name for p in [*(before / "pairs").iterdir(), *(before / "bundles").iterdir()]}:
            path.unlink()
    return Scene(before, after)


def split(tmp_path: Path) -> Scene:
    """Two histories side by side: the witness is shown one, these readers always the other."""
    honest(tmp_path)
    registry(tmp_path / "other", PASSED)
    return Scene(tmp_path / "other", tmp_path / "other")


def false(tmp_path: Path) -> Scene:
    """The publisher lies when it tests, and signs that properly."""
    registry(tmp_path / "false", PASSED)
    look(tmp_path / "false", tmp_path / "eyes")
    return Scene(tmp_path / "false", tmp_path / "false")


#                                             plain  returning  witnessed: whether it believes
BELIEVED: dict[Callable[[Path], Scene], tuple[bool, bool, bool]] = {
    edited: (False, False, False),
    replaced: (True, False, False),
    replaced_and_grown: (True, False, False),
    forked_by_a_thief: (True, False, False),
    old: (True, False, False),
    deleted: (True, False, False),
    split: (True, True, False),
    false: (True, True, True),
}


def visit(folder: Path, policy: Policy, state: Path, now: int = NOW) -> Verification:
    """One check of a registry by a reader who remembers."""
    memory = Memory(state, policy.log) if policy.log else None
    return verify(Folder(folder), policy, now=now, memory=memory)


@pytest.mark.parametrize("attack", BELIEVED, ids=lambda attack: attack.__name__)
def test_who_catches_it(attack: Callable[[Path], Scene], tmp_path: Path) -> None:
    """Each reader believes or refuses as the table says, no more and no less."""
    scene = attack(tmp_path)
    now = NOW + scene.later_s
    said = []
    for name, policy in (("plain", Policy(POLICY.verdict)), ("returning", POLICY), ("witnessed", WITNESSED)):
        visit(scene.before, policy, tmp_path / name, now)
        said.append(visit(scene.after, policy, tmp_path / name, now))
    assert tuple(found.trusted for found in said) == BELIEVED[attack], [found.problems for found in said]
    assert all(found.exit_code is Exit.UNTRUSTED for found in said if not found.trusted)


@pytest.mark.parametrize("attack", [replaced, replaced_and_grown, forked_by_a_thief, split])
def test_first_visit(attack: Callable[[Path], Scene], tmp_path: Path) -> None:
    """Who comes for the first time is protected by the witness alone."""
    scene = attack(tmp_path)
    assert visit(scene.after, POLICY, tmp_path / "state").trusted
    refused = visit(scene.after, WITNESSED, tmp_path / "state")
    assert "1 witnesses needed, 0 count" in "".join(refused.problems)


@pytest.mark.parametrize("attack", [replaced, replaced_and_grown, forked_by_a_thief, old])
def test_the_witness_refuses(attack: Callable[[Path], Scene], tmp_path: Path) -> None:
    """A witness who saw the first history signs nothing for the other."""
    scene = attack(tmp_path)
    with pytest.raises(Contradiction, match="seen before"):
        look(scene.after, tmp_path / "eyes")
    assert WITNESS.name.encode() not in (scene.after / layout.CHECKPOINT).read_bytes() or attack is old


@pytest.mark.parametrize("attack", [replaced, replaced_and_grown])
def test_the_strictest_keeps_evidence(attack: Callable[[Path], Scene], tmp_path: Path) -> None:
    """Who asks for witnesses too is shown both notes of a rewritten log first; what none of them saw is not kept."""
    scene = attack(tmp_path)
    visit(scene.before, WITNESSED, tmp_path / "state", NOW)
    kept = {p.name: p.read_bytes() for p in (tmp_path / "state").iterdir() if p.is_file()}
    found = visit(scene.after, WITNESSED, tmp_path / "state", NOW + scene.later_s)
    assert "seen before:" in "\n".join(found.problems)
    (evidence,) = (tmp_path / "state" / "evidence").iterdir()
    assert (evidence / "after.note").read_bytes() == (scene.after / layout.CHECKPOINT).read_bytes()
    assert {p.name: p.read_bytes() for p in (tmp_path / "state").iterdir() if p.is_file()} == kept


@pytest.mark.parametrize("attack", [replaced, replaced_and_grown])
def test_portable_proof(attack: Callable[[Path], Scene], tmp_path: Path) -> None:
    """What a returning reader keeps convinces others: both notes, printed in full, and signed as Go sees it too."""
    scene = attack(tmp_path)
    visit(scene.before, POLICY, tmp_path / "state")
    printed = format_verification(visit(scene.after, POLICY, tmp_path / "state"))
    (evidence,) = (tmp_path / "state" / "evidence").iterdir()
    notes = [(evidence / name).read_bytes() for name in ("before.note", "after.note")]
    assert notes == [(folder / layout.CHECKPOINT).read_bytes() for folder in (scene.before, scene.after)]
    for note in notes:
        for line in note.decode().splitlines():
            assert any(row.endswith(f"  {line}") for row in printed.splitlines()), line
    assert str(evidence) in printed and printed.startswith("not trusted: ")
    (tmp_path / "go").mkdir()
    answers = oracle(tmp_path / "go")([{"op": "note", "vkeys": [LOG.vkey], "note": note} for note in notes])
    assert [answer["error"] for answer in answers] == ["", ""]


def test_gossip(tmp_path: Path) -> None:
    """Two readers who were shown different logs need only lay their notes side by side."""
    scene = split(tmp_path)
    visit(tmp_path / "honest", POLICY, tmp_path / "auditor")
    visit(scene.after, POLICY, tmp_path / "ci")
    (theirs,) = (tmp_path / "ci").glob("*.note")
    with pytest.raises(Contradiction, match="fork"):
        Memory(tmp_path / "auditor", [LOG]).meet(theirs.read_bytes(), {}.get)


def test_second_answer_stays_beside_the_first(tmp_path: Path) -> None:
    """An answer that is appended replaces nothing: the log has both leaves, and the conflict is shown."""
    folder = honest(tmp_path)
    visit(folder, POLICY, tmp_path / "state")
    put(folder, [item(PASSED)], [row(PASSED)], now=NOW)
    found = visit(folder, POLICY, tmp_path / "state")
    assert found.trusted and found.exit_code is Exit.UNEXPECTED
    assert "compatible and as incompatible" in "".join(found.conflicts)


def test_a_stale_witness_is_named(tmp_path: Path) -> None:
    """A mirror that froze is refused by the time that its newest witness gives, also on a first visit."""
    folder = honest(tmp_path)
    assert visit(folder, WITNESSED, tmp_path / "state", NOW + DAY).trusted
    frozen = visit(folder, WITNESSED, tmp_path / "other", NOW + DAY + 1)
    assert "by the newest witness, older than 86400 s" in "".join(frozen.problems)
    again = format_verification(visit(folder, WITNESSED, tmp_path / "state", NOW + DAY + 1))
    assert [line for line in again.splitlines() if line.endswith(("seen before:", "served now:"))] == [
        "not trusted: seen before:",
        "not trusted: served now:",
    ]
    assert again.count(WITNESS.name) == 2, "both notes, with the witness's line"


def test_the_witness_looks_before_the_publisher_grows(tmp_path: Path) -> None:
    """A line comes too late when the log has grown: it is refused, and the checkpoint stays as it is."""
    folder = honest(tmp_path)
    line = witness(Folder(folder), POLICY, WITNESS.name, EYE, tmp_path / "eyes", NOW).line
    put(folder, [item(THIRD)], [row(THIRD)], now=NOW)
    before = (folder / layout.CHECKPOINT).read_bytes()
    with pytest.raises(TrustError, match="has the log grown since"):
        add_line(folder, line, WITNESS)
    assert (folder / layout.CHECKPOINT).read_bytes() == before


def test_an_end_that_nobody_else_sees(tmp_path: Path) -> None:
    """A witnessed checkpoint, and behind it leaves for one reader only: growth that no witness saw is not believed."""
    folder = honest(tmp_path)
    shown = (folder / layout.CHECKPOINT).read_bytes()
    put(folder, [item(THIRD)], [row(THIRD)], now=NOW)

    class Growing(Folder):
        """Serves the witnessed checkpoint first, and when it is asked again the one that is only for this reader."""

        def read(self, path: str, limit: int) -> bytes | None:
            """As Source.read."""
            nonlocal shown
            data, shown = (shown, b"") if path == layout.CHECKPOINT and shown else (super().read(path, limit), shown)
            return data

    refused = verify(Growing(folder), WITNESSED, now=NOW)
    assert "1 witnesses needed, 0 count" in "".join(refused.problems)


def test_one_witness_does_not_set_the_clock(tmp_path: Path) -> None:
    """Where two witnesses are needed, a leaf was seen when the second one saw it: one that lies moves no validity."""
    folder = honest(tmp_path)
    text = (folder / layout.CHECKPOINT).read_bytes().partition(b"\n\n")[0] + b"\n"
    add_line(folder, cosign(text, WITNESSES[1].name, EYES[1], 5), WITNESSES[1])
    for needed, expected in ((1, 5), (2, NOW)):
        policy = replace(POLICY, witnesses=tuple(WITNESSES), needed=needed)
        assert Ledger(Folder(folder), policy, now=NOW).witnessed == expected
    with pytest.raises(TrustError, match="2 count"):
        Ledger(Folder(folder), replace(POLICY, witnesses=tuple(WITNESSES), needed=3), now=NOW)


def test_a_memory_that_cannot_be_kept_is_no_verdict(tmp_path: Path) -> None:
    """Trouble on this machine's disk says nothing of the registry."""
    folder = honest(tmp_path)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="--state DIR"):
        visit(folder, POLICY, tmp_path / "file")


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same with the commands that a reader types: believed, then refused with both notes, and without a witness."""
    now = int(time.time())
    registry(tmp_path / "honest", FAILED, now=now)
    registry(tmp_path / "anew", PASSED, THIRD, now=now)
    look(tmp_path / "honest", tmp_path / "eyes", now)
    (tmp_path / "key.pub").write_bytes(public_pem(KEY.public_key()))
    for name, key in (("log.vkey", LOG), ("eyes.vkey", WITNESS)):
        (tmp_path / name).write_text(key.vkey)
    given = ["--key", str(tmp_path / "key.pub"), "--log-key", str(tmp_path / "log.vkey")]
    remembering = [*given, "--state", str(tmp_path / "state")]
    witnessed = ["--witness", str(tmp_path / "eyes.vkey"), "--needed", "1", "--max-age", "1d"]
    assert main(["verify", str(tmp_path / "honest"), *remembering, *witnessed]) == 0
    capsys.readouterr()
    assert main(["verify", str(tmp_path / "anew"), *remembering]) == 4
    printed = capsys.readouterr().out
    assert "fork: the tree of 2 leaves does not begin with the 1 that were seen" in printed
    assert "seen before:" in printed and "served now:" in printed
    assert main(["verify", str(tmp_path / "anew"), *given, "--state", str(tmp_path / "first")]) == 0
    assert main(["verify", str(tmp_path / "anew"), *given, "--state", str(tmp_path / "second"), *witnessed]) == 4
    assert "witness.example/w1 did not sign" in capsys.readouterr().out
