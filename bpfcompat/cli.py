"""The command line: parse, call, print, exit code.  What doit does, doit does (`bpfcompat matrix` is `doit matrix`)."""

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfcompat import (
    __version__,
    auditcommands,
    fsckcommands,
    keycommands,
    reproducecommands,
    trailcommands,
    verifycommands,
    witnesscommands,
)
from bpfcompat.errors import BpfcompatError, ConfigError, Exit
from bpfcompat.voice import clean_lines

if TYPE_CHECKING:
    from bpfcompat.rules.bisecting import Ground

DOIT = ("matrix", "plan", "publish", "report", "list", "info", "forget", "clean", "why", "run")
# as buildtext.KINDS, which to import takes longer than most of these commands
KINDS = ("helpers", "program_types", "map_types", "attach_types", "link_types", "commands", "kfuncs", "flags",
         "options")  # fmt: skip
EPILOG = """exit codes:
  0 everything as expected   1 a verdict not as expected   2 your input   3 inconclusive   4 not trusted

matrix, plan, publish, report, why, list, info, forget, clean and run are doit's commands and take its options."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        if args and args[0] in DOIT:
            return _doit(args)
        options = _parser_for(args).parse_args(args)
        return int(options.call(options))
    except BpfcompatError as error:
        print(f"bpfcompat: {clean_lines(str(error))}", file=sys.stderr)  # with words of strangers in it
        _tell(args, error)
        return int(error.exit_code)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # or the interpreter complains once more at its end
        return int(Exit.OK)


def _tell(args: Sequence[str], error: BpfcompatError) -> None:
    """A refusal goes into the project's audit trail, whichever command it ended."""
    from bpfcompat import trailing

    trailing.refused_here(" ".join(args), error)


def _parser_for(args: Sequence[str]) -> argparse.ArgumentParser:
    """The grammar of the command that is named; of all, which takes longer than some commands do, where none is."""
    only = _Only(args[0]) if args else _Only("")
    made = parser(only)
    return made if only.found else parser()


class _Only:
    """Takes commands as argparse does, and makes the grammar of one of them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.found = False
        self.commands: Any = None

    def add_parser(self, name: str, **more: Any) -> Any:
        """A parser for the command of the name, else something that takes every call and does nothing."""
        if name != self._name:
            return _Unasked()
        self.found = True
        return self.commands.add_parser(name, **more)


class _Unasked:
    """The grammar of a command that is not asked for."""

    def __getattr__(self, name: str) -> Callable[..., "_Unasked"]:
        return lambda *_args, **_more: self


def parser(only: _Only | None = None) -> argparse.ArgumentParser:
    """The grammar of our own commands, or of one."""
    top = argparse.ArgumentParser("bpfcompat", description="Will this eBPF object load and attach on these kernels?",
                                  epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    top.add_argument("--version", action="version", version=f"bpfcompat {__version__}")
    # with its name given, argparse formats no usage to find it, which takes as long as all that is added here
    commands: Any = top.add_subparsers(metavar="COMMAND", required=True, prog=top.prog)
    if only is not None:
        only.commands, commands = commands, only
    verifycommands.add_commands(commands)
    fsckcommands.add_commands(commands)
    _serve_command(commands)
    keygen = commands.add_parser("keygen", help="make a signing key, encrypted when a passphrase is given")
    keygen.add_argument("path", type=Path)
    keygen.add_argument(
        "--kind", choices=("verdict", "log", "witness"), default="verdict", help="what it signs (verdict)"
    )
    keygen.add_argument("--name", help="of the log or the witness; its vkey is then written too, to PATH.vkey")
    keygen.add_argument("--passphrase-env", metavar="NAME", help="environment variable that holds the passphrase")
    keygen.set_defaults(call=_keygen)
    init = commands.add_parser("init", help="propose entries of bpfcompat.toml for objects; writes nothing")
    init.add_argument("object", nargs="+", type=Path, help="a BPF object, or a program that has some inside")
    init.set_defaults(call=_init)
    inspect = commands.add_parser("inspect", help="look at an object before any boot, and predict; no verdict")
    inspect.add_argument("object", help="a file, or an object of bpfcompat.toml")
    inspect.add_argument("--kernel", action="append", metavar="K", help="this kernel; repeatable (the project's own)")
    inspect.add_argument("--json", action="store_true", help="everything, for machines")
    inspect.set_defaults(call=_inspect)
    why = commands.add_parser("explain", help="say why a pair is as it is, where, since when, and what to change")
    why.add_argument("pair", help="OBJECT@KERNEL")
    why.add_argument("program", nargs="?", default="", help="this program alone; without, what decides of the object")
    why.add_argument("--json", action="store_true", help="for machines; docs/explain.md has the fields")
    why.set_defaults(call=_explain)
    log = commands.add_parser("log", help="print the whole verifier log of a pair that was asked")
    log.add_argument("pair", help="OBJECT@KERNEL")
    log.add_argument("program", nargs="?", help="of this program alone; without, of the object as a whole")
    log.set_defaults(call=_log)
    modules = (auditcommands, keycommands, reproducecommands, trailcommands, witnesscommands)
    for add in (_expect_commands, _store_commands, _kernel_commands, *(m.add_commands for m in modules)):
        add(commands)
    return top


def _serve_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    serve = commands.add_parser("serve", help="serve a registry read-only over HTTP")
    serve.add_argument("registry", nargs="?", default=".bpfcompat/registry", type=Path)
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", default=8080, type=int)
    serve.add_argument("--tls-cert", type=Path)
    serve.add_argument("--tls-key", type=Path)
    serve.add_argument("--admin", metavar="HOST:PORT", help="health and metrics, for yourself (none)")
    serve.add_argument("--access-log", metavar="FILE", help="a JSON line for each answer; - is stdout (none)")
    serve.set_defaults(call=_serve)


SEARCHES = {
    "bisect": "find the two builds between which an object's answer changes",
    "floor": "find the oldest build of each distribution series on which an object works",
}


def _expect_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    expect = commands.add_parser("expect", help="today's answers against what bpfcompat.toml expects; boots nothing")
    expect.add_argument("name", nargs="*", help="patterns of OBJECT or OBJECT@KERNEL; all without any")
    expect.add_argument("--write", action="store_true", help="record today's answers in bpfcompat.toml, for review")
    expect.set_defaults(call=_expect)
    compare = commands.add_parser("compare", help="two runs, registries, kernels or objects side by side, no boot")
    compare.add_argument("a", help="a run's matrix.json or its folder, a registry, a kernel or an object here")
    compare.add_argument("b", help="another of the same kind")
    compare.add_argument("--only", metavar="PATTERN", action="append", default=[], help="pairs, objects or kernels")
    compare.add_argument("--format", choices=("text", "md", "json"), default="text")
    compare.add_argument("--fail-on", choices=("flips", "near", "any"), default="flips", help="what exit code 1 is for")
    compare.add_argument("--key", type=Path, action="append", default=[], help="public key (PEM) of a registry")
    compare.add_argument("--veristat", metavar="DIR", type=Path, help="also write a.csv and b.csv for veristat -C")
    compare.set_defaults(call=_compare)
    for command, words in SEARCHES.items():
        search = commands.add_parser(command, help=words)
        search.add_argument("object", help="an object of the project, or a file")
        search.add_argument("--flavour", choices=("cloud", "generic", "rt"), default="cloud", help="of the kernels")
        search.add_argument("--suite", action="append", default=[], help="only builds of these suites; repeatable")
        search.add_argument("--offline", action="store_true", help="only the lock's kernels, without the mirror's list")
        search.add_argument("--json", action="store_true")
        search.set_defaults(call=_bisect if command == "bisect" else _floor)
        if command == "bisect":
            search.add_argument("--good", required=True, metavar="A", help="a build on which it works")
            search.add_argument("--bad", required=True, metavar="B", help="one on which it does not, older or newer")
            search.add_argument("--question", choices=("attaches", "loads"), default="attaches")
        else:
            search.add_argument("--series", action="append", default=[], help="patterns of series; all without")
    flakes = commands.add_parser("flakes", help="pairs that were answered in two ways, or only after lost guests")
    flakes.add_argument("--json", action="store_true")
    flakes.set_defaults(call=_flakes)


def _store_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    gc = commands.add_parser("gc", help="drop from the store what the project in this folder does not need")
    gc.add_argument("--dry-run", action="store_true", help="say what would be dropped")
    gc.add_argument("--max-size", metavar="SIZE", help="drop until no more is left: 500M, 2G; templates go first")
    gc.add_argument("--keep-days", metavar="N", type=float, help="keep what was used in the last N days (14)")
    gc.add_argument("--store", metavar="DIR", type=Path, help="this store, not the project's")
    gc.set_defaults(call=_gc)
    store = commands.add_parser("store", help="store verify: hash everything again, drop what is damaged")
    check = store.add_subparsers(metavar="verify", required=True).add_parser("verify")
    check.add_argument("--dry-run", "--check", action="store_true", help="say it, drop nothing")
    check.add_argument("--store", metavar="DIR", type=Path, help="this store, not the project's")
    check.set_defaults(call=_store_verify)


def _kernel_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    kernel = commands.add_parser(
        "kernel", help="what a kernel of the catalogue has, read from its files without a boot"
    )
    which = kernel.add_subparsers(metavar="show|diff", required=True)
    show = which.add_parser("show", help="types, helpers, kfuncs, commands, options that gate them")
    show.add_argument("kernel")
    show.add_argument("kind", nargs="*", metavar="KIND", help=f"list all of: {', '.join(KINDS)}")
    show.add_argument("--boot", action="store_true", help="ask guests what no file says: who may call which helper, …")
    show.add_argument("--json", action="store_true")
    show.set_defaults(call=_kernel_show)
    diff = which.add_parser("diff", help="what changed from kernel A to kernel B")
    diff.add_argument("old", metavar="A")
    diff.add_argument("new", metavar="B")
    diff.add_argument("--all", action="store_true", help="options that do not concern BPF too")
    diff.add_argument("--json", action="store_true")
    diff.set_defaults(call=_kernel_diff)


def _doit(args: list[str]) -> int:
    from doit.doit_cmd import DoitMain

    return int(DoitMain().run(args) or 0)


def _init(options: argparse.Namespace) -> int:
    from bpfcompat.rules.proposing import proposals

    print("\n".join(proposals(options.object, Path())), end="")
    return int(Exit.OK)


def _inspect(options: argparse.Namespace) -> int:
    from bpfcompat.looking import Project, inspect

    def opened() -> Project:
        from bpfcompat.rules.inspecting import Opened

        return Opened(Path.cwd())

    sys.stdout.write(inspect(Path.cwd(), options.object, options.kernel, options.json, opened))
    return int(Exit.OK)


def _log(options: argparse.Namespace) -> int:
    from bpfcompat.rules.logs import whole_log

    sys.stdout.write(whole_log(Path.cwd(), options.pair, options.program))
    return int(Exit.OK)


def _kernel_show(options: argparse.Namespace) -> int:
    from bpfcompat.rules.builds import shown

    sys.stdout.write(shown(Path.cwd(), options.kernel, options.kind, options.json, options.boot))
    return int(Exit.OK)


def _kernel_diff(options: argparse.Namespace) -> int:
    from bpfcompat.rules.builds import difference

    sys.stdout.write(difference(Path.cwd(), (options.old, options.new), options.all, options.json))
    return int(Exit.OK)


def _expect(options: argparse.Namespace) -> int:
    from bpfcompat.rules.expecting import expect

    code, lines = expect(Path.cwd(), options.name, options.write)
    print("\n".join(lines))
    return int(code)


def _compare(options: argparse.Namespace) -> int:
    from bpfcompat.files import read_bounded
    from bpfcompat.keys import MAX_KEY_BYTES, load_public
    from bpfcompat.rules import comparing

    keys = [load_public(read_bounded(path, MAX_KEY_BYTES, ConfigError), str(path)) for path in options.key]
    found = comparing.run(Path.cwd(), options.a, options.b, keys, options.only)
    print(comparing.shown(found, options.format))
    for place in comparing.export(found, options.veristat) if options.veristat else ():
        print(f"written: {place}", file=sys.stderr)
    return int(found.exit_code(options.fail_on))


def _bisect(options: argparse.Namespace) -> int:
    from bpfcompat.rules import bisecting

    with _searching(options) as found:
        edge = bisecting.bisect(found, options.good, options.bad, options.question)
    text = bisecting.bisected_text(edge)
    print(_json_text(bisecting.bisected_json(edge)) if options.json else text)
    return int(Exit.INCONCLUSIVE if edge.between else Exit.OK)


def _floor(options: argparse.Namespace) -> int:
    from bpfcompat.rules import bisecting

    with _searching(options) as found:
        told = bisecting.floors(found, options.series)
    print(_json_text(bisecting.floors_json(found, told)) if options.json else bisecting.floors_text(found, told))
    return int(Exit.OK)


@contextlib.contextmanager
def _searching(options: argparse.Namespace) -> Iterator["Ground"]:
    """What a search asks, with guests that end when it is stopped; progress goes to stderr."""
    from bpfcompat import process
    from bpfcompat.rules import bisecting
    from bpfcompat.rules.commands import stops_in_order
    from bpfcompat.voice import Terminal

    asking = bisecting.Asking(options.object, options.flavour, tuple(options.suite), options.offline)
    with stops_in_order():
        found = bisecting.ground(Path.cwd(), asking, Terminal(sys.stderr))
        try:
            yield found
        except KeyboardInterrupt:
            process.end_all()
            raise
        finally:
            found.asker.shop.memo.save()


def _json_text(value: object) -> str:
    import json

    return json.dumps(value, indent=1)


def _flakes(options: argparse.Namespace) -> int:
    from bpfcompat.rules.expecting import flakes

    print("\n".join(flakes(Path.cwd(), options.json)))
    return int(Exit.OK)


def _serve(options: argparse.Namespace) -> int:
    from bpfcompat.registry.serve import Address, address, serve

    def ready(public: Address, admin: Address | None) -> None:
        places = [f"{'https' if options.tls_cert else 'http'}://{public[0]}:{public[1]}/"]
        places += [f"http://{admin[0]}:{admin[1]}/metrics"] if admin else []
        out = sys.stderr if options.access_log == "-" else sys.stdout
        print(f"serving {options.registry} at {' and '.join(places)} until SIGTERM", file=out, flush=True)

    admin = address(options.admin) if options.admin else None
    serve(options.registry, options.host, options.port, options.tls_cert, options.tls_key, ready, admin,
          options.access_log)  # fmt: skip
    return int(Exit.OK)


def _keygen(options: argparse.Namespace) -> int:
    from bpfcompat import trailing
    from bpfcompat.keys import fingerprint, keygen, passphrase_in
    from bpfcompat.note import Kind, keygen_named

    secret, log = passphrase_in(options.passphrase_env), options.kind != "verdict"
    if options.name is not None and not log:
        raise ConfigError("--name: only a log and a witness have one", hint="add --kind log or --kind witness")
    if options.name is None:
        made = keygen(options.path, secret, log=log)
        said = f"{made}  {options.path} (private), {options.path}.pub (public)"
    else:
        named = keygen_named(options.path, Kind[options.kind.upper()], options.name, secret)
        made, said = fingerprint(named.key), named.vkey
    trailing.note("key", key=made, role=options.kind, use=f"made: {options.path}")
    print(said)
    return int(Exit.OK)


def _explain(options: argparse.Namespace) -> int:
    from bpfcompat.explanation import to_json
    from bpfcompat.rules.explained import explain_named
    from bpfcompat.telling import as_text

    found = explain_named(Path.cwd(), options.pair, options.program)
    sys.stdout.write(_json_text(to_json(found)) + "\n" if options.json else as_text(found))
    return int(Exit.OK)


def _gc(options: argparse.Namespace) -> int:
    from bpfcompat import keeping
    from bpfcompat.rules.roots import roots, stores_here

    days = keeping.KEEP_DAYS if options.keep_days is None else options.keep_days
    if not 0 <= days < 36500:
        raise ConfigError(f"--keep-days: expected a number of days from 0, got {days:g}")
    size = None if options.max_size is None else keeping.size_of(options.max_size)
    policy = keeping.Policy(time.time(), days * keeping.DAY_S, size)
    code = Exit.OK
    for store, projects in stores_here(Path.cwd(), options.store):
        print(f"gc: {_shown(store.root)}", flush=True)
        swept = keeping.collect(store, roots(projects), policy, _waits, options.dry_run)
        print("\n".join(keeping.lines(swept, policy, options.dry_run)))
        code = max(code, Exit.UNEXPECTED if keeping.over_budget(swept, policy) else Exit.OK)
    return int(code)


def _store_verify(options: argparse.Namespace) -> int:
    from bpfcompat.checking import check
    from bpfcompat.rules.roots import stores_here
    from bpfcompat.voice import Terminal

    code, voice = Exit.OK, Terminal()
    for store, _projects in stores_here(Path.cwd(), options.store):
        voice.say(f"store verify: {_shown(store.root)}")
        sound = check(store, voice, _waits, options.dry_run)
        code = max(code, Exit.OK if sound else Exit.UNEXPECTED)
    return int(code)


def _waits(who: str) -> None:
    print(f"   waits for {who}", flush=True)


def _shown(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
