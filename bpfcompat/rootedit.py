"""Changes to a root document, each a new value; and the words for what is in one and what changed.

A limit can only become narrower here: a key that was revoked from an index never counts for more again.  ConfigError
for a change that cannot be; what a version may not hold at all, rootdoc refuses.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from bpfcompat.errors import ConfigError
from bpfcompat.keys import LogPublicKey, fingerprint
from bpfcompat.rootdoc import ALGORITHMS, Key, Root, time_text

ROLES = ("root", *ALGORITHMS)
DAY_S = 86400
_LEAST_ID = 6


def next_version(root: Root, now: int, days: int) -> Root:
    """The version after this one, with a new life."""
    return replace(root, version=root.version + 1, expires=now + days * DAY_S)


def add(root: Root, new: Key | LogPublicKey) -> Root:
    """With one more key; one without a role is a root key."""
    if isinstance(new, Key):
        return replace(root, keys=(*root.keys, new))
    return replace(root, holders=(*root.holders, new))


def drop(root: Root, keyid: str) -> Root:
    """Without a key: what it signed counts for nothing from this version on."""
    full = find(root, keyid)
    holders = tuple(key for key in root.holders if fingerprint(key) != full)
    return replace(root, holders=holders, keys=tuple(key for key in root.keys if key.id != full))


def end(root: Root, keyid: str, below: int) -> Root:
    """With a last index for a verdict or log key: leaves from `below` on are not its."""
    key = _limited(root, keyid)
    if key.role == "witness":
        raise ConfigError(f"{key.id}: a witness has no last index", hint="bpfcompat keys drop, or keys expire --at")
    if key.below is not None and below > key.below:
        raise ConfigError(f"{key.id}: ends below {key.below} already, {below} would widen it")
    return _with(root, replace(key, below=below))


def expire(root: Root, keyid: str, at: int) -> Root:
    """With an end in time, not later than the one there may be."""
    key = _limited(root, keyid)
    if key.not_after is not None and at > key.not_after:
        raise ConfigError(f"{key.id}: expires at {time_text(key.not_after)} already, a later time would widen it")
    return _with(root, replace(key, not_after=at))


def rotate(root: Root, keyid: str, new: Key | LogPublicKey, below: int | None) -> Root:
    """With a new key in the place of one: a root key or a witness goes, another ends below an index."""
    full, role = find(root, keyid), role_of(root, keyid)
    if role in ("root", "witness"):
        return drop(add(root, new), full)  # in this order, as a threshold must be met at every moment
    if below is None:
        raise ConfigError(
            f"{full}: below which log index does it end", hint="--below N, or --log REGISTRY for its size"
        )
    return add(end(root, full, below), new)


def role_of(root: Root, keyid: str) -> str:
    """The role of a key that is in it."""
    full = find(root, keyid)
    return next((key.role for key in root.keys if key.id == full), "root")


def name_of(root: Root, keyid: str) -> str | None:
    """The name of a key that is in it, None for a root key."""
    full = find(root, keyid)
    return next((key.name for key in root.keys if key.id == full), None)


def find(root: Root, keyid: str) -> str:
    """The whole id of the key whose id begins so; `SHA256:` may be left out.  ConfigError for none or two."""
    ids = [*map(fingerprint, root.holders), *(key.id for key in root.keys)]
    wanted = keyid if keyid.startswith("SHA256:") else f"SHA256:{keyid}"
    found = [i for i in ids if i.startswith(wanted)] if len(wanted) >= len("SHA256:") + _LEAST_ID else []
    if len(found) != 1:
        hint = "bpfcompat keys show lists them; the first characters are enough where only one key has them"
        raise ConfigError(f"{keyid[:80]!r}: expected the id of one key, got {len(found)}", hint=hint)
    return found[0]


def _limited(root: Root, keyid: str) -> Key:
    full = find(root, keyid)
    found = next((key for key in root.keys if key.id == full), None)
    if found is None:
        raise ConfigError(f"{full}: a root key has no limits of its own", hint="bpfcompat keys rotate, or keys drop")
    return found


def _with(root: Root, changed: Key) -> Root:
    return replace(root, keys=tuple(changed if key.id == changed.id else key for key in root.keys))


# --- words


def lines(root: Root, now: int) -> Iterator[str]:
    """What a version says, a line for each key."""
    yield f"{root.name}, version {root.version}, expires {time_text(root.expires)}"
    yield f"{root.threshold} of {len(root.holders)} root keys sign a version; {root.needed} witnesses are needed"
    for what in _described(root, now).values():
        yield f"  {what}"


def changes(old: Root, new: Root, now: int) -> Iterator[str]:
    """What differs from one version to another: `-` was, `+` is."""
    for what in ("name", "version", "threshold", "needed"):
        if getattr(old, what) != getattr(new, what):
            yield f"  {what} {getattr(old, what)} → {getattr(new, what)}"
    before, after = _described(old, now), _described(new, now)
    for keyid in [*before, *(i for i in after if i not in before)]:
        if before.get(keyid) != after.get(keyid):
            yield from (f"{sign} {of[keyid]}" for sign, of in (("-", before), ("+", after)) if keyid in of)


def _described(root: Root, now: int) -> Mapping[str, str]:
    made = {i: f"{'root':<8} {i}" for i in sorted(map(fingerprint, root.holders))}
    for key in sorted(root.keys, key=lambda k: (ROLES.index(k.role), k.not_before, k.id)):
        made[key.id] = f"{key.role:<8} {key.id}  {key.name}  {_limits(key, now)}"
    return made


def _limits(key: Key, now: int) -> str:
    said = [f"from {time_text(key.not_before)}"]
    if key.not_after is not None:
        said.append(f"{'expired' if now >= key.not_after else 'until'} {time_text(key.not_after)}")
    if key.below is not None:
        said.append(f"only below log index {key.below}")
    return ", ".join(said)
