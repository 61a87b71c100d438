"""What only a booted guest can say of a kernel: what it says of itself, and which helper each program type may call.

Asked once for each kernel, when somebody wants to know, and kept in the store; no verdict waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfcompat import plan
from bpfcompat.action import Action
from bpfcompat.building import blob_of
from bpfcompat.errors import BpfcompatError, GuestError
from bpfcompat.realise import Made, NotThere

if TYPE_CHECKING:
    from bpfcompat.abilities import Abilities
    from bpfcompat.assuring import Assurer
    from bpfcompat.buildtext import Asked


def abilities(steps: Assurer, kernel: str, make: bool = True) -> Abilities:
    """Program type → the helpers that it may call, None for a type that there is not."""
    from bpfcompat.abilities import from_json

    entry = steps.have(action_of(steps, kernel, make), lambda work: _make(steps, kernel), make)
    return from_json(steps.shop.store.read(entry.outputs["abilities"]))


def said(steps: Assurer, kernel: str) -> Asked | None:
    """What guests of a kernel said before, of it and of helpers; None where none was asked, or nobody can look."""
    from bpfcompat.buildtext import Asked

    try:
        return Asked(steps.hello(kernel, make=False), abilities(steps, kernel, make=False))
    except (NotThere, BpfcompatError):
        return None


def action_of(steps: Assurer, kernel: str, make: bool = True) -> Action:
    """The action of asking for them."""
    from bpfcompat.abilities import ASKED

    inventory = blob_of(steps, kernel, make).digest
    return plan.abilities_action(kernel, steps.column(kernel, make), inventory, ASKED)


def _make(steps: Assurer, kernel: str) -> Made:
    """A guest for each program type: each is asked about every helper of the build."""
    from bpfcompat.abilities import SECTIONS, allowed, object_of, to_bytes

    helpers, found = steps.build(kernel).helpers, {}
    for done, (kind, section) in enumerate(SECTIONS.items()):
        steps.shop.voice.progress(f"abilities:{kernel}", done, len(SECTIONS))
        try:
            found[kind] = allowed(steps.listen(kernel, object_of(section, helpers)), helpers)
        except GuestError as error:
            error.message = f"kernel {kernel!r}: cannot be asked about helpers of {kind}: {error.message}"
            raise
    return Made({"abilities": to_bytes(found)})
