"""What a probe keeps beside its report: logs that are longer than it holds, and what hangs on the host."""

import base64
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat.beside import OBJECT, beside, costs_from_bytes, log_name
from bpfcompat.errors import StoreError
from bpfcompat.measures import measures, relocations
from bpfcompat.model import Attach, Cost, Log, ProgramReport, Relocation, Report
from bpfcompat.squeezed import LOG_MAX, LOGS_MAX, Squeezed, Unpacker, from_archive, squeezed


def packed(data: bytes, size: int | None = None) -> Squeezed:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    text = base64.b64encode(stream.compress(data) + stream.flush()).decode()
    return squeezed(text, len(data) if size is None else size, False)


def test_kept_beside() -> None:
    """A long log is whole in the archive, under its program's number; costs are in the programs' order."""
    long = Unpacker(8).log(packed(b"first\nsecond\nlast\n"))
    assert (long.text, long.left_out, long.whole) == ("last\n", 13, "first\nsecond\nlast\n")
    programs = tuple(
        ProgramReport(n, "xdp", "xdp", True, 0, log, Attach.ATTACHED, cost=cost)
        for n, log, cost in (("a", Log("x"), Cost(80, 7)), ("b", long, None))
    )
    found = beside(Report({}, 0, Log(""), 0, long, programs))
    assert from_archive(found["logs"], log_name(1)) == from_archive(found["logs"], OBJECT) == long.whole
    assert from_archive(found["logs"], log_name(0)) is None
    assert costs_from_bytes(found["costs"]) == (Cost(80, 7), Cost(None, None))
    assert beside(Report({}, 0, Log(""), 0, Log("short"))) == {}


@pytest.mark.parametrize("data", [b"", b"PK", b"[1]", b"{}", b'[{"jited": "x", "verify_us": 1}]'])
def test_damaged(data: bytes) -> None:
    """What is no archive, or no list of costs, is an error of the store."""
    with pytest.raises(StoreError):
        from_archive(data, OBJECT)
    if data != b"{}":
        with pytest.raises(StoreError):
            costs_from_bytes(data)


def test_bombs() -> None:
    """A log that inflates to more or less than it says, or all logs to more than they may, is no log."""
    for size in (0, 99, 101, 5000):
        with pytest.raises(ValueError, match="inflated"):
            Unpacker(1 << 20).log(packed(b"x" * 100, size))
    with pytest.raises(ValueError, match="at most"):
        packed(b"x", LOG_MAX + 1)
    unpacker, bomb = Unpacker(1 << 20), packed(bytes(LOG_MAX))
    with pytest.raises(ValueError, match=str(LOGS_MAX)):
        for _ in range(LOGS_MAX // LOG_MAX + 1):
            unpacker.log(bomb)


def test_counts() -> None:
    """The verifier's counts are read from the words of old and new kernels."""
    tail = "processed 42 insns (limit 1000000) max_states_per_insn 1 total_states 5 peak_states 3 mark_read 2\n"
    old = measures(7, 3, f"stack depth 0+16\n{tail}")
    new = measures(7, 3, f"stack depth max 16\nsubprog 0 (a) main insns_self 2 insns_total 2 stack 16\n{tail}")
    assert (old.verified, old.limit, old.states, old.peak_states, old.stack) == (42, 1_000_000, 5, 3, (0, 16))
    assert (new.verified, new.stack) == (42, (16,))
    assert measures(7, 0, "").verified is None


WORDS = """prog 'a': relo #0: <byte_off> [12] struct task_struct.pid (0:66 @ offset 2264)
prog 'a': relo #0: patched insn #3 (LDX/ST/STX) off 2264 -> 2480
prog 'a': relo #0: patched insn #3 (LDX/ST/STX) mem_sz 4 -> 8
prog 'a': relo #1: <field_exists> [12] struct task_struct.gone (0:1 @ offset 8)
prog 'a': relo #1: no matching targets found
prog 'a': relo #1: patched insn #5 (ALU/ALU64) imm 1 -> 0
prog 'b': relo #0: <byte_off> [9] struct x.y (0:0 @ offset 0.4)
prog 'b': relo #0: no matching targets found
prog 'b': relo #0: substituting insn #8 w/ invalid insn
"""


def test_relocations() -> None:
    """Each relocation ends with what libbpf made of it."""
    assert list(relocations(WORDS)) == [
        Relocation("a", 3, "byte_off", "struct task_struct.pid", (2264, 2480)),
        Relocation("a", 5, "field_exists", "struct task_struct.gone", (1, 0)),
        Relocation("b", 8, "byte_off", "struct x.y", None),
    ]


@given(st.text(), st.text())
def test_any_words(text: str, counts: str) -> None:
    """Words that nobody knows are nothing known, and no error."""
    assert measures(1, 0, counts).insns == 1
    assert list(relocations(text)) == []
