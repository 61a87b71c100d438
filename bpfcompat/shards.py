"""One object asked by several guests at once: how many are worth it, and one report out of what they said.

Pure.  Each guest asks every so-many-th program, and the first one also what is asked once.  Whatever does not fit
together is a ValueError: then one guest is asked everything, so that nothing is ever concluded from a part.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bpfcompat.errors import ObjectError
from bpfcompat.seats import ONE, Worth
from bpfcompat.sections import STB_LOCAL, STT_FUNC, Elf, read_elf
from bpfcompat.twins import split

MOST = 16  # guests
SMALL = 4 << 10  # bytes: no object below has enough programs
UNITS = 15  # a guest more costs about what asking so many programs does
WAITING = 5  # units of a program whose kernel waits for a grace period of RCU tasks when it goes
LOGS_TOTAL = 64 << 20  # bytes of verifier logs that one guest tells: LOG_TOTAL of validator/main.c
_TRAMPOLINES = frozenset(["fentry", "fexit", "fmod_ret", "lsm"])

Frame = Mapping[str, Any]


def worth(data: bytes, attaches: bool) -> Worth:
    """By the programs in an object's bytes; one guest for what cannot be read, as the guest is to say why."""
    if len(data) < SMALL:
        return ONE
    try:
        families = tuple(_families(read_elf(data)))
    except ObjectError:
        return ONE
    waiting = sum(family in _TRAMPOLINES for family in families) if attaches else 0
    units = len(families) + waiting * (WAITING - 1)
    guests = min(MOST, units // UNITS)
    return Worth(guests, waiting * WAITING * 2 > units) if guests > 1 else ONE


def _families(elf: Elf) -> Iterator[str]:
    """The family of each program: `fentry` of `?fentry.s/do_unlinkat`."""
    code = {n: s.name for n, s in enumerate(elf.sections) if s.is_code and s.name != ".text"}
    for symbol in elf.symbols:
        if symbol.type == STT_FUNC and symbol.binding != STB_LOCAL and symbol.section in code:
            yield split(code[symbol.section])[0]


def joined(shards: Sequence[Sequence[Frame]]) -> Iterator[Frame]:
    """The frames that one guest would have said, of those of all shards; ValueError where they do not fit together."""
    first, *others = (_Parts(frames) for frames in shards)
    for other in others:
        if other.tail or any(frame not in first.head for frame in other.head):
            raise ValueError("guests that shared an object say different things of it")
    programs = _dealt([part.programs for part in (first, *others)])
    if sum(_spoken(frame) for frame in (*first.head, *programs)) > LOGS_TOTAL:
        raise ValueError(f"verifier logs of more than {LOGS_TOTAL} bytes")
    frames = [*first.head, *programs, *first.tail]
    return iter([*frames, {"kind": "end", "frames": len(frames)}])


class _Parts:
    """One guest's frames: what comes before its programs, these, and what comes after but for the end."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        kinds = [frame.get("kind") if isinstance(frame, dict) else None for frame in frames]
        if "died" in kinds or kinds[-1:] != ["end"] or frames[-1].get("frames") != len(frames) - 1:
            raise ValueError("a guest that shared an object did not come to its end")
        begin = kinds.index("program") if "program" in kinds else len(kinds) - 1
        end = begin + kinds.count("program")
        self.head, self.programs, self.tail = frames[:begin], frames[begin:end], frames[end:-1]


def _dealt(hands: Sequence[Sequence[Frame]]) -> list[Frame]:
    """Cards as they lay before they were dealt in turn."""
    count = sum(map(len, hands))
    if [len(hand) for hand in hands] != [len(range(n, count, len(hands))) for n in range(len(hands))]:
        raise ValueError("guests that shared an object do not have all of its programs between them")
    return [hands[n % len(hands)][n // len(hands)] for n in range(count)]


def _spoken(frame: Frame) -> int:
    """Bytes of verifier log that a frame tells, by its own word."""
    log = frame.get("verifier")
    size = log.get("size", len(str(log.get("text")))) if isinstance(log, dict) else 0
    return size if isinstance(size, int) else 0
