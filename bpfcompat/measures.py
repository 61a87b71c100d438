"""What a load cost, from the words of the kernel and of libbpf: the verifier's counts, CO-RE relocations.

Pure and lenient: these words differ between kernels and versions, and what is not understood is not known, never wrong.
No verdict hangs on them.
"""

import re
from collections.abc import Iterator

from bpfcompat.model import Measures, Relocation

RELOCATIONS_MAX = 200_000

_PROCESSED = re.compile(
    r"^processed (\d{1,18}) insns \(limit (\d{1,18})\).* total_states (\d{1,18}) peak_states (\d{1,18})", re.MULTILINE
)
_STACK = re.compile(r"^stack depth (\d{1,9}(?:\+\d{1,9})*)$", re.MULTILINE)
_STACKS = re.compile(r"^subprog \d+ .* stack (\d{1,9})$", re.MULTILINE)  # Linux 7.3: a line for each function
_LINE = re.compile(r"prog '(.*?)': relo #(\d{1,9}): (.*)")
_SPEC = re.compile(r"<(\w+)> \[\d+\] (.*)")
_PLACE = re.compile(r" \([\d:]* @ offset [\d.]+\)$")
_PATCHED = re.compile(r"patched insn #(\d{1,9}) \([^)]*\) (?:imm|off|imm64) (\d{1,20}) -> (\d{1,20})$")
_POISONED = re.compile(r"substituting insn #(\d{1,9}) w/ invalid insn$")


def measures(insns: int, line_info: int, counts: str) -> Measures:
    """Measures from the verifier's last lines (`processed 42 insns (limit 1000000) …`, `stack depth 0+16`)."""
    said, stack = _PROCESSED.search(counts), _STACK.search(counts)
    verified, limit, states, peak = (int(number) for number in said.groups()) if said else (None,) * 4
    depths = tuple(int(depth) for depth in (stack[1].split("+") if stack else _STACKS.findall(counts)))
    return Measures(insns, line_info, verified, limit, states, peak, depths)


def relocations(text: str) -> Iterator[Relocation]:
    """The relocations that libbpf tells of in its debugging words, in its order."""
    open_: tuple[str, str] | None = None
    found = Relocation("", 0, "", "", None)
    for line in text.split("\n"):
        said = _LINE.fullmatch(line)
        if said is None:
            continue
        spec = _SPEC.fullmatch(said[3])
        if spec:
            if open_:
                yield found
            open_ = (said[1], said[2])
            found = Relocation(said[1], 0, spec[1], _PLACE.sub("", spec[2]), None)
        elif open_ == (said[1], said[2]):
            found = _outcome(found, said[3])
    if open_:
        yield found


def _outcome(found: Relocation, words: str) -> Relocation:
    patched, poisoned = _PATCHED.fullmatch(words), _POISONED.fullmatch(words)
    if patched:
        values = int(patched[2]), int(patched[3])
        return Relocation(found.function, int(patched[1]), found.kind, found.spec, values)
    if poisoned:  # a load of 64 bits is poisoned from its second half on
        return Relocation(found.function, int(poisoned[1]), found.kind, found.spec, None)
    return found
