"""The source line of an instruction, from the object's BTF.ext.

What the object says is a compiler's word: a line that points outside its function, a name that is none or a section
that is cut give no place, never a wrong one.
"""

from bisect import bisect_right
from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

from bpfcompat.btfext import Ext, LineInfo, read_ext
from bpfcompat.btftypes import Types
from bpfcompat.errors import ObjectError
from bpfcompat.insns import INSN, Code, Function
from bpfcompat.sections import printable

MAX_TEXT = 300


class Place(NamedTuple):
    """Where in the source an instruction comes from; `insn` counts in `function`, `text` is the line, stripped."""

    file: str
    line: int
    column: int
    text: str
    function: str
    insn: int


class Debug:
    """An object's own types, lines and relocations; empty where it has none, with `fault` for what is damaged."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.fault = ""

    @cached_property
    def types(self) -> Types | None:
        """The object's BTF."""
        data = self.code.elf.contents(self.code.elf.named(".BTF"))
        try:
            return Types(data) if data else None
        except ObjectError as error:
            self.fault = error.message
            return None

    @cached_property
    def ext(self) -> Ext:
        """The object's BTF.ext."""
        data = self.code.elf.contents(self.code.elf.named(".BTF.ext"))
        try:
            return read_ext(data, self.types) if data and self.types is not None else Ext()
        except ObjectError as error:
            self.fault = error.message
            return Ext()

    @cached_property
    def _offsets(self) -> Mapping[str, tuple[list[int], list[LineInfo]]]:
        sorted_ = {name: sorted(rows, key=lambda row: row.offset) for name, rows in self.ext.lines.items()}
        return {name: ([row.offset for row in rows], rows) for name, rows in sorted_.items()}

    def place_in(self, function: Function, insn: int) -> Place | None:
        """The place of an instruction of a function, both as the object has them."""
        offsets, rows = self._offsets.get(function.section, ([], []))
        at = (function.start + insn) * INSN
        number = bisect_right(offsets, at) - 1
        if self.types is None or number < 0 or not 0 <= insn < function.insns:
            return None
        row = rows[number]
        if row.offset < function.start * INSN:
            return None  # the line of what stands before this function
        file, text = printable(self.types.text(row.file)), printable(self.types.text(row.text).strip())
        return Place(file, row.line, row.column, text[:MAX_TEXT], function.name, insn) if file else None


def place_of(debug: Debug, program: str, insn: int) -> Place | None:
    """The place of an instruction of a loaded program, counted as the verifier does: functions that it calls follow."""
    function = debug.code.named(program)
    found = debug.code.at(function, insn) if function is not None else None
    return debug.place_in(*found) if found is not None else None
