"""Every kernel build of one flavour that an archive still lists, in the order of their versions.

The same chain of trust as for the lock: InRelease → Packages → .deb, each by signature or digest (apt.py).  An index
lists what once was uploaded; whether the mirror still has the files is seen when one is fetched.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from bpfcompat.errors import KernelError, TrustError
from bpfcompat.fetch import Gone
from bpfcompat.kernels.apt import Archive, resolve_all
from bpfcompat.kernels.lock import LockedPackage
from bpfcompat.kernels.versions import order
from bpfcompat.model import AptSource

ARCH = "amd64"
FLAVOURS = ("cloud", "generic", "rt")
# Kernels are images until 7.1; later the image is empty and the vmlinuz in linux-binary-*.  Two dots: what has one
# (linux-image-6.12-cloud-amd64) only depends on the newest.
_PATTERNS = {
    "cloud": ("linux-image-[0-9]*.*.*-cloud-amd64", "linux-binary-[0-9]*.*.*-cloud-amd64"),
    "generic": ("linux-image-[0-9]*.*.*[0-9]-amd64", "linux-binary-[0-9]*.*.*[0-9]-amd64"),
    "rt": ("linux-image-[0-9]*.*.*-rt-amd64", "linux-binary-[0-9]*.*.*-rt-amd64"),
}
_IMAGE, _BINARY = "linux-image-", "linux-binary-"
CODENAMES = ("bullseye", "bookworm", "trixie", "forky", "sid")
_POCKETS = ("", "-security", "-updates", "-proposed-updates", "-backports")
SUITES = tuple(f"{name}{pocket}" for name in CODENAMES for pocket in (_POCKETS if name != "sid" else ("",)))


@dataclass(frozen=True, slots=True)
class Listed:
    """One build: its package as the index has it, each file with its address, and the suites that list this file."""

    locked: LockedPackage
    suites: tuple[str, ...]

    @property
    def release(self) -> str:
        """What `uname -r` says there: `6.12.95+deb12-cloud-amd64`."""
        return self.locked.package.removeprefix(_IMAGE).removeprefix(_BINARY)

    @property
    def series(self) -> str:
        """The distribution's series that it is of: the suite without -security and its like, but for backports."""
        suite = self.suites[0]
        for pocket in ("-security", "-updates", "-proposed-updates"):
            suite = suite.removesuffix(pocket)
        return suite


def is_of(package: LockedPackage, flavour: str) -> bool:
    """Whether a package is a kernel of this flavour."""
    return any(fnmatchcase(package.package, pattern) for pattern in _PATTERNS[flavour])


def archives(main: Archive) -> Callable[[str], Archive]:
    """Which archive has a suite: that of security updates lies beside the main one, as `debian-security`."""
    security = main.beside("-security")
    return lambda suite: security if suite.endswith("-security") else main


def listed(
    archive_of: Callable[[str], Archive], suites: Sequence[str], flavour: str, say: Callable[[str], None]
) -> list[Listed]:
    """The builds of these suites, oldest first, a file that several suites list once.

    A suite that the mirror does not have, or whose index is not to be trusted, is said and left out; KernelError where
    none is left.
    """
    found: list[LockedPackage] = []
    absent: list[str] = []
    for suite in suites:
        try:
            found += _of_suite(archive_of(suite), suite, flavour)
        except (KernelError, TrustError) as error:
            if isinstance(error.__cause__, Gone):
                absent.append(suite)
            else:
                say(f"left out: {error}")
    if absent:
        say(f"not on this mirror: {', '.join(absent)}")
    if not found:
        raise KernelError(f"no {flavour} kernel in any of {', '.join(suites)}", hint="compare [mirror] debian")
    return arranged(found)


def arranged(packages: Iterable[LockedPackage]) -> list[Listed]:
    """Packages as builds in the order of their versions; the same file is one build of several suites."""
    suites: dict[str, list[str]] = {}
    first: dict[str, LockedPackage] = {}
    for package in packages:
        digest = package.files[0].digest
        first.setdefault(digest, package)
        suites.setdefault(digest, []).append(package.suite)
    builds = [Listed(p, tuple(dict.fromkeys(suites[d]))) for d, p in first.items()]
    return sorted(builds, key=lambda b: (order(b.locked.version), b.release))


def _of_suite(archive: Archive, suite: str, flavour: str) -> Iterator[LockedPackage]:
    images, binaries = (resolve_all(archive, AptSource(suite, ARCH, pattern)) for pattern in _PATTERNS[flavour])
    split = {p.package.removeprefix(_BINARY) for p in binaries}
    for package in (*(p for p in images if p.package.removeprefix(_IMAGE) not in split), *binaries):
        yield replace(package, files=tuple(replace(f, path=f"{archive.mirror}/{f.path}") for f in package.files))
