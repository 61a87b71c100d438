"""Which instructions a verifier must meet: those that lie on every way through a function.

A branch may be decided before it is taken (a constant of .rodata, a weak function that is not there, a field that does
not exist), and what is behind it is then never looked at.  So an instruction counts as certain only if no way from the
function's beginning to its end leads around it.  Pure; one walk over a function's blocks.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import chain, pairwise
from typing import NamedTuple

from bpfcompat.insns import CALL, EXIT, INSN, JA, JA32, LOAD64, Code, Function, To, numbers

MAX_INSNS = 1_000_000
END = -1
NO_RETURN = "bpf_throw"  # a kfunc that ends the program where no instruction says so
_JUMPS = bytes(op for op in range(256) if op & 7 in (5, 6) and op != CALL)  # of 64 and of 32 bits, and the exit
_JUMP = re.compile(b"[%b]" % re.escape(_JUMPS))
_ALWAYS = (JA, JA32)
_WIDE = re.compile(re.escape(bytes([LOAD64])))


class Block(NamedTuple):
    """Instructions that follow each other up to `end`, which is not among them, and where control may go then."""

    end: int
    after: tuple[int, ...]


def unavoidable(code: Code, function: Function) -> frozenset[int]:
    """The instructions of a function that every way from its beginning to an end passes; none where it has no end.

    They all lie on any one such way.  Along it, a block is passed over if something before it leads past it: what lies
    beside the way is walked once, from the earliest place that leads there.
    """
    if any(r.name == NO_RETURN for r in function.references):
        return frozenset()
    blocks = _blocks(code.bytes_of(function), code.elf.order == "<")
    way = _one_way(blocks)
    place = {start: number for number, start in enumerate(way)}
    found, furthest, beside = list[range](), 0, set[int]()
    for number, start in enumerate(way):
        if furthest <= number:
            found.append(range(start, blocks[start].end))
        waiting = list(blocks[start].after)
        while waiting:
            at = waiting.pop()
            if at in place or at == END:
                furthest = max(furthest, place.get(at, len(way)))
            elif at not in beside:
                beside.add(at)
                waiting.extend(blocks[at].after)
    return frozenset(chain.from_iterable(found))


def _one_way(blocks: Mapping[int, Block]) -> list[int]:
    """Some way from the first block to an end."""
    came: dict[int, int] = {0: END}
    waiting = [0] if blocks else []
    while waiting:
        at = waiting.pop()
        for after in blocks[at].after:
            if after == END:
                way = [at]
                while came[way[-1]] != END:
                    way.append(came[way[-1]])
                return way[::-1]
            if after not in came:
                came[after] = at
                waiting.append(after)
    return []


def _blocks(body: bytes, little: bool) -> dict[int, Block]:
    """A function's blocks by their first instruction; none of one that no verifier takes: half a load of 64 bits."""
    count = len(body) // INSN
    opcodes = body[: count * INSN : INSN]
    halves = {found.end() for found in _WIDE.finditer(opcodes)}
    if any(opcodes[half : half + 1] != b"\0" for half in halves):
        return {}
    jumps = dict(_jumps(body, opcodes, count, little))
    starts = {0, *(at + 1 for at in jumps), *chain.from_iterable(jumps.values())} - {END, count}
    if starts & halves:
        return {}
    ordered = [*sorted(starts), count] if count else []
    return {at: Block(end, jumps.get(end - 1, (end if end < count else END,))) for at, end in pairwise(ordered)}


def _jumps(body: bytes, opcodes: bytes, count: int, little: bool) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Each jump and where it may go; END for an end, and for a way out that is not understood."""
    near, far = numbers("h", body, little)[1::4], numbers("i", body, little)[1::2]  # offsets and immediates
    for found in _JUMP.finditer(opcodes):
        at = found.start()
        opcode = opcodes[at]
        if opcode == EXIT:
            yield at, (END,)
            continue
        there = at + 1 + (far[at] if opcode == JA32 else near[at])
        way = there if 0 <= there < count else END
        ahead = at + 1 if at + 1 < count else END
        yield at, ((way,) if opcode in _ALWAYS else (ahead, way))


class Certain:
    """Which instructions of a program's functions are certain; each function is walked once.

    Of more than MAX_INSNS instructions, those that are asked about last are not walked, and nothing in them is certain.
    """

    def __init__(self, code: Code) -> None:
        self._code = code
        self._left = MAX_INSNS
        self._known: dict[tuple[str, str], frozenset[int]] = {}
        self._functions: dict[str, frozenset[tuple[str, str]]] = {}

    def at(self, program: Function, function: Function, insn: int) -> bool:
        """Whether the verifier meets this instruction whenever it gets through the program."""
        if (function.section, function.name) not in self._reached(program):
            return False
        return insn in self._unavoidable(function)

    def _unavoidable(self, function: Function) -> frozenset[int]:
        key = (function.section, function.name)
        if key not in self._known:
            self._left -= function.insns
            self._known[key] = unavoidable(self._code, function) if self._left >= 0 else frozenset()
        return self._known[key]

    def _reached(self, program: Function) -> frozenset[tuple[str, str]]:
        """The program and the functions that it certainly calls, and these again."""
        known = self._functions.get(program.name)
        if known is not None:
            return known
        found = {(program.section, program.name)}
        waiting = [program]
        while waiting:
            function = waiting.pop()
            for reference in function.references:
                callee = self._code.named(reference.name) if reference.to is To.FUNCTION else None
                if callee is None or callee.entry or (callee.section, callee.name) in found:
                    continue
                if reference.insn in self._unavoidable(function):
                    found.add((callee.section, callee.name))
                    waiting.append(callee)
        self._functions[program.name] = frozenset(found)
        return self._functions[program.name]
