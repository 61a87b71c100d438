"""Answers as the CSV of veristat, the kernel's tool for verifier costs: `veristat -C a.csv b.csv`, `veristat -R a.csv`.

The column names are those that veristat writes and reads (libbpf/veristat, src/veristat.c); both its modes take any
set of columns, so only those are written that every version of it knows and that are the same on every host.
Pure.
"""

import re
from collections.abc import Iterator, Mapping

from bpfcompat.comparing import Cell, Side
from bpfcompat.model import Answer, ProgramVerdict

COLUMNS = ("file_name", "prog_name", "verdict", "total_insns", "total_states", "peak_states")
MAX_NAME = 200  # veristat reads lines of up to 4095 bytes
_PLAIN = re.compile(r"[^A-Za-z0-9_.+@:?/-]")


def as_csv(side: Side) -> str:
    """One line a program.  A pair without a conclusive answer has none: veristat knows only success and failure."""
    lines = [",".join(line) for key, cell in sorted(side.cells.items()) for line in _lines(key, cell)]
    return "\n".join([",".join(COLUMNS), *lines]) + "\n"


def _lines(key: str, cell: Cell) -> Iterator[tuple[str, ...]]:
    if cell.answer not in (Answer.COMPATIBLE, Answer.INCOMPATIBLE):
        return
    named: Mapping[str, ProgramVerdict] = {p.name: p for p in cell.programs}  # veristat takes file and program as key
    for name, program in sorted(named.items()):
        found = program.measures
        counts = (found.verified, found.states, found.peak_states) if found else (None, None, None)
        verdict = "success" if program.loaded else "failure"
        yield (_name(key), _name(name), verdict, *(str(n or 0) for n in counts))


def _name(text: str) -> str:
    """A field that veristat reads back: never empty, no comma, no line break."""
    return _PLAIN.sub("_", text[:MAX_NAME]) or "_"
