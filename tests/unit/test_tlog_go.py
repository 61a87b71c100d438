"""Our notes, proofs and tiles as Go's checksum database package sees them, which was written without knowing of us."""

import base64
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bpfcompat.errors import TrustError
from bpfcompat.note import NoteKey, cosign, put_line, sign_note, verify_note
from bpfcompat.tlog import (
    EMPTY_ROOT,
    Checkpoint,
    Tree,
    append,
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
)
from tests.sumdb import Ask, oracle, packed

SIZES = [*range(1, 1026), *range(65_530, 65_546)]
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
LOG = NoteKey("log.example", KEY.public_key())


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Questions to Go."""
    return oracle(tmp_path_factory.mktemp("go"))


@dataclass(frozen=True, slots=True)
class Grown:
    """A log on disk that had every one of SIZES."""

    folder: Path
    points: dict[int, Checkpoint]
    hashes: list[bytes]

    def read(self, path: str) -> bytes | None:
        """A tile's bytes."""
        file = self.folder / path
        return file.read_bytes() if file.exists() else None


def leaf(number: int) -> bytes:
    """The bytes of a leaf."""
    return b'{"leaf":%d}' % number


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Grown:
    """The log, grown leaf by leaf but for the long gap."""
    folder = tmp_path_factory.mktemp("log")
    grown = Grown(folder, {}, [])
    size, root = 0, EMPTY_ROOT
    for goal in SIZES:
        leaves = [leaf(n) for n in range(size, goal)]
        step = append(size, root, grown.read, leaves)
        for path, data in step.tiles:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        size, root = step.size, step.root
        grown.points[size] = Checkpoint("log.example", size, root)
        grown.hashes.extend(map(leaf_hash, leaves))
    return grown


def test_tiles_and_proofs(ask: Ask, log: Grown) -> None:
    """In sizes 1 to 1025 and 65530 to 65545 Go finds our root in our files, and makes the very proofs that we make."""
    dice = random.Random(6)
    questions, ours = [], []
    for size, point in log.points.items():
        index, old = dice.randrange(size), dice.randrange(size) + 1
        tree = Tree(size, log.read)
        ours.append((inclusion_proof(tree, index), consistency_proof(tree, old)))
        questions.append({"op": "prove", "dir": str(log.folder), "size": size, "root": point.root,
                          "index": index, "old": old})  # fmt: skip
    for question, (inclusion, consistency), answer in zip(questions, ours, ask(questions), strict=True):
        assert answer["error"] == "", question
        assert answer.get("inclusion", []) == packed(inclusion), question
        assert answer.get("consistency", []) == packed(consistency), question


def test_checks(ask: Ask, log: Grown) -> None:
    """Go accepts our checkpoints and our proofs for the first, the last and some leaf, and for some older sizes."""
    dice = random.Random(7)
    questions: list[dict[str, Any]] = []
    for size, point in log.points.items():
        tree = Tree(size, log.read)
        note = sign_note(point.text(), "log.example", KEY)
        questions.append({"op": "note", "vkeys": [LOG.vkey], "note": note})
        questions += [record(log, size, n, inclusion_proof(tree, n)) for n in {0, dice.randrange(size), size - 1}]
        sizes = [old for old in {1, size - 1, size, dice.randrange(size)} if old in log.points]
        questions += [consistent(log, old, size, consistency_proof(tree, old)) for old in sizes]
    assert [q for q, answer in zip(questions, ask(questions), strict=True) if answer["error"]] == []


def record(log: Grown, size: int, index: int, proof: tuple[bytes, ...] | list[bytes]) -> dict[str, Any]:
    """The question whether a leaf is in a tree."""
    return {"op": "record", "size": size, "root": log.points[size].root, "index": index, "leaf": leaf(index),
            "proof": list(proof)}  # fmt: skip


def consistent(log: Grown, old: int, size: int, proof: tuple[bytes, ...] | list[bytes]) -> dict[str, Any]:
    """The question whether a tree begins with an older one."""
    return {"op": "tree", "size": size, "root": log.points[size].root, "old": old, "was": log.points[old].root,
            "proof": list(proof)}  # fmt: skip


def test_refuses_what_we_refuse(ask: Ask, log: Grown) -> None:
    """Of proofs with a flipped bit, a hash more, less or moved, or for another place, Go and we accept the same."""
    questions, ours = [], []
    for size in (2, 7, 8, 33, 255, 256, 257, 600, 65_537):
        tree = Tree(size, log.read)
        for proof, index in altered(list(inclusion_proof(tree, size // 2)), size // 2):
            questions.append(record(log, size, index, proof))
            ours.append(held(check_inclusion, log.hashes[index], index, size, proof, log.points[size].root))
        for old in (1, 2, size // 2, size - 1):
            if old not in log.points:
                continue
            for proof, _ in altered(list(consistency_proof(tree, old)), 0):
                questions.append(consistent(log, old, size, proof))
                ours.append(held(check_consistency, log.points[old], log.points[size], proof))
    theirs = [answer["error"] == "" for answer in ask(questions)]
    assert theirs == ours
    assert 20 < ours.count(True) < ours.count(False)


def altered(proof: list[bytes], index: int) -> Iterator[tuple[list[bytes], int]]:
    """A proof as it is, and all that is near it."""
    yield proof, index
    yield from ((proof, near) for near in (index - 1, index + 1) if near >= 0)
    yield from (([*proof, bytes(32)], index), ([bytes(32), *proof], index), (proof[1:], index), (proof[:-1], index))
    for place, found in enumerate(proof):
        flipped = bytes([found[0] ^ 1, *found[1:]])
        yield [*proof[:place], flipped, *proof[place + 1 :]], index
        yield [*proof[:place], *proof[place + 1 :]], index
        yield [*proof[:place], *reversed(proof[place:])], index


def held(check: Callable[..., None], *args: object) -> bool:
    """Whether a check of ours lets it pass."""
    try:
        check(*args)
    except TrustError:
        return False
    return True


def test_notes(ask: Ask) -> None:
    """Of notes with a flipped bit or an odd form, we accept none that Go refuses, and read the rest as Go does."""
    text = Checkpoint("log.example", 5, leaf_hash(b"")).text()
    good = sign_note(text, "log.example", KEY)
    seen = put_line(good, cosign(text, "witness.example", Ed25519PrivateKey.from_private_bytes(bytes(32)), 5))
    notes = [good, seen, *odd(seen), *(flipped(seen, bit) for bit in range(8 * len(seen)))]
    answers = ask([{"op": "note", "vkeys": [LOG.vkey], "note": note} for note in notes])
    stricter = set()
    for note, answer in zip(notes, answers, strict=True):
        try:
            found = verify_note(note, [LOG])
        except TrustError as error:
            stricter |= set() if answer["error"] else {error.message}
            continue
        assert answer["error"] == "", note
        assert base64.b64decode(answer["text"]) == found.text == text
        assert answer["signers"] == [signer.key.name for signer in found.signers]
    # Go drops a line that is there twice, ignores unused bits of base64, and takes DEL and its like for letters
    reasons = (
        "more than one line",
        "expected standard padded base64",
        "control character (0x7f)",
        "control character (0x8",
    )
    assert [words for words in stricter if not any(reason in words for reason in reasons)] == []


def flipped(data: bytes, bit: int) -> bytes:
    """The same bytes but for a bit."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def odd(note: bytes) -> list[bytes]:
    """Forms that a careless reader takes."""
    text, _, lines = note.partition(b"\n\n")
    first, second = lines.splitlines(keepends=True)
    return [
        b"", note[:-1], note + b"\n", text + b"\n" + lines, text + b"\n\n\n" + lines, note.replace(b"\n", b"\r\n"),
        text + b"\n\n" + second, text + b"\n\n" + second + first, text + b"\n\n" + first + first, lines, text + b"\n\n",
        note.replace("— ".encode(), b"- "), note.replace(b"5\n", b"05\n"), note.replace(b"5\n", b"+5\n"),
        text + b"\n\n" + first + b"\n\n" + second, note.replace(b"=\n\n", b"=\nmore\n\n"), b"\n\n" + note,
        text + b"\n\n" + first.replace(b"=", b""), text + b"\n\n" + first.replace(b"log.example ", b"log.example  "),
    ]  # fmt: skip
