"""The audit trail: a chain of records that survives kills, and shows what was changed, cut out or added."""

import errno
import os
import random
import threading
from pathlib import Path

import pytest

from bpfcompat import trail
from bpfcompat.digest import digest_bytes
from bpfcompat.errors import StoreError, TrustError
from bpfcompat.keys import keygen
from bpfcompat.tlog import parse_checkpoint
from bpfcompat.trail import FIRST, MAX_TEXT, Line, check, check_heads, head_of, head_text, lines, record

NOW = 1_800_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A trail of three records."""
    where = tmp_path / "deep" / "trail.jsonl"
    for n in range(3):
        record(where, "key", {"key": f"SHA256:{n}", "role": "verdict", "use": "publish"}, NOW + n)
    return where


def test_golden(path: Path) -> None:
    """A record is one line of canonical JSON; the first one follows from nothing, each other from the one before."""
    first, second = path.read_bytes().split(b"\n")[:2]
    facts = b'"facts":{"key":"SHA256:%d","role":"verdict","use":"publish"}'
    said = b'{"at":1800000000,"event":"key",' + facts % 0 + b',"n":1,"prev":"' + FIRST.encode() + b'"}'
    assert first == said
    assert second.endswith(b',"n":2,"prev":"' + digest_bytes(said).encode() + b'"}')
    assert path.stat().st_mode & 0o777 == 0o600


def test_check(path: Path) -> None:
    """A whole trail holds, and its records come back as they were written."""
    found = check(path)
    assert (found.last, found.repaired, found.torn_bytes) == (list(lines(path))[-1], 0, 0)
    assert [(n.number, n.at, n.event, n.facts["key"]) for n in lines(path)] == [
        (1, NOW, "key", "SHA256:0"), (2, NOW + 1, "key", "SHA256:1"), (3, NOW + 2, "key", "SHA256:2"),
    ]  # fmt: skip


def test_cut_at_every_byte(path: Path) -> None:
    """Wherever a kill cuts the last record, the next one names what is left of it and the chain holds."""
    data = path.read_bytes()
    start = data.rindex(b"\n", 0, -1) + 1
    for cut in range(start, len(data) + 1):
        path.write_bytes(data[:cut])
        before = check(path)
        whole = cut >= len(data) - 1
        assert before.last is not None
        assert (before.last.number, before.torn_bytes) == ((3, 0) if whole else (2, cut - start))
        made = record(path, "settings", {"digest": "d"}, NOW)
        after = check(path)
        assert after == trail.Checked(made, int(not whole and cut > start), 0)
        assert path.read_bytes().startswith(data[:cut])


def test_cut_again_while_repairing(path: Path) -> None:
    """A kill during a repair, at any byte, is repaired as well, and nothing that was there is taken away."""
    data = path.read_bytes()[:-40]
    path.write_bytes(data)
    record(path, "settings", {"digest": "d"}, NOW)
    repaired = path.read_bytes()
    for cut in range(len(data), len(repaired) + 1):
        path.write_bytes(repaired[:cut])
        made = record(path, "settings", {"digest": "e"}, NOW)
        assert check(path).last == made
        assert path.read_bytes().startswith(repaired[:cut])


def test_zeros_after_a_power_cut(path: Path) -> None:
    """Zeros where a file system had no time for the bytes are a torn end like another."""
    with path.open("ab") as stream:
        stream.write(bytes(4096))
    assert check(path).torn_bytes == 4096
    record(path, "settings", {"digest": "d"}, NOW)
    assert (check(path).repaired, check(path).torn_bytes) == (1, 0)


def test_every_flipped_bit(path: Path) -> None:
    """A changed bit anywhere is an error with its line, or, in the last record alone, shown as a torn end."""
    record(path, "settings", {"digest": "d"}, NOW)
    data, dice = path.read_bytes(), random.Random(1)
    last = data.rindex(b"\n", 0, -1)
    for place in range(len(data) - 1):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << dice.randrange(8)]) + data[place + 1 :])
        try:
            found = check(path)
        except TrustError as error:
            assert f"{path}: line " in error.message
        else:
            # a changed fact of the last record is seen by nobody but who keeps a head
            assert place >= last and (found.torn_bytes or found.last != Line(4, NOW, "settings", {"digest": "d"}, ""))


def test_records_taken_out(path: Path) -> None:
    """A record that is cut out, doubled, or moved is an error; so is a line that no repair names."""
    rows = path.read_bytes().splitlines(keepends=True)
    for changed in ([*rows[1:]], [rows[0], rows[2]], [*rows, rows[2]], rows[::-1], [rows[0], b"garbage\n", *rows[1:]]):
        path.write_bytes(b"".join(changed))
        with pytest.raises(TrustError, match=r"trail\.jsonl: line \d"):
            check(path)


def test_false_repair(path: Path) -> None:
    """A record of a cut line that names other bytes, or stands where nothing was cut, is an error."""
    made = list(lines(path))
    for text, facts in (
        (b"garbage\n", {"bytes": 3, "digest": digest_bytes(b"garbage")}),
        (b"garbage\n", {"bytes": 7, "digest": digest_bytes(b"garbagE")}),
        (b"", {"bytes": 7, "digest": digest_bytes(b"garbage")}),
    ):
        false = Line(4, NOW, "torn", facts, made[-1].digest)
        path.write_bytes(b"".join(bytes(n) + b"\n" for n in made) + text + bytes(false) + b"\n")
        with pytest.raises(TrustError, match="no record of a cut line names"):
            check(path)


def test_heads(path: Path) -> None:
    """A kept head is found again in a longer trail, and not in one that was cut or written anew."""
    kept = head_of(head_text("results.example", list(lines(path))[1]))
    assert kept[0] == 2
    record(path, "settings", {"digest": "d"}, NOW)
    check_heads([path], [kept])
    rows = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(rows[0])
    with pytest.raises(TrustError, match="ends before record 2"):
        check_heads([path], [kept])
    path.unlink()
    for n in range(3):
        record(path, "key", {"key": "another"}, NOW + n)
    check(path)
    with pytest.raises(TrustError, match="record 2 is not the one that a kept head names"):
        check_heads([path], [kept])


def test_heads_of_several_trails(path: Path, tmp_path: Path) -> None:
    """Each head has to be in one of the trails, whichever; one that none has is named."""
    other = tmp_path / "other.jsonl"
    for n in range(5):
        record(other, "key", {"key": "another"}, NOW + n)
    heads = [(line.number, line.digest) for line in (list(lines(path))[1], list(lines(other))[4])]
    check_heads([path, other], heads)
    with pytest.raises(TrustError, match=r"record 4, which none of .*other\.jsonl has as it was"):
        check_heads([path, other], [*heads, (4, heads[0][1])])


def test_head_is_no_checkpoint(path: Path) -> None:
    """The same key signs heads and checkpoints, and neither can be taken for the other."""
    with pytest.raises(TrustError, match="origin"):
        parse_checkpoint(head_text("results.example", next(lines(path))))
    with pytest.raises(TrustError, match="trail head"):
        head_of(b"results.example\n1\n" + b"A" * 43 + b"=\n")


def test_no_secrets(tmp_path: Path) -> None:
    """A private key that is given as a fact is withheld, a fact that is not listed is a bug, and texts are bounded."""
    keygen(tmp_path / "key")
    secret = (tmp_path / "key").read_text()
    made = record(tmp_path / "t", "refusal", {"what": secret, "why": "x" * 5000}, NOW)
    assert made.facts == {"what": "(withheld: it looks like a private key)", "why": "x" * MAX_TEXT + "…"}
    with pytest.raises(ValueError, match="no such fact: passphrase"):
        record(tmp_path / "t", "key", {"passphrase": "open sesame"}, NOW)
    record(tmp_path / "t", "refusal", {"why": "\ud800 lone, \n newline, \x1b[2J"}, NOW)
    assert check(tmp_path / "t").last is not None


def test_many_writers(path: Path) -> None:
    """Records that are written at the same time all get in, each after another."""

    def write(who: int) -> None:
        for n in range(20):
            record(path, "key", {"key": f"{who}-{n}"}, NOW)

    threads = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = check(path).last
    assert last is not None and last.number == 83


def test_full_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that cannot be brought to disk is an error, so that what it tells of does not happen."""

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="cannot write the audit trail"):
            record(path, "settings", {"digest": "d"}, NOW)
    record(path, "settings", {"digest": "d"}, NOW)
    assert check(path).torn_bytes == 0


@pytest.mark.parametrize("kind", ["folder", "link", "fifo"])
def test_not_a_file(tmp_path: Path, kind: str) -> None:
    """A folder, a link or a FIFO in the trail's place is an error, never followed and never waited for."""
    place, other = tmp_path / "trail", tmp_path / "other"
    {"folder": place.mkdir, "link": lambda: place.symlink_to(other), "fifo": lambda: os.mkfifo(place)}[kind]()
    for act in (lambda: record(place, "settings", {"digest": "d"}, NOW), lambda: check(place)):
        with pytest.raises(StoreError, match=str(place)):
            act()
    assert not other.exists()


def test_endless_garbage(path: Path) -> None:
    """A damaged end is not searched without bound; nothing is written behind it."""
    with path.open("ab") as stream:
        stream.write(b"x" * (1 << 20))
    before = path.stat().st_size
    with pytest.raises(StoreError, match="no whole line at its end"):
        record(path, "settings", {"digest": "d"}, NOW)
    with pytest.raises(TrustError, match="too long for one that was cut short"):
        check(path)
    assert path.stat().st_size == before
