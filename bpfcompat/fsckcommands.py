"""`bpfcompat fsck`: is a registry's folder whole?"""

import argparse
import sys
from pathlib import Path


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command, below the top parser's."""
    whole = commands.add_parser("fsck", help="read every file of a registry's folder, build its log again, name damage")
    whole.add_argument("registry", type=Path, help="a folder")
    whole.set_defaults(call=_fsck)


def _fsck(options: argparse.Namespace) -> int:
    from bpfcompat.registry.fsck import fsck, lines

    found = fsck(options.registry, say=lambda text: print(text, file=sys.stderr, flush=True))
    print("\n".join(lines(found)))
    return int(found.exit_code)
