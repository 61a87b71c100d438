"""What a reader remembers of root documents: the newest version of each registry's, so that it never goes back.

One file per name, `NAME.root.json`: the newest document, and the digest of every version on the way to it.  A reader
goes on from there, whatever a registry serves; another document under a number that was seen is a fork.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bpfcompat.digest import canonical, digest_json, is_digest
from bpfcompat.errors import StoreError, TrustError
from bpfcompat.files import locked, read_bounded, write_atomic
from bpfcompat.policy import Policy
from bpfcompat.registry.client import Source
from bpfcompat.registry.roots import chain
from bpfcompat.registry.state import LOCK
from bpfcompat.rootchain import check_life, pinned
from bpfcompat.rootdoc import Document, Root
from bpfcompat.strictjson import parse_json

_MAX_MEMORY = 1 << 20


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest document, as bytes and believed, and the digests of those on the way, by version."""

    data: bytes
    newest: Document
    digests: dict[int, str] = field(default_factory=dict)


def reader_policy(
    first: Document,
    source: Source,
    memory: "RootMemory | None",
    *,
    now: int,
    allow_expired: bool = False,
    max_age_s: int | None = None,
) -> tuple[Root, Policy]:
    """Whom a reader believes who pinned a document: by the newest version, which must not have expired.

    `now` in Unix seconds.  TrustError where the chain, the memory or the newest document says no.
    """
    newest = (memory.meet(first, source) if memory else chain(source, first)[-1]).root
    if not allow_expired:
        check_life(newest, now)
    return newest, newest.policy(now, max_age_s)


class RootMemory:
    """The memory in a folder; StoreError when what it remembers cannot be read."""

    def __init__(self, folder: Path, waiting: Callable[[str], None] | None = None) -> None:
        self._folder = folder
        self._waiting = waiting

    def meet(self, first: Document, source: Source) -> Document:
        """The newest document, from a pinned one, by what was seen and what a registry has; remembered from now on.

        TrustError: the registry's chain does not hold, or it is not the one that was seen.
        """
        with locked(self._folder / LOCK, self._waiting):
            seen = self._load(first.root.name)
            found = _walk(first, source, seen)
            before = seen.digests if seen else {}
            digests = {**before, **{d.root.version: d.digest for d in found}}
            if digests != before:
                self._keep(found[-1], digests)
        return found[-1]

    def verdict_keys(self, name: str) -> str:
        """Digest of which keys may sign verdicts, and when, by the newest version that was seen; "" when none was."""
        seen = self._load(name)
        keys = seen.newest.root.keys if seen is not None else ()
        told = [(k.id, k.not_before, k.not_after, k.below) for k in keys if k.role == "verdict"]
        return digest_json(sorted(told, key=str)) if told else ""

    def path(self, name: str) -> Path:
        """Where the memory of the documents of this name lies."""
        return self._folder / f"{name}.root.json"

    def _keep(self, newest: Document, digests: Mapping[int, str]) -> None:
        value = {"seen": {str(version): digest for version, digest in digests.items()}, "newest": newest.data.decode()}
        write_atomic(self.path(newest.root.name), canonical(value), 0o600)

    def _load(self, name: str) -> Seen | None:
        path = self.path(name)
        if not path.exists():
            return None
        data = read_bounded(path, _MAX_MEMORY)
        try:
            return _seen(data, str(path))
        except TrustError as error:
            hint = "it is damaged: if you move it away, the pinned document is where you begin again"
            raise StoreError(error.message, hint=hint) from None


def _seen(data: bytes, where: str) -> Seen:
    value = parse_json(data, where, _MAX_MEMORY)
    texts = value.get("seen") if isinstance(value, dict) else None
    newest = value.get("newest") if isinstance(value, dict) else None
    if not isinstance(newest, str) or not isinstance(texts, dict) or not all(map(is_digest, texts.values())):
        raise TrustError(f"{where}: expected a document and the digests of those before it")
    found = pinned(newest.encode(), where)
    return Seen(found.data, found, {int(version): digest for version, digest in texts.items() if version.isdecimal()})


def _walk(first: Document, source: Source, seen: Seen | None) -> tuple[Document, ...]:
    """The chain from the pinned document or, where that leads there, from the newest one that was seen."""
    if seen is None:
        return chain(source, first)
    if seen.digests.get(first.root.version) == first.digest:
        return chain(source, seen.newest)
    found = chain(source, first)
    known = [doc for doc in found if doc.root.version in seen.digests]
    for doc in known:
        _same(doc, seen.digests[doc.root.version])
    if known or found[-1].root.version > seen.newest.root.version:
        ahead = found[-1].root.version >= seen.newest.root.version
        return found if ahead else (*found, *chain(source, seen.newest))
    raise TrustError(
        f"root of {first.root.name}: version {found[-1].root.version} is the newest here, "
        f"{seen.newest.root.version} was seen before",
        hint="the registry holds back newer versions: pin a newer one, or ask another mirror",
    )


def _same(found: Document, before: str) -> None:
    if found.digest != before:
        raise TrustError(
            f"root {found.root.version} of {found.root.name}: is {found.digest} now, {before} when it was seen before",
            hint="one of the two is not the registry's: ask its owners, and show them both",
        )
