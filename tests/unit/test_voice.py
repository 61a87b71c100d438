"""How work is shown: nothing hostile reaches the terminal, and a log is not flooded."""

import io
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfcompat.voice import Silent, Terminal, clean


class Tty(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "hostile",
    ["\x1b[2J", "\x9b31m", "\r", "\n", "\0", "\b", "\x7f", "\u202e", "\u2066", "\u200b", "\u2028", "\ufeff", "\ud800"],
)
def test_clean_replaces(hostile: str) -> None:
    """Escapes, line breaks, overrides, invisible signs and lone surrogates become question marks."""
    assert clean(f"a{hostile}b") == "a" + "?" + hostile[1:] + "b"


@given(st.text(max_size=50))
def test_clean_is_printable(text: str) -> None:
    """What comes out is printable, one line, as long as what went in, and clean again."""
    out = clean(text)
    assert out.isprintable() and len(out) == len(text) and clean(out) == out
    out.encode("utf-8")


def test_clean_bounds() -> None:
    """The limit is the length of what comes out, dots included; what fits is not touched."""
    assert clean("x" * 100, 10) == "x" * 7 + "..."
    assert clean("x" * 10, 10) == "x" * 10
    assert len(clean("x" * 10**6)) == 2000


def test_say_is_clean() -> None:
    """A line that carries a guest's escapes does not move the cursor; several lines stay several."""
    out = io.StringIO()
    Terminal(out).say("one \x1b[31m\ttwo\nthree\r")
    assert out.getvalue() == "one ?[31m       two\nthree?\n"


def test_log_is_not_flooded() -> None:
    """Without a terminal, progress that is quick says nothing at all: a log has no bars."""
    out = io.StringIO()
    voice = Terminal(out)
    for done in range(0, 10_001):
        voice.progress("fetch", done, 10_000)
    assert out.getvalue() == ""


def test_bar_is_wiped() -> None:
    """On a terminal a line never follows a bar on the same line."""
    out = Tty()
    voice = Terminal(out, every_s=0)
    voice.progress("fetch", 5, 10)
    voice.say("done")
    assert out.getvalue() == "   fetch [############............] 5 of 10\r\x1b[Kdone\n"


def test_label_is_clean() -> None:
    """A label from outside cannot leave the bar's line."""
    out = Tty()
    Terminal(out, every_s=0).progress("x\n\x1b[2J", 1, 2)
    assert out.getvalue().startswith("   x??[2J [") and "\n" not in out.getvalue()


@pytest.mark.parametrize(
    ("done", "total", "shown"),
    [(1, None, "1"), (20_000_000, None, "20.0 MB"), (0, 0, "0"), (5, 3, "5 of 3"), (1, 30_000_000, "0.0 of 30.0 MB")],
)
def test_amounts(done: int, total: int | None, shown: str) -> None:
    """Sizes that are not known, nothing, and more than announced are all shown, and the bar stays in its width."""
    out = Tty()
    Terminal(out, every_s=0).progress("x", done, total)
    head, _, tail = out.getvalue().partition("]")
    assert tail.strip() == shown and len(head) == len("   x [") + Terminal.BAR


def test_threads_do_not_mix_lines() -> None:
    """Lines said by several threads come out whole."""
    out = io.StringIO()
    voice = Terminal(out)

    def work(letter: str) -> None:
        for _ in range(50):
            voice.say(letter * 50)

    threads = [threading.Thread(target=work, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(set(line)) == 1 and len(line) == 50 for line in out.getvalue().splitlines())


def test_silent(capsys: pytest.CaptureFixture[str]) -> None:
    """Silence is silent."""
    Silent().say("x")
    Silent().progress("x", 1, 2)
    assert capsys.readouterr() == ("", "")
