"""`doit since`: bpfcompat/data/since.json from headers of Debian's packages, the seed, and kernels of the catalogue.

Which packages is in bpfcompat/data/since.lock, by digest, as bpfcompat.lock has the kernels; `doit since_lock` picks
the newest of each series again, along the archive's chain of trust.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path

from bpfcompat import since, sincetable
from bpfcompat.errors import ConfigError
from bpfcompat.files import read_bounded, write_atomic
from bpfcompat.kernels.apt import Archive, gpgv, resolve
from bpfcompat.kernels.deb import deb_members
from bpfcompat.kernels.lock import Lock, read_lock, write_lock
from bpfcompat.kernels.sources import obtain_file
from bpfcompat.model import AptSource
from bpfcompat.rules.session import Session, open_session

DATA = Path(__file__).resolve().parent.parent / "bpfcompat" / "data"
LOCK, SEED, TABLE = DATA / "since.lock", DATA / "since_seed.toml", DATA / "since.json"
_BPF_H = ("usr/include/linux/bpf.h", "usr/src/*/include/uapi/linux/bpf.h")
# Release to where its header is: as few packages as tell neighbouring releases apart.
_COMMON = "linux-headers-{}.*-common"
PACKAGES = {
    "5.10": ("bullseye", "linux-libc-dev"),
    "6.1": ("bookworm", "linux-libc-dev"),
    "6.12": ("trixie", "linux-libc-dev"),
    **{
        v: ("trixie-backports", _COMMON.format(v)) for v in ("6.16", "6.17", "6.18", "6.19", "7.0", "7.1", "7.2", "7.3")
    },
}


def lock(root: Path) -> None:
    """Pick the packages and write since.lock."""
    session = open_session(root)
    shop = session.asker.shop
    archive = Archive(session.asker.mirror(), session.asker.downloads, gpgv(shop.config.path("mirror.keyring")),
                      shop.config["mirror.allow_expired"])  # fmt: skip
    found = {v: resolve(archive, AptSource(suite, "amd64", name)) for v, (suite, name) in PACKAGES.items()}
    write_lock(LOCK, Lock(packages=found))
    for series, package in found.items():
        shop.voice.say(f".  {series}: {package.package} {package.version}")


def write(root: Path) -> None:
    """Write since.json anew; ConfigError where seed and headers contradict each other."""
    session = open_session(root)
    write_atomic(TABLE, sincetable.rendered(made(session)))


def made(session: Session) -> sincetable.Table:
    """The whole table as it must be now."""
    found = list(headers(session))
    ids = found[-1].names["helpers"]
    raw = tomllib.loads(read_bounded(SEED, 1 << 20, ConfigError).decode())
    seed, source = sincetable.read_seed(raw, ids), str(raw["source"])
    table = sincetable.make(found, seed, source)
    wrong = sincetable.unordered(table, ids)
    if wrong:
        raise ConfigError(f"since: helper ids are given in the order of merging, but {wrong[0]}")
    return table | {"kfuncs": sincetable.kfunc_rows(_builds(session), seed["kfuncs"], source)}


def headers(session: Session) -> Iterator[sincetable.Header]:
    """The header of each release, oldest first."""
    for series, package in sorted(read_lock(LOCK).packages.items(), key=lambda item: since.version(item[0])):
        deb = obtain_file(package.files[0], session.asker.mirror, session.asker.downloads)
        members = deb_members(deb, _BPF_H, sincetable.MAX_HEADER)
        if len(members) != 1:
            raise ConfigError(f"since: {package.package}: expected one bpf.h, got {len(members)}")
        source = f"uapi header of {package.package} {package.version}"
        yield sincetable.read_header(series, source, next(iter(members.values())).decode("utf-8", "replace"))


def _builds(session: Session) -> list[tuple[str, str, frozenset[str]]]:
    """The kfuncs of the catalogue's kernels, the oldest first, one of each release."""
    found: dict[str, tuple[str, str, frozenset[str]]] = {}
    for name in [k for k, spec in session.matrix.kernels.items() if k in session.asker.shop.lock.kernels]:
        build = session.asker.build(name)
        series = ".".join(build.release.split(".")[:2])
        names = found[series][2] if series in found else frozenset()
        found[series] = (series, f"BTF of a Linux {series} of the catalogue", names | build.kfuncs.keys())
    return sorted(found.values(), key=lambda item: since.version(item[0]))
