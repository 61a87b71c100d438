"""Which instructions a verifier must meet: those that lie on every way through a function.

A branch may be decided before it is taken (a constant of .rodata, a weak function that is not there, a field that does
not exist), and what is behind it is then never looked at.  So an instruction counts as certain only if no way from the
function's beginning to its end leads around it.  Pure; one walk over a function's instructions.
"""

from typing import Literal

from bpfcompat.insns import CALL, EXIT, INSN, JA, JA32, LOAD64, Code, Function, To

MAX_INSNS = 1_000_000
END = -1
NO_RETURN = "bpf_throw"  # a kfunc that ends the program where no instruction says so


def unavoidable(code: Code, function: Function) -> frozenset[int]:
    """The instructions of a function that every way from its beginning to an end passes; none where it has no end.

    They all lie on any one such way.  Along it, an instruction is passed over if something before it leads past it:
    what lies beside the way is walked once, from the earliest place that leads there.
    """
    if any(r.name == NO_RETURN for r in function.references):
        return frozenset()
    body, little = code.bytes_of(function), code.elf.order == "<"
    way = _one_way(body, little)
    place = {insn: number for number, insn in enumerate(way)}
    found, furthest, beside = set(), 0, set[int]()
    for number, insn in enumerate(way):
        if furthest <= number:
            found.add(insn)
        waiting = list(_after(body, insn, little))
        while waiting:
            at = waiting.pop()
            if at in place or at == END:
                furthest = max(furthest, place.get(at, len(way)))
            elif at not in beside:
                beside.add(at)
                waiting.extend(_after(body, at, little))
    return frozenset(found)


def _one_way(body: bytes, little: bool) -> list[int]:
    """Some way from the first instruction to an end."""
    came: dict[int, int] = {0: END}
    waiting = [0]
    while waiting:
        at = waiting.pop()
        for after in _after(body, at, little):
            if after == END:
                way = [at]
                while came[way[-1]] != END:
                    way.append(came[way[-1]])
                return way[::-1]
            if after not in came:
                came[after] = at
                waiting.append(after)
    return []


def _after(body: bytes, at: int, little: bool) -> tuple[int, ...]:
    """Where control may go; END for an end, and for a way out that is not understood."""
    insn = body[at * INSN : (at + 1) * INSN]
    if len(insn) < INSN or insn[0] == EXIT:
        return (END,)
    count = len(body) // INSN
    return tuple(after if 0 <= after < count else END for after in _next(insn, at, little))


def _next(insn: bytes, at: int, little: bool) -> tuple[int, ...]:
    """Where control may go after an instruction."""
    opcode, order = insn[0], _order(little)
    offset = int.from_bytes(insn[2:4], order, signed=True)
    if opcode == JA:
        return (at + 1 + offset,)
    if opcode == JA32:
        return (at + 1 + int.from_bytes(insn[4:8], order, signed=True),)
    if opcode & 7 in (5, 6) and opcode != CALL:  # a conditional jump, of 64 or 32 bits
        return at + 1, at + 1 + offset
    return (at + 2 if opcode == LOAD64 else at + 1,)


def _order(little: bool) -> Literal["little", "big"]:
    return "little" if little else "big"


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
