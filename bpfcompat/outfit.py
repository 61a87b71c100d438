"""What an object's guests have beside it: the files that were declared, and the root file system of its own loader."""

import stat
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfcompat.digest import digest_json
from bpfcompat.errors import ConfigError
from bpfcompat.files import read_bounded
from bpfcompat.guestfiles import MAX_BYTES
from bpfcompat.initramfs import Entry
from bpfcompat.kernels.lock import RELOCK, Lock
from bpfcompat.model import CommandSpec, LockedFile, ObjectSpec
from bpfcompat.plan import packages_of

if TYPE_CHECKING:  # else where they are used: their decoders are slow to import, and a null run needs none
    from bpfcompat import rootfs

OBJECT_MODE = 0o644

Digest = Callable[[Path], str]
Fetched = Callable[[LockedFile], Path]


def parts(spec: ObjectSpec, digest: Digest, lock: Lock, beside: Mapping[str, str]) -> dict[str, Any]:
    """Everything that the archive is made of, by digest; empty when nothing was declared.

    `beside` has the digests of other objects by their places.
    """
    found: dict[str, Any] = {}
    if spec.files or beside:
        found["files"] = {f.path: [digest(f.source), f.mode] for f in spec.files}
        found["files"] |= {place: [made, OBJECT_MODE] for place, made in beside.items()}
    if spec.command:
        found["loader"] = _loader_parts(spec, spec.command, digest, lock)
    return found


def entries(spec: ObjectSpec, lock: Lock, fetched: Fetched, beside: Mapping[str, bytes]) -> tuple[list[Entry], str]:
    """The archive's members, and what of a root file system was not taken over, in words.

    `beside` has other objects by their places.
    """
    found = [Entry(f.path, stat.S_IFREG | f.mode, read_bounded(f.source, MAX_BYTES, ConfigError)) for f in spec.files]
    found += [Entry(place, stat.S_IFREG | OBJECT_MODE, data) for place, data in beside.items()]
    if spec.command is None:
        return found, ""
    from bpfcompat import rootfs

    tree = rootfs.Tree(_where(spec))
    _fill(tree, spec, spec.command, lock, fetched)
    return [*found, *tree.entries()], rootfs.told(tree.left_out)


def _loader_parts(spec: ObjectSpec, command: CommandSpec, digest: Digest, lock: Lock) -> dict[str, Any]:
    if command.binary:
        return {"binary": digest(command.binary), "name": command.binary.name}
    if command.packages:
        return {"packages": [file.digest for _, file in _packages(spec, lock)]}
    from bpfcompat import oci, rootfs

    place = _rootfs(spec, command)
    if oci.is_layout(place):
        return {"image": oci.layout_key(place, _where(spec))}
    if place.is_dir():
        return {"folder": digest_json(rootfs.folder_key(place, _where(spec), digest))}
    return {"tar": digest(place)}


def _fill(tree: "rootfs.Tree", spec: ObjectSpec, command: CommandSpec, lock: Lock, fetched: Fetched) -> None:
    from bpfcompat import oci, rootfs

    if command.binary:
        rootfs.add_binary(tree, command.binary)
    elif command.packages:
        for name, file in _packages(spec, lock):
            rootfs.add_deb(tree, fetched(file), name)
    else:
        place = _rootfs(spec, command)
        add = oci.add_image if oci.is_layout(place) else rootfs.add_folder if place.is_dir() else rootfs.add_tar_file
        add(tree, place)


def _packages(spec: ObjectSpec, lock: Lock) -> list[tuple[str, LockedFile]]:
    """The locked packages of a loader, by name, in the order in which they were declared."""
    found = []
    for name in packages_of(replace(spec, package=None)):
        locked = lock.packages.get(name)
        if locked is None:
            package = name.rpartition("/")[2]
            raise ConfigError(f"{_where(spec)}: package {package!r}: not in the lock", hint=RELOCK)
        found.append((locked.package, locked.files[0]))
    return found


def _rootfs(spec: ObjectSpec, command: CommandSpec) -> Path:
    if command.rootfs is None:
        raise ConfigError(f"{_where(spec)}: expected exactly one of binary, rootfs, packages, got none")
    return command.rootfs


def _where(spec: ObjectSpec) -> str:
    return f"object {spec.name!r}: command"
