"""`bpfcompat audit`: all that a registry can show for a release, for people and for machines."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bpfcompat import verifycommands
from bpfcompat.errors import ConfigError, TrustError

if TYPE_CHECKING:
    from bpfcompat.registry.audit import Selection

EPILOG = """exit codes: 0 trusted, complete, as expected   1 an answer is not as expected, or a question has two
2 your input   3 something required is missing   4 not trusted
docs/audit.md says what is in the report."""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command, below the top parser's."""
    made = commands.add_parser("audit", help="report who claims what of every pair, since when, and what is missing",
                               epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    verifycommands.add_trust(made)
    made.add_argument("--object", action="append", default=[], metavar="FILE|NAME", help="only this one; repeatable")
    made.add_argument("--release", metavar="NAME", help="what the report is called")
    made.add_argument("--html", type=Path, metavar="FILE", help="write the report as a page")
    made.add_argument("--json", type=Path, metavar="FILE", help="write it for machines")
    made.set_defaults(call=_audit)


def _audit(options: argparse.Namespace) -> int:
    from bpfcompat import trailing
    from bpfcompat.files import write_named
    from bpfcompat.origins import name_of
    from bpfcompat.registry import auditreport
    from bpfcompat.registry.audit import audit

    selection, reader = _selection(options.object), verifycommands.reader(options)
    found = audit(reader.source, reader.policy, now=int(time.time()), root=reader.root, memory=reader.memory,
                  selection=selection, allow_expired=options.allow_expired)  # fmt: skip
    told = auditreport.to_json(found, name_of(options.registry), options.release)
    print(auditreport.summary(told))
    trailing.refused_here(f"audit {options.registry}", *map(TrustError, found.problems))
    for path, data in ((options.html, auditreport.page), (options.json, auditreport.text)):
        if path is not None:
            write_named(path, data(told).encode())
            print(f"written: {path}")
    return int(found.exit_code)


def _selection(given: list[str]) -> "Selection":
    """Objects as the user names them: a file by its bytes, everything else by its name."""
    from bpfcompat.digest import digest_file
    from bpfcompat.registry.audit import Selection

    files = [text for text in given if Path(text).is_file()]
    names = [text for text in given if text not in files]
    for text in names:
        if "/" in text or text.endswith(".o"):
            raise ConfigError(f"--object {text[:200]}: no such file", hint="or an object's name in the matrix")
    try:
        return Selection(names, {digest_file(path): path for path in files})
    except OSError as error:
        raise ConfigError(f"--object: {error.filename}: cannot read: {error.strerror}") from error
