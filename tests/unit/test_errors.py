"""What can go wrong: exit codes, and words for the next person."""

import pytest

from bpfcompat import errors
from bpfcompat.errors import BpfcompatError, BuildError, Exit, GuestError

CLASSES = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, BpfcompatError)]


def test_exit_codes() -> None:
    """The numbers are a promise to every script that reads them."""
    assert {e.name: e.value for e in Exit} == {
        "OK": 0, "UNEXPECTED": 1, "INPUT": 2, "INCONCLUSIVE": 3, "UNTRUSTED": 4,
    }  # fmt: skip


@pytest.mark.parametrize("error", CLASSES)
def test_no_error_is_a_verdict(error: type[BpfcompatError]) -> None:
    """No error exits as success, nor as a verdict that was not as expected: only the gate says that."""
    assert error("x").exit_code not in (Exit.OK, Exit.UNEXPECTED)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ConfigError", 2), ("ObjectError", 2), ("StoreError", 2),
        ("KernelError", 3), ("BuildError", 3), ("GuestError", 3), ("TrustError", 4),
    ],
)  # fmt: skip
def test_code_of_each(name: str, code: int) -> None:
    """The class decides the exit code by the reader's next move."""
    assert getattr(errors, name)("x").exit_code == code


def test_hint() -> None:
    """A hint is said in brackets after the message, and not at all when there is none."""
    assert str(BpfcompatError("a: b", hint="do c")) == "a: b (hint: do c)"
    assert str(BpfcompatError("a: b")) == "a: b"


def test_build_error_tail() -> None:
    """A tool's last words follow on lines of their own; silence adds no empty line."""
    assert str(BuildError("cc: exit 1", hint="h", tail="x.c:1: no\n")) == "cc: exit 1 (hint: h)\nx.c:1: no"
    assert str(BuildError("cc: exit 1", tail=" \n")) == "cc: exit 1"


def test_guest_error_evidence() -> None:
    """The evidence stays on the exception and out of its one line."""
    error = GuestError("lost", phase="load", console="panic!", death="deadline")
    assert (error.phase, error.console, error.death, str(error)) == ("load", "panic!", "deadline", "lost")
