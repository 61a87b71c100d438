"""Which root document to believe: from a pinned one, version by version, to the newest.

A version is believed when enough root keys of the version before it *and* of its own signed it.  Pure: bytes come in,
believed documents or TrustError come out.
"""

from collections.abc import Callable, Iterable, Mapping

from cryptography.exceptions import InvalidSignature

from bpfcompat.errors import TrustError
from bpfcompat.keys import LogPrivateKey, LogPublicKey, fingerprint
from bpfcompat.rootdoc import Document, Root, parse, time_text

MAX_ROTATIONS = 256


def sign(payload: bytes, key: LogPrivateKey) -> bytes:
    """A root key's signature of a version, 64 bytes."""
    return key.sign(payload)


def signers(payload: bytes, signatures: Mapping[str, bytes], holders: Iterable[LogPublicKey]) -> tuple[str, ...]:
    """Which of these root keys signed, each counted once; a signature that does not hold counts for nothing."""
    known = {fingerprint(key): key for key in holders}
    return tuple(i for i in sorted(known) if i in signatures and _holds(known[i], signatures[i], payload))


def _holds(key: LogPublicKey, signature: bytes, payload: bytes) -> bool:
    try:
        key.verify(signature, payload)
    except InvalidSignature:
        return False
    return True


def _enough(found: Document, of: Root, whose: str) -> None:
    count = len(signers(found.payload, found.signatures, of.holders))
    if count < of.threshold:
        raise TrustError(f"root {found.root.version}: {count} of {of.threshold} needed {whose} root keys signed it")


def pinned(data: bytes, what: str = "root document") -> Document:
    """A document that the reader got from where it trusts: signed by enough of its own keys, whatever its version."""
    found = parse(data, what)
    _enough(found, found.root, "own")
    return found


def follow(trusted: Document, data: bytes) -> Document:
    """The next version; TrustError unless enough keys of `trusted` and enough of its own signed it."""
    version = trusted.root.version + 1
    found = parse(data, f"root {version}")
    if found.root.version != version:
        raise TrustError(f"root {version}: says that it is version {found.root.version}")
    if found.root.name != trusted.root.name:
        raise TrustError(f"root {version}: is of {found.root.name}, the one before of {trusted.root.name}")
    _enough(found, trusted.root, f"version {trusted.root.version}'s")
    _enough(found, found.root, "own")
    return found


def newest(trusted: Document, read: Callable[[int], bytes | None]) -> tuple[Document, ...]:
    """The chain from a believed document to the newest: `read` gives version N's bytes, None where there is none.

    A version that exists and does not hold is an error, never the end of the chain.
    """
    chain = [trusted]
    while (data := read(chain[-1].root.version + 1)) is not None:
        chain.append(follow(chain[-1], data))
        if len(chain) > MAX_ROTATIONS:
            raise TrustError(
                f"root: more than {MAX_ROTATIONS} versions after {trusted.root.version}",
                hint="get a newer root document from where you got yours",
            )
    return tuple(chain)


def check_life(root: Root, now: int) -> None:
    """TrustError when a document is over: somebody may be holding back the one that revokes."""
    if now >= root.expires:
        hint = "ask the registry's owners for a newer one, or allow expired ones"
        raise TrustError(f"root {root.version}: expired at {time_text(root.expires)}", hint=hint)
