"""A project that has a root document: whom its readers believe, and whether its own keys may sign for them."""

import time
from dataclasses import replace

from bpfcompat.config import Config
from bpfcompat.errors import ConfigError, TrustError
from bpfcompat.files import read_bounded
from bpfcompat.keys import PublicKey, fingerprint, raw_public
from bpfcompat.policy import Policy
from bpfcompat.registry.client import Folder
from bpfcompat.registry.log import LogSigner
from bpfcompat.registry.rootmemory import reader_policy
from bpfcompat.rootchain import check_life, pinned
from bpfcompat.rootdoc import MAX_BYTES, Root

HINT = "sign with a key of the root document, or add this one: docs/keys.md"


def readers(config: Config) -> tuple[Root, Policy] | None:
    """The newest version in this project's registry, from the pinned one on; None where `[signing] root` is empty.

    TrustError: it does not hold, or has expired.
    """
    if not config["signing.root"]:
        return None
    path, registry, now = config.path("signing.root"), config.path("paths.registry"), int(time.time())
    first = pinned(read_bounded(path, MAX_BYTES, ConfigError), str(path))
    if registry.is_dir():
        return reader_policy(first, Folder(registry), None, now=now)
    check_life(first.root, now)
    return first.root, first.root.policy(now)


def signer_for(found: tuple[Root, Policy] | None, key: PublicKey, log: LogSigner) -> LogSigner:
    """The log's signer under the registry's name; ConfigError when readers would refuse one of the keys."""
    if found is None:
        return log
    root, policy = found
    try:
        policy.allows(fingerprint(key), None, None, int(time.time()))
    except TrustError as error:
        raise ConfigError(f"[signing] key: readers would refuse it: {error.message}", hint=HINT) from None
    if raw_public(log.key.public_key()) not in [known.raw for known in policy.log]:
        said = fingerprint(log.key.public_key())
        raise ConfigError(f"[signing] log_key: {said} is no log key of root version {root.version}", hint=HINT)
    if log.origin not in ("", root.name):
        raise ConfigError(f"[signing] origin: the root document is of {root.name}, got {log.origin[:80]!r}")
    return replace(log, origin=root.name)
