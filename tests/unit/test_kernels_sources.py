"""Kernels and files from cache, mirror, folder and URL; and what is said when they are not to be had."""

from pathlib import Path

import pytest

from bpfcompat.digest import digest_bytes, hex_of
from bpfcompat.errors import KernelError, TrustError
from bpfcompat.fetch import Gone
from bpfcompat.kernels.lock import RELOCK, LockedPackage
from bpfcompat.kernels.sources import obtain, obtain_file
from bpfcompat.model import AptSource, DirSource, KernelSpec, LockedFile, UrlSource
from bpfcompat.origins import NOBODY, Refused
from tests.making import RELEASE, make_deb, make_kernel
from tests.serving import files, serving

DEB = make_deb({f"boot/vmlinuz-{RELEASE}": make_kernel(), f"boot/config-{RELEASE}": b"C"})
FILE = LockedFile("pool/x.deb", len(DEB), digest_bytes(DEB))
LOCKED = LockedPackage(f"linux-image-{RELEASE}", "6.1.170-3", "bookworm", (FILE,))
APT = KernelSpec("debian-12", "amd64", AptSource("bookworm", "amd64", "linux-image-6.1.*-cloud-amd64"))


def nobody() -> str:
    raise AssertionError("the mirror was asked for")


def test_apt(tmp_path: Path) -> None:
    """A locked kernel is downloaded once; from then on nobody is asked."""
    with serving(files({"/pool/x.deb": DEB})) as server:
        parts = obtain(APT, LOCKED, lambda: server.url, tmp_path)
    assert (parts.release, parts.config) == (RELEASE, b"C")
    assert obtain(APT, LOCKED, nobody, tmp_path) == parts


def test_cached_wrong(tmp_path: Path) -> None:
    """A cached file that is no longer what it was is fetched again."""
    (tmp_path / hex_of(FILE.digest)).write_bytes(b"rot")
    with serving(files({"/pool/x.deb": DEB})) as server:
        assert obtain_file(FILE, lambda: server.url, tmp_path).read_bytes() == DEB


def test_address_in_a_lock(tmp_path: Path) -> None:
    """The mirror is named by its owner, a whole address in a lock is not: it needs a line in the settings."""
    with serving(files({"/x.deb": DEB})) as server:
        file = LockedFile(f"{server.url}/x.deb", FILE.size, FILE.digest)
        with pytest.raises(Refused, match=r"plain http is for hosts that were named .*\[fetch\] allow"):
            obtain_file(file, nobody, tmp_path)
        assert server.seen == []
        assert obtain_file(file, nobody, tmp_path, allowed=NOBODY.also(server.url)).read_bytes() == DEB


def test_gone(tmp_path: Path) -> None:
    """A file that the mirror no longer has names the command that picks the next one."""
    with serving(files({})) as server, pytest.raises(Gone) as caught:
        obtain(APT, LOCKED, lambda: server.url, tmp_path)
    assert caught.value.message == "kernel 'debian-12': the mirror no longer has pool/x.deb"
    assert caught.value.hint == RELOCK


def test_not_locked(tmp_path: Path) -> None:
    """A kernel that the lock does not have, or has from elsewhere, is not guessed."""
    other = LockedPackage("linux-image-6.12.1-cloud-amd64", "6.12.1-1", "trixie", (FILE,))
    for locked, words in ((None, "not in the lock"), (other, "the lock has linux-image-6.12.1")):
        with pytest.raises(KernelError) as caught:
            obtain(APT, locked, nobody, tmp_path)
        assert caught.value.message.startswith("kernel 'debian-12': ") and words in caught.value.message
        assert caught.value.hint == RELOCK


@pytest.mark.hostile
def test_wrong_bytes(tmp_path: Path) -> None:
    """A mirror that sends other bytes of the same size is not believed."""
    with (
        serving(files({"/pool/x.deb": b"!" * len(DEB)})) as server,
        pytest.raises(TrustError, match="kernel 'debian-12'"),
    ):
        obtain(APT, LOCKED, lambda: server.url, tmp_path)


@pytest.mark.hostile
def test_other_kernel(tmp_path: Path) -> None:
    """A package with another package's kernel inside is refused."""
    locked = LockedPackage("linux-image-6.1.0-8-cloud-amd64", "6.1.1-1", "bookworm", (FILE,))
    with serving(files({"/pool/x.deb": DEB})) as server:
        with pytest.raises(KernelError, match=f"its kernel calls itself '{RELEASE}'"):
            obtain(APT, locked, lambda: server.url, tmp_path)


def test_dir(tmp_path: Path) -> None:
    """A folder gives its vmlinuz and, if there is one, the config of the same release."""
    spec = KernelSpec("mine", "amd64", DirSource(tmp_path))
    (tmp_path / f"vmlinuz-{RELEASE}").write_bytes(make_kernel())
    assert obtain(spec, None, nobody, tmp_path).config is None
    (tmp_path / "config-other").write_bytes(b"other")
    (tmp_path / f"config-{RELEASE}").write_bytes(b"C")
    parts = obtain(spec, None, nobody, tmp_path)
    assert (parts.release, parts.config) == (RELEASE, b"C")


def test_dir_unclear(tmp_path: Path) -> None:
    """No vmlinuz, or several of which none is called just that, is an error with the kernel's name."""
    spec = KernelSpec("mine", "amd64", DirSource(tmp_path))
    with pytest.raises(KernelError, match=r"kernel 'mine': .*got none"):
        obtain(spec, None, nobody, tmp_path)
    for name in ("vmlinuz-1", "vmlinuz-2"):
        (tmp_path / name).write_bytes(make_kernel())
    with pytest.raises(KernelError, match="vmlinuz-1, vmlinuz-2"):
        obtain(spec, None, nobody, tmp_path)
    (tmp_path / "vmlinuz").write_bytes(make_kernel())
    assert obtain(spec, None, nobody, tmp_path).release == RELEASE


def test_url(tmp_path: Path) -> None:
    """A kernel behind a URL is checked against its digest; so is its config."""
    image = make_kernel()
    with serving(files({"/k": image, "/c": b"C"})) as server:
        source = UrlSource(f"{server.url}/k", digest_bytes(image), f"{server.url}/c", digest_bytes(b"C"))
        parts = obtain(KernelSpec("mine", "amd64", source), None, nobody, tmp_path, allowed=NOBODY.also(server.url))
        assert (parts.release, parts.config) == (RELEASE, b"C")
        wrong = UrlSource(f"{server.url}/k", digest_bytes(b"other"))
        with pytest.raises(TrustError, match="kernel 'mine': "):
            obtain(KernelSpec("mine", "amd64", wrong), None, nobody, tmp_path, allowed=NOBODY.also(server.url))
