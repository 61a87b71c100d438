"""A small Debian archive on this machine: from suite and pattern to the file, and every way in which it can lie."""

import base64
import lzma
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfcompat.digest import digest_bytes, hex_of
from bpfcompat.errors import BuildError, ConfigError, KernelError, TrustError
from bpfcompat.kernels.apt import Archive, NoMatch, gpgv, mirror, resolve, resolve_source
from bpfcompat.kernels.relock import SourceSpec, relock
from bpfcompat.model import AptSource, KernelSpec
from tests.serving import Server, files, serving

# An ed25519 key made for this file on a clock set to 2020, and a text that it signed; the secret half is gone.
SIGNED = b"""\
-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA256

Suite: stable
Codename: test
SHA256:
 0000000000000000000000000000000000000000000000000000000000000000 5 main/binary-amd64/Packages.xz
-----BEGIN PGP SIGNATURE-----

iHUEARYIAB0WIQQSpIPxPkBrQeAWEesAVKm7k8MsXwUCXgvhAAAKCRAAVKm7k8Ms
XzoNAP43WBukR5J5Ec60OrozSY3bsTTjgE4ENPVp8GYlEhGcQgEAy4n4JWaXPHXI
p4ZvORgnnsscHoSMT3DEXstnZffocgI=
=R7xm
-----END PGP SIGNATURE-----
"""
KEYRING = base64.b64decode(
    "mDMEXgvhABYJKwYBBAHaRw8BAQdA+NQiH7VR0oZDEJlJ5BshHBMafBWKT6ERlifBKJ8gr420D2JwZmNvbXBhdCB0ZXN0c4iQBBMW"
    "CAA4FiEEEqSD8T5Aa0HgFhHrAFSpu5PDLF8FAl4L4QACGwMFCwkIBwIGFQoJCAsCBBYCAwECHgECF4AACgkQAFSpu5PDLF92XgD/"
    "dWoGMvT2f9VuJys0fCNjENpSAF5wv5SxanB+u74EC3wBAMm8nfu52cpi7qE24NkE4/fPA7LVhIkmFfi/euWCWRcD"
)
SHA = "ab" * 32
needs_gpgv = pytest.mark.skipif(shutil.which("gpgv") is None, reason="gpgv is not installed")


def package(name: str, version: str) -> str:
    return f"Package: {name}\nVersion: {version}\nFilename: pool/{name}_{version}.deb\nSize: 7\nSHA256: {SHA}\n"


PACKAGES = "\n".join(
    [
        package("linux-image-6.1.0-9-cloud-amd64", "6.1.90-1"),
        package("linux-image-6.1.0-10-cloud-amd64", "6.1.170-3"),
        package("linux-image-6.1.0-11-cloud-amd64-dbg", "6.1.180-1"),
        package("linux-image-6.1.0-11-cloud-amd64-unsigned", "6.1.180-1"),
        package("linux-binary-7.2.9+deb13-cloud-amd64", "7.2.9-1~bpo13+1"),
        package("linux-binary-7.10.1+deb13-cloud-amd64", "7.10.1-1~bpo13+1"),
        package("linux-base-7.10.1+deb13-cloud-amd64", "7.10.1-1~bpo13+1"),
        package("linux-base-7.2.9+deb13-cloud-amd64", "7.2.9-2~bpo13+1"),
        package("linux-base", "4.9"),
    ]
)
SOURCES = f"""Package: libbpf
Version: 1:1.5.0-3
Directory: pool/main/libb/libbpf
Checksums-Sha256:
 {SHA} 1921 libbpf_1.5.0-3.dsc
 {SHA} 1036613 libbpf_1.5.0.orig.tar.gz
 {SHA} 9064 libbpf_1.5.0-3.debian.tar.xz
"""


def archive_files(packages: str = PACKAGES, extra: str = "") -> dict[str, bytes]:
    """The files of a mirror with one suite, `test`; unsigned, because these tests vouch for it themselves."""
    indexes = {"main/binary-amd64/Packages.xz": packages, "main/source/Sources.xz": SOURCES}
    packed = {path: lzma.compress(text.encode()) for path, text in indexes.items()}
    lines = "".join(f" {hex_of(digest_bytes(data))} {len(data)} {path}\n" for path, data in packed.items())
    release = f"Suite: stable\nCodename: test\n{extra}SHA256:\n{lines}"
    return {"/dists/test/InRelease": release.encode(), **{f"/dists/test/{p}": d for p, d in packed.items()}}


def opened(server: Server, cache: Path, allow_expired: bool = False) -> Archive:
    return Archive(server.url, cache, verify=bytes, allow_expired=allow_expired)


def binary(pattern: str, suite: str = "test") -> AptSource:
    return AptSource(suite, "amd64", pattern)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with serving(files(archive_files())) as server:
        yield opened(server, tmp_path)


def test_newest(archive: Archive) -> None:
    """The newest version wins, as Debian orders versions; never the unsigned or the debug package."""
    for pattern in ("linux-image-6.1.*-cloud-amd64", "linux-image-6.1.*"):
        found = resolve(archive, binary(pattern))
        assert (found.package, found.version) == ("linux-image-6.1.0-10-cloud-amd64", "6.1.170-3")
        assert [(f.path, f.size, f.digest) for f in found.files] == [
            ("pool/linux-image-6.1.0-10-cloud-amd64_6.1.170-3.deb", 7, f"sha256:{SHA}")
        ]


def test_split(archive: Archive) -> None:
    """With a linux-binary comes the linux-base of the same release and version, if the index has it."""
    found = resolve(archive, binary("linux-binary-7.*-cloud-amd64"))
    assert [f.path.split("_")[0] for f in found.files] == [
        "pool/linux-binary-7.10.1+deb13-cloud-amd64",
        "pool/linux-base-7.10.1+deb13-cloud-amd64",
    ]
    assert len(resolve(archive, binary("linux-binary-7.2.*-cloud-amd64")).files) == 1


def test_source(archive: Archive) -> None:
    """A source package is its orig tarball; the pattern is of the upstream version."""
    for version in ("1.5.0", "1.5.*"):
        found = resolve_source(archive, binary("libbpf"), version)
        assert found.version == "1:1.5.0-3"
        assert [f.path for f in found.files] == ["pool/main/libb/libbpf/libbpf_1.5.0.orig.tar.gz"]
    with pytest.raises(NoMatch, match=r"no source package matches 'libbpf 1\.7\.0'"):
        resolve_source(archive, binary("libbpf"), "1.7.0")


def test_no_match(archive: Archive) -> None:
    """A pattern without a package, a component or a suite that is not there: each says what is missing."""
    with pytest.raises(NoMatch, match=r"no package matches 'linux-image-9\.\*'"):
        resolve(archive, binary("linux-image-9.*"))
    with pytest.raises(KernelError, match=r"has no contrib/binary-amd64/Packages\.xz"):
        resolve(archive, AptSource("test", "amd64", "x", "contrib"))
    with pytest.raises(KernelError, match="suite 'none': not on this mirror"):
        resolve(archive, binary("x", "none"))


def test_other_suite(tmp_path: Path) -> None:
    """A mirror cannot pass one suite off as another."""
    known = {p.replace("/test/", "/other/"): d for p, d in archive_files().items()}
    with serving(files(known)) as server, pytest.raises(TrustError, match="Release is of stable, test"):
        resolve(opened(server, tmp_path), binary("linux-image-*", "other"))


def test_expired(tmp_path: Path) -> None:
    """An expired index is refused unless it is allowed."""
    with serving(files(archive_files(extra="Valid-Until: Sat, 01 Jan 2022 00:00:00 UTC\n"))) as server:
        with pytest.raises(TrustError, match="expired on 2022-01-01"):
            resolve(opened(server, tmp_path), binary("linux-image-*"))
        assert resolve(opened(server, tmp_path, allow_expired=True), binary("linux-image-*"))


@pytest.mark.hostile
def test_other_index(tmp_path: Path) -> None:
    """An index that is not the signed one is refused before it is expanded."""
    known = archive_files()
    index = known["/dists/test/main/binary-amd64/Packages.xz"]
    for wrong in (index[:-1] + b"!", index + b"!"):
        known["/dists/test/main/binary-amd64/Packages.xz"] = wrong
        with serving(files(known)) as server, pytest.raises(TrustError):
            resolve(opened(server, tmp_path), binary("linux-image-*"))


@pytest.mark.hostile
@pytest.mark.parametrize(
    "field", ["Filename: ../../x", "Filename: http://h/x", "Size: -1", "SHA256: x", "Version: a b"]
)
def test_bad_fields(tmp_path: Path, field: str) -> None:
    """Fields of a signed index are checked all the same."""
    name = field.split(":")[0]
    text = "\n".join(field if line.startswith(name + ":") else line for line in package("x", "1").splitlines())
    with serving(files(archive_files(text + "\n"))) as server, pytest.raises(KernelError):
        resolve(opened(server, tmp_path), binary("x"))


def keyring(tmp_path: Path) -> Path:
    path = tmp_path / "keyring.gpg"
    path.write_bytes(KEYRING)
    return path


@needs_gpgv
def test_signed(tmp_path: Path) -> None:
    """gpgv gives back exactly what was signed."""
    assert gpgv(keyring(tmp_path))(SIGNED).startswith(b"Suite: stable\nCodename: test\nSHA256:\n")


@needs_gpgv
@pytest.mark.hostile
@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"Suite: stable\n",
        SIGNED.replace(b"test", b"evil"),
        SIGNED[:200],
        b"Suite: evil\n" + SIGNED,
        SIGNED + SIGNED,
    ],
    ids=["empty", "unsigned", "changed", "cut", "text before", "twice"],
)
def test_not_signed(tmp_path: Path, text: bytes) -> None:
    """Nothing but one whole clear-signed text is believed."""
    with pytest.raises(TrustError, match="InRelease: "):
        gpgv(keyring(tmp_path))(text)


@needs_gpgv
@pytest.mark.hostile
def test_text_after(tmp_path: Path) -> None:
    """What stands behind the signature is not part of what was signed."""
    assert b"evil" not in gpgv(keyring(tmp_path))(SIGNED + b"\nSuite: evil\n")


@needs_gpgv
def test_other_key(tmp_path: Path) -> None:
    """A signature by a key that is not in the keyring counts for nothing; no keyring is a matter of installing it."""
    (tmp_path / "empty.gpg").write_bytes(b"")
    with pytest.raises(TrustError, match="no good signature"):
        gpgv(tmp_path / "empty.gpg")(SIGNED)
    with pytest.raises(BuildError) as caught:
        gpgv(tmp_path / "none.gpg")(SIGNED)
    assert "debian-archive-keyring" in str(caught.value)


def test_mirror() -> None:
    """A setting is taken as it is, but for its last slash; only http and https are mirrors."""
    assert mirror("https://host/debian/") == "https://host/debian"
    with pytest.raises(ConfigError, match="expected an http or https address"):
        mirror("file:///srv/debian")


def kernel(name: str, pattern: str, optional: bool = False) -> KernelSpec:
    return KernelSpec(name, "amd64", binary(pattern), optional)


def test_relock(archive: Archive) -> None:
    """A lock has every kernel, source and package; an optional kernel without a package is left out, and said so."""
    told: list[str] = []
    kernels = [
        kernel("a", "linux-image-6.1.*"),
        kernel("b", "linux-image-9.*", optional=True),
        kernel("c", "linux-binary-7.2.*"),
    ]
    sources = {"libbpf": SourceSpec(binary("libbpf"), "1.5.0")}
    lock = relock(archive, kernels, sources, {"xdp": binary("linux-base")}, told.append)
    assert (set(lock.kernels), set(lock.sources), set(lock.packages)) == ({"a", "c"}, {"libbpf"}, {"xdp"})
    assert any("'b'" in line and "left out" in line for line in told)
    assert any(line.startswith("c:") and "no config" in line for line in told)


def test_relock_missing(archive: Archive) -> None:
    """A kernel that must be there and is not is an error with its name."""
    with pytest.raises(NoMatch, match="kernel 'a': "):
        relock(archive, [kernel("a", "linux-image-9.*")], {}, {}, lambda line: None)


def test_relock_unreachable(tmp_path: Path) -> None:
    """A mirror without the suite gives no lock at all, not even for optional kernels."""
    with serving(files({})) as server, pytest.raises(KernelError):
        relock(opened(server, tmp_path), [kernel("a", "x", optional=True)], {}, {}, lambda line: None)
