"""What a project lends beside its answers: packages, validators and the inputs of verdicts, each by its digest."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bpfcompat import lending, libbpfs, plan
from bpfcompat.digest import digest_bytes, hex_of
from bpfcompat.errors import BpfcompatError
from bpfcompat.files import locked, read_bounded, write_atomic
from bpfcompat.kernels.lock import LockedPackage, LockedValidator, write_lock
from bpfcompat.realise import NotThere
from bpfcompat.registry import layout
from bpfcompat.rules.session import Session

MAX_BLOB_BYTES = 1 << 30


def lend(session: Session) -> None:
    """Put what [serve] lend names into the registry; what is there already stays, and nothing is fetched for it."""
    registry = session.config.path("paths.registry")
    with locked(registry / layout.LOCK_FILE, session.waiting("publish")):
        new = sum(_put(registry, digest, path) for digest, path in dict(_lent(session)).items())
    if session.config["serve.lend"]:
        session.voice.say(f"   lent: {new} new files")


def _put(registry: Path, digest: str, given: Path | bytes) -> bool:
    place = registry / layout.blob_path(digest)
    if place.exists():
        return False
    data = given if isinstance(given, bytes) else read_bounded(given, MAX_BLOB_BYTES)
    if digest_bytes(data) != digest:
        return False  # damaged here; whoever needs it will see that, and make it again
    write_atomic(place, data)
    return True


def _lent(session: Session) -> Iterator[tuple[str, Path | bytes]]:
    wanted = session.config["serve.lend"]
    if lending.KERNELS in wanted:
        yield from _packages(session)
    if lending.VALIDATORS in wanted:
        yield from ((digest_bytes(data), data) for data in _archives(session).values())
    if lending.INPUTS in wanted:
        yield from _inputs(session)


def _packages(session: Session) -> Iterator[tuple[str, Path]]:
    """The lock's files that were fetched here."""
    lock, asker = session.asker.shop.lock, session.asker
    packages: list[LockedPackage] = [p for part in (lock.kernels, lock.sources, lock.packages) for p in part.values()]
    for file in (file for package in packages for file in package.files):
        place = asker.downloads / hex_of(file.digest)
        if place.is_file():
            yield file.digest, place


def _archives(session: Session, make: bool = False) -> dict[str, bytes]:
    """Loader → its validator as one file, as far as there is one."""
    found, asker = dict[str, bytes](), session.asker
    for name in ("", *session.matrix.loaders):
        try:
            found[name] = lending.archive(asker.shop.store, asker.validator(make, name))
        except NotThere:
            continue
    return found


def _inputs(session: Session) -> Iterator[tuple[str, Path]]:
    """Image, config, initramfs and object of every pair that has an answer here."""
    asker = session.asker
    for pair in session.matrix.pairs:
        try:
            kernel = asker.kernel(pair.kernel, make=False)
            made = (asker.initramfs(pair.kernel, make=False), asker.object(pair.object, make=False))
        except (NotThere, BpfcompatError):
            continue
        blobs = [blob for blob in (kernel.vmlinuz, kernel.config, *made) if blob is not None]
        yield from ((blob.digest, asker.shop.store.blob_path(blob.digest)) for blob in blobs)


def lock_validators(session: Session) -> None:
    """`doit validators:lock`: build every validator, and name its digest in the lock, so that others may borrow it."""
    shop, place = session.asker.shop, session.config.path("paths.lock")
    found = {}
    for name, data in _archives(session, make=True).items():
        recipe = plan.recipe_of(session.asker.validator_action(name))
        found[name] = LockedValidator(recipe, len(data), digest_bytes(data))
        session.voice.say(f"   validator:{name or libbpfs.OWN}: {digest_bytes(data)}, {len(data)} bytes")
    write_lock(place, replace(shop.lock, validators=found))
