"""One step of work as a value, and its action key.

Everything that can change an output is in `inputs`, by digest or by plain value; nothing else is, or equal work would
be done twice.  Time, host names and paths never enter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bpfcompat.digest import canonical, digest_bytes

FORMAT = 1  # of the key's preimage and the store's entries


@dataclass(frozen=True, slots=True)
class Action:
    """A step: its kind (`probe`), the name people type (`ringbuf@debian-12`), and its inputs.

    `inputs` maps an input's name to JSON values; the name is for people and for `why`, and is part of the key.
    The action's own name is not part of the key: equal work under two names is done once.
    """

    kind: str
    name: str
    inputs: Mapping[str, Any]

    @property
    def label(self) -> str:
        """The task name: `probe:ringbuf@debian-12`."""
        return f"{self.kind}:{self.name}" if self.name else self.kind

    def preimage(self) -> bytes:
        """The exact bytes whose SHA-256 is the key."""
        return canonical({"format": FORMAT, "kind": self.kind, "inputs": dict(self.inputs)})

    def key(self) -> str:
        """The digest under which this action's outputs are stored."""
        return digest_bytes(self.preimage())
