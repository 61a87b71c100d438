"""`bpfcompat reproduce`: a signed verdict, asked again here."""

import argparse
from pathlib import Path

from bpfcompat.errors import ConfigError


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command, below the top parser's."""
    made = commands.add_parser(
        "reproduce", help="ask a signed verdict's question again here: 0 agrees, 1 differs, 3 could not"
    )
    made.add_argument("bundle", help="the bundle's file, or its pae digest with --registry")
    made.add_argument("--registry", help="folder or http(s) address that has the bundle, and the report it rests on")
    made.add_argument("--key", type=Path, action="append", default=[], help="trusted public key (PEM); repeatable")
    made.add_argument("--log-key", type=Path, action="append", default=[], help="the log's key (vkey); repeatable")
    made.add_argument("--object", type=Path, metavar="FILE", help="the object, where the project does not have it")
    made.add_argument("--other-tools", action="store_true", help="ask although another compiler built the validator")
    made.set_defaults(call=_reproduce)


def _reproduce(options: argparse.Namespace) -> int:
    from bpfcompat.files import read_bounded
    from bpfcompat.keys import MAX_KEY_BYTES, load_public
    from bpfcompat.note import load_vkey
    from bpfcompat.policy import Policy
    from bpfcompat.rules.reproducing import reproduce

    keys = [load_public(read_bounded(path, MAX_KEY_BYTES, ConfigError), str(path)) for path in options.key]
    if options.log_key and not keys:
        raise ConfigError("--log-key: whose signature counts?", hint="give --key too")
    policy = Policy(Policy.of_keys(keys).verdict, tuple(map(load_vkey, options.log_key))) if keys else None
    code, lines = reproduce(Path.cwd(), options.bundle, options.registry, policy, options.object, options.other_tools)
    print("\n".join(lines))
    return int(code)
