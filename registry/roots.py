"""Root documents in a registry: read as a chain, and put there one version after the other."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bpfcompat.errors import ConfigError, TrustError
from bpfcompat.files import locked, read_bounded, write_atomic
from bpfcompat.note import MAX_NOTE_BYTES, split_note
from bpfcompat.registry import layout
from bpfcompat.rootchain import follow, newest, pinned
from bpfcompat.rootdoc import MAX_BYTES, Document, parse
from bpfcompat.tlog import parse_checkpoint

if TYPE_CHECKING:
    from bpfcompat.registry.client import Source


def chain(source: "Source", trusted: Document) -> tuple[Document, ...]:
    """From a believed document to the newest that a registry has, each believed through the one before."""
    return newest(trusted, lambda version: source.read(layout.root_path(version), MAX_BYTES))


def published(registry: Path) -> Document | None:
    """The newest document in a folder of one's own, None when there is none; TrustError when it is damaged."""
    version = 0
    while (registry / layout.root_path(version + 1)).exists():
        version += 1
    return pinned(_read(registry, version), layout.root_path(version)) if version else None


def put(registry: Path, data: bytes, waiting: Callable[[str], None] | None = None) -> bool:
    """Add the next version under the registry's lock; False when it is there already.

    TrustError: not enough keys of it or of the version before signed it.  ConfigError: it is not the next one.
    """
    new = parse(data)
    with locked(registry / layout.LOCK_FILE, waiting):
        old = published(registry)
        number = old.root.version if old else 0
        if old and new.root.version == number and new.payload == old.payload:
            return False
        if new.root.version != number + 1:
            hint = "bpfcompat keys draft makes the next version" if number else None
            raise ConfigError(f"root {new.root.version}: {registry} needs version {number + 1} next", hint=hint)
        if old:
            follow(old, data)
        else:
            pinned(data)
        write_atomic(registry / layout.root_path(new.root.version), data)
    return True


def log_size(registry: Path) -> int:
    """How many leaves the checkpoint in a folder of one's own says that the log has; it is not verified.

    ConfigError without one: a key that ends below 0 has never signed anything.
    """
    path = registry / layout.CHECKPOINT
    if not path.exists():
        raise ConfigError(f"{path}: is missing", hint="is this a registry with a log?  or say the index: --below N")
    return parse_checkpoint(split_note(read_bounded(path, MAX_NOTE_BYTES))[0]).size


def _read(registry: Path, version: int) -> bytes:
    return read_bounded(registry / layout.root_path(version), MAX_BYTES, TrustError)
