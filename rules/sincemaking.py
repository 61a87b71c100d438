"""`doit since`: bpfcompat/data/since.json from headers of Debian's packages, the seed, and kernels of the catalogue.

Which packages is in bpfcompat/data/since.lock, by digest, as bpfcompat.lock has the kernels; `doit since_lock` picks
the newest of each series again, along the archive's chain of trust: the headers, and of each release that no kernel of
the catalogue is of, a kernel that the archive still lists.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from bpfcompat import since, sincetable
from bpfcompat.asking import Asker
from bpfcompat.builds import Build
from bpfcompat.errors import ConfigError
from bpfcompat.files import read_bounded, write_atomic
from bpfcompat.kernels.apt import Archive, gpgv, resolve
from bpfcompat.kernels.deb import deb_members
from bpfcompat.kernels.listing import listed
from bpfcompat.kernels.lock import Lock, LockedPackage, read_lock, write_lock
from bpfcompat.model import AptSource
from bpfcompat.rules.bisecting import kernel_of
from bpfcompat.rules.session import Session, open_session

DATA = Path(__file__).resolve().parent.parent / "bpfcompat" / "data"
LOCK, SEED, TABLE = DATA / "since.lock", DATA / "since_seed.toml", DATA / "since.json"
_BPF_H = ("usr/include/linux/bpf.h", "usr/src/*/include/uapi/linux/bpf.h")
# Release to where its header is, and the suites whose kernels may lie between.
BETWEEN = ("trixie-backports", "bookworm-backports")
PACKAGES = {
    "5.10": ("bullseye", "linux-libc-dev"),
    "6.1": ("bookworm", "linux-libc-dev"),
    "6.12": ("trixie", "linux-libc-dev"),
    "7.2": ("trixie-backports", "linux-headers-7.2.*-common"),
    "7.3": ("trixie-backports", "linux-headers-7.3.*-common"),
}


def lock(root: Path) -> None:
    """Pick the packages and write since.lock."""
    session = open_session(root)
    shop = session.asker.shop
    archive = Archive(session.asker.mirror(), session.asker.downloads, gpgv(shop.config.path("mirror.keyring")),
                      shop.config["mirror.allow_expired"], allowed=session.asker.allowed)  # fmt: skip
    found = {v: resolve(archive, AptSource(suite, "amd64", name)) for v, (suite, name) in PACKAGES.items()}
    for series, package in found.items():
        if not package.version.startswith(f"{series}."):
            raise ConfigError(f"since: {package.package} {package.version}: expected a Linux {series}")
    kernels = _between(session, archive)
    write_lock(LOCK, Lock(kernels=kernels, packages=found))
    for series, package in [*found.items(), *kernels.items()]:
        shop.voice.say(f".  {series}: {package.package} {package.version}")


def _between(session: Session, archive: Archive) -> dict[str, LockedPackage]:
    """The newest kernel of each release that the archive lists and the catalogue does not have."""
    own = {_series(package.version) for package in session.asker.shop.lock.kernels.values()}
    builds = listed(lambda _: archive, BETWEEN, "cloud", session.asker.shop.voice.say)
    newest = {_series(build.locked.version): build.locked for build in builds}
    return {series: _relative(archive, newest[series]) for series in newest if series not in own}


def _relative(archive: Archive, package: LockedPackage) -> LockedPackage:
    """A package with its files below the mirror, whichever that is."""
    files = tuple(replace(file, path=file.path.removeprefix(f"{archive.mirror}/")) for file in package.files)
    return replace(package, files=files)


def _series(release: str) -> str:
    """`6.12` of a release or a package's version."""
    return ".".join(release.split(".")[:2])


def write(root: Path) -> None:
    """Write since.json anew; ConfigError where seed and headers contradict each other."""
    session = open_session(root)
    write_atomic(TABLE, sincetable.rendered(made(session)))


def made(session: Session) -> sincetable.Table:
    """The whole table as it must be now."""
    from_headers = list(headers(session))
    ids = from_headers[-1].names["helpers"]
    raw = tomllib.loads(read_bounded(SEED, 1 << 20, ConfigError).decode())
    looked_at = {series: sincetable.of_builds(series, found) for series, found in _builds(session).items()}
    looked_at |= {h.series: sincetable.with_kfuncs(h, looked_at.get(h.series)) for h in from_headers}
    table = sincetable.make(sorted(looked_at.values(), key=lambda h: since.version(h.series)),
                            sincetable.read_seed(raw, ids))  # fmt: skip
    wrong = sincetable.unordered(table, ids)
    if wrong:
        raise ConfigError(f"since: helper ids are given in the order of merging, but {wrong[0]}")
    return table


def headers(session: Session) -> Iterator[sincetable.Header]:
    """The header of each release, oldest first."""
    for series, package in sorted(read_lock(LOCK).packages.items(), key=lambda item: since.version(item[0])):
        deb = session.asker.obtain(package.files[0], "since")
        members = deb_members(deb, _BPF_H, sincetable.MAX_HEADER)
        if len(members) != 1:
            raise ConfigError(f"since: {package.package}: expected one bpf.h, got {len(members)}")
        source = f"uapi header of {package.package} {package.version}"
        yield sincetable.read_header(series, source, next(iter(members.values())).decode("utf-8", "replace"))


def _builds(session: Session) -> dict[str, list[Build]]:
    """The inventories of the catalogue's kernels, and of those between, by release; their flavours differ in kfuncs."""
    found: dict[str, list[Build]] = {}
    between = read_lock(LOCK).kernels
    steps = _steps(session, between)
    for name in (*session.asker.shop.lock.kernels, *between):
        build = steps.build(name)
        found.setdefault(_series(build.release), []).append(build)
    return found


def _steps(session: Session, packages: Mapping[str, LockedPackage]) -> Asker:
    """Steps that know further kernels: packages by name."""
    shop = session.asker.shop
    more = {name: kernel_of(name, package) for name, package in packages.items()}
    matrix = replace(shop.matrix, kernels={**shop.matrix.kernels, **more})
    return Asker(replace(shop, matrix=matrix, lock=replace(shop.lock, kernels={**shop.lock.kernels, **packages})))
