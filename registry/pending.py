"""What is signed and not yet in the log: kept beside the registry's files, never served, and lost by no kill.

A verdict is signed once: its leaf holds the signature, and a second signature would be a second leaf.  So it is written
down before the log grows, and goes when its bundle with the proof lies in its place.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bpfcompat import envelope
from bpfcompat.digest import short
from bpfcompat.envelope import Envelope
from bpfcompat.errors import StoreError, TrustError
from bpfcompat.files import TEMP_PREFIX, ensure_dir, read_bounded, sync_dir, write_all
from bpfcompat.keys import PublicKey, fingerprint, hex_of_fingerprint, load_public
from bpfcompat.registry import layout
from bpfcompat.registry.log import Log


def waiting(registry: Path) -> dict[str, Envelope]:
    """The bundles that wait for their leaf, by pae digest; StoreError for a damaged one."""
    folder, found = registry / layout.PENDING, {}
    for place in sorted(folder.iterdir()) if folder.is_dir() else ():
        digest = layout.digest_named(place.name)
        if digest is not None:
            found[digest] = read(place, digest)
    return found


def read(place: Path, digest: str) -> Envelope:
    """The bundle in a file that is named by its pae digest; StoreError when it is not that, or another kind of file."""
    try:
        found = envelope.parse(read_bounded(place, envelope.MAX_BYTES))
        if found.digest != digest:
            raise TrustError("holds another payload than its name says")
    except TrustError as error:
        raise damaged(place, error.message) from None
    return found


def damaged(place: Path, why: str) -> StoreError:
    """What is said of a file that is not what its name says."""
    return StoreError(f"{place}: {why}", hint="it is damaged: move it away and publish again")


def put(registry: Path, signed: Mapping[str, bytes]) -> None:
    """Keep signed bundles, by pae digest, until `settle`."""
    write_all((registry / layout.pending_path(digest), data) for digest, data in signed.items())


def take_over(registry: Path) -> None:
    """Every bundle of a registry of format 1 waits for its leaf; the files stay as they are until they have one."""
    folder = registry / "bundles"
    names = sorted(place.name for place in folder.iterdir()) if folder.is_dir() else []
    found = {digest: read(folder / name, digest) for name in names if (digest := layout.digest_named(name))}
    put(registry, {digest: envelope.bundle_bytes(one) for digest, one in found.items() if one.entry is None})


def settle(registry: Path, log: Log, order: Sequence[str]) -> None:
    """Give every waiting bundle its leaf, and put it, with its proof, in its place.

    `order` are the digests of those that are new, in the order of their leaves; what an earlier, killed run left
    comes first, and a leaf that it had already written is not written twice.
    """
    bundles = waiting(registry)
    new = dict.fromkeys(order)
    left = [digest for digest in bundles if digest not in new]
    keys: dict[str, PublicKey] = {}
    leaves = {digest: _leaf(registry, bundle, digest, keys) for digest, bundle in bundles.items()}
    places = log.find({digest: leaves[digest] for digest in left}) if left else {}
    fresh = [digest for digest in (*left, *new) if digest in bundles and digest not in places]
    first = log.last.size
    log.append([leaves[digest] for digest in fresh])
    places |= {digest: first + i for i, digest in enumerate(fresh)}
    write_all(
        (registry / layout.bundle_path(digest), envelope.logged(bundles[digest], entry))
        for digest, entry in zip(places, log.entries(list(places.values())), strict=True)
    )
    _clear(registry, places)


def _leaf(registry: Path, signed: Envelope, digest: str, keys: dict[str, PublicKey]) -> bytes:
    try:
        if signed.keyid not in keys:
            keys[signed.keyid] = _public(registry, signed.keyid)
        return envelope.leaf_of(signed, keys[signed.keyid])
    except TrustError as error:
        raise damaged(registry / layout.pending_path(digest), error.message) from None


def _public(registry: Path, keyid: str) -> PublicKey:
    place = registry / layout.key_path(hex_of_fingerprint(keyid))
    if not place.exists():
        raise StoreError(f"{place}: is missing", hint=f"put the public key {keyid} (PEM) there: bundles need it")
    key = load_public(read_bounded(place, layout.MAX_SMALL_BYTES), str(place))
    if fingerprint(key) != keyid:
        raise damaged(place, f"is not the key {short(keyid)}")
    return key


def _clear(registry: Path, digests: Iterable[str]) -> None:
    """Take away what has its place now, and what a killed write left; nobody else writes here, as the lock is ours."""
    folder = ensure_dir(registry / layout.PENDING)
    left = [place for place in folder.iterdir() if place.name.startswith(TEMP_PREFIX)]
    done = [*left, *(registry / layout.pending_path(digest) for digest in digests)]
    for place in done:
        place.unlink(missing_ok=True)
    if done:
        sync_dir(folder)
