"""Where things lie in a registry folder: the one grammar that publisher, server and reader share.

A path is one of a few forms or it is nothing; there is no clean-up of paths anywhere.  Files with a digest in their
name and tiles of the log are written once; everything else is replaced by rename.
"""

import re
from dataclasses import dataclass

from bpfcompat.digest import canonical, hex_of, is_digest
from bpfcompat.errors import StoreError, TrustError
from bpfcompat.model import Answer
from bpfcompat.strictjson import parse_json

FORMAT = 2  # that is written; format 1 has no log, and is still read
FORMAT_FILE = "registry.json"
LOCK_FILE = ".lock"
PENDING = ".pending"  # signed, and not yet in the log; never served
CHECKPOINT = "checkpoint"
TRAIL = "trail"  # a signed head of the publisher's audit trail: docs/trail.md
MATRIX = "matrix.json"
INDEX = "index.html"
STYLE = "style.css"
TWIN = ".gz"  # what the name of a file's compressed copy ends with
MAX_SMALL_BYTES = 1 << 20  # registry.json, a pair index, a key
MAX_EVIDENCE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a pair's index: a bundle's pae digest, and the answer and cause it holds.  Never trusted."""

    bundle: str
    answer: Answer
    cause: str


def key_path(hex_fingerprint: str) -> str:
    """A public key, named by its fingerprint in hex."""
    return f"keys/{hex_fingerprint}.pem"


def bundle_path(digest: str) -> str:
    """A verdict's bundle, named by its pae digest."""
    return f"bundles/{hex_of(digest)}.json"


def manifest_path(digest: str) -> str:
    """A matrix manifest's bundle, named by its pae digest."""
    return f"manifests/{hex_of(digest)}.json"


def pending_path(digest: str) -> str:
    """A bundle that is signed and not yet in the log."""
    return f"{PENDING}/{hex_of(digest)}.json"


def evidence_path(digest: str) -> str:
    """A report, named by the digest of its bytes."""
    return f"evidence/{hex_of(digest)}.json"


def pack_path(digest: str) -> str:
    """All verdicts of a matrix and their reports, named by the digest of its bytes."""
    return f"packs/{hex_of(digest)}.pack"


def pair_path(pair: str) -> str:
    """The index of a pair: every bundle that ever answered it."""
    return f"pairs/{pair}.json"


def page_path(pair: str) -> str:
    """The page of a pair."""
    return f"pair/{pair}.html"


def blob_path(digest: str) -> str:
    """Any bytes, named by their digest: what a verdict was made from, lent to others."""
    return f"blobs/{hex_of(digest)}"


def inventory_path(digest: str) -> str:
    """What a kernel's build has, or what its guests said, by the digest of its bytes, which the matrix signs."""
    return f"inventories/{hex_of(digest)}.json"


def kernel_page_path(digest: str) -> str:
    """The page of an inventory."""
    return f"kernel/{hex_of(digest)}.html"


def root_path(version: int) -> str:
    """A version of the root document."""
    return f"root/{version}.json"


def digest_named(name: str) -> str | None:
    """The digest that a file name such as `<64 hex>.json` holds; None for any other name."""
    digest = "sha256:" + name.removesuffix(".json")
    return digest if name.endswith(".json") and is_digest(digest) else None


def format_bytes(log: str) -> bytes:
    """What registry.json holds: the format, and the log's name and key (vkey): a convenience, and never trusted."""
    return canonical({"format": FORMAT, "log": log})


def parse_format(data: bytes) -> str | None:
    """The vkey of the log that registry.json names, None in format 1; StoreError for a format that we do not know."""
    try:
        found = parse_json(data, FORMAT_FILE, MAX_SMALL_BYTES)
        fields = found if isinstance(found, dict) else {}
        number = fields.get("format")
        if number == FORMAT and type(fields.get("log")) is str and set(fields) == {"format", "log"}:
            return str(fields["log"])
    except TrustError as error:
        raise StoreError(f"{FORMAT_FILE}: {error.message}") from None
    if number != 1 or type(number) is not int or len(fields) != 1:
        hint = "use a newer bpfcompat" if isinstance(number, int) and number > FORMAT else None
        raise StoreError(f"{FORMAT_FILE}: format {str(number)[:20]}, this program knows 1 and {FORMAT}", hint=hint)
    return None


def index_bytes(entries: tuple[Entry, ...]) -> bytes:
    """A pair's index as JSON, oldest entry first."""
    return canonical([{"bundle": e.bundle, "answer": str(e.answer), "cause": e.cause} for e in entries])


def parse_index(data: bytes) -> tuple[Entry, ...]:
    """A pair's index; TrustError unless it is exactly what `index_bytes` writes."""
    found = parse_json(data, "pair index", MAX_SMALL_BYTES)
    try:
        entries = tuple(Entry(e["bundle"], Answer(e["answer"]), e["cause"]) for e in found)
        same = index_bytes(entries) == data and all(is_digest(e.bundle) for e in entries)
    except (KeyError, TypeError, ValueError) as error:
        raise TrustError(f"pair index: not as docs/registry.md says: {type(error).__name__}") from None
    if not same:
        raise TrustError("pair index: not as docs/registry.md says")
    return entries


HEX = "[0-9a-f]{64}"
_LEVEL = "(?:[1-5]?[0-9]|6[0-3])"
_TILE = "(?:x(?!000)[0-9]{3}/(?:x[0-9]{3}/){0,4})?[0-9]{3}"  # C2SP tlog-tiles: x001/x234/067 is number 1234067
_WIDTH = "(?:[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])"
SERVED = re.compile(
    rf"(?P<addressed>(?:bundles|manifests|evidence|inventories)/{HEX}\.json|keys/{HEX}\.pem|packs/{HEX}\.pack|blobs/{HEX}"
    rf"|tile/(?:{_LEVEL}|entries)/{_TILE}(?:\.p/{_WIDTH})?)"
    rf"|pairs/{HEX}\.json|(?:pair|kernel)/{HEX}\.html|root/[1-9][0-9]{{0,8}}\.json"
    r"|checkpoint|trail|registry\.json|matrix\.json|index\.html|style\.css"
)
"""Every path that there can be, each in its only spelling.  `addressed`: named by its content, or by a tile's place and
width in an append-only log, so what lies there never changes."""
