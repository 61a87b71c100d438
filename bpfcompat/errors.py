"""What can go wrong, one class for each thing the reader can do next.

Wording: breadcrumbs outside in, lower case, expected and got, no full stop.  The hint is one thing to do.
"""

from collections.abc import Iterable
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command of ours."""

    OK = 0
    UNEXPECTED = 1  # a verdict is not as expected
    INPUT = 2  # edit your input
    INCONCLUSIVE = 3  # a kernel could not be asked
    UNTRUSTED = 4  # do not believe this


def did_you_mean(name: str, known: Iterable[str], otherwise: str, most: int = 3, likeness: float = 0.6) -> str:
    """A hint for a name that nobody knows: the nearest known ones, or `otherwise` where none is near."""
    from difflib import get_close_matches  # only where there is something to complain of

    near = get_close_matches(name, list(known), most, likeness)
    return f"did you mean {' or '.join(near)}?" if near else otherwise


class BpfcompatError(Exception):
    """Root of all errors that are ours to explain; anything else is a bug and traces."""

    exit_code = Exit.INPUT
    recorded = False  # whether the audit trail has it already: an error passes more than one door on its way up

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} (hint: {self.hint})" if self.hint else self.message


class ConfigError(BpfcompatError):
    """Edit your settings, rule or command line."""


class ObjectError(BpfcompatError):
    """Look at your object."""


class KernelError(BpfcompatError):
    """The catalogue, its lock or a download: this kernel is not to be had as written."""

    exit_code = Exit.INCONCLUSIVE


class ConditionError(BpfcompatError):
    """A kernel entry says what is not so: an assert does not hold, or a condition cannot be brought about."""

    exit_code = Exit.INCONCLUSIVE


class NotAskedError(BpfcompatError):
    """The project does not want this to be asked, because it is predicted to fail: there is no answer."""

    exit_code = Exit.INCONCLUSIVE


class NotHereError(BpfcompatError):
    """What is to be asked again is not to be had here as it was: object, kernel, tools or recipe."""

    exit_code = Exit.INCONCLUSIVE


class BuildError(BpfcompatError):
    """A tool failed on the host; carries what was run and its last words."""

    exit_code = Exit.INCONCLUSIVE

    def __init__(self, message: str, hint: str | None = None, argv: tuple[str, ...] = (), tail: str = "") -> None:
        super().__init__(message, hint)
        self.argv = argv
        self.tail = tail

    def __str__(self) -> str:
        last = f"\n{self.tail.rstrip()}" if self.tail.strip() else ""
        return super().__str__() + last


class GuestError(BpfcompatError):
    """A guest was lost before it had answered; carries the phase, the console's end, and how it died if it did.

    `heard` is what there was of its report, and `splats` what its kernel complained of.
    """

    exit_code = Exit.INCONCLUSIVE

    def __init__(
        self, message: str, hint: str | None = None, phase: str = "boot", console: str = "", death: str = ""
    ) -> None:
        super().__init__(message, hint)
        self.phase = phase
        self.console = console
        self.death = death
        self.heard = b""
        self.splats: tuple[str, ...] = ()


class ControlError(GuestError):
    """A thawed guest and a booted one said different things: no thawed guest of this host is to be believed."""

    exit_code = Exit.UNTRUSTED


class StoreError(BpfcompatError):
    """The store or the registry's folder cannot be read or written."""


class TrustError(BpfcompatError):
    """Do not use this: a digest, signature or claim does not hold."""

    exit_code = Exit.UNTRUSTED
