"""What a project writes into its audit trail: keys that are used, what is published or refused, changed settings."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bpfcompat import trail
from bpfcompat.digest import digest_json
from bpfcompat.errors import TrustError

if TYPE_CHECKING:
    from bpfcompat.config import Config

_SETTINGS_FILE = "bpfcompat.toml"  # as config.FILE, whose import takes longer than what root holders do


def write(config: "Config", event: str, **facts: str | int) -> trail.Line:
    """One record, now; StoreError when it cannot be written: then what it tells of must not happen."""
    return trail.record(config.path("paths.trail"), event, facts, int(time.time()))


def settings(config: "Config") -> None:
    """A record of the settings when they are not those of the last one near the trail's end.

    Named are those that differ from their defaults, with their value where it is a number or a switch: an address may
    hold a password.
    """
    digest = digest_json({name: _plain(value) for name, value in config.values.items()})
    known = [line for line in trail.recent(config.path("paths.trail")) if line.event == "settings"]
    if not known or known[-1].facts.get("digest") != digest:
        write(config, "settings", digest=digest, changed=" ".join(_changed(config)))


@contextmanager
def refusals(config: "Config", what: str) -> Iterator[None]:
    """A record of an error that ends this block, which goes on its way."""
    try:
        yield
    except TrustError as error:
        write(config, "refusal", what=what, why=error.message)
        raise


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
