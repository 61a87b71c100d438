"""A kernel's parts out of packages: vmlinuz, config, release, BTF.

What the header of the vmlinuz calls itself must be what the package calls it; a kernel under another's name would
give true answers to the wrong question.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bpfcompat.btf import btf_section
from bpfcompat.errors import KernelError
from bpfcompat.kernels.bzimage import has_pvh_entry, release_of, vmlinux_of
from bpfcompat.kernels.deb import deb_members

MAX_VMLINUZ = 64 << 20
MAX_CONFIG = 1 << 20

# Where Debian's packages keep them: linux-image up to 6.18, linux-binary and linux-base from 6.19 on.
_VMLINUZ = ("boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz")
_CONFIG = ("boot/config-*", "usr/lib/modules/*/config")


@dataclass(frozen=True, slots=True)
class KernelParts:
    """One kernel as bytes.

    `config` is None where there is none to be had, `btf` where it was built without, `vmlinux` where it has no PVH
    entry, so that only the vmlinuz can be booted.
    """

    vmlinuz: bytes
    config: bytes | None
    release: str
    btf: bytes | None
    vmlinux: bytes | None


def kernel_files(debs: Sequence[Path]) -> KernelParts:
    """The one kernel in these packages; KernelError when there is none, or several, or its name is another's."""
    members: dict[str, bytes] = {}
    for deb in debs:
        members.update(deb_members(deb, (*_VMLINUZ, *_CONFIG), MAX_VMLINUZ))
    where = ", ".join(deb.name for deb in debs)
    vmlinuz = _by_release(members, "vmlinuz")
    if len(vmlinuz) != 1:
        raise KernelError(f"{where}: expected one vmlinuz, got {', '.join(sorted(vmlinuz))[:200] or 'none'}")
    ((release, image),) = vmlinuz.items()
    parts = kernel_parts(image, _by_release(members, "config").get(release))
    if parts.release != release:
        raise KernelError(f"{where}: vmlinuz: expected release {release!r}, its header says {parts.release!r}")
    return parts


def kernel_parts(vmlinuz: bytes, config: bytes | None) -> KernelParts:
    """These bytes as a kernel: the release its header says, what is inside."""
    if config is not None and len(config) > MAX_CONFIG:
        raise KernelError(f"config: {len(config)} bytes, at most {MAX_CONFIG} expected")
    vmlinux = vmlinux_of(vmlinuz)
    boots = vmlinux if has_pvh_entry(vmlinux) else None
    return KernelParts(vmlinuz, config, release_of(vmlinuz), btf_section(vmlinux), boots)


def deb_member(deb: Path, pattern: str, limit: int) -> bytes:
    """The one regular file whose path matches; KernelError when none or several do, or it exceeds `limit` bytes."""
    found = deb_members(deb, [pattern], limit)
    if len(found) != 1:
        names = ", ".join(sorted(found)) or "none"
        raise KernelError(f"{deb.name}: expected one member {pattern!r}, got {names[:200]}")
    return next(iter(found.values()))


def _by_release(members: Mapping[str, bytes], what: str) -> dict[str, bytes]:
    """Release → bytes of `boot/WHAT-RELEASE` and `usr/lib/modules/RELEASE/WHAT`."""
    found: dict[str, bytes] = {}
    for path, data in members.items():
        folder, name = path.rsplit("/", 1)
        if name == what:
            found[folder.rsplit("/", 1)[1]] = data
        elif name.startswith(what + "-"):
            found[name.removeprefix(what + "-")] = data
    return found
