"""The order of Debian versions."""

import pytest

from bpfcompat.errors import KernelError
from bpfcompat.kernels.versions import order, split


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.0~rc1", "1.0"),
        ("1.0~~", "1.0~~a"),
        ("1.0~~a", "1.0~"),
        ("1.0~", "1.0"),
        ("1.0", "1.0a"),
        ("1.0a", "1.0+b"),
        ("1.0-1~bpo12+1", "1.0-1"),
        ("6.9-1", "6.12-1"),
        ("6.12.95-1~bpo12+1", "6.12.95-1"),
        ("7.2.13-1", "7.3~rc7-1~exp1"),
        ("7.3~rc7-1~exp1", "7.3.4-1~bpo13+1"),
        ("9", "1:1"),
        ("1.0-2", "1.0-10"),
        ("1.0-1-1", "1.0-1-2"),
        ("1.0", "1.0-1"),
        ("0.9", "0.a"),
    ],
)
def test_older(older: str, newer: str) -> None:
    """Policy 5.6.12: digits as numbers, letters before signs, a tilde before even the end."""
    assert order(older) < order(newer)


@pytest.mark.parametrize(("one", "other"), [("1.0", "1.0-0"), ("0:1.0", "1.0"), ("1.00", "1.0"), ("1.", "1.0")])
def test_equal(one: str, other: str) -> None:
    """An absent epoch or revision is 0; leading zeros do not count."""
    assert order(one) == order(other)


def test_split() -> None:
    """The revision begins at the last hyphen."""
    assert split("1:2.3-4-5~a") == ("1", "2.3-4", "5~a")
    assert split("2.3") == ("", "2.3", "")


@pytest.mark.parametrize("text", ["", "1 0", "1/0", "a:1", "1" * 300, "1:", "1\n"])
def test_no_version(text: str) -> None:
    """What is no version is refused before anything is compared."""
    with pytest.raises(KernelError, match="expected a Debian version"):
        order(text)
