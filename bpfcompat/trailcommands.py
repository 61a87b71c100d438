"""`bpfcompat trail …`: look at a project's audit trail, and check it."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bpfcompat.errors import ConfigError, Exit, TrustError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpfcompat.trail import Line


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The group, below the top parser's commands."""
    group = commands.add_parser("trail", help="the audit trail: keys used, what was published and refused, settings")
    each = group.add_subparsers(metavar="verify|show", required=True)
    verify = each.add_parser("verify", help="check that every record follows from the one before")
    verify.add_argument("--head", type=Path, metavar="NOTE", help="and that a head that was kept is still in it")
    verify.add_argument("--log-key", type=Path, metavar="VKEY", help="the log's key, which signed that head")
    verify.add_argument("--registry", metavar="REGISTRY", help="and that every head in a registry's log is still in it")
    verify.add_argument("--key", type=Path, action="append", default=[], help="who signs there (PEM); repeatable")
    verify.add_argument("--state", type=Path, metavar="DIR", help="where to remember logs, so that an old one shows")
    verify.set_defaults(call=_verify)
    show = each.add_parser("show", help="print the records")
    show.add_argument("--last", type=int, metavar="N", help="only the last N")
    show.add_argument("--event", help="only these: publish, key, refusal, settings, root, logged, torn")
    show.set_defaults(call=_show)
    verify.add_argument(
        "path", nargs="*", type=Path, help="trails, of all who publish there; without, that of the project here"
    )
    show.add_argument("path", nargs="?", type=Path, help="the trail; without, that of the project here")


def _verify(options: argparse.Namespace) -> int:
    paths = options.path or [_project()]
    for path in paths:
        _chained(path)
    if options.head is not None:
        _kept(paths, options)
    if options.registry is not None:
        _logged(paths, options)
    return int(Exit.OK)


def _chained(path: Path) -> None:
    from bpfcompat.trail import check

    found = check(path)
    if found.last is None:
        print(f"{path}: no record")
        return
    torn = f", {found.repaired} cut lines named" if found.repaired else ""
    print(f"{path}: {found.last.number} records, each follows from the one before{torn}")
    print(f"the last is {found.last.number} {found.last.digest}")
    if found.torn_bytes:
        print(f"{found.torn_bytes} bytes behind it are no whole record: a kill cut it short, and the next will name it")


def _kept(paths: "Sequence[Path]", options: argparse.Namespace) -> None:
    from bpfcompat.files import read_bounded
    from bpfcompat.note import MAX_NOTE_BYTES, load_vkey, verify_note
    from bpfcompat.trail import check_heads, head_of

    if options.log_key is None:
        raise ConfigError("trail verify --head: needs --log-key, the key that signed it")
    note = verify_note(read_bounded(options.head, MAX_NOTE_BYTES, ConfigError), [load_vkey(options.log_key)])
    head = head_of(note.text)
    check_heads(paths, [head])
    print(f"the kept head, record {head[0]}, is still in {_them(paths)}")


def _logged(paths: "Sequence[Path]", options: argparse.Namespace) -> None:
    """Every head that a registry's log has, believed as its verdicts are, is still in one of the trails."""
    from bpfcompat.files import read_bounded
    from bpfcompat.keys import MAX_KEY_BYTES, load_public
    from bpfcompat.note import load_vkey
    from bpfcompat.origins import name_of
    from bpfcompat.policy import Policy
    from bpfcompat.registry.client import open_source
    from bpfcompat.registry.state import Memory, state_folder
    from bpfcompat.registry.verify import examine
    from bpfcompat.trail import check_heads

    if options.log_key is None or not options.key:
        raise ConfigError("trail verify --registry: needs --key and --log-key, which signed there")
    keys = [load_public(read_bounded(place, MAX_KEY_BYTES, ConfigError), str(place)) for place in options.key]
    policy = Policy(Policy.of_keys(keys).verdict, (load_vkey(options.log_key),))
    memory = Memory(options.state or state_folder("reader"), policy.log)
    found = examine(open_source(options.registry), policy, now=int(time.time()), allow_expired=True, every=True,
                    memory=memory)  # fmt: skip
    if found.problems:
        raise TrustError(f"{name_of(options.registry)}: {found.problems[0]}")
    check_heads(paths, found.heads.values())
    print(f"all {len(found.heads)} heads in the log of {name_of(options.registry)} are still in {_them(paths)}")


def _them(paths: "Sequence[Path]") -> str:
    return "it" if len(paths) == 1 else f"one of the {len(paths)} trails"


def _show(options: argparse.Namespace) -> int:
    from collections import deque

    from bpfcompat.trail import EVENTS, lines

    if options.event is not None and options.event not in EVENTS:
        raise ConfigError(f"--event: expected one of {', '.join(EVENTS)}, got {options.event[:40]!r}")
    if options.last is not None and options.last < 1:
        raise ConfigError(f"--last: expected a number from 1, got {options.last}")
    found = (line for line in lines(options.path or _project()) if options.event in (None, line.event))
    for line in found if options.last is None else deque(found, options.last):
        print(_words(line))
    return int(Exit.OK)


def _words(line: "Line") -> str:
    from bpfcompat.registry.text import plain, when

    facts = "  ".join(f"{name} {plain(value, 500)}" for name, value in sorted(line.facts.items()))
    return f"{line.number:>6}  {when(line.at)}  {plain(line.event):<8}  {facts}"


def _project() -> Path:
    from bpfcompat.trailing import here

    config = here(Path.cwd())
    if config is None:
        raise ConfigError("trail: there is no bpfcompat.toml here", hint="name the trail's file")
    return config.path("paths.trail")
