"""Kinds of refusals of a verifier, by its own words: from 4.19's bare lines to the blocks of 7.3.

A row is looked for in the lines that say why (never in source lines, which are the object's).  The first of these lines
that any row knows decides, and of one line the first row; from 7.3 on the category that heads the block decides where
no line is known.  Sources: kernel/bpf/verifier.c of v4.19 to v6.12, kernel/bpf/diagnostics.c of 7.3.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """A row: slug, the words that a line begins with or holds, categories of 7.3, what it means, what to change."""

    slug: str
    words: re.Pattern[str]
    categories: re.Pattern[str] | None
    means: str
    hint: str


def _row(slug: str, words: Sequence[str], categories: str, means: str, hint: str) -> Kind:
    return Kind(slug, re.compile("|".join(words)), re.compile(categories, re.I) if categories else None, means, hint)


ROWS: Sequence[Kind] = (
    _row(
        "verifier-sleepable",
        (
            r"(is|are) not sleepable", r"might sleep in a non-sleepable", r"must be sleepable to call sleepable",
            r"^Only .*programs can be sleepable", r"^[Ss]leepable prog(ram)?s can(not| only) use",
            r"is sleepable within rcu_read_lock|sleepable (helper|kfunc)|may sleep are not allowed|that may sleep",
        ),
        r"sleep",
        "something that may sleep is called where a program may not, or the hook is not one for sleepable programs",
        'drop the ".s" of the section, or the call that may sleep',
    ),
    _row(
        "verifier-reference",
        (
            r"^Unreleased reference", r"would lead to reference leak",
            r"(is missing unlock|_unlock is missing|_unlock-ed)",
            r"^bpf_spin_lock is missing", r"must be referenced|expects referenced", r"has not been acquired before",
            r"not allowed while holding a lock|inside bpf_spin_lock-ed region|cannot be used inside",
            r"unacquired reference",
            r"lock is (already )?(taken|held)|bpf_spin_unlock of different lock|bpf_spin_unlock without taking",
        ),
        r"Resource Lifetime",
        "something acquired (a socket, a ring buffer record, a lock) is not released on every path",
        "release it on every path, also on the one that returns early",
    ),
    _row(
        "verifier-return-code",
        (
            r"^At (program exit|subprogram exit|callback return|async callback return) the register R0",
            r"^In async callback the register R0", r"^R0 leaks addr as return value", r"^R0 not a known value",
        ),
        r"return value|exit value",
        "the program returns what its type may not",
        "return a value of the range that the evidence names",
    ),
    _row(
        "verifier-null",
        (r"invalid mem access '\w*or_null\w*'", r"^Possibly NULL pointer", r"type=\S*or_null\S* expected",
         r"or_null\S* prohibited", r"^NULL pointer passed"),
        r"null",
        "a pointer that may be NULL is used without a check",
        "check the pointer right before its use: `if (!p) return 0;`",
    ),
    _row(
        "verifier-uninit",
        (
            r"!read_ok$", r"uninitialized", r"^invalid indirect read from stack",
            r"^invalid (indirect )?read from stack (R\d+ )?(off |var_off)",
            # the same words tell of a read out of bounds: only the offset tells them apart
            r"^invalid read from stack R\d+ off=-([1-9]\d?|[1-4]\d\d|50\d|51[0-2]) ",
        ),
        r"uninitiali[sz]ed|not initiali[sz]ed",
        "a register or a piece of stack is read that was never written on this path",
        "initialise it: `struct key k = {};`, padding included",
    ),
    _row(
        "verifier-context",
        (r"^invalid bpf_context access", r"modified ctx ptr", r"ctx access", r"negative offset ctx ptr",
         r"^func '.*' (doesn't have \d+-th argument|arg\d+ .*type)", r"ctx pointer"),
        r"context",
        "the context is read or written where this type of program, or this kernel, has nothing",
        "read only fields that this type of program has here; arguments by BPF_PROG() and CO-RE",
    ),
    _row(
        "verifier-bounds",
        (
            r"^invalid access to (packet|map|mem|key|stack)", r"^R\d+ (min|max) value is",
            r"unbounded (memory|min value)",
            r"offset is outside of", r"pointer be out of bounds", r"^math between .* pointer and",
            r"^invalid (variable-offset|unbounded|zero-sized|stack|write to stack|read from stack)",
            r"^invalid indirect access to stack",
            r"^R\d+ invalid zero-sized", r"memory, len",
        ),
        r"outside bounds|out of bounds|bounds",
        "an access may lie outside of the packet, map value or stack",
        "check offset and length against the bounds right before the access",
    ),
    _row(
        "verifier-loop",
        (r"^back-edge from insn", r"infinite loop detected"),
        r"loop",
        "a loop whose end the verifier cannot see; before 5.3 any loop",
        "give the loop a constant bound, unroll it (before 5.3), or use bpf_loop() where it exists",
    ),
    _row(
        "isa-unsupported",
        (r"^unknown (opcode|insn class)", r"uses reserved fields", r"^BPF_ATOMIC uses invalid", r"^invalid atomic op",
         r"^BPF_(ALU|JMP|END|LDX|STX|ST|XADD|ATOMIC|MOV) uses"),
        r"instruction (encoding|set)",
        "an instruction that this kernel does not know: the object is compiled for a newer instruction set",
        "compile with -mcpu=v2 (before 5.1), v3 (before 6.6), or ship a variant for such kernels",
    ),
    _row(
        "verifier-type",
        (r"^R\d+ type=\S+ expected=", r"invalid mem access '\w+'", r"^R\d+ (pointer|bitwise|is a non-owning)",
         r"pointer (arithmetic|comparison|operation)", r"leaks addr", r"^cannot (write into|pass map_type|access ptr)",
         r"^arg#?\d+ (expected|is|pointer|reg|must)",
         r"write into map forbidden|read from map forbidden|into .* is not allowed",
         # btf_struct_walk(): the offset is compiled in, and this kernel's structure is laid out in another way
         r"^access beyond (struct|the end)", r"^(struct|union) [^\s']{1,128} doesn't have field at offset \d"),
        r"Type Safety",
        "a value is not of the type that the instruction, the helper or the kfunc takes",
        "read kernel memory by bpf_probe_read_kernel() or with BTF; give helpers the pointers that they ask for",
    ),
)  # fmt: skip


def row_of(lines: Sequence[str], category: str = "") -> Kind | None:
    """The kind of a refusal, from the lines that say why and the category of 7.3 (`Memory Safety: …`), if any."""
    for line in lines:
        for row in ROWS:
            if row.words.search(line):
                return row
    return next((row for row in ROWS if category and row.categories and row.categories.search(category)), None)
