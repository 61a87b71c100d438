"""Text from strangers, made safe to show."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from bpfcompat.registry.text import plain


def test_hidden_characters_are_shown() -> None:
    """Escapes, overrides and other invisible characters are spelled out."""
    assert plain("a\x1b[31m\n\u202eb\u200b\ud800\U000e0001") == r"a\x1b[31m\x0a\u202eb\u200b\ud800\ue0001"
    assert plain("é ✓ 漢\t|") == "é ✓ 漢    |"


def test_length_is_bounded() -> None:
    """A name of 64 KB shows as its beginning."""
    assert plain("x" * 65536, 10) == "x" * 10 + "…"


@given(st.text(max_size=50))
def test_nothing_invisible_is_left(text: str) -> None:
    """Whatever came, what is shown can be seen, and fits UTF-8."""
    shown = plain(text)
    assert not any(unicodedata.category(char).startswith("C") for char in shown)
    shown.encode()
