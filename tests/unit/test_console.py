"""What a kernel says on its console: bounded, made harmless, and searched for complaints."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat.console import LINE_CHARS, LINES, SPLAT_LINES, Tail, clean_console, headline, out_of_memory, splats


@given(st.lists(st.binary(max_size=30), max_size=30), st.integers(1, 40))
def test_tail(pieces: list[bytes], bound: int) -> None:
    """A tail is the end of all that was added, and says truly whether something is missing."""
    tail, whole = Tail(bound), b"".join(pieces)
    for piece in pieces:
        tail.add(piece)
    assert tail.last() == whole[-bound:]
    assert tail.cut == (len(whole) > bound)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"[    0.1] up\r\nand running\r\n", "[    0.1] up\nand running"),
        (b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07plain\x1bc\x1b(B", "red plain"),
        (b"\x1b]0;never ended\nnext", "\nnext"),
        (b"a\x00b\x07c\x08d\x7fe\tf", "abcde\tf"),
        (b"bad \xff\xfe utf-8", "bad \ufffd\ufffd utf-8"),
        ("left\u202eright\u200b \u0085é".encode(), "leftright é"),
        (b"\x1b", ""),
        (b"", ""),
    ],
)
def test_clean_console(raw: bytes, text: str) -> None:
    """What a guest wrote cannot move a reader's cursor, change colours or hide words."""
    assert clean_console(raw) == text.strip("\n")


@given(st.binary(max_size=2000))
def test_clean_console_any(raw: bytes) -> None:
    """Whatever the bytes, the text has nothing but lines, tabs and what can be seen."""
    assert all(c in "\n\t" or c.isprintable() for c in clean_console(raw))


def test_clean_console_bounds() -> None:
    """The end is kept, in a bounded number of lines of bounded length."""
    text = clean_console(b"".join(b"%d\n" % n for n in range(10_000)) + b"x" * 9999)
    lines = text.split("\n")
    assert len(lines) == LINES
    assert lines[-2] == "9999"
    assert len(lines[-1]) == LINE_CHARS


# --- complaints

CUT = "------------[ cut here ]------------"


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: CPU: 0 PID: 93 at kernel/bpf/verifier.c:2412 __mark_chain_precision+0x1/0x2",
        "WARNING: kernel/bpf/core.c:2412 at bpf_check+0x1/0x2, CPU#0: init/1",
        "BUG: kernel NULL pointer dereference, address: 0000000000000008",
        "BUG: unable to handle page fault for address: ffffc90000000000",
        "BUG: KASAN: slab-out-of-bounds in bpf_check",
        "BUG: scheduling while atomic: init/1/0x00000002",
        "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [init:61]",
        "watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 0",
        "kernel BUG at lib/list_debug.c:29!",
        "Oops: 0000 [#1] PREEMPT SMP PTI",
        "general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1]",
        "rcu: INFO: rcu_preempt self-detected stall on CPU",
        "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
        "INFO: task init:1 blocked for more than 120 seconds.",
        "INFO: possible recursive locking detected",
        "WARNING: possible circular locking dependency detected",
        "WARNING: suspicious RCU usage",
        "UBSAN: array-index-out-of-bounds in kernel/bpf/verifier.c:1:2",
        "refcount_t: underflow; use-after-free.",
        "Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b",
    ],
)
def test_splat(line: str) -> None:
    """A kernel's complaint is seen with and without its time stamp, and its stamp is not kept."""
    assert splats(f"[   11.530000] {line}\r\n[   11.6] RIP: 0010:x\n".encode()) == (line, "[   11.6] RIP: 0010:x"[10:])
    assert splats(line.encode())[0] == line


@pytest.mark.parametrize(
    "line",
    [
        "init[61] is installing a program with bpf_probe_write_user helper that may corrupt user memory!",
        "** trace_printk() being used. Allocating extra memory.  **",
        "bpf: loading out-of-tree module taints kernel.",
        "x: module verification failed: signature and/or required key missing - tainting kernel",
        "Out of memory: Killed process 61 (init) total-vm:1kB",
        "random: crng init done",
        "the object said: BUG: nothing at all",
        "",
    ],
)
def test_no_splat(line: str) -> None:
    """What a loader may rightly cause, and words in the middle of a line, are no complaint of the kernel's."""
    assert splats(f"[    1.530000] {line}\n".encode()) == ()


def test_splat_whole() -> None:
    """A complaint is kept with what follows it, bounded; its headline is the line that says something."""
    lines = [CUT, "WARNING: CPU: 0 PID: 1 at x", *(f"line {n}" for n in range(99))]
    found = splats("\n".join(["before", *lines]).encode())
    assert found == tuple(lines[:SPLAT_LINES])
    assert headline(found) == "WARNING: CPU: 0 PID: 1 at x"
    assert headline(()) == ""


def test_out_of_memory() -> None:
    """A process that the guest's kernel killed for want of memory is named."""
    line = "Out of memory: Killed process 61 (init) total-vm:16684kB, anon-rss:0kB"
    assert out_of_memory(f"x\n[    3.5] {line}\n".encode()) == line
    assert out_of_memory(b"x\n") == ""
