"""The first Linux that had a name of BPF's, upstream: a helper, a type, a command, a flag, a kfunc.

A version words an explanation and decides nothing: distributions take back what is newer.  data/since.json is made by
`doit since` from the headers of Debian's packages and a reviewed seed; each row names its source.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

PREFIXES = {
    "helpers": "",
    "program_types": "BPF_PROG_TYPE_",
    "map_types": "BPF_MAP_TYPE_",
    "attach_types": "BPF_",
    "link_types": "BPF_LINK_TYPE_",
    "commands": "BPF_",
    "flags": "BPF_F_",
    "kfuncs": "",
}


class Since(NamedTuple):
    """`version` had it, by `source`.

    Where `after` is not empty nobody looked between: a release after that one and up to `version` brought it.  Where
    `until` is not empty it is gone again: that release was looked at and lacks it, by `gone`.  Only kfuncs go.
    """

    version: str
    source: str
    after: str = ""
    until: str = ""
    gone: str = ""

    @property
    def words(self) -> str:
        """`Linux 6.4`, or `a Linux after 6.1, up to 6.12`."""
        return f"a Linux after {self.after}, up to {self.version}" if self.after else f"Linux {self.version}"

    def newer_than(self, release: str) -> bool:
        """True where a kernel of that release (`6.1.0-50-amd64`) has it only if someone took it back.

        False where nothing can be read from the release, or the row does not decide it.
        """
        own = re.match(r"(\d{1,4})\.(\d{1,4})", release)
        if own is None:
            return False
        return version(own[0]) <= version(self.after) if self.after else version(own[0]) < version(self.version)


def since(kind: str, name: str) -> Since | None:
    """A row, by the kind as a Build has it and the name: in full, or short as `ringbuf` and `bpf_loop`.

    None for what the table does not know.
    """
    return table().get((kind, full_name(kind, name)))


def full_name(kind: str, name: str) -> str:
    """`BPF_MAP_TYPE_RINGBUF` for ringbuf, `loop` for bpf_loop: as a Build has it."""
    if kind == "helpers":
        return name.removeprefix("BPF_FUNC_").removeprefix("bpf_")
    return name if name.startswith("BPF_") or kind == "kfuncs" else PREFIXES.get(kind, "") + name.upper()


@cache
def table() -> Mapping[tuple[str, str], Since]:
    """All rows, by kind and name."""
    text = (Path(__file__).resolve().parent / "data" / "since.json").read_text("utf-8")
    raw = json.loads(text)
    sources = raw["sources"]
    return {
        (kind, name): Since(str(row[0]), str(sources[row[1]]), *_ends(row[2:], sources))
        for kind, rows in raw["rows"].items()
        for name, row in rows.items()
    }


def _ends(rest: Sequence[Any], sources: Sequence[Any]) -> tuple[str, str, str]:
    """The optional rest of a row: what was looked at before, and what lacks it again, by which source."""
    after, until = str(rest[0]) if rest else "", str(rest[1]) if rest[1:] else ""
    return after, until, str(sources[rest[2]]) if until else ""


def version(text: str) -> tuple[int, int]:
    """`5.8` and what follows it as numbers to compare."""
    major, _, minor = text.partition(".")
    return int(major), int(minor)
