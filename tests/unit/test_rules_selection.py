"""Which tasks were asked for."""

from collections.abc import Iterator

import pytest

from bpfcompat.rules import selection


@pytest.fixture(autouse=True)
def afterwards() -> Iterator[None]:
    """Leave the module as it was found."""
    yield
    selection.select(None, managed=False)


def test_by_default() -> None:
    """Under doit's own loader every task is wanted, and nobody manages the exit code."""
    selection.select(None, managed=False)
    assert selection.everything() and selection.named("probe:a@k") and not selection.managed()


@pytest.mark.parametrize(
    ("given", "label", "wanted"),
    [
        (["probe:a@k"], "probe:a@k", True),
        (["probe:a@k"], "probe:a@k2", False),
        (["probe"], "probe:a@k", True),
        (["probe"], "probe", True),
        (["prob"], "probe:a@k", False),
        (["verdict"], "probe:a@k", False),
        (["probe:a@*"], "probe:a@k", True),
        (["probe:*@k"], "probe:a@k", True),
        (["probe:*@k"], "probe:a@k2", False),
        (["*"], "matrix", True),
        (["probe:a@k?"], "probe:a@k1", False),
        (["probe:[a]@k"], "probe:a@k", False),
        (["matrix", "probe:a@k"], "probe:a@k", True),
        (["matrix"], "kernels:lock", False),
        ([], "matrix", False),
    ],
)
def test_named(given: list[str], label: str, wanted: bool) -> None:
    """A task is wanted by its name, its group or a glob with a star, and by nothing that is merely near."""
    selection.select(given)
    assert selection.named(label) is wanted
    assert not selection.everything() and selection.managed()


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["probe:a@k", "verdict:b@k"], ["a@k", "b@k"]),
        (["probe:a@k", "matrix"], None),
        (["probe:a@k", "object:a"], None),
        (["probe:a@*"], None),
        (["probe"], None),
        ([], None),
        (None, None),
    ],
)
def test_subjects(given: list[str] | None, found: list[str] | None) -> None:
    """Where some pairs are named and nothing else is, these are known, and nothing else needs to be looked at."""
    selection.select(given)
    assert selection.subjects(("probe", "verdict")) == found


def test_any_named() -> None:
    """One of several is enough; of none, none is."""
    selection.select(["b"])
    assert selection.any_named(["a", "b"]) and not selection.any_named(["a"]) and not selection.any_named([])


def test_selection_is_a_copy() -> None:
    """The caller's list may change afterwards."""
    names = ["a"]
    selection.select(names)
    names.append("b")
    assert not selection.named("b")
