"""Signing keys: made once, loaded with care, named as ssh-keygen names them."""

import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from bpfcompat import process
from bpfcompat.errors import ConfigError, TrustError
from bpfcompat.keys import (
    fingerprint,
    hex_fingerprint,
    keygen,
    load_log_private,
    load_log_public,
    load_private,
    load_public,
    private_pem,
    public_pem,
)
from tests.claims import KEY


def test_plain_key(tmp_path: Path) -> None:
    """A key without a passphrase is for its owner alone, and needs nobody to be asked."""
    path = tmp_path / "deep" / "key"
    made = keygen(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert fingerprint(load_private(path).public_key()) == made
    assert fingerprint(load_public(path.with_name("key.pub").read_bytes())) == made


def test_encrypted_key(tmp_path: Path) -> None:
    """An encrypted key opens with its passphrase; a wrong or missing one is said in words."""
    path = tmp_path / "key"
    made = keygen(path, "öpen sesame")
    assert b"ENCRYPTED" in path.read_bytes()
    assert fingerprint(load_private(path, lambda: "öpen sesame").public_key()) == made
    with pytest.raises(ConfigError, match="wrong passphrase"):
        load_private(path, lambda: "open sesame")
    for source in (None, lambda: ""):
        with pytest.raises(ConfigError, match="no passphrase was given"):
            load_private(path, source)


@pytest.mark.parametrize("taken", ["key", "key.pub"])
def test_never_overwrites(tmp_path: Path, taken: str) -> None:
    """Neither half of a pair that is there is replaced, not even a dangling link."""
    (tmp_path / taken).symlink_to("nowhere")
    with pytest.raises(ConfigError, match="already there"):
        keygen(tmp_path / "key")
    assert (tmp_path / taken).is_symlink()


def test_never_where_it_would_be_published(tmp_path: Path) -> None:
    """A private key inside a folder that others read is refused, also by way of `..`."""
    (tmp_path / "registry").mkdir()
    for path in (tmp_path / "registry" / "keys" / "key", tmp_path / "store" / ".." / "registry" / "key"):
        with pytest.raises(ConfigError, match="inside"):
            keygen(path, None, [tmp_path / "registry"])
    assert list(tmp_path.rglob("*key*")) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_readable_by_others(tmp_path: Path, mode: int) -> None:
    """A private key that others can use is refused, with the command that mends it."""
    path = tmp_path / "key"
    keygen(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_private(path)


def test_no_key(tmp_path: Path) -> None:
    """A missing file and a file that is no key are the user's to mend."""
    with pytest.raises(ConfigError, match="cannot open"):
        load_private(tmp_path / "none")
    path = tmp_path / "junk"
    path.write_text("junk")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="expected a PKCS#8"):
        load_private(path)


OTHERS = {
    "RSA key of 2048 bits": rsa.generate_private_key(65537, 2048),
    "secp384r1": ec.generate_private_key(ec.SECP384R1()),
    "secp256k1": ec.generate_private_key(ec.SECP256K1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_algorithms(tmp_path: Path, name: str) -> None:
    """A key of another algorithm is refused by name, private and public."""
    key = OTHERS[name]
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(TrustError, match=f"expected an ECDSA P-256 key, got .*{name}"):
        load_public(public)
    path = tmp_path / "key"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    path.chmod(0o600)
    with pytest.raises(TrustError, match=name):
        load_private(path)


HALF = public_pem(KEY.public_key())[:60]


@pytest.mark.parametrize("data", [b"", b"junk", private_pem(KEY, None), b"-" * 70_000, HALF])
def test_not_a_public_key(data: bytes) -> None:
    """Whatever is no SPKI PEM is a TrustError, a private key as well."""
    with pytest.raises(TrustError):
        load_public(data)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is absent")
def test_fingerprint_is_ssh_keygens(tmp_path: Path) -> None:
    """The key id is what `ssh-keygen -lf` prints."""
    path = tmp_path / "key.ssh"
    public = KEY.public_key()
    path.write_bytes(public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH) + b"\n")
    printed = process.check(["ssh-keygen", "-lf", str(path)], what="fingerprint", cwd=tmp_path).decode()
    assert printed.split()[1] == fingerprint(public)
    assert len(hex_fingerprint(public)) == 64


def test_log_keys(tmp_path: Path) -> None:
    """A log's key is Ed25519, and neither kind of key is taken for the other."""
    log, plain = tmp_path / "log", tmp_path / "verdict"
    made = keygen(log, "secret", log=True)
    keygen(plain)
    assert fingerprint(load_log_private(log, lambda: "secret").public_key()) == made
    assert fingerprint(load_log_public(log.with_name("log.pub").read_bytes())) == made
    with pytest.raises(TrustError, match="expected an Ed25519 key, got an EC key on secp256r1"):
        load_log_private(plain)
    with pytest.raises(TrustError, match="expected an Ed25519 key, got an EC key on secp256r1"):
        load_log_public(plain.with_name("verdict.pub").read_bytes())
    with pytest.raises(TrustError, match="expected an ECDSA P-256 key, got an Ed25519 key"):
        load_private(log, lambda: "secret")


def test_log_key_nobody_made() -> None:
    """A PEM that holds a point of small order is refused when it is loaded."""
    made = public_pem(ed25519.Ed25519PublicKey.from_public_bytes(bytes(32)))
    with pytest.raises(TrustError, match="small order"):
        load_log_public(made)
