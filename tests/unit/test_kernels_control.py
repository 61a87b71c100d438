"""Indexes and Release files of a Debian archive, well formed and hostile."""

from datetime import UTC, datetime

import pytest

from bpfcompat.errors import KernelError, TrustError
from bpfcompat.kernels.control import check_fresh, checksums, fields, locked_file, paragraphs, release

SHA = "ab" * 32
RELEASE = f"""Suite: stable
Codename: trixie
Date: Sat, 21 Nov 2026 09:15:44 UTC
Valid-Until: Sat, 28 Nov 2026 09:15:44 UTC
MD5Sum:
 00 12 main/binary-amd64/Packages.xz
SHA256:
 {SHA} 12 main/binary-amd64/Packages.xz
 {SHA}       345 main/source/Sources.xz
""".encode()


def test_release() -> None:
    """A Release has two names, an end, and its indexes by path; only SHA-256 counts."""
    found = release(RELEASE)
    assert found.names == {"stable", "trixie"}
    assert found.valid_until == datetime(2026, 11, 28, 9, 15, 44, tzinfo=UTC)
    assert found.files["main/source/Sources.xz"].size == 345
    assert found.files["main/binary-amd64/Packages.xz"].digest == f"sha256:{SHA}"


def test_release_lists_large_files() -> None:
    """An index that is larger than anything we fetch does not make a suite unreadable: sid lists one."""
    large = RELEASE.replace(b"       345 main/source/Sources.xz", b" 1123470806 main/Contents-source")
    assert release(large).files["main/Contents-source"].size == 1123470806
    with pytest.raises(KernelError, match="expected a size of at most"):
        list(checksums(f"{SHA} 1123470806 pool/x.deb"))


def test_fresh() -> None:
    """A Release is good until its Valid-Until, and for ever when it has none."""
    found = release(RELEASE)
    check_fresh(found, datetime(2026, 11, 28, tzinfo=UTC), "trixie")
    with pytest.raises(TrustError, match="expired on 2026-11-28") as caught:
        check_fresh(found, datetime(2026, 11, 29, tzinfo=UTC), "trixie")
    assert "allow_expired" in str(caught.value)
    check_fresh(release(RELEASE.replace(b"Valid-Until", b"X-Until")), datetime(2100, 1, 1, tzinfo=UTC), "trixie")


@pytest.mark.parametrize(
    "text", [b"", b"Suite: x\n", RELEASE + b"\nSuite: other\n", RELEASE.replace(b"Sat, 28 Nov", b"soon")]
)
def test_bad_release(text: bytes) -> None:
    """No digests, a second paragraph, a date that is none: refused."""
    with pytest.raises(KernelError):
        release(text)


def test_paragraphs() -> None:
    """Only wanted packages are parsed; continued fields keep their lines."""
    index = (
        b"Package: a\nVersion: 1\n\nVersion: 2\nPackage: b\nDescription: short\n long\n  longer\n\nPackage: a2\n broken"
    )
    (only,) = paragraphs(index, lambda name: name == "b")
    assert only == {"Version": "2", "Package": "b", "Description": "short\nlong\n longer"}
    assert list(paragraphs(b"", lambda name: True)) == []


@pytest.mark.hostile
@pytest.mark.parametrize("raw", [b"no colon", b" continued first", b"A: " + b"x" * (1 << 20)])
def test_bad_paragraph(raw: bytes) -> None:
    """A paragraph that is none, or is too long, is refused."""
    with pytest.raises(KernelError, match="index: "):
        fields(raw)


def test_checksums() -> None:
    """Paths are put below their folder."""
    assert [f.path for f in checksums(f"\n{SHA} 3 x_1.orig.tar.gz\n", "pool/x/")] == ["pool/x/x_1.orig.tar.gz"]
    with pytest.raises(KernelError, match="digest size path"):
        list(checksums("one two"))


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("path", "size", "sha"),
    [("../etc/passwd", "1", SHA), ("/etc/passwd", "1", SHA), ("pool//x", "1", SHA), ("pool/./x", "1", SHA),
     ("http://host/x", "1", SHA), ("a b", "1", SHA), ("a?b", "1", SHA), ("a#b", "1", SHA), ("", "1", SHA),
     ("x" * 600, "1", SHA),
     ("x", "-1", SHA), ("x", "1e3", SHA), ("x", str(1 << 40), SHA), ("x", "", SHA), ("x", "\u0663", SHA),
     ("x", "1", SHA[:-1]), ("x", "1", SHA.upper()), ("x", "1", "")],
)  # fmt: skip
def test_bad_file(path: str, size: str, sha: str) -> None:
    """A path that leaves the mirror, a size that is none, a digest that is none: refused."""
    with pytest.raises(KernelError, match="index: "):
        locked_file(path, size, sha)
