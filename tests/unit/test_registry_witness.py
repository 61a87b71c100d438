"""Witnesses: what one signs and when it does not, how its line is added, and which lines count for a reader."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bpfcompat.cli import main
from bpfcompat.errors import StoreError, TrustError
from bpfcompat.keys import load_log_private
from bpfcompat.note import Kind, Note, NoteKey, Signer, cosign, put_line, verify_note
from bpfcompat.policy import CLOCK_SKEW_S, Policy
from bpfcompat.registry import witness as module
from bpfcompat.registry.state import Contradiction, Memory
from bpfcompat.registry.witness import add_line, check_witnesses, witness
from tests.histories import EYES, LOG, ORIGIN, WITNESSES, History, leaves

NOW = 1_800_000_000
NAME = WITNESSES[0].name
WATCHED = Policy((), (LOG,))


def look(state: Path, history: History) -> bytes:
    """The first witness's line."""
    return witness(history, WATCHED, NAME, EYES[0], state, NOW).line


def test_cosigns_growth(tmp_path: Path) -> None:
    """A witness signs what grew from what it saw: the note's text, with its own time."""
    history = History(leaves(5))
    for _ in range(3):
        line = look(tmp_path, history)
        note = verify_note(put_line(history.note, line), [LOG, WITNESSES[0]])
        assert [(s.key.name, s.time) for s in note.signers] == [(ORIGIN, None), (NAME, NOW)]
        history.grow(*leaves(300, "more"))


def test_says_what_it_knew(tmp_path: Path) -> None:
    """What is seen for the first time is said to be."""
    history = History(leaves(5))
    first = witness(history, WATCHED, NAME, EYES[0], tmp_path, NOW)
    history.grow(b"x")
    second = witness(history, WATCHED, NAME, EYES[0], tmp_path, NOW)
    assert first.before is None
    assert second.before == first.checkpoint and second.checkpoint.size == 6


@pytest.mark.parametrize("other", [leaves(4), leaves(5, "other"), leaves(9, "other")])
def test_signs_no_other_history(tmp_path: Path, other: list[bytes]) -> None:
    """A smaller tree, another root, or growth from something else is not signed, and not remembered."""
    look(tmp_path, History(leaves(5)))
    with pytest.raises(Contradiction):
        look(tmp_path, History(other))
    look(tmp_path, History(leaves(6)))


def test_remembers_before_it_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the line is made, what it says is already on disk: a witness that dies in between never says two things."""
    history = History(leaves(5))

    def dies(*_: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "cosign", dies)
    with pytest.raises(KeyboardInterrupt):
        look(tmp_path, history)
    last = Memory(tmp_path, [LOG]).last(ORIGIN)
    assert last is not None and last.size == 5


def test_signs_nothing_it_cannot_remember(tmp_path: Path) -> None:
    """Where the memory cannot be written there is no line."""
    (tmp_path / "state").write_text("in the way")
    with pytest.raises(StoreError, match="--state DIR"):
        look(tmp_path / "state", History(leaves(5)))


def test_no_log(tmp_path: Path) -> None:
    """A registry without a checkpoint, or with somebody else's, has nothing to witness."""
    empty = History()
    empty.files.clear()
    with pytest.raises(TrustError, match="is missing"):
        look(tmp_path, empty)
    with pytest.raises(TrustError, match="trusted: log"):
        look(tmp_path, History(leaves(1), key=Ed25519PrivateKey.generate()))


def test_a_new_log_key(tmp_path: Path) -> None:
    """After a change of the log's key a witness holds it to what the old one signed, and takes nothing new of that."""
    key = Ed25519PrivateKey.generate()
    changed = Policy((), (NoteKey(ORIGIN, key.public_key()),), former=((LOG, 5),))
    look(tmp_path, History(leaves(5)))
    for other in (History(leaves(6, "other"), key=key), History(leaves(6))):
        with pytest.raises(TrustError):
            witness(other, changed, NAME, EYES[0], tmp_path, NOW)
    found = witness(History(leaves(6), key=key), changed, NAME, EYES[0], tmp_path, NOW)
    assert found.before is not None and (found.before.size, found.checkpoint.size) == (5, 6)


def test_add_line(tmp_path: Path) -> None:
    """A line is put below the checkpoint it is of, once for each witness; the text and the other lines stay."""
    history = History(leaves(5))
    history.save(tmp_path)
    lines = [
        cosign(history.note.partition(b"\n\n")[0] + b"\n", w.name, k, NOW) for w, k in zip(WITNESSES, EYES, strict=True)
    ]
    for line, key in zip(lines, WITNESSES, strict=True):
        for _ in range(2):
            assert add_line(tmp_path, line, key).size == 5
    assert (tmp_path / "checkpoint").read_bytes() == history.note + b"".join(lines)


def test_add_refuses(tmp_path: Path) -> None:
    """A line of another checkpoint, of another witness, or none at all changes nothing."""
    history = History(leaves(5))
    old = look(tmp_path / "state", history)
    history.grow(b"x")
    history.save(tmp_path)
    text = history.note.partition(b"\n\n")[0] + b"\n"
    for line in (old, cosign(text, WITNESSES[1].name, EYES[1], NOW), cosign(text, NAME, EYES[1], NOW), b"", b"junk\n"):
        with pytest.raises(TrustError):
            add_line(tmp_path, line, WITNESSES[0])
    assert (tmp_path / "checkpoint").read_bytes() == history.note
    with pytest.raises(StoreError, match="is missing"):
        add_line(tmp_path / "state", old, WITNESSES[0])


def seen(*times: int | None) -> Note:
    """A checkpoint that these witnesses saw at these times, None when not."""
    signers = [Signer(key, time) for key, time in zip(WITNESSES, times, strict=False) if time is not None]
    return Note(b"", (Signer(LOG), *signers))


POLICY = Policy((), (LOG,), tuple(WITNESSES), needed=2, max_age_s=3600)


@pytest.mark.parametrize(
    "times",
    [(NOW, NOW, NOW), (NOW, NOW), (None, NOW, NOW - 3600), (NOW - 3600, NOW - 9999), (NOW, NOW + CLOCK_SKEW_S),
     (NOW, NOW, NOW + 10**9)],
)  # fmt: skip
def test_enough_witnesses(times: tuple[int | None, ...]) -> None:
    """Two of three are enough, the newest within the age; one whose clock is ahead does not count and does no harm."""
    assert len(check_witnesses(POLICY, seen(*times), NOW, NOW)) >= 2


@pytest.mark.parametrize(
    ("times", "why"),
    [
        ((), "2 witnesses needed, 0 count: witness.example/w1 did not sign; .*w2 did not sign"),
        ((NOW,), "1 count: witness.example/w2 did not sign"),
        ((NOW, NOW + CLOCK_SKEW_S + 1), "1 count: witness.example/w2 says .* which is to come"),
        ((2**62, 2**63 - 1, NOW), "1 count: witness.example/w1 says 4611686018427387904 s"),
        ((NOW - 3601, NOW - 3601), "by the newest witness, older than 3600 s"),
        ((0, 0, 0), "of 1970-01-01 00:00 UTC by the newest witness, older"),
    ],
)
def test_too_few_or_too_old(times: tuple[int, ...], why: str) -> None:
    """Too few that count, or the newest too old: the checkpoint is refused, and each missing one is named."""
    with pytest.raises(TrustError, match=why):
        check_witnesses(POLICY, seen(*times), NOW, NOW)


def test_an_unlisted_witness_does_not_count() -> None:
    """A witness that the policy does not know counts for nothing, whatever it is called."""
    stranger = NoteKey(WITNESSES[1].name, Ed25519PrivateKey.generate().public_key(), Kind.WITNESS)
    note = Note(b"", (Signer(LOG), Signer(WITNESSES[0], NOW), Signer(stranger, NOW)))
    with pytest.raises(TrustError, match="1 count"):
        check_witnesses(POLICY, note, NOW, NOW)


def test_one_witness_counts_once() -> None:
    """The same witness twice, or under two names, is refused before anything is counted."""
    history = History(leaves(1))
    text = history.note.partition(b"\n\n")[0] + b"\n"
    alias = NoteKey("alias", EYES[0].public_key(), Kind.WITNESS)
    for name, keys in ((NAME, WITNESSES), ("alias", [*WITNESSES, alias])):
        twice = history.note + cosign(text, NAME, EYES[0], NOW) + cosign(text, name, EYES[0], NOW - 1)
        with pytest.raises(TrustError, match="more than one line"):
            verify_note(twice, [LOG, *keys])
    with pytest.raises(TrustError, match="listed twice"):
        Policy((), (LOG,), (WITNESSES[0], alias), needed=2)


def test_no_policy_no_clock() -> None:
    """Where no witness and no age is asked for, no clock is looked at: 1970 and 2100 give what today gives."""
    plain = replace(POLICY, needed=0, max_age_s=None)
    for now in (0, NOW, 4_102_444_800):
        assert len(check_witnesses(plain, seen(NOW, NOW), now, NOW)) == 2


def test_age_without_witnesses() -> None:
    """Without witnesses in the policy the signer's own time is held against the age; with them it is not enough."""
    alone = Policy((), (LOG,), max_age_s=3600)
    assert check_witnesses(alone, seen(), NOW, NOW - 3600) == ()
    with pytest.raises(TrustError, match="by its signer, older than 3600 s"):
        check_witnesses(alone, seen(), NOW, NOW - 3601)
    with pytest.raises(TrustError, match="no witness says when"):
        check_witnesses(replace(POLICY, needed=0), seen(), NOW, NOW)


def test_command_line(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """keygen, witness, and witness --add go together; the line is all there is on standard output."""
    monkeypatch.chdir(tmp_path)
    History(leaves(5)).save(tmp_path / "registry")
    Path("log.vkey").write_text(LOG.vkey + "\n")
    assert main(["keygen", "eyes", "--kind", "witness", "--name", "eyes.example"]) == 0
    assert capsysbinary.readouterr().out.decode() == Path("eyes.vkey").read_text()
    ask = ["witness", "registry", "--log-key", "log.vkey", "--key", "eyes", "--state", "state"]
    assert main(ask) == 0
    said = capsysbinary.readouterr()
    assert said.err == b"log log.example: 5 leaves, never seen before, so believed at first sight\n"
    assert main([*ask, "--out", "line"]) == 0
    assert b"5 leaves, 5 when last seen" in capsysbinary.readouterr().err
    Path("again").write_bytes(said.out)
    for name in ("line", "again"):
        assert main(["witness", "registry", "--add", name, "--witness", "eyes.vkey"]) == 0
    assert Path("registry/checkpoint").read_bytes().count(b"eyes.example") == 1
    History(leaves(4)).save(tmp_path / "registry")
    capsysbinary.readouterr()
    assert main(ask) == 4
    refused = capsysbinary.readouterr()
    assert refused.out == b"" and b"rollback" in refused.err and b"seen before:\n  log.example\n  5\n" in refused.err


@pytest.mark.parametrize(
    "arguments",
    [["registry"], ["registry", "--log-key", "log.vkey"], ["registry", "--add", "line"],
     ["http://registry.example/", "--add", "line", "--witness", "eyes.vkey"],
     ["registry", "--log-key", "log.vkey", "--key", "none"], ["registry", "--log-key", "none", "--key", "nameless"],
     ["registry", "--log-key", "log.vkey", "--key", "nameless"]],
)  # fmt: skip
def test_command_line_mistakes(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options that are missing or do not go together, and files that are not there, are input errors."""
    monkeypatch.chdir(tmp_path)
    History(leaves(5)).save(tmp_path / "registry")
    Path("log.vkey").write_text(LOG.vkey + "\n")
    assert main(["keygen", "nameless", "--kind", "witness"]) == 0
    assert main(["witness", *arguments]) == 2
    assert not os.path.exists("state")


def test_a_vkey_of_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A witness whose vkey is not that of its key, or is a log's, is told so before it signs."""
    monkeypatch.chdir(tmp_path)
    History(leaves(5)).save(tmp_path / "registry")
    Path("log.vkey").write_text(LOG.vkey + "\n")
    assert main(["keygen", "eyes", "--kind", "witness", "--name", "eyes.example"]) == 0
    assert main(["keygen", "log", "--kind", "log"]) == 0
    for wrong in (WITNESSES[0].vkey, LOG.vkey):
        Path("eyes.vkey").write_text(wrong)
        assert main(["witness", "registry", "--log-key", "log.vkey", "--key", "eyes", "--state", "state"]) == 2
    assert main(["witness", "registry", "--log-key", "log.vkey", "--key", "eyes", "--name", "x", "--state", "s"]) == 0
    assert main(["keygen", "other", "--name", "x"]) == 2
    assert main(["keygen", "eyes", "--kind", "witness", "--name", "eyes.example"]) == 2


def test_a_root_document_instead_of_the_logs_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """A witness who pinned a root document follows the log's keys from there, and needs no other."""
    monkeypatch.chdir(tmp_path)
    for role in ("root", "verdict", "log", "witness"):
        assert main(["keys", "new", role, role, *(["--name", "eyes.example"] if role == "witness" else [])]) == 0
    assert main(["keys", "init", "draft.json", "--name", ORIGIN, "--threshold", "1", "--root", "root.pub",
                 "--verdict", "verdict.pub", "--log", "log.pub", "--witness", "witness.vkey"]) == 0  # fmt: skip
    assert main(["keys", "sign", "draft.json", "--key", "root"]) == 0
    (signature,) = tmp_path.glob("draft.json.*.sig")
    assert main(["keys", "publish", "draft.json", str(signature), "--registry", "registry"]) == 0
    History(leaves(5), load_log_private(Path("log"))).save(tmp_path / "registry")
    ask = ["witness", "registry", "--root", "registry/root/1.json", "--key", "witness", "--state", "state"]
    capsysbinary.readouterr()
    assert main(ask) == 0
    assert b"eyes.example" in capsysbinary.readouterr().out
    History(leaves(6)).save(tmp_path / "registry")
    assert main(ask) == 4, "not a log key of the document"
    assert main([*ask, "--log-key", "witness.vkey"]) == 2, "one or the other"
