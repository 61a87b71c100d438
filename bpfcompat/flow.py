"""Which instructions a verifier must meet: those that lie on every way through a function.

A branch may be decided before it is taken (a constant of .rodata, a weak function that is not there, a field that does
not exist), and what is behind it is then never looked at.  So an instruction counts as certain only if no way from the
function's beginning to its end leads around it.  Pure; one walk over a function's instructions.
"""

from typing import Literal

from bpfcompat.insns import CALL, EXIT, INSN, JA, JA32, LOAD64, Code, Function, To

MAX_STEPS = 1_000_000
NO_RETURN = "bpf_throw"  # a kfunc that ends the program where no instruction says so


def unavoidable(code: Code, function: Function, insn: int, most: int = MAX_STEPS) -> tuple[bool, int]:
    """Whether every way through the function passes this instruction, and how many steps it took to know.

    After `most` steps it is not known, which counts as no.
    """
    if any(r.name == NO_RETURN for r in function.references):
        return False, 0
    body, little = code.bytes_of(function), code.elf.order == "<"
    count, seen, waiting = len(body) // INSN, {insn}, [0]
    if not 0 <= insn < count:
        return False, 0
    while waiting:
        at = waiting.pop()
        if at in seen:
            continue
        if not 0 <= at < count or body[at * INSN] == EXIT or len(seen) > most:
            return False, len(seen)  # an end that is reached without it, or a way out that is not understood
        seen.add(at)
        waiting.extend(_next(body[at * INSN : (at + 1) * INSN], at, little))
    return True, len(seen)


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
    """Which instructions of a program's functions are certain; each question is answered once.

    All questions together have MAX_STEPS; after that nothing more is certain.
    """

    def __init__(self, code: Code) -> None:
        self._code = code
        self._known: dict[tuple[str, str, int], bool] = {}
        self._left = MAX_STEPS
        self._functions: dict[str, frozenset[tuple[str, str]]] = {}

    def at(self, program: Function, function: Function, insn: int) -> bool:
        """Whether the verifier meets this instruction whenever it gets through the program."""
        if (function.section, function.name) not in self._reached(program):
            return False
        return self._unavoidable(function, insn)

    def _unavoidable(self, function: Function, insn: int) -> bool:
        key = (function.section, function.name, insn)
        if key not in self._known:
            self._known[key], steps = unavoidable(self._code, function, insn, self._left)
            self._left -= steps
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
                if self._unavoidable(function, reference.insn):
                    found.add((callee.section, callee.name))
                    waiting.append(callee)
        self._functions[program.name] = frozenset(found)
        return self._functions[program.name]
