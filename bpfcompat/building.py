"""The inventory of a kernel of the catalogue: read from its files once, then kept in the store like anything else."""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING

from bpfcompat import plan
from bpfcompat.errors import KernelError

if TYPE_CHECKING:  # a null run needs no inventory
    from bpfcompat.action import Action
    from bpfcompat.builds import Build
    from bpfcompat.model import Blob
    from bpfcompat.realise import Made, Realiser


def build(steps: Realiser, name: str, make: bool = True) -> Build:
    """A kernel's inventory; KernelError for one that is not to be had or was built without BTF."""
    from bpfcompat.builds import from_json

    blob = blob_of(steps, name, make)
    return steps.planned(f"inventory:{blob.digest}", lambda: from_json(steps.shop.store.read(blob)))


def if_readable(steps: Realiser, name: str) -> Build | None:
    """A kernel's inventory; None where its files do not say what it has, which is the same on every machine."""
    return steps.planned(f"inventory of {name}", lambda: _if_readable(steps, name))  # once, and not for each pair


def _if_readable(steps: Realiser, name: str) -> Build | None:
    if steps.kernel(name).btf is None:  # not below: a kernel that cannot be had at this moment is no kernel without BTF
        return None
    try:
        return build(steps, name)
    except KernelError:
        return None


def key_of(steps: Realiser, name: str, make: bool = True) -> str | None:
    """The key of a kernel's inventory, whether or not it was read; None for a kernel without BTF."""
    return steps.planned(
        f"key of the inventory of {name}",
        lambda: action_of(steps, name, make).key() if steps.kernel(name, make).btf else None,
    )


def blob_of(steps: Realiser, name: str, make: bool = True) -> Blob:
    """A kernel's inventory as it lies in the store."""
    return steps.have(action_of(steps, name, make), lambda work: _make(steps, name), make).outputs["inventory"]


def action_of(steps: Realiser, name: str, make: bool = True) -> Action:
    """The action of reading a kernel's inventory."""
    return steps.planned(f"inventory-action:{name}", partial(_action, steps, name, make))


def _action(steps: Realiser, name: str, make: bool) -> Action:
    kernel = steps.kernel(name, make)
    if kernel.btf is None:
        said = f"kernel {name!r}: built without BTF, so nothing says what it has"
        raise KernelError(said, hint="boot it: bpfcompat matrix asks it all the same")
    return plan.inventory_action(kernel)


def _make(steps: Realiser, name: str) -> Made:
    from bpfcompat.builds import build_of, to_bytes
    from bpfcompat.realise import Made

    kernel, read = steps.kernel(name), steps.shop.store.read
    if kernel.btf is None:  # as the action said
        raise KernelError(f"kernel {name!r}: built without BTF")
    config = read(kernel.config) if kernel.config else None
    found = build_of(read(kernel.btf), config, kernel.release, _ids(read(kernel.image)))
    return Made({"inventory": to_bytes(found)}, {"release": kernel.release})


def _ids(image: bytes) -> bytes | None:
    """The `.BTF_ids` section of the vmlinux that an image is, or has inside."""
    from bpfcompat.btf import named_section
    from bpfcompat.kernels.bzimage import vmlinux_of

    vmlinux = image if image.startswith(b"\x7fELF") else vmlinux_of(image)
    try:
        return named_section(vmlinux, b".BTF_ids")
    except (struct.error, OverflowError) as error:
        raise KernelError(f"vmlinux: damaged: {error}") from None
