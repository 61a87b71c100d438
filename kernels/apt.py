"""A Debian archive: from a suite and a pattern to the exact file, along the archive's own chain of trust.

InRelease (gpgv, the archive's keyring) → Packages or Sources (size and SHA-256) → the file (size and SHA-256).  No byte
of an index is read before its digest is right, and no address of a mirror is known here: settings or the machine's own
apt supply it.
"""

import fnmatch
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from bpfcompat.digest import hex_of
from bpfcompat.errors import BuildError, ConfigError, KernelError, TrustError
from bpfcompat.fetch import Gone, Progress, fetch
from bpfcompat.files import read_bounded
from bpfcompat.kernels import about, control
from bpfcompat.kernels.control import Paragraph, Release, need
from bpfcompat.kernels.expand import expand
from bpfcompat.kernels.lock import LockedPackage
from bpfcompat.kernels.versions import order, split
from bpfcompat.model import AptSource, LockedFile
from bpfcompat.origins import NOBODY, Allowed, Refused, target
from bpfcompat.process import check, find_tool, run

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MAX_RELEASE = 4 << 20
MAX_INDEX = 64 << 20  # compressed
MAX_EXPANDED = 512 << 20
NEVER = ("*-unsigned", "*-dbg")
_SPLIT, _COMPANIONS = "linux-binary-", ("linux-base-", "linux-modules-")
_CLEAR = b"-----BEGIN PGP SIGNED MESSAGE-----\n"
_SET_MIRROR = 'set [mirror] debian = "http://…/debian" in bpfcompat.toml'

Verify = Callable[[bytes], bytes]


class NoMatch(KernelError):
    """The index was read, and has no such package."""


def mirror(setting: str) -> str:
    """The mirror's address without a final slash: the setting, or what this machine's apt uses for Debian itself."""
    if setting:
        try:
            target(setting)
        except Refused as error:
            raise ConfigError(f"[mirror] debian: {error.message}", error.hint) from None
        return setting.rstrip("/")
    argv = [find_apt(), "indextargets", "--format", "$(LABEL) $(REPO_URI)"]
    lines = check(argv, what="mirror", hint=_SET_MIRROR, cwd=Path("/"), timeout_s=60).decode("utf-8", "replace")
    for line in lines.splitlines():
        label, _, address = line.rpartition(" ")
        if label == "Debian" and address.startswith(("http://", "https://")):
            return address.rstrip("/")
    raise KernelError("mirror: none is set, and this machine's apt has none of Debian", hint=_SET_MIRROR)


def find_apt() -> str:
    """apt-get, or an error that says what to do on a machine without it."""
    try:
        return find_tool("apt-get", "apt")
    except BuildError:
        raise KernelError("mirror: none is set, and this machine has no apt to ask", hint=_SET_MIRROR) from None


def gpgv(keyring: Path = KEYRING) -> Verify:
    """A function from a clear-signed text to what was signed; it raises TrustError when no known key signed it."""
    return lambda signed: signed_text(signed, keyring)


def signed_text(signed: bytes, keyring: Path) -> bytes:
    """The text inside one clear-signed message, as gpgv gives it: what stands around it is nobody's word."""
    program = find_tool("gpgv", "gpgv")
    if not keyring.is_file():
        hint = "apt-get install debian-archive-keyring, or set [mirror] keyring"
        raise BuildError(f"{keyring}: keyring not found", hint=hint)
    if not signed.startswith(_CLEAR) or signed.count(_CLEAR) != 1:
        hint = "is [mirror] debian the address of a Debian archive?"
        raise TrustError("InRelease: expected one clear-signed text", hint=hint)
    with tempfile.TemporaryDirectory(prefix="bpfcompat-") as folder:
        out = Path(folder, "text")
        argv = [program, "--status-fd", "1", "--keyring", str(keyring.resolve()), "--output", str(out), "-"]
        done = run(argv, cwd=Path(folder), timeout_s=60, input_bytes=signed)
        words = [line.split()[1:2] for line in done.stdout.decode("utf-8", "replace").splitlines()]
        # Several keys sign a suite and a keyring may lack the newest; one good signature is enough, a bad one is not.
        if ["GOODSIG"] not in words or ["BADSIG"] in words:
            raise TrustError(f"InRelease: no good signature by a key of {keyring}: {_last_line(done.stderr)}")
        return read_bounded(out, MAX_RELEASE, TrustError)


class Archive:
    """One mirror, its signatures checked by `verify`; remembers each suite's Release for as long as it lives.

    `cache` is a folder for indexes, by digest.  One Archive sees one state of a suite, even if the mirror moves on.
    The mirror's own host is allowed, because the machine's owner named it; `allowed` are others that were named.
    """

    def __init__(
        self, mirror: str, cache: Path, verify: Verify, allow_expired: bool = False, progress: Progress | None = None,
        allowed: Allowed = NOBODY,
    ) -> None:  # fmt: skip
        self.mirror = mirror
        self._cache = cache
        self._verify = verify
        self._allow_expired = allow_expired
        self._progress = progress
        self._allowed = allowed
        self._releases: dict[str, Release] = {}

    def beside(self, suffix: str) -> "Archive":
        """Another archive of the same mirror, whose address is this one's and a suffix; trusted in the same way."""
        return Archive(
            self.mirror + suffix, self._cache, self._verify, self._allow_expired, self._progress, self._allowed
        )

    def release(self, suite: str) -> Release:
        """The suite's Release: signed, of this name, and not expired unless that is allowed."""
        if suite not in self._releases:
            with about(f"suite {suite!r}"):
                found = control.release(self._verify(self._in_release(suite)))
            if suite not in found.names:
                names = ", ".join(sorted(found.names)) or "no suite"
                raise TrustError(f"suite {suite!r}: the mirror's Release is of {names}")
            if not self._allow_expired:
                control.check_fresh(found, datetime.now(UTC), suite)
            self._releases[suite] = found
        return self._releases[suite]

    def index(self, suite: str, path: str) -> bytes:
        """One index of a suite, expanded: `main/binary-amd64/Packages`."""
        named = self.release(suite).files.get(f"{path}.xz")
        if named is None:
            raise KernelError(f"suite {suite!r}: has no {path}.xz")
        dest = self._cache / hex_of(named.digest)
        try:
            self._get(f"dists/{suite}/{named.path}", dest, named.size, named.digest, MAX_INDEX)
        except TrustError as error:
            error.hint = "the mirror may be changing right now: try again in some minutes"
            raise
        with open(dest, "rb") as stream:
            return b"".join(expand(stream, MAX_EXPANDED, f"suite {suite!r}: {named.path}"))

    def _in_release(self, suite: str) -> bytes:
        with tempfile.TemporaryDirectory(prefix="bpfcompat-") as folder:
            dest = Path(folder, "InRelease")
            try:
                self._get(f"dists/{suite}/InRelease", dest, None, None, MAX_RELEASE)
            except Gone as error:
                hint = "compare [mirror] debian and the suite"
                raise KernelError("not on this mirror", hint=hint) from error
            return read_bounded(dest, MAX_RELEASE, KernelError)

    def _get(self, path: str, dest: Path, size: int | None, digest: str | None, limit: int) -> None:
        url = f"{self.mirror}/{path}"
        named = self._allowed.also(self.mirror)
        fetch(url, size=size, digest=digest, limit=limit, dest=dest, progress=self._progress, allowed=named)


def resolve(archive: Archive, source: AptSource) -> LockedPackage:
    """The newest package that matches, and its file.

    From 6.19 on Debian splits kernels: with `linux-binary-RELEASE` (vmlinuz) come `linux-base-RELEASE` (config) and
    `linux-modules-RELEASE`, if the index still has them; superseded kernels lose theirs.
    """
    found = _matching(archive, source)
    chosen = newest(p for p in found if _wanted(need(p, "Package"), source.package))
    if chosen is None:
        raise _no_match(source, "package", source.package)
    return _with_companions(chosen, found, source.suite)


def resolve_all(archive: Archive, source: AptSource) -> list[LockedPackage]:
    """Every package that matches, in the index's order, each as `resolve` would give it; perhaps none."""
    found = _matching(archive, source)
    wanted = [p for p in found if _wanted(need(p, "Package"), source.package)]
    return [_with_companions(p, found, source.suite) for p in wanted]


def _matching(archive: Archive, source: AptSource) -> list[Paragraph]:
    """The paragraphs of a source's packages, and of what goes with them."""
    patterns = (source.package, *(p + source.package.removeprefix(_SPLIT) for p in _COMPANIONS))
    index = archive.index(source.suite, f"{source.component}/binary-{source.arch}/Packages")
    return list(control.paragraphs(index, lambda name: any(fnmatch.fnmatchcase(name, p) for p in patterns)))


def _with_companions(chosen: Paragraph, found: list[Paragraph], suite: str) -> LockedPackage:
    names = [p + chosen["Package"].removeprefix(_SPLIT) for p in _COMPANIONS]
    others = {p["Package"]: p for p in found if p["Package"] in names and p.get("Version") == chosen["Version"]}
    split = chosen["Package"].startswith(_SPLIT)
    companions = [others[n] for n in names if split and n in others]
    return _locked(chosen, suite, [_deb(p) for p in (chosen, *companions)])


def resolve_source(archive: Archive, source: AptSource, version: str) -> LockedPackage:
    """The newest source package whose upstream version matches `version` (a pattern), and its one orig tarball."""
    index = archive.index(source.suite, f"{source.component}/source/Sources")
    found = control.paragraphs(index, lambda name: name == source.package)
    chosen = newest(p for p in found if fnmatch.fnmatchcase(split(need(p, "Version"))[1], version))
    if chosen is None:
        raise _no_match(source, "source package", f"{source.package} {version}")
    folder = need(chosen, "Directory") + "/"
    files = [f for f in control.checksums(need(chosen, "Checksums-Sha256"), folder) if _is_orig(f, source.package)]
    if len(files) != 1:
        raise KernelError(f"suite {source.suite!r}: {source.package}: expected one orig tarball, got {len(files)}")
    return _locked(chosen, source.suite, files)


def newest(paragraphs: Iterator[Paragraph]) -> Paragraph | None:
    """The paragraph of the highest version, by name where versions are equal; None of none."""
    return max(paragraphs, key=lambda p: (order(need(p, "Version")), need(p, "Package")), default=None)


def _wanted(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) and not any(fnmatch.fnmatchcase(name, n) for n in NEVER)


def _is_orig(file: LockedFile, package: str) -> bool:
    return fnmatch.fnmatchcase(file.path.rsplit("/", 1)[1], f"{package}_*.orig.tar.?z")


def _deb(paragraph: Paragraph) -> LockedFile:
    path, size, digest = (need(paragraph, name) for name in ("Filename", "Size", "SHA256"))
    return control.locked_file(path, size, digest)


def _locked(paragraph: Paragraph, suite: str, files: list[LockedFile]) -> LockedPackage:
    return LockedPackage(need(paragraph, "Package"), need(paragraph, "Version"), suite, tuple(files))


def _no_match(source: AptSource, what: str, pattern: str) -> NoMatch:
    hint = "look for its present name, and mend the pattern"
    return NoMatch(f"suite {source.suite!r}: no {what} matches {pattern!r}", hint=hint)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["gpgv said nothing"])[-1][:200]
