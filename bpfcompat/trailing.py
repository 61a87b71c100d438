"""What a project writes into its audit trail: keys that are used, what is published or refused, changed settings.

One door for all of it.  Who signs or publishes writes first, and does nothing where that fails; a refusal is a refusal
whether it could be written down or not.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bpfcompat import trail
from bpfcompat.digest import digest_json
from bpfcompat.envelope import pae_digest
from bpfcompat.errors import BpfcompatError, ConfigError, Exit, TrustError
from bpfcompat.files import locked, write_atomic
from bpfcompat.keys import LogPrivateKey, PublicKey, fingerprint
from bpfcompat.note import sign_note
from bpfcompat.origins import Refused
from bpfcompat.registry import layout
from bpfcompat.trailhead import Head, head_payload

if TYPE_CHECKING:
    from bpfcompat.config import Config
    from bpfcompat.registry.log import LogSigner
    from bpfcompat.registry.publish import Published

DAY_S = 86400
MAX_REASONS = 10  # of one refusal that are written: a hostile registry must not fill the disk
Say = Callable[[str], None]
_UNTOLD = "the refusal is not in the audit trail"
_SETTINGS_FILE = "bpfcompat.toml"  # as config.FILE, whose import takes longer than what root holders do


def write(config: "Config", event: str, **facts: str | int) -> trail.Line:
    """One record, now; StoreError when it cannot be written: then what it tells of must not happen."""
    return trail.record(config.path("paths.trail"), event, facts, int(time.time()))


def settings(config: "Config", trust: str = "") -> None:
    """A record of the settings when they are not those of the last one near the trail's end.

    Named are those that differ from their defaults, with their value where it is a number or a switch: an address may
    hold a password.  `trust` is a digest of whom a borrower believes: key files change while their names stay.
    """
    found = {"digest": digest_json({name: _plain(value) for name, value in config.values.items()})}
    found |= {"trust": trust} if trust else {}
    known = [line.facts for line in trail.recent(config.path("paths.trail")) if line.event == "settings"]
    last = {name: value for facts in known for name, value in facts.items()}
    if any(last.get(name) != value for name, value in found.items()):
        write(config, "settings", **found, changed=" ".join(_changed(config)))


@dataclass(slots=True)
class Told:
    """What came of a publish, for the record of it.  `head` is what it is to log of the trail, None for nothing."""

    head: bytes | None = None
    done: "Published | None" = None


@contextmanager
def publishing(
    config: "Config", registry: Path, key: PublicKey, log: "LogSigner", waiting: Say | None = None
) -> Iterator[Told]:
    """Records around a publish: settings and keys before it, what came of it after; and a head, signed for others."""
    settings(config)
    for used, role in ((key, "verdict"), (log.key.public_key(), "log")):
        write(config, "key", key=fingerprint(used), role=role, use=f"publish to {registry}")
    last = _head_due(config, registry)
    told = Told(head_payload(last) if last else None)
    with refusals(config, f"publish to {registry}"):
        yield told
    if told.done is not None:
        done = told.done
        if last is not None and told.head is not None:
            write(config, "logged", registry=str(registry), number=last.number, head=last.digest,
                  bundle=pae_digest(told.head))  # fmt: skip
        write(config, "publish", registry=str(registry), manifest=done.manifest, verdicts=done.new, known=done.known,
              conflicts=len(done.conflicts), log_size=done.log.size)  # fmt: skip
        leave_head(config, registry, done.log.origin, log.key, waiting)


def _head_due(config: "Config", registry: Path) -> Head | None:
    """The trail's end, where none was logged for a day; a new trail has a day before its first."""
    lines = trail.recent(config.path("paths.trail"))
    logged = [line.at for line in lines if line.event == "logged" and line.facts.get("registry") == str(registry)]
    whole = lines[0].number == 1  # else what was logged last lies too far back: a day's worth of records, or more
    since = logged[-1] if logged else lines[0].at if whole else 0
    return Head(lines[-1].number, lines[-1].digest) if time.time() - since >= DAY_S else None


def leave_head(config: "Config", registry: Path, origin: str, key: LogPrivateKey, waiting: Say | None = None) -> None:
    """The end of the trail, signed, where readers and mirrors can take it."""
    # of two publishers at once the slower one must not put back an older head
    with locked(registry / layout.LOCK_FILE, waiting):
        last = trail.recent(config.path("paths.trail"))[-1]
        write_atomic(registry / layout.TRAIL, sign_note(trail.head_text(origin, last), origin, key))


# --- refusals


@contextmanager
def refusals(config: "Config", what: str) -> Iterator[None]:
    """A record of an error that ends this block, also of one in the settings; it goes on its way."""
    try:
        yield
    except (ConfigError, TrustError) as error:
        _refused(config, what, [error], _complain)
        raise


def refused(config: "Config", what: str, *errors: BpfcompatError, say: Say | None = None) -> None:
    """Records of those errors that mean: not believed, or not gone there by the guard.

    Each error is recorded once, and MAX_REASONS of them.  Where the trail cannot be written, that is said, and the
    refusal stays what it is.
    """
    _refused(config, what, _untold(errors), say or _complain)


def _untold(errors: Sequence[BpfcompatError]) -> list[BpfcompatError]:
    found = [error for error in errors if error.exit_code is Exit.UNTRUSTED or isinstance(error, Refused)]
    return [error for error in found if not error.recorded]


def refused_here(what: str, *errors: BpfcompatError) -> None:
    """The same, in the trail of the project here, if there is one."""
    if not _untold(errors):  # the settings are not looked at in vain: they may be what is wrong
        return
    try:
        config = here(Path.cwd())
    except BpfcompatError as trouble:
        _complain(f"{_UNTOLD}: {trouble}")
        return
    if config is not None:
        refused(config, what, *errors)


def _refused(config: "Config", what: str, errors: Sequence[BpfcompatError], say: Say) -> None:
    more = len(errors) - MAX_REASONS
    reasons = [error.message for error in errors[:MAX_REASONS]] + ([f"{more} more reasons"] if more > 0 else [])
    for error in errors:
        error.recorded = True
    try:
        for why in reasons:
            write(config, "refusal", what=what, why=why)
    except BpfcompatError as trouble:
        say(f"{_UNTOLD}: {trouble}")


def _complain(text: str) -> None:
    print(f"bpfcompat: {text}", file=sys.stderr)


# --- commands, in whatever folder they are typed


def note(event: str, **facts: str | int) -> None:
    """One record in the trail of the project here, if there is one: a root holder's machine has none."""
    config = here(Path.cwd())
    if config is not None:
        write(config, event, **facts)


def here(folder: Path) -> "Config | None":
    """The settings of the project in a folder, None where there is none: a root holder's machine has no project."""
    if not (folder / _SETTINGS_FILE).exists():
        return None
    from bpfcompat.config import load

    return load(folder)


def _changed(config: "Config") -> Iterator[str]:
    from bpfcompat.config import SETTINGS

    for section, keys in SETTINGS.items():
        for name, key in keys.items():
            value = config.values[f"{section}.{name}"]
            if _plain(value) != _plain(key.default):
                yield f"{section}.{name}" + (f"={json.dumps(value)}" if isinstance(value, int | float) else "")


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
