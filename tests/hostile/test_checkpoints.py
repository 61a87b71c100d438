"""Checkpoints that are not quite right, served to a reader who knows the log's key (V35, V38): all exit code 4."""

import base64
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bpfcompat.errors import Exit
from bpfcompat.note import Line, cosign, put_line, sign_note, split_note
from bpfcompat.registry import layout
from bpfcompat.registry.client import Folder
from bpfcompat.registry.state import Memory
from bpfcompat.registry.verify import Verification, format_verification, verify
from tests.claims import LOG, LOG_KEY, NOW, ORIGIN, POLICY
from tests.histories import EYES, WITNESSES

pytestmark = pytest.mark.hostile

WITNESSED = replace(POLICY, witnesses=tuple(WITNESSES[:2]), needed=2, max_age_s=3600)
Change = Callable[[bytes], bytes]


def served(folder: Path, change: Change, policy: object = POLICY) -> Verification:
    """What a reader makes of the registry when its checkpoint is changed."""
    place = folder / layout.CHECKPOINT
    place.write_bytes(change(place.read_bytes()))
    found = verify(Folder(folder), policy, now=NOW, memory=Memory(folder.parent / "state", [LOG]))  # type: ignore[arg-type]
    format_verification(found)
    return found


def signed(change: Change) -> Change:
    """The change is made to the text, and the log's own key signs that."""
    return lambda note: sign_note(change(split_note(note)[0]), ORIGIN, LOG_KEY)


def root(text: bytes, new: bytes) -> bytes:
    """A checkpoint's text with another third line."""
    origin, size, _ = text.split(b"\n", 2)
    return b"\n".join([origin, size, new, b""])


def line_of(note: bytes, **changes: bytes | str) -> bytes:
    """The note with its one line changed."""
    text, (line,) = split_note(note)
    return text + b"\n" + bytes(Line(**{**{n: getattr(line, n) for n in ("name", "id", "signature")}, **changes}))


V35: dict[str, Change] = {
    "origin of another log, signed": signed(lambda text: text.replace(ORIGIN.encode(), b"other.example")),
    "origin of another log, as it came": lambda note: note.replace(ORIGIN.encode(), b"other.example"),
    "size 007": signed(lambda text: text.replace(b"\n2\n", b"\n002\n")),
    "size +7": signed(lambda text: text.replace(b"\n2\n", b"\n+2\n")),
    "size -7": signed(lambda text: text.replace(b"\n2\n", b"\n-2\n")),
    "a huge size": signed(lambda text: text.replace(b"\n2\n", b"\n%d\n" % 2**63)),
    "the largest size": signed(lambda text: text.replace(b"\n2\n", b"\n%d\n" % (2**63 - 1))),
    "an empty log": signed(lambda text: text.replace(b"\n2\n", b"\n0\n")),
    "no root": signed(lambda text: text[: text.rindex(b"\n", 0, -1) + 1]),
    "an empty root": signed(lambda text: root(text, b"")),
    "a short root": signed(lambda text: root(text, base64.b64encode(bytes(31)))),
    "another root": signed(lambda text: root(text, base64.b64encode(bytes(32)))),
    "a root in hex": signed(lambda text: root(text, bytes(32).hex().encode())),
    "CRLF": lambda note: note.replace(b"\n", b"\r\n"),
    "CRLF in the text": lambda note: note.replace(b"\n2\n", b"\r\n2\n"),
    "two blank lines": lambda note: note.replace(b"\n\n", b"\n\n\n"),
    "two blank lines, signed": signed(lambda text: text + b"\n"),
    "an extension line": signed(lambda text: text + b"more\n"),
    "an em dash that is a hyphen": lambda note: note.replace("—".encode(), b"-"),
    "an en dash": lambda note: note.replace("—".encode(), "–".encode()),
    "a wrong key id with the right signature": lambda note: line_of(note, id=b"\0\0\0\0"),
    "another name with the right signature": lambda note: line_of(note, name="other.example"),
    "a signature that is cut": lambda note: line_of(note, signature=bytes(63)),
    "another key's signature": lambda note: sign_note(split_note(note)[0], ORIGIN, Ed25519PrivateKey.generate()),
    "a line twice": lambda note: note + note.partition(b"\n\n")[2],
    "no line": lambda note: split_note(note)[0] + b"\n",
    "no newline at the end": lambda note: note[:-1],
    "something behind": lambda note: note + b"x",
    "a byte order mark": lambda note: b"\xef\xbb\xbf" + note,
    "UTF-16": lambda note: note.decode().encode("utf-16"),
    "a NUL": lambda note: note.replace(b"\n2\n", b"\n2\0\n"),
    "nothing": lambda note: b"",
    "a megabyte": lambda note: note + b"x" * (1 << 20),
    "a thousand lines": lambda note: note + note.partition(b"\n\n")[2].replace(ORIGIN.encode(), b"x") * 1000,
}


@pytest.mark.parametrize("name", V35)
def test_v35(name: str, good: Path) -> None:
    """A checkpoint in any other form, of any other log, or by any other key is refused, and never remembered."""
    found = served(good, V35[name])
    assert found.exit_code is Exit.UNTRUSTED and found.problems
    kept = list((good.parent / "state").glob("*.note"))
    assert all(split_note(path.read_bytes())[1][0].id == LOG.id for path in kept)


def seen(*times: int, names: tuple[int, ...] = (0, 1)) -> Change:
    """Cosignatures of these witnesses at these times."""

    def add(note: bytes) -> bytes:
        text = split_note(note)[0]
        for which, time in zip(names, times, strict=True):
            note += cosign(text, WITNESSES[which].name, EYES[which], time)
        return note

    return add


V38: dict[str, Change] = {
    "none": lambda note: note,
    "one": lambda note: put_line(note, cosign(split_note(note)[0], WITNESSES[0].name, EYES[0], NOW)),
    "one to come": seen(NOW, NOW + 301),
    "both to come": seen(2**63 - 1, 2**62),
    "both too old": seen(NOW - 3601, NOW - 3601),
    "at the beginning of time": seen(0, 0),
    "an unlisted one": seen(NOW, NOW, names=(0, 2)),
    "one twice": seen(NOW, NOW, names=(0, 0)),
    "one twice at other times": seen(NOW, NOW - 1, names=(0, 0)),
    "of another checkpoint": lambda note: note + seen(NOW, NOW)(sign_note(b"x\n", "x", EYES[0])).partition(b"\n\n")[2],
    "the log's key as a witness": lambda note: note + cosign(split_note(note)[0], WITNESSES[1].name, LOG_KEY, NOW),
}


@pytest.mark.parametrize("name", V38)
def test_v38(name: str, good: Path) -> None:
    """Witnesses who did not look, not lately, not both, or not at this are not enough."""
    assert served(good, V38[name], WITNESSED).exit_code is Exit.UNTRUSTED


def test_both_are_enough(good: Path) -> None:
    """The same reader believes when both looked; strangers on the note do not disturb."""
    assert served(good, seen(NOW, NOW - 3600, NOW, names=(0, 1, 2)), WITNESSED).exit_code is Exit.OK
