"""`bpfcompat verify`: a registry, its log and its answers, believed by keys that came another way."""

import argparse
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bpfcompat.errors import ConfigError, TrustError

if TYPE_CHECKING:
    from bpfcompat.policy import Policy
    from bpfcompat.registry.client import Source
    from bpfcompat.registry.state import Memory
    from bpfcompat.rootdoc import Root

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command, below the top parser's."""
    check = commands.add_parser("verify", help="check a registry's signatures, log, digests and answers")
    add_trust(check)
    check.add_argument("--all", action="store_true", help="every leaf of the log must have its bundle, over HTTP too")
    check.add_argument("--object", type=Path, help="only rows about this object, which must be this very file")
    check.add_argument("--kernel", type=Path, help="only rows about this vmlinuz, which must be this very file")
    check.set_defaults(call=_verify)


def add_trust(check: argparse.ArgumentParser) -> None:
    """The registry, whom to believe of it, and what to remember: `reader` reads these options."""
    check.add_argument("registry", help="a folder, or the http(s) address that serves it")
    check.add_argument("--root", type=Path, metavar="FILE", help="the registry's root document: instead of all keys")
    check.add_argument("--key", type=Path, action="append", default=[], help="trusted public key (PEM); repeatable")
    check.add_argument("--log-key", type=Path, action="append", default=[], help="the log's key (vkey); repeatable")
    check.add_argument("--witness", type=Path, action="append", default=[], help="a witness's key (vkey); repeatable")
    check.add_argument("--needed", type=int, default=0, metavar="K", help="how many witnesses must have seen the log")
    check.add_argument("--max-age", metavar="TIME", help="refuse a log that was last witnessed longer ago: 12h, 7d")
    check.add_argument(
        "--state", type=Path, metavar="DIR", help="where to remember logs, so that a rewritten one shows"
    )
    check.add_argument("--allow-expired", action="store_true", help="accept a matrix or root after its validity")


def _verify(options: argparse.Namespace) -> int:
    from bpfcompat import trailing
    from bpfcompat.registry.verify import format_verification, verify

    by = reader(options)
    found = verify(by.source, by.policy, now=int(time.time()), object_file=options.object,
                   kernel_file=options.kernel, allow_expired=options.allow_expired, every=options.all,
                   memory=by.memory)  # fmt: skip
    print(format_verification(found))
    trailing.refused_here(f"verify {options.registry}", *map(TrustError, found.problems))
    return int(found.exit_code)


class Reader(NamedTuple):
    """Where to read, whom to believe, by which root document if there is one, and what was seen before."""

    source: "Source"
    policy: "Policy"
    root: "Root | None"
    memory: "Memory | None"


def reader(options: argparse.Namespace) -> Reader:
    """What the options of `add_trust` say."""
    from bpfcompat.registry.client import open_source
    from bpfcompat.registry.state import Memory, state_folder

    source, state = open_source(options.registry), options.state or state_folder("reader")
    root, policy = _rooted(options, source, state) if options.root else (None, _policy(options))
    return Reader(source, policy, root, Memory(state, policy.every_log) if policy.log else None)


def _rooted(options: argparse.Namespace, source: "Source", state: Path) -> "tuple[Root, Policy]":
    """Whom a pinned root document trusts, by its newest version."""
    from bpfcompat.files import read_bounded
    from bpfcompat.registry.rootmemory import RootMemory, reader_policy
    from bpfcompat.rootchain import pinned
    from bpfcompat.rootdoc import MAX_BYTES, time_text

    if options.key or options.log_key or options.witness or options.needed:
        raise ConfigError("--root: has all keys in it", hint="leave --key, --log-key, --witness and --needed out")
    first = pinned(read_bounded(options.root, MAX_BYTES, ConfigError), str(options.root))
    age = None if options.max_age is None else seconds(options.max_age, "--max-age")
    root, policy = reader_policy(first, source, RootMemory(state), now=int(time.time()),
                                 allow_expired=options.allow_expired, max_age_s=age)  # fmt: skip
    print(f"root of {root.name}: version {root.version}, expires {time_text(root.expires)}")
    return root, policy


def _policy(options: argparse.Namespace) -> "Policy":
    """Whom the keys on the command line trust."""
    from bpfcompat.files import read_bounded
    from bpfcompat.keys import MAX_KEY_BYTES, load_public
    from bpfcompat.note import load_vkey
    from bpfcompat.policy import Policy

    if not options.key:
        raise ConfigError("whom to believe?", hint="give --root, or --key and --log-key")
    if not options.log_key and (options.witness or options.needed or options.max_age):
        raise ConfigError("--witness, --needed, --max-age: are about the log, whose key is not given",
                          hint="give --log-key")  # fmt: skip
    keys = [load_public(read_bounded(path, MAX_KEY_BYTES, ConfigError), str(path)) for path in options.key]
    age = None if options.max_age is None else seconds(options.max_age, "--max-age")
    logs, witnesses = (tuple(map(load_vkey, paths)) for paths in (options.log_key, options.witness))
    return Policy(Policy.of_keys(keys).verdict, logs, witnesses, options.needed, age)


def seconds(text: str, what: str) -> int:
    """`90s`, `5m`, `12h`, `7d` in seconds; ConfigError for anything else."""
    found = re.fullmatch("([1-9][0-9]{0,8})([smhd])", text)
    if found is None:
        raise ConfigError(f"{what}: expected a number with s, m, h or d behind it, got {text[:40]!r}")
    return int(found[1]) * _UNITS[found[2]]
