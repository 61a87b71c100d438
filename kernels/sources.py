"""Have a kernel, or any locked file: from the cache, the mirror, a folder or a URL.

The cache is a folder of files named by the hex digits of their digests; what is in it is asked for nowhere.  The
mirror's address is asked for only when something must be downloaded.
"""

from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from bpfcompat.digest import digest_file, hex_of
from bpfcompat.errors import KernelError
from bpfcompat.fetch import Gone, Progress, fetch
from bpfcompat.files import read_bounded
from bpfcompat.kernels import about
from bpfcompat.kernels.extract import MAX_CONFIG, MAX_VMLINUZ, KernelParts, kernel_files, kernel_parts
from bpfcompat.kernels.folder import dir_members
from bpfcompat.kernels.lock import RELOCK, LockedPackage
from bpfcompat.kernels.modules import is_apart
from bpfcompat.model import AptSource, DirSource, KernelSpec, LockedFile, UrlSource
from bpfcompat.origins import NOBODY, Allowed

Mirror = Callable[[], str]


def obtain(
    spec: KernelSpec, locked: LockedPackage | None, mirror: Mirror, cache_dir: Path, progress: Progress | None = None,
    allowed: Allowed = NOBODY,
) -> KernelParts:  # fmt: skip
    """The parts of a kernel; KernelError or TrustError `kernel 'NAME': …` when it is not to be had as written.

    `allowed` are the hosts that were named, beside the mirror's.
    """
    with about(f"kernel {spec.name!r}"):
        if isinstance(spec.source, DirSource):
            return _dir_files(spec.source)
        if isinstance(spec.source, UrlSource):
            return _url_files(spec.source, cache_dir, progress, allowed)
        return _apt_files(spec.source, locked, partial(obtain_file, mirror=mirror, cache_dir=cache_dir,
                                                       progress=progress, allowed=allowed))  # fmt: skip


def obtain_file(
    file: LockedFile, mirror: Mirror, cache_dir: Path, progress: Progress | None = None, allowed: Allowed = NOBODY
) -> Path:
    """The cached file with this digest, downloaded if need be; Gone when the mirror no longer has it.

    The mirror was named by the machine's owner, so its own host is allowed; a whole address in a lock is not.
    """
    dest = cache_dir / hex_of(file.digest)
    if dest.is_file() and digest_file(dest) == file.digest:
        return dest
    url = file.path
    if "://" not in url:
        base = mirror()
        url, allowed = f"{base}/{url}", allowed.also(base)
    try:
        fetch(url, size=file.size, digest=file.digest, limit=file.size, dest=dest, progress=progress, allowed=allowed)
    except Gone as error:
        raise Gone(f"the mirror no longer has {file.path}", hint=RELOCK) from error
    return dest


def _dir_files(source: DirSource) -> KernelParts:
    members = dir_members(source)
    config = members.get("config")
    return kernel_parts(
        read_bounded(members["vmlinuz"], MAX_VMLINUZ, KernelError),
        read_bounded(config, MAX_CONFIG, KernelError) if config else None,
    )


def _apt_files(source: AptSource, locked: LockedPackage | None, have: Callable[[LockedFile], Path]) -> KernelParts:
    if locked is None:
        raise KernelError("not in the lock", hint=RELOCK)
    if locked.suite != source.suite or not fnmatchcase(locked.package, source.package):
        wanted = f"{source.package} of {source.suite}"
        raise KernelError(f"expected {wanted}, the lock has {locked.package} of {locked.suite}", hint=RELOCK)
    files = [file for file in locked.files if not is_apart(file.path)]
    parts = kernel_files([have(file) for file in files])
    if not locked.package.endswith("-" + parts.release):
        raise KernelError(f"{locked.package}: its kernel calls itself {parts.release!r}")
    return parts


def _url_files(source: UrlSource, cache_dir: Path, progress: Progress | None, allowed: Allowed) -> KernelParts:
    def have(url: str, digest: str, limit: int) -> bytes:
        dest = cache_dir / hex_of(digest)
        fetch(url, size=None, digest=digest, limit=limit, dest=dest, progress=progress, allowed=allowed)
        return read_bounded(dest, limit, KernelError)

    config = None
    if source.config is not None and source.config_digest is not None:
        config = have(source.config, source.config_digest, MAX_CONFIG)
    return kernel_parts(have(source.vmlinuz, source.vmlinuz_digest, MAX_VMLINUZ), config)
