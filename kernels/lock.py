"""bpfcompat.lock: the exact files that each kernel, source and package is, by digest.

Reading it needs no network and no archive; writing is all or nothing, and equal locks are equal bytes.  It is JSON,
one value a line, so that a diff shows what moved.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bpfcompat.digest import hex_of, is_digest
from bpfcompat.errors import ConfigError
from bpfcompat.files import read_bounded, write_atomic
from bpfcompat.model import LockedFile

FORMAT = 1
ABOUT = "written by `doit kernels:lock`; commit it, do not edit it"
RELOCK = "doit kernels:lock"
MAX_BYTES = 1 << 20
_SECTIONS = ("kernels", "sources", "packages")


@dataclass(frozen=True, slots=True)
class LockedPackage:
    """One package as the archive's index named it: name, version, suite, and its files in the order of their use."""

    package: str
    version: str
    suite: str
    files: tuple[LockedFile, ...]


@dataclass(frozen=True, slots=True)
class LockedValidator:
    """A build that may be borrowed: what it was built of (plan.recipe_of), size and digest of its archive."""

    recipe: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Lock:
    """Name → package, for kernels of the catalogue, sources that we build, and packages that ship objects.

    `validators` by loader, "" for the project's own: only where `doit validators:lock` put them.
    """

    kernels: Mapping[str, LockedPackage] = field(default_factory=dict)
    sources: Mapping[str, LockedPackage] = field(default_factory=dict)
    packages: Mapping[str, LockedPackage] = field(default_factory=dict)
    validators: Mapping[str, LockedValidator] = field(default_factory=dict)


def read_lock(path: Path) -> Lock:
    """The lock at a path; ConfigError when it is not there or not as we write it."""
    if not path.exists():
        raise ConfigError(f"{path}: not there", hint=RELOCK)
    return parse_lock(read_bounded(path, MAX_BYTES, ConfigError), path.name)


def write_lock(path: Path, lock: Lock) -> None:
    """Replace the lock, whole or not at all."""
    write_atomic(path, render_lock(lock))


def render_lock(lock: Lock) -> bytes:
    """A lock as bytes."""
    sections = {s: {n: _package_json(p) for n, p in sorted(getattr(lock, s).items())} for s in _SECTIONS}
    validators = {
        name: {"recipe": hex_of(v.recipe), "size": v.size, "sha256": hex_of(v.digest)}
        for name, v in sorted(lock.validators.items())
    }
    more = {"validators": validators} if validators else {}
    return (json.dumps({"about": ABOUT, "format": FORMAT, **sections, **more}, indent=1) + "\n").encode()


def parse_lock(data: bytes, where: str) -> Lock:
    """Bytes as a lock; ConfigError names the entry, what was expected and what came."""
    try:
        raw = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not JSON: {error}", hint=RELOCK) from error
    validators = raw.pop("validators", {}) if isinstance(raw, dict) else {}
    table = _object(raw, ("about", "format", *_SECTIONS), where)
    if table["format"] != FORMAT:
        raise ConfigError(f"{where}: expected format {FORMAT}, got {table['format']!r}", hint=RELOCK)
    kernels, sources, packages = (_section(table[s], f"{where}: {s}") for s in _SECTIONS)
    return Lock(kernels, sources, packages, _validators(validators, where))


def _package_json(package: LockedPackage) -> dict[str, Any]:
    files = [{"path": f.path, "size": f.size, "sha256": hex_of(f.digest)} for f in package.files]
    return {"package": package.package, "version": package.version, "suite": package.suite, "files": files}


def _section(raw: Any, where: str) -> dict[str, LockedPackage]:
    if not isinstance(raw, dict):
        raise _not(where, "an object", raw)
    return {name: _package(value, f"{where}: {name[:100]}") for name, value in raw.items()}


def _validators(raw: Any, where: str) -> dict[str, LockedValidator]:
    if not isinstance(raw, dict):
        raise _not(f"{where}: validators", "an object", raw)
    return {name: _validator(value, f"{where}: validators: {name[:100]!r}") for name, value in raw.items()}


def _validator(raw: Any, where: str) -> LockedValidator:
    table = _object(raw, ("recipe", "size", "sha256"), where)
    recipe, digest = (f"sha256:{table[name]}" for name in ("recipe", "sha256"))
    if not is_digest(recipe) or not is_digest(digest):
        raise _not(where, "recipe and sha256 of 64 hex digits", raw)
    return LockedValidator(recipe, _size(table["size"], where), digest)


def _package(raw: Any, where: str) -> LockedPackage:
    table = _object(raw, ("package", "version", "suite", "files"), where)
    if not isinstance(table["files"], list) or not table["files"]:
        raise _not(f"{where}: files", "a list of files", table["files"])
    package, version, suite = (_text(table[k], f"{where}: {k}") for k in ("package", "version", "suite"))
    return LockedPackage(package, version, suite, tuple(_file(f, f"{where}: files") for f in table["files"]))


def _file(raw: Any, where: str) -> LockedFile:
    table = _object(raw, ("path", "size", "sha256"), where)
    path, digest = _text(table["path"], where), f"sha256:{table['sha256']}"
    if path.startswith("/") or ".." in path.split("/"):
        raise _not(f"{where}: path", "a path below the mirror", path)
    size = _size(table["size"], f"{where}: {path}")
    if not is_digest(digest):
        raise _not(f"{where}: {path}: sha256", "64 hex digits", table["sha256"])
    return LockedFile(path, size, digest)


def _size(raw: Any, where: str) -> int:
    if not isinstance(raw, int) or isinstance(raw, bool) or raw < 0:
        raise _not(f"{where}: size", "a number of bytes", raw)
    return raw


def _object(raw: Any, keys: tuple[str, ...], where: str) -> dict[str, Any]:
    if not isinstance(raw, dict) or set(raw) != set(keys):
        raise _not(where, "an object with " + ", ".join(keys), sorted(raw) if isinstance(raw, dict) else raw)
    return raw


def _text(raw: Any, where: str) -> str:
    if not isinstance(raw, str) or not 0 < len(raw) <= 1024 or not raw.isprintable():
        raise _not(where, "a short text", raw)
    return raw


def _not(where: str, expected: str, got: object) -> ConfigError:
    return ConfigError(f"{where}: expected {expected}, got {repr(got)[:100]}", hint=RELOCK)
