"""What a guest's kernel says on its console: bytes kept within a bound, text for people, and the complaints in it.

Pure.  The bytes are hostile: nothing leaves here that a terminal, a page or a log would take for more than text.
"""

import re

LINES = 200
LINE_CHARS = 500
SPLAT_LINES = 24  # kept of the first complaint: its head, registers and call trace
END = b"bpfcompat: end"  # validator/env.c writes it into the kernel's log behind everything else
OOPS = b"Oops"  # arch/x86/kernel/dumpstack.c: __die()
PANIC = b"Kernel panic - not syncing"
_ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?")
_STAMP = re.compile(r"^(?:<\d+>)?\[ *\d+\.\d+\](?:\[[ TC]*\d+\])? ")

# How a kernel begins to complain, 5.10 to 7.3: lib/bug.c, kernel/panic.c, kernel/rcu/tree_stall.h, kernel/watchdog.c,
# kernel/hung_task.c, mm/kasan/report.c, lib/ubsan.c, kernel/locking/lockdep.c, arch/x86/kernel/{dumpstack,traps}.c.
# Words that a loader may rightly cause do not begin so: the notices that trace_printk() or bpf_probe_write_user() is
# used, "module verification failed", taint by itself.
_SPLATS = re.compile(
    r"""
      WARNING:\s.*\bat\s                            # WARN(): until 6.x with CPU and PID before "at"
    | ------------\[\ cut\ here\ \]------------
    | (?:watchdog:\ )?BUG:\s                        # unable to handle, soft lockup, KASAN, scheduling while atomic
    | kernel\ BUG\ at\s
    | Oops\b | general\ protection\ fault | stack\ segment: | divide\ error: | invalid\ opcode: | double\ fault:
    | traps:\ .*\bkernel\b
    | UBSAN:\s | KFENCE:\s | KCSAN:\s
    | rcu:\ INFO:\s.*stall | INFO:\ rcu_.*stall
    | INFO:\ task\s.*\ blocked\ for\ more\ than\s
    | INFO:\ (?:possible|inconsistent|trying|lockdep)\s
    | WARNING:\ (?:possible|suspicious|inconsistent|bad|held|Nested)\s
    | NMI\ watchdog:\s.*LOCKUP | watchdog:\ .*(?:LOCKUP|lockup)
    | list_(?:add|del)\ corruption | refcount_t:\s
    | Kernel\ panic\ -\ not\ syncing
    """,
    re.VERBOSE,
)
_OOM = re.compile(r"(?:Out of memory|Memory cgroup out of memory): Killed process")


class Tail:
    """The last `bound` bytes of a stream of any length; `cut` tells that the beginning is gone."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._kept = bytearray()
        self.cut = False

    def add(self, data: bytes) -> None:
        self._kept += data
        self.cut = self.cut or len(self._kept) > self._bound
        if len(self._kept) > 2 * self._bound:  # seldom, so that a flood costs linear time
            del self._kept[: -self._bound]

    def last(self, size: int | None = None) -> bytes:
        """At most `size` bytes (default: all that is kept) from the end."""
        return bytes(self._kept[-min(size or self._bound, self._bound) :])


def lines_of(data: bytes) -> list[str]:
    """Bytes as lines of text, without escape sequences, control or invisible characters; not UTF-8 becomes U+FFFD."""
    text = _ESCAPE.sub("", data.decode("utf-8", "replace"))
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = "".join(c for c in text if c in "\n\t" or c.isprintable())
    return [line[:LINE_CHARS] for line in text.strip("\n").split("\n")]


def clean_console(data: bytes) -> str:
    """Console bytes as text for people: its last LINES lines of at most LINE_CHARS characters."""
    return "\n".join(lines_of(data[-LINES * LINE_CHARS :])[-LINES:])


def splats(data: bytes) -> tuple[str, ...]:
    """The first complaint of a kernel on its console and what follows it, in at most SPLAT_LINES lines; () for none."""
    lines = [_STAMP.sub("", line) for line in lines_of(data)]
    first = next((n for n, line in enumerate(lines) if _SPLATS.match(line)), None)
    return () if first is None else tuple(lines[first : first + SPLAT_LINES])


def headline(splat: tuple[str, ...]) -> str:
    """The line of a complaint that says what it is about."""
    return next((line for line in splat if not line.startswith("---")), "")


def out_of_memory(data: bytes) -> str:
    """The line in which the guest's kernel killed a process for want of memory; "" if it did not."""
    found = next((line for line in lines_of(data) if _OOM.search(line)), "")
    return _STAMP.sub("", found)


def panic_line(data: bytes) -> str:
    """The panic's own words."""
    _, words, why = data.partition(PANIC)
    return clean_console((words or PANIC) + why.split(b"\n")[0])
