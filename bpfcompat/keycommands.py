"""`bpfcompat keys …`: the life of a registry's keys on the command line.

A draft is a root document that nobody has signed; a signature is a file of its own, so that every root holder signs on
a machine of their own.  Nothing is written to a registry before enough of them did.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

DAYS = 365
EPILOG = """a key file is what `bpfcompat keys new` writes (PATH.pub), or a log's or witness's vkey; a key id is
written as `bpfcompat keys show` prints it, its first characters are enough, and the key's file does as well.
docs/keys.md: a whole life of keys"""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The group, below the top parser's commands."""
    group = commands.add_parser("keys", help="root documents: who may sign for a registry, since and until when",
                                epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    each = group.add_subparsers(metavar="COMMAND", required=True)
    _making(each)
    _editing(each)
    _signing(each)


def _making(each: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    new = each.add_parser("new", help="make a key pair for a role")
    new.add_argument("role", choices=("root", "verdict", "log", "witness"))
    new.add_argument("path", type=Path)
    new.add_argument("--name", help="of a log or a witness: its vkey, with this name, is written beside it")
    new.add_argument("--passphrase-env", metavar="NAME", help="environment variable that holds the passphrase")
    new.set_defaults(call=_call("new"))
    init = each.add_parser("init", help="write a draft of version 1")
    init.add_argument("draft", type=Path)
    init.add_argument("--name", required=True, help="the registry's name, which its log has too, like results.example")
    init.add_argument("--threshold", required=True, type=int, help="how many root keys sign a version")
    for role in ("root", "verdict", "log"):
        needed = role != "log"
        init.add_argument(f"--{role}", required=needed, type=Path, action="append", default=[], metavar="PUB")
    init.add_argument("--witness", action="append", default=[], metavar="NAME=PUB")
    init.add_argument("--needed", type=int, default=0, help="how many witnesses must have seen a checkpoint (0)")
    init.add_argument("--days", type=int, default=DAYS, help=f"until it expires ({DAYS})")
    init.set_defaults(call=_call("init"))
    draft = each.add_parser("draft", help="write a draft of the version after a document or a registry's newest")
    draft.add_argument("old", type=Path, metavar="DOCUMENT|REGISTRY")
    draft.add_argument("draft", type=Path)
    draft.add_argument("--days", type=int, default=DAYS)
    draft.set_defaults(call=_call("draft"))


def _editing(each: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    def edit(name: str, words: str, keyid: bool = True) -> argparse.ArgumentParser:
        made = each.add_parser(name, help=words)
        made.add_argument("draft", type=Path)
        if keyid:
            made.add_argument("key", metavar="KEYID")
        made.set_defaults(call=_call(name))
        return made

    add = edit("add", "a further key", keyid=False)
    add.add_argument("role", choices=("root", "verdict", "log", "witness"))
    add.add_argument("public", type=Path, metavar="PUB")
    add.add_argument("--name", help="of a witness, or a word for a verdict key (its file's name)")
    rotate = edit("rotate", "a new key in the place of one")
    rotate.add_argument("public", type=Path, metavar="PUB")
    revoke = edit("revoke", "a verdict or log key counts only below a log index")
    expire = edit("expire", "a key ends at a time, a verdict or log key also at a log index")
    expire.add_argument("--at", metavar="TIME", help="like 2026-11-27T00:00:00Z (now)")
    for made in (rotate, revoke, expire):
        made.add_argument("--below", type=int, metavar="N", help="the first index that is not this key's")
        made.add_argument("--log", type=Path, metavar="REGISTRY", help="all that this registry's log has now is its")
    edit("drop", "a key is gone, and nothing that it signed counts")
    settings = edit("set", "threshold, needed witnesses, life", keyid=False)
    for name in ("threshold", "needed", "days"):
        settings.add_argument(f"--{name}", type=int)


def _signing(each: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    show = each.add_parser("show", help="say what a root document says, or a registry's newest, and who signed it")
    show.add_argument("document", type=Path, metavar="DOCUMENT|REGISTRY")
    show.add_argument("--since", type=Path, metavar="DOCUMENT|REGISTRY", help="only what changed since this one")
    show.set_defaults(call=_call("show"))
    sign = each.add_parser("sign", help="sign a draft as a root holder; the signature is a file beside it")
    sign.add_argument("draft", type=Path)
    sign.add_argument("--key", required=True, type=Path, help="the root key (PEM, private)")
    sign.add_argument("--passphrase-env", metavar="NAME", help="environment variable that holds the passphrase")
    sign.set_defaults(call=_call("sign"))
    publish = each.add_parser("publish", help="put a draft with its signatures into a registry")
    publish.add_argument("draft", type=Path)
    publish.add_argument("signature", nargs="*", type=Path, help="files of `keys sign`")
    publish.add_argument("--registry", required=True, type=Path)
    publish.set_defaults(call=_call("publish"))


def _call(name: str) -> Callable[[argparse.Namespace], int]:
    def run(options: argparse.Namespace) -> int:
        from bpfcompat.rooting import COMMANDS  # only where it is asked for: it reads keys

        return COMMANDS[name](options)

    return run
