"""What a reader remembers of logs: growth passes; a rollback, a fork and what cannot be shown do not."""

import base64
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bpfcompat.errors import ConfigError, Exit, StoreError, TrustError
from bpfcompat.files import locked
from bpfcompat.note import NoteKey, cosign, put_line, sign_note, verify_note
from bpfcompat.registry.state import LOCK, Contradiction, Memory, state_folder
from bpfcompat.tlog import check_consistency, parse_checkpoint
from tests.histories import EYES, LOG, LOG_PRIVATE, ORIGIN, WITNESSES, History, leaves


def meet(folder: Path, history: History) -> None:
    """Visit a log once."""
    Memory(folder, [LOG]).meet(history.note, history.read)


def refused(folder: Path, history: History) -> Contradiction:
    """Visit a log that must be refused."""
    with pytest.raises(Contradiction) as caught:
        meet(folder, history)
    assert caught.value.exit_code is Exit.UNTRUSTED
    return caught.value


def test_growth(tmp_path: Path) -> None:
    """The first visit is believed, growth of any length too, and what is remembered is the note as it came."""
    history = History()
    assert Memory(tmp_path, [LOG]).last(ORIGIN) is None
    for count in (0, 1, 1, 254, 1, 300):
        history.grow(*leaves(count))
        meet(tmp_path, history)
        (kept,) = tmp_path.glob("*.note")
        assert kept.read_bytes() == history.note
        assert Memory(tmp_path, [LOG]).last(ORIGIN) == parse_checkpoint(verify_note(history.note, [LOG]).text)
    assert kept.name == f"{ORIGIN}+{LOG.id.hex()}.note"


def test_few_tiles_are_asked(tmp_path: Path) -> None:
    """A visit to a log of 70,000 that has grown asks for a handful of tiles, one that has not for none."""
    history = History(leaves(69_000))
    meet(tmp_path, history)
    history.grow(*leaves(1_000, "more"))
    history.asked.clear()
    meet(tmp_path, history)
    assert 0 < len(history.asked) <= 6
    history.asked.clear()
    meet(tmp_path, history)
    assert history.asked == []


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 299])
def test_rollback(tmp_path: Path, size: int) -> None:
    """A log that was larger is refused, though its key signed the small one once; both notes are the evidence."""
    seen, old = History(leaves(300)), History(leaves(size))
    meet(tmp_path, seen)
    error = refused(tmp_path, old)
    assert f"rollback: {size} leaves now, 300 when it was last seen" in str(error)
    for line in (*seen.note.decode().splitlines(), *old.note.decode().splitlines()):
        assert f"  {line}\n" in str(error) + "\n"
    assert (error.folder / "before.note").read_bytes() == seen.note
    assert (error.folder / "after.note").read_bytes() == old.note
    assert next(tmp_path.glob("*.note")).read_bytes() == seen.note, "what was seen stays remembered"


def test_fork_at_the_same_size(tmp_path: Path) -> None:
    """Two roots for one size are a fork, and need no tile to see it."""
    meet(tmp_path, History(leaves(9)))
    other = History(leaves(9, "other"))
    assert "fork: two roots for 9 leaves" in str(refused(tmp_path, other))
    assert other.asked == []


@pytest.mark.parametrize(("old", "new"), [(1, 2), (3, 7), (4, 8), (255, 300), (256, 512), (257, 600)])
def test_fork_that_grew(tmp_path: Path, old: int, new: int) -> None:
    """A rewritten leaf under a larger tree is a fork; the proof that is kept shows it to anyone who has the notes."""
    seen = leaves(old)
    meet(tmp_path, History(seen))
    rewritten = History([b"another answer", *seen[1:], *leaves(new - old, "more")])
    error = refused(tmp_path, rewritten)
    assert f"the tree of {new} leaves does not begin with the {old} that were seen" in str(error)
    text, _, hashes = (error.folder / "proof.txt").read_bytes().partition(b"\n\n")
    then = parse_checkpoint(text + b"\n")
    before, after = (verify_note((error.folder / f"{name}.note").read_bytes(), [LOG]) for name in ("before", "after"))
    check_consistency(then, parse_checkpoint(after.text), [base64.b64decode(line) for line in hashes.split()])
    assert then.size == parse_checkpoint(before.text).size == old
    assert then.root != parse_checkpoint(before.text).root


def test_hidden_tiles(tmp_path: Path) -> None:
    """A log that does not show that it grew is refused too: no tile, or tiles of the old history under a new root."""
    seen = leaves(300)
    honest = History(seen)
    meet(tmp_path, honest)
    rewritten = History([b"x", *seen[1:], *leaves(9, "more")])
    whole = dict(rewritten.files)
    rewritten.files = {"checkpoint": rewritten.note}
    assert "is missing" in str(refused(tmp_path, rewritten))
    honest.grow(*leaves(9, "more"))
    rewritten.files = {**honest.files, "checkpoint": whole["checkpoint"]}
    assert "fork or damage: 309 leaves are not shown to begin with the 300" in str(refused(tmp_path, rewritten))


def test_strangers(tmp_path: Path) -> None:
    """A note that the log's key did not sign is refused and not remembered; a witness alone is not enough."""
    text = History(leaves(3)).note.partition(b"\n\n")[0] + b"\n"
    thief = Ed25519PrivateKey.generate()
    for note in (sign_note(text, ORIGIN, thief), text + b"\n" + cosign(text, WITNESSES[0].name, EYES[0], 1)):
        with pytest.raises(TrustError):
            Memory(tmp_path, [LOG, *WITNESSES]).meet(note, {}.get)
    assert list(tmp_path.glob("*.note")) == []


def test_a_new_log_key_is_bound_by_the_old(tmp_path: Path) -> None:
    """After a change of the log's key, what the old key signed still counts: the new one cannot rewrite it."""
    meet(tmp_path, History(leaves(9)))
    new = Ed25519PrivateKey.generate()
    keys = [NoteKey(ORIGIN, new.public_key()), LOG]
    honest = History(leaves(12), key=new)
    rewritten = History(leaves(12, "other"), key=new)
    with pytest.raises(Contradiction, match="does not begin with the 9"):
        Memory(tmp_path, keys).meet(rewritten.note, rewritten.read)
    assert Memory(tmp_path, keys).meet(honest.note, honest.read).size == 12
    with pytest.raises(Contradiction, match="rollback"):
        Memory(tmp_path, keys).meet(History(leaves(11)).note, honest.read)


def test_logs_are_apart(tmp_path: Path) -> None:
    """Another log, and another key of the same name that is not trusted together with it, are other memories."""
    meet(tmp_path, History(leaves(9)))
    elsewhere = NoteKey("other.example", LOG_PRIVATE.public_key())
    other = History(leaves(3, "other"), origin="other.example")
    Memory(tmp_path, [elsewhere]).meet(other.note, other.read)
    key = Ed25519PrivateKey.generate()
    namesake = History(leaves(2), key=key)
    Memory(tmp_path, [NoteKey(ORIGIN, key.public_key())]).meet(namesake.note, namesake.read)
    assert len(list(tmp_path.glob("*.note"))) == 3


def test_damaged_memory(tmp_path: Path) -> None:
    """A memory that cannot be read is an error of its own, never a first visit."""
    meet(tmp_path, History(leaves(9)))
    (kept,) = tmp_path.glob("*.note")
    for data in (b"", b"junk", History(leaves(9), key=Ed25519PrivateKey.generate()).note):
        kept.write_bytes(data)
        with pytest.raises(StoreError, match="move it away"):
            Memory(tmp_path, [LOG])
    kept.unlink()
    kept.mkdir()
    with pytest.raises(StoreError, match="expected a regular file"):
        Memory(tmp_path, [LOG])


def test_two_readers_at_once(tmp_path: Path) -> None:
    """A reader that was overtaken by another while it fetched takes no rollback for that, and keeps the larger one."""
    history = History(leaves(5))
    slow, old = Memory(tmp_path, [LOG]), history.note
    history.grow(*leaves(5, "more"))
    meet(tmp_path, history)
    assert slow.meet(old, history.read).size == 5
    assert Memory(tmp_path, [LOG]).last(ORIGIN) == parse_checkpoint(verify_note(history.note, [LOG]).text)


def test_two_readers_who_are_shown_different_logs(tmp_path: Path) -> None:
    """The slower of two readers at once sees the fork, whichever size is the larger."""
    for first, second in ((5, 9), (9, 5), (7, 7)):
        folder = tmp_path / f"{first}-{second}"
        slow = Memory(folder, [LOG])
        meet(folder, History(leaves(first)))
        other = History(leaves(second, "other"))
        with pytest.raises(Contradiction, match="fork"):
            slow.meet(other.note, other.read)


def test_many_readers(tmp_path: Path) -> None:
    """However many readers there are at once, the largest checkpoint that anyone met is what stays."""
    history = History()
    notes = [history.grow(b"%d" % n) for n in range(12)]
    memories = [Memory(tmp_path, [LOG]) for _ in notes]
    failed: list[Exception] = []

    def visit(memory: Memory, note: bytes) -> None:
        try:
            memory.meet(note, history.files.get)
        except TrustError as error:
            failed.append(error)

    with locked(tmp_path / LOCK):
        threads = [threading.Thread(target=visit, args=pair) for pair in zip(memories, notes, strict=True)]
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    last = Memory(tmp_path, [LOG]).last(ORIGIN)
    assert last is not None and last.size == 12


def test_evidence_that_cannot_be_kept(tmp_path: Path) -> None:
    """A disk that takes no evidence does not hide what was found; the notes are still shown."""
    meet(tmp_path, History(leaves(9)))
    (tmp_path / "evidence").write_text("in the way")
    error = refused(tmp_path, History(leaves(8)))
    assert "rollback" in str(error) and "could not be kept" in str(error) and "served now:" in str(error)


def test_evidence_does_not_move_the_cursor(tmp_path: Path) -> None:
    """What strangers put on a note's lines is shown, not sent to the terminal."""
    meet(tmp_path, History(leaves(9)))
    forged = History(leaves(8))
    name = "\N{RIGHT-TO-LEFT OVERRIDE}w"
    forged.files["checkpoint"] += f"— {name} AAAAAAAA\n".encode()
    assert name not in str(refused(tmp_path, forged)) and "\\u202ew" in str(refused(tmp_path, forged))


def test_more_lines_are_kept(tmp_path: Path) -> None:
    """The same checkpoint with a witness's line more is remembered with it: it is the better evidence."""
    history = History(leaves(9))
    meet(tmp_path, history)
    text = verify_note(history.note, [LOG]).text
    history.files["checkpoint"] = put_line(history.note, cosign(text, WITNESSES[0].name, EYES[0], 7))
    meet(tmp_path, history)
    assert next(tmp_path.glob("*.note")).read_bytes() == history.note


def test_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The memory is in the state folder of the user, a relative one not being one."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_folder("reader") == tmp_path / "bpfcompat" / "reader"
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_STATE_HOME", value)
        assert state_folder("witness") == tmp_path / ".local/state/bpfcompat/witness"
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(ConfigError, match="--state DIR"):
        state_folder("reader")


def homeless() -> Path:
    """As Path.home for a user without one."""
    raise RuntimeError
