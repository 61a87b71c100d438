"""A log that says whatever a test wants: one history, or two, with the key of its publisher or of a thief."""

from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bpfcompat.note import Kind, NoteKey, sign_note
from bpfcompat.tlog import EMPTY_ROOT, Checkpoint, append

ORIGIN = "log.example"
LOG_PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(40, 72)))
LOG = NoteKey(ORIGIN, LOG_PRIVATE.public_key())
EYES = [Ed25519PrivateKey.from_private_bytes(bytes([n] * 32)) for n in range(1, 4)]
WITNESSES = [NoteKey(f"witness.example/w{n}", key.public_key(), Kind.WITNESS) for n, key in enumerate(EYES, 1)]


class History:
    """A log in memory; it is a Source, and what was asked of it is in `asked`."""

    def __init__(
        self, leaves: Sequence[bytes] = (), key: Ed25519PrivateKey = LOG_PRIVATE, origin: str = ORIGIN
    ) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self._key = key
        self._at = Checkpoint(origin, 0, EMPTY_ROOT)
        self.grow(*leaves)

    def grow(self, *leaves: bytes) -> bytes:
        """Append, sign, and return the new note."""
        grown = append(self._at.size, self._at.root, self.files.get, leaves)
        self.files |= dict(grown.tiles)
        self._at = Checkpoint(self._at.origin, grown.size, grown.root)
        self.files["checkpoint"] = sign_note(self._at.text(), self._at.origin, self._key)
        return self.files["checkpoint"]

    @property
    def note(self) -> bytes:
        """The note that is served."""
        return self.files["checkpoint"]

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return self._at.size

    def read(self, path: str, limit: int = 1 << 25) -> bytes | None:
        """As Source.read."""
        self.asked.append(path)
        return self.files.get(path)

    def names(self, folder: str) -> tuple[str, ...] | None:
        """As Source.names."""
        return None

    def save(self, folder: Path) -> None:
        """Put the files into a folder."""
        for path, data in self.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)


def leaves(count: int, mark: str = "leaf") -> list[bytes]:
    """Leaves that differ; another mark makes another history."""
    return [f"{mark} {n}".encode() for n in range(count)]
