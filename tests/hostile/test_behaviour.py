"""Commands of behaviour tests that attack: bounded, reported, told by name, and never the end of an answer."""

import pytest

from bpfcompat.behaviour import Ended, Outcome
from tests.guest.conftest import asker, qemu, vmlinuz  # noqa: F401  (fixtures)
from tests.guest.test_behaviour import Behave, behave, command, outcomes  # noqa: F401  (fixtures)

pytestmark = [pytest.mark.hostile, pytest.mark.guest]


@pytest.mark.parametrize("kernel", ["debian-11", "debian-13-backports"])
def test_attacks(kernel: str, behave: Behave) -> None:  # noqa: F811
    """One guest takes them all one behind the other, and the test behind them passes as if they had never been."""
    attacks = ("forks", "endless", "leaves", "fill", "hog", "forge", "reach")
    plain = {"do": ["exec"], "maps": ["execs == 1"], "ringbuf": {"map": "events", "at_most": 1}}
    verdict, told = behave(
        "counts", kernel,
        *({"name": word, "command": ["./command", word], "timeout_s": 2, "required": False} for word in attacks),
        {**plain, "name": "behind"},
    )  # fmt: skip
    said = {test.name: test for test in verdict.tests}
    assert said["behind"].outcome is Outcome.PASSED, said["behind"]
    for word in ("forks", "endless"):
        assert (told[word].ended, said[word].outcome) == (Ended.TIMED_OUT, Outcome.FAILED)
        assert "expected to end within 2 s" in said[word].detail[0]
    assert told["endless"].stdout.cut
    assert "\x1b" not in "".join(map(str, said["endless"].detail))
    assert said["leaves"].outcome is Outcome.PASSED
    assert told["hog"].signal == 9
    took = dict(line.split() for line in told["fill"].stdout.text.splitlines())
    assert [took[place] for place in ("/x", "/files/x", "/dev/x")] == ["0", "0", "0"]
    assert 0 < int(took["/tmp/x"]) + int(took["/tmp/y"]) <= 16
    assert said["forge"].outcome is Outcome.PASSED
    assert told["reach"].stdout.text.splitlines() == ["ports 0", "node 0", "init 0"]
