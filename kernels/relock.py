"""A new lock from a Debian archive: everything is found first, so a mirror that fails changes nothing."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from bpfcompat.kernels import about
from bpfcompat.kernels.apt import Archive, NoMatch, resolve, resolve_source
from bpfcompat.kernels.lock import Lock, LockedPackage
from bpfcompat.kernels.modules import is_apart
from bpfcompat.model import AptSource, KernelSpec


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A source package that we build: where it is, and a pattern for its upstream version (`1.5.0`)."""

    source: AptSource
    version: str


def relock(
    archive: Archive,
    kernels: Iterable[KernelSpec],
    sources: Mapping[str, SourceSpec],
    packages: Mapping[str, AptSource],
    say: Callable[[str], None],
) -> Lock:
    """The lock for these kernels, sources and packages as the archive is now.

    `say` is told one line about each, and about what is missing.  An optional kernel that the archive does not have
    is left out; anything else that cannot be had is the whole call's error.
    """
    found: dict[str, LockedPackage] = {}
    for spec in kernels:
        if isinstance(spec.source, AptSource) and not spec.base:
            found.update(_kernel(archive, spec, spec.source, say))
    return Lock(
        kernels=found,
        sources={n: _said(n, resolve_source(archive, s.source, s.version), say) for n, s in sources.items()},
        packages={n: _said(n, resolve(archive, s), say) for n, s in packages.items()},
    )


def _kernel(
    archive: Archive, spec: KernelSpec, source: AptSource, say: Callable[[str], None]
) -> dict[str, LockedPackage]:
    try:
        with about(f"kernel {spec.name!r}"):
            locked = _said(spec.name, resolve(archive, source), say)
    except NoMatch as error:
        if not spec.optional:
            raise
        say(f"left out: {error.message}")
        return {}
    if locked.package.startswith("linux-binary-"):
        others = [f.path.rsplit("/", 1)[-1] for f in locked.files]
        if not any(name.startswith("linux-base-") for name in others):
            say(f"{spec.name}: the index has no config for it; objects with kconfig externs will not open there")
        if not any(map(is_apart, others)):
            say(f"{spec.name}: the index has no modules for it; what needs one will not be attempted there")
    return {spec.name: locked}


def _said(name: str, locked: LockedPackage, say: Callable[[str], None]) -> LockedPackage:
    say(f"{name}: {locked.package} {locked.version} ({locked.suite}), {sum(f.size for f in locked.files)} bytes")
    return locked
