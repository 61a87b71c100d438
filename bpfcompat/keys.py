"""Signing keys: ECDSA P-256 for verdicts, Ed25519 for logs and witnesses; made, loaded and named here and nowhere else.

A private key is PKCS#8 PEM, encrypted when a passphrase is given; the public key beside it is SPKI PEM.  A key's id is
the OpenSSH SHA-256 fingerprint of the public key, so `ssh-keygen -lf` prints the same text.  Refused: every other
algorithm, an Ed25519 key that somebody else's signature could hold for, a private key that others can read, overwriting
a key, and a key inside a folder that is published.
"""

import base64
import os
import re
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from bpfcompat.digest import digest_bytes, hex_of
from bpfcompat.edwards import why_not
from bpfcompat.errors import ConfigError, TrustError
from bpfcompat.files import ensure_dir, read_bounded

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey
LogPrivateKey = ed25519.Ed25519PrivateKey
LogPublicKey = ed25519.Ed25519PublicKey

MAX_KEY_BYTES = 64 << 10
_ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


def keygen(path: Path, passphrase: str | None = None, published: Iterable[Path] = (), log: bool = False) -> str:
    """Make a key pair at `path` and `path`.pub and return its fingerprint; with `log` on, Ed25519 instead of P-256.

    `published` are folders that others read (registry, store): ConfigError for a path inside one of them, and when
    either file is already there.
    """
    public_path = path.with_name(path.name + ".pub")
    for folder in published:
        if path.resolve().is_relative_to(folder.resolve()):
            raise ConfigError(f"{path}: a private key inside {folder}", hint="keep it where nothing is published from")
    for taken in (path, public_path):
        if os.path.lexists(taken):
            raise ConfigError(f"{taken}: is already there", hint="choose another path: keys are never overwritten")
    key: PrivateKey | LogPrivateKey = LogPrivateKey.generate() if log else ec.generate_private_key(ec.SECP256R1())
    ensure_dir(path.parent)
    _write_new(path, private_pem(key, passphrase), 0o600)
    _write_new(public_path, public_pem(key.public_key()), 0o644)
    return fingerprint(key.public_key())


def private_pem(key: PrivateKey | LogPrivateKey, passphrase: str | None) -> bytes:
    """A private key as PKCS#8 PEM, encrypted when there is a passphrase."""
    lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        lock = serialization.BestAvailableEncryption(passphrase.encode())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)


def public_pem(key: PublicKey | LogPublicKey) -> bytes:
    """A public key as SPKI PEM."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def passphrase_in(variable: str | None) -> str | None:
    """The passphrase in an environment variable, None without a name; ConfigError when nothing is there."""
    if not variable:
        return None
    found = os.environ.get(variable)
    if not found:
        raise ConfigError(f"{variable}: not set or empty", hint="export it, or leave --passphrase-env out")
    return found


def load_private(path: Path, passphrase_source: Callable[[], str] | None = None) -> PrivateKey:
    """The private key in a file; the source is asked only when the key is encrypted.

    ConfigError: unreadable, readable by others, no or wrong passphrase.  TrustError: not P-256.
    """
    key = _load_private(path, passphrase_source)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise TrustError(f"{path}: expected an ECDSA P-256 key, got {_describe(key)}")
    return key


def load_log_private(path: Path, passphrase_source: Callable[[], str] | None = None) -> LogPrivateKey:
    """As load_private, for the Ed25519 key of a log or a witness."""
    key = _load_private(path, passphrase_source)
    if not isinstance(key, LogPrivateKey):
        raise TrustError(f"{path}: expected an Ed25519 key, got {_describe(key)}")
    return key


def _load_private(path: Path, passphrase_source: Callable[[], str] | None) -> object:
    data = read_bounded(path, MAX_KEY_BYTES, ConfigError)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ConfigError(f"{path}: mode {mode:04o}: others can use this private key", hint=f"chmod 600 {path}")
    passphrase = None
    if data.lstrip().startswith(_ENCRYPTED):
        passphrase = (passphrase_source() if passphrase_source else "").encode()
        if not passphrase:
            raise ConfigError(f"{path}: is encrypted and no passphrase was given", hint="give its passphrase")
    try:
        return serialization.load_pem_private_key(data, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        what = "wrong passphrase" if passphrase else "expected a PKCS#8 PEM private key"
        raise ConfigError(f"{path}: {what}") from error


def load_public(data: bytes, where: str = "public key") -> PublicKey:
    """The public key in SPKI PEM bytes; TrustError that names what came instead of P-256."""
    key = _load_public(data, where, "ECDSA P-256")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise TrustError(f"{where}: expected an ECDSA P-256 key, got {_describe(key)}")
    return key


def load_log_public(data: bytes, where: str = "public key") -> LogPublicKey:
    """The Ed25519 key of a log or witness in SPKI PEM bytes; TrustError as load_log_raw."""
    key = _load_public(data, where, "Ed25519")
    if not isinstance(key, LogPublicKey):
        raise TrustError(f"{where}: expected an Ed25519 key, got {_describe(key)}")
    return load_log_raw(raw_public(key), where)


def load_log_raw(raw: bytes, where: str = "public key") -> LogPublicKey:
    """The Ed25519 key of these 32 bytes; TrustError for a point that no honest key is: see edwards.py."""
    if why := why_not(raw):
        raise TrustError(f"{where}: expected an Ed25519 key, got {why}")
    return LogPublicKey.from_public_bytes(raw)


def raw_public(key: LogPublicKey) -> bytes:
    """The 32 bytes of an Ed25519 key."""
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _load_public(data: bytes, where: str, algorithm: str) -> object:
    if len(data) > MAX_KEY_BYTES:
        raise TrustError(f"{where}: {len(data)} bytes, at most {MAX_KEY_BYTES} expected")
    try:
        return serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TrustError(f"{where}: expected an {algorithm} public key in SPKI PEM, got something else") from error


def fingerprint(key: PublicKey | LogPublicKey) -> str:
    """The key id: `SHA256:` and 43 characters, as `ssh-keygen -lf` prints it."""
    raw = bytes.fromhex(hex_fingerprint(key))
    return "SHA256:" + base64.b64encode(raw).decode().rstrip("=")


def hex_of_fingerprint(keyid: str) -> str:
    """A key id in hex; TrustError when it is none."""
    if not re.fullmatch("SHA256:[A-Za-z0-9+/]{43}", keyid):
        raise TrustError(f"key id: expected SHA256: and 43 characters, got {keyid[:80]!r}")
    return base64.b64decode(keyid[7:] + "=").hex()


def hex_fingerprint(key: PublicKey | LogPublicKey) -> str:
    """The same fingerprint as 64 hex digits: what a key's file in a registry is called."""
    line = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return hex_of(digest_bytes(base64.b64decode(line.split()[1])))


def _describe(key: object) -> str:
    if isinstance(key, (ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey)):
        return f"an EC key on {key.curve.name}"
    if isinstance(key, (rsa.RSAPrivateKey, rsa.RSAPublicKey)):
        return f"an RSA key of {key.key_size} bits"
    return "an " + type(key).__name__.removesuffix("PrivateKey").removesuffix("PublicKey") + " key"


def _write_new(path: Path, data: bytes, mode: int) -> None:
    # O_EXCL and not a rename: a rename would replace a key that another process made a moment ago
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(fd, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise ConfigError(f"{path}: cannot write the key: {error.strerror}") from error
