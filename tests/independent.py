"""Other people's verifiers, unpacked beside the tests: cosign from a newer Debian suite, Sigstore's verifier from npm.

Each is fetched once, into .bpfcompat/tools.  A test that asks for one which cannot be had here is skipped, naming why.
cosign runs in a network namespace of its own, so it cannot ask anybody about our log.
"""

import functools
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bpfcompat import process
from bpfcompat.errors import BpfcompatError
from bpfcompat.fetch import fetch
from bpfcompat.files import locked, write_atomic
from bpfcompat.kernels import apt
from bpfcompat.kernels.extract import deb_member
from bpfcompat.keys import PublicKey
from bpfcompat.model import AptSource, LockedFile
from bpfcompat.origins import NOBODY
from bpfcompat.statement import VERDICT_TYPE
from tests.hosting import ROOT, beyond, cannot

TOOLS = ROOT / ".bpfcompat" / "tools"
SUITE = "forky"
COSIGN = LockedFile(
    "pool/main/c/cosign/cosign_3.1.1-2_amd64.deb", 17676136,
    "sha256:d8622ebffce1d69197288fc030ff06a4c247af5507107f85c5a878870b686b23",
)  # fmt: skip
NPM = "@sigstore/verify@4.1.3"
_MAX_DEB, _MAX_PROGRAM = 64 << 20, 256 << 20
SCRIPT = ROOT / "docs" / "checkbundles.js"


def cosign(bundle: Path, key: Path, root: Path, file: Path) -> process.Completed:
    """How cosign ends, without a network and with inclusion in the log of `root` required."""
    argv = ["unshare", "-rn", cosign_program(), "verify-blob-attestation", "--bundle", bundle, "--key", key,
            "--trusted-root", root, "--type", VERDICT_TYPE, file]  # fmt: skip
    return process.run([str(word) for word in argv], cwd=key.parent, timeout_s=120)


def npm(bundles: Sequence[Path], key: Path, root: Path) -> list[str]:
    """What Sigstore's JavaScript verifier says of each: `ok`, or `refused: …`; inclusion is required."""
    argv = ["node", str(SCRIPT), str(root), str(key), *map(str, bundles)]
    env = {**os.environ, "NODE_PATH": str(modules())}
    done = process.run(argv, cwd=SCRIPT.parent, env=env, timeout_s=300)
    said = done.stdout.decode().splitlines()
    assert done.code == (0 if all(word == "ok" for word in said) else 1), done
    return said


def public_pem_file(folder: Path, key: PublicKey) -> Path:
    """A public key as a file for these tools."""
    place = folder / "publisher.pub"
    place.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return place


@functools.cache
def cosign_program() -> Path:
    """The program; skips where it cannot be had, or not be cut off from the network."""
    if shutil.which("unshare") is None or process.run(["unshare", "-rn", "true"], cwd=Path("/")).code:
        beyond("needs unshare, to run cosign without a network")
    program = TOOLS / COSIGN.digest[7:19] / "cosign"
    try:
        with locked(TOOLS / "cosign.lock"):
            if not program.exists():
                write_atomic(program, deb_member(_deb(), "usr/bin/cosign", _MAX_PROGRAM), 0o755)
    except BpfcompatError as error:
        beyond(f"cosign is not to be had: {error}")
    return program


def _deb() -> Path:
    """The pinned package; when the archive has moved on, the suite's present one, through its signed index."""
    place, mirror = TOOLS / "cosign.deb", apt.mirror("")
    named = NOBODY.also(mirror)  # by whoever set up this machine's apt
    try:
        found = COSIGN
        fetch(f"{mirror}/{found.path}", size=found.size, digest=found.digest, limit=_MAX_DEB, dest=place, allowed=named)
    except BpfcompatError:
        archive = apt.Archive(mirror, TOOLS, apt.gpgv(), allow_expired=True)
        (found,) = apt.resolve(archive, AptSource(SUITE, "amd64", "cosign")).files
        fetch(f"{mirror}/{found.path}", size=found.size, digest=found.digest, limit=_MAX_DEB, dest=place, allowed=named)
    return place


@functools.cache
def modules() -> Path:
    """A folder of node modules that has Sigstore's verifier."""
    if absent := [tool for tool in ("node", "npm") if shutil.which(tool) is None]:
        cannot(f"absent: {', '.join(absent)}")
    folder = TOOLS / "npm-4.1.3"
    with locked(TOOLS / "npm.lock"):
        if not (folder / "node_modules").is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            argv = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", NPM]
            done = process.run(argv, cwd=folder, env=dict(os.environ), timeout_s=300)
            if done.code:
                shutil.rmtree(folder)
                beyond(f"npm cannot install {NPM}: {done.stderr[-200:]}")
    return folder / "node_modules"
