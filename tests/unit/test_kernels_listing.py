"""Every build that an archive lists: which packages are kernels, in which order, from which suites."""

from pathlib import Path

import pytest

from bpfcompat.digest import digest_bytes
from bpfcompat.errors import KernelError
from bpfcompat.kernels.apt import Archive
from bpfcompat.kernels.listing import archives, arranged, is_of, listed
from bpfcompat.kernels.lock import LockedPackage
from bpfcompat.model import LockedFile
from tests.serving import files, serving
from tests.unit.test_kernels_apt import archive_files, package

PACKAGES = "\n".join(
    package(name, version)
    for name, version in (
        ("linux-image-6.12.107+deb13-cloud-amd64", "6.12.107-1"),
        ("linux-image-6.12.95+deb13-cloud-amd64", "6.12.95-1"),
        ("linux-image-6.12-cloud-amd64", "6.12.107-1"),
        ("linux-image-cloud-amd64", "6.12.107-1"),
        ("linux-image-6.12.95+deb13-amd64", "6.12.95-1"),
        ("linux-image-6.12.95+deb13-rt-amd64", "6.12.95-1"),
        ("linux-image-6.12.95+deb13-cloud-amd64-unsigned", "6.12.95-1"),
        ("linux-image-7.2.9+deb13-cloud-amd64", "7.2.9-1~bpo13+1"),
        ("linux-binary-7.2.9+deb13-cloud-amd64", "7.2.9-1~bpo13+1"),
        ("linux-base-7.2.9+deb13-cloud-amd64", "7.2.9-1~bpo13+1"),
        ("linux-modules-7.2.9+deb13-cloud-amd64", "7.2.9-1~bpo13+1"),
    )
).replace("ab" * 32, "%s")


def numbered(text: str) -> str:
    """Each package with a digest of its own."""
    count = text.count("%s")
    return text % tuple(digest_bytes(b"%d" % n)[7:] for n in range(count))


def test_listed(tmp_path: Path) -> None:
    """Kernels of one flavour, oldest first; no metapackage, nothing unsigned, of a split one the part with vmlinuz."""
    said: list[str] = []
    there = {f"/debian{path}": data for path, data in archive_files(numbered(PACKAGES)).items()}
    with serving(files(there)) as server:
        archive_of = archives(Archive(f"{server.url}/debian", tmp_path, verify=bytes))
        found = listed(archive_of, ["nowhere", "test", "test-security"], "cloud", said.append)
        assert [b.release.partition("+")[0] for b in found] == ["6.12.95", "6.12.107", "7.2.9"]
        assert [len(b.locked.files) for b in found] == [1, 1, 3]
        assert found[0].locked.files[0].path.startswith(f"{server.url}/debian/pool/")
        generic = listed(archive_of, ["test"], "generic", said.append)
        assert [b.release for b in generic] == ["6.12.95+deb13-amd64"]
        assert said == ["not on this mirror: nowhere, test-security"]
        with pytest.raises(KernelError, match="no rt kernel in any of nowhere"):
            listed(archive_of, ["nowhere"], "rt", said.append)


def test_same_file_once() -> None:
    """A file that several suites list is one build of all of them; its series is the suite without its pocket."""

    def made(suite: str, content: bytes, version: str) -> LockedPackage:
        return LockedPackage(
            "linux-image-6.1.0-50-cloud-amd64", version, suite, (LockedFile("p", 1, digest_bytes(content)),)
        )

    found = arranged([made("bookworm-security", b"a", "6.1.176-1"), made("bookworm", b"a", "6.1.176-1"),
                      made("bookworm-backports", b"b", "6.1.99-1")])  # fmt: skip
    assert [(b.locked.version, b.suites, b.series) for b in found] == [
        ("6.1.99-1", ("bookworm-backports",), "bookworm-backports"),
        ("6.1.176-1", ("bookworm-security", "bookworm"), "bookworm"),
    ]
    assert is_of(found[0].locked, "cloud") and not is_of(found[0].locked, "generic")
