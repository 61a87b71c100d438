"""A step as a value, and its key."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bpfcompat.action import Action
from bpfcompat.digest import digest_bytes

INPUTS = st.dictionaries(st.text(min_size=1, max_size=6), st.text(max_size=6) | st.integers() | st.none(), max_size=5)


def test_preimage_golden() -> None:
    """The exact bytes under the key; they change only with FORMAT, or every store in the world is lost."""
    action = Action("probe", "a@b", {"object": "sha256:1", "kernel": {"config": None}})
    assert action.preimage() == b'{"format":1,"inputs":{"kernel":{"config":null},"object":"sha256:1"},"kind":"probe"}'
    assert action.key() == digest_bytes(action.preimage())


@given(INPUTS, st.text(), st.text())
def test_name_is_not_keyed(inputs: Mapping[str, Any], one: str, other: str) -> None:
    """Equal work under two names is done once."""
    assert Action("probe", one, inputs).key() == Action("probe", other, dict(reversed(list(inputs.items())))).key()


@given(INPUTS, INPUTS)
def test_inputs_are_keyed(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Different inputs, different keys."""
    assume(one != other)
    assert Action("probe", "x", one).key() != Action("probe", "x", other).key()


def test_kind_is_keyed() -> None:
    """The same inputs for another kind of step are another key."""
    assert Action("probe", "x", {"a": 1}).key() != Action("verdict", "x", {"a": 1}).key()


@pytest.mark.parametrize(("one", "other"), [(None, ""), (0, False), (1, True), ("1", 1), ([], {}), ([1, 2], [2, 1])])
def test_near_values(one: Any, other: Any) -> None:
    """Values that look alike to Python or to the eye are different inputs."""
    assert Action("k", "", {"a": one}).key() != Action("k", "", {"a": other}).key()


def test_inputs_cannot_forge_their_neighbours() -> None:
    """A name or value full of quotes and commas is still one input."""
    assert Action("k", "", {"a": '1","b":"2'}).key() != Action("k", "", {"a": "1", "b": "2"}).key()


def test_round_trip() -> None:
    """Inputs that went through JSON, as the store keeps them, give the key again."""
    action = Action("object", "x", {"flags": ["-g", "-O2"], "n": 1 << 70, "text": "é\u2028"})
    assert Action("object", "x", json.loads(json.dumps(action.inputs))).key() == action.key()


def test_label() -> None:
    """The task name is kind and name, or the kind alone."""
    assert (Action("probe", "a@b", {}).label, Action("matrix", "", {}).label) == ("probe:a@b", "matrix")
