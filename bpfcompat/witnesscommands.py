"""`bpfcompat witness`: look at somebody's log and cosign it, or put a witness's line below one's own checkpoint."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bpfcompat.errors import ConfigError, Exit

if TYPE_CHECKING:
    from bpfcompat.keys import LogPrivateKey
    from bpfcompat.policy import Policy
    from bpfcompat.registry.client import Source
    from bpfcompat.registry.witness import Cosigned

EPILOG = """a witness looks, remembers, and prints one line:
  bpfcompat witness https://… --log-key LOG --key mine >line
the operator takes it, with the witness's vkey:
  bpfcompat witness REGISTRY --add line --witness THEIRS
docs/log.md says what that is worth to readers."""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command, below the top parser's."""
    made = commands.add_parser("witness", help="see a registry's log grow, and sign that you did", epilog=EPILOG,
                               formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    made.add_argument("registry", help="a folder, or the http(s) address that serves it")
    made.add_argument("--log-key", type=Path, action="append", help="the log's key (vkey), which must have signed")
    made.add_argument(
        "--root", type=Path, metavar="FILE", help="the registry's root document: instead of the log's key"
    )
    made.add_argument("--key", type=Path, help="your own witness key; its name is in the .vkey beside it")
    made.add_argument("--name", help="your name on the line, where there is no .vkey")
    made.add_argument("--passphrase-env", metavar="NAME", help="environment variable that holds the passphrase")
    made.add_argument(
        "--state", type=Path, metavar="DIR", help="where you remember logs; never share it, never lose it"
    )
    made.add_argument("--out", type=Path, metavar="FILE", help="write the line here, not to standard output")
    made.add_argument(
        "--add", metavar="FILE", help="put this line below the registry's checkpoint; - is standard input"
    )
    made.add_argument("--witness", type=Path, metavar="FILE", help="with --add: the key (vkey) that the line is of")
    made.set_defaults(call=_witness)


def _witness(options: argparse.Namespace) -> int:
    return _add(options) if options.add is not None else _look(options)


def _look(options: argparse.Namespace) -> int:
    from bpfcompat import trailing
    from bpfcompat.files import write_named
    from bpfcompat.keys import fingerprint
    from bpfcompat.registry.client import open_source
    from bpfcompat.registry.state import state_folder
    from bpfcompat.registry.witness import witness

    if (options.log_key is None) == (options.root is None) or options.key is None:
        hint = "or --add FILE, to take a witness's line"
        raise ConfigError("witness: needs --key, and either --log-key or --root", hint=hint)
    name, key = _own_key(options)
    trailing.note("key", key=fingerprint(key.public_key()), role="witness", use=f"cosign {options.registry}")
    source, state = open_source(options.registry), options.state or state_folder("witness")
    found = witness(source, _policy(options, source, state), name, key, state, int(time.time()))
    print(_seen(found), file=sys.stderr)
    if options.out is None:
        sys.stdout.buffer.write(found.line)
    else:
        write_named(options.out, found.line)
    return int(Exit.OK)


def _policy(options: argparse.Namespace, source: "Source", state: Path) -> "Policy":
    """Which log is meant: by its key, or by the newest version of a pinned root document."""
    from bpfcompat.files import read_bounded
    from bpfcompat.note import load_vkey
    from bpfcompat.policy import Policy
    from bpfcompat.registry.rootmemory import RootMemory, reader_policy
    from bpfcompat.rootchain import pinned
    from bpfcompat.rootdoc import MAX_BYTES

    if options.root is None:
        return Policy((), tuple(map(load_vkey, options.log_key)))
    first = pinned(read_bounded(options.root, MAX_BYTES, ConfigError), str(options.root))
    return reader_policy(first, source, RootMemory(state), now=int(time.time()))[1]


def _add(options: argparse.Namespace) -> int:
    from bpfcompat.note import load_vkey
    from bpfcompat.registry.witness import add_line

    if options.witness is None or options.registry.startswith(("http://", "https://")):
        raise ConfigError("witness --add: needs the registry's own folder, and --witness with the line's key")
    found = add_line(Path(options.registry), _line(options.add), load_vkey(options.witness), _waits)
    print(f"log {found.origin}: {found.size} leaves, cosigned")
    return int(Exit.OK)


def _own_key(options: argparse.Namespace) -> "tuple[str, LogPrivateKey]":
    from bpfcompat.keys import load_log_private, passphrase_in, raw_public
    from bpfcompat.note import Kind, load_vkey

    key = load_log_private(options.key, lambda: passphrase_in(options.passphrase_env) or "")
    if options.name is not None:
        return options.name, key
    beside = options.key.with_name(options.key.name + ".vkey")
    if not beside.exists():
        raise ConfigError(f"{beside}: is missing", hint="give --name: what the log's readers know you by")
    own = load_vkey(beside)
    if own.kind is not Kind.WITNESS or own.raw != raw_public(key.public_key()):
        raise ConfigError(f"{beside}: is not the witness vkey of {options.key}")
    return own.name, key


def _line(name: str) -> bytes:
    from bpfcompat.files import read_bounded
    from bpfcompat.note import MAX_NOTE_BYTES

    if name == "-":
        return sys.stdin.buffer.read(MAX_NOTE_BYTES)
    return read_bounded(Path(name), MAX_NOTE_BYTES, ConfigError)


def _seen(found: "Cosigned") -> str:
    before = f"{found.before.size} when last seen" if found.before else "never seen before, so believed at first sight"
    return f"log {found.checkpoint.origin}: {found.checkpoint.size} leaves, {before}"


def _waits(who: str) -> None:
    print(f"   waits for {who}", file=sys.stderr, flush=True)
