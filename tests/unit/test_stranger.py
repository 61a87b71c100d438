"""A stranger's verdict, asked again: what of it this machine does not do."""

from pathlib import Path
from typing import Any

import pytest

from bpfcompat.config import from_dict
from bpfcompat.errors import NotHereError
from bpfcompat.model import AttachMode
from bpfcompat.rules.stranger import as_asked, attach_mode
from tests.claims import claim

CONFIG = from_dict({}, Path("/"))


def test_settings_of_the_verdict() -> None:
    """Memory and log are the verdict's where it says them, and ours where it does not."""
    found = as_asked(CONFIG, claim(machine={"memory_mb": 512}, spec={"log_kb": 64}))
    assert (found["guest.memory_mb"], found["guest.log_kb"], found["guest.cold"]) == (512, 64, True)
    found = as_asked(CONFIG, claim(machine={}, spec={}))
    assert (found["guest.memory_mb"], found["guest.log_kb"]) == (CONFIG["guest.memory_mb"], CONFIG["guest.log_kb"])


@pytest.mark.parametrize("value", [1 << 50, 0, -1, True, "256", [256], "\x1b[2J"])
@pytest.mark.parametrize("name", ["memory_mb", "log_kb"])
def test_a_guest_that_no_settings_give(name: str, value: Any) -> None:
    """A bundle that nobody need have signed gets no guest with more memory than this machine's settings may give."""
    made = claim(**{"machine" if name == "memory_mb" else "spec": {name: value}})
    with pytest.raises(NotHereError, match=f"its guest has {name} = "):
        as_asked(CONFIG, made)


@pytest.mark.parametrize("word", ["", "everything", 1, ["attach"], {"a": 1}])
def test_an_attach_mode_that_is_none(word: Any) -> None:
    """Nor does it bring down the program that reads it."""
    assert attach_mode(claim(spec={})) is AttachMode.ATTACH
    assert attach_mode(claim(spec={"attach": "load"})) is AttachMode.LOAD
    with pytest.raises(NotHereError, match="its recipe has attach = "):
        attach_mode(claim(spec={"attach": word}))
