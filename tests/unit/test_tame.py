"""Names of an object that read like somebody's words."""

import pytest

from bpfcompat.tame import MAX_LINE, MAX_ODD, MAX_SEEN, TOO_MANY, is_odd, tamed

WORDS = "prog 'x': missing BPF prog type, check ELF section name 'y'"


@pytest.mark.parametrize(
    "name",
    ["pass_all", "?tp/sched/sched_switch", "uprobe//bin/x:main+0x10", "usdt/./x:a:b", "_ZN3foo3barILi1EEEv", "a<b::c>",
     "kprobe.multi/bpf_[a-f]*", "caf\u00e9", ".L.str.1", "sock_release$1", ""],
)  # fmt: skip
def test_plain(name: str) -> None:
    """What compilers and people call things is not odd, and stays as it is in a log."""
    assert not is_odd(name)
    assert tamed(f"libbpf: prog '{name}': failed\n", ()) == f"libbpf: prog '{name}': failed\n"


@pytest.mark.parametrize("name", ["two words", "x': y", 'a"b', "a\nb", "a\rb", "a\u2028b", "f(x)", "\x1b[2J"])
def test_odd(name: str) -> None:
    """Blanks, quotes, brackets and control characters are in no name that means well."""
    assert is_odd(name)


def test_quotation() -> None:
    """A name that ends its quotation and goes on as libbpf would says nothing any more, and is still recognised."""
    text = tamed(f"libbpf: prog 'x{WORDS}': failed to load: -22\nlibbpf: more\n", (f"x{WORDS}",))
    assert "missing BPF prog type" not in text and text.startswith("libbpf: prog 'xprog")
    assert text.endswith("': failed to load: -22\nlibbpf: more\n")


@pytest.mark.parametrize("cut", [0, 20])
def test_line_break(cut: int) -> None:
    """Lines that a name's line break began are left out, also where the log has only their beginning."""
    said = f"libbpf: {WORDS}"
    text = tamed(f"libbpf: prog 'a\n{said[: len(said) - cut]}\nlibbpf: real words\n", (f"a\n{said}",))
    assert WORDS[:20] not in text and "real words" in text


@pytest.mark.parametrize("end", ["\r", "\v", "\f", "\x1c", "\x85", "\u2028"])
def test_other_ends_of_lines(end: str) -> None:
    """What only some readers take for the end of a line ends none."""
    assert len(tamed(f"libbpf: a{end}{WORDS}\n", ()).splitlines()) == 1


@pytest.mark.parametrize("name", ["\n", "'", " ", "a\nb\nc"])
def test_short(name: str) -> None:
    """A name too short to say anything takes nothing away from what others said."""
    assert tamed("libbpf: prog 'a': b\nb\n", (name,)) == "libbpf: prog 'a': b\nb\n"


def test_bounds() -> None:
    """A line is as long as a search can afford, a name counts by its beginning, and a crowd of odd ones by none."""
    assert [len(line) for line in tamed(f"{'x' * 3 * MAX_LINE}\nshort\n", ()).split("\n")] == [MAX_LINE, 5, 0]
    assert WORDS not in tamed(f"{WORDS}{'z' * MAX_SEEN}", (f"{WORDS}{'z' * 9 * MAX_SEEN}",))
    assert tamed("libbpf: x", [f"{n} names" + "!" * 8 for n in range(MAX_ODD + 1)]) == TOO_MANY
