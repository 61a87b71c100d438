"""Small logs in memory, and bundles that are in them."""

from collections.abc import Sequence

from bpfcompat import envelope, logentry, tlog
from bpfcompat.keys import LogPrivateKey, PrivateKey
from bpfcompat.logentry import LogEntry
from bpfcompat.note import NoteKey, sign_note
from tests.claims import KEY, LOG_KEY, ORIGIN


def entries(leaves: Sequence[bytes], key: LogPrivateKey = LOG_KEY, origin: str = ORIGIN) -> list[LogEntry]:
    """What a log of just these leaves says of each."""
    tiles: dict[str, bytes] = {}
    grown = tlog.append(0, tlog.EMPTY_ROOT, tiles.get, leaves)
    tiles |= dict(grown.tiles)
    tree = tlog.Tree(grown.size, tiles.get)
    note = sign_note(tlog.Checkpoint(origin, grown.size, grown.root).text(), origin, key)
    log = logentry.log_id(NoteKey(origin, key.public_key()))
    return [
        LogEntry(leaf, i, grown.size, grown.root, tlog.inclusion_proof(tree, i), note, log)
        for i, leaf in enumerate(leaves)
    ]


def logged(*payloads: bytes, key: PrivateKey = KEY) -> list[bytes]:
    """The bundles of these payloads, all in one log."""
    signed = [envelope.parse(envelope.sign(payload, key)) for payload in payloads]
    leaves = [envelope.leaf_of(one, key.public_key()) for one in signed]
    return [envelope.logged(one, entry) for one, entry in zip(signed, entries(leaves), strict=True)]
