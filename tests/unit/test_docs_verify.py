"""The recipe of docs/verify.md, run as it is printed."""

import re
import shutil
from pathlib import Path

import pytest

from bpfcompat import envelope, process
from bpfcompat.digest import digest_bytes
from bpfcompat.keys import PrivateKey, public_pem
from bpfcompat.statement import Claim, verdict_payload
from tests.claims import BAD, KEY, OBJECT, OTHER, VMLINUZ, claim

TOOLS = ("bash", "jq", "openssl", "base64", "sha256sum", "cut")
ABSENT = [tool for tool in TOOLS if shutil.which(tool) is None]
PAGE = Path(__file__).parents[2] / "docs" / "verify.md"

pytestmark = pytest.mark.skipif(bool(ABSENT), reason=f"absent: {', '.join(ABSENT)}")


def recipe() -> str:
    blocks: list[str] = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (block,) = (block for block in blocks if "openssl" in block)
    return block


def run(folder: Path, made: Claim, key: PrivateKey = KEY, bundle: bytes | None = None) -> process.Completed:
    """How the recipe ends with a bundle of this claim, beside the tests' key, object and kernel."""
    (folder / "bundle.json").write_bytes(bundle or envelope.sign(verdict_payload(made), key))
    (folder / "publisher.pub").write_bytes(public_pem(KEY.public_key()))
    (folder / "probe.bpf.o").write_bytes(OBJECT)
    (folder / "vmlinuz").write_bytes(VMLINUZ)
    return process.run(["bash", "-c", recipe()], cwd=folder)


def test_six_lines() -> None:
    """The recipe is as short as the page says."""
    assert len(recipe().splitlines()) == 6


def test_good(tmp_path: Path) -> None:
    """A compatible verdict about this object on this kernel passes."""
    done = run(tmp_path, claim())
    assert (done.code, done.stdout.split()) == (0, [b"Verified", b"OK", b"true"])


REFUSED = {
    "incompatible": claim(verdict=BAD),
    "another object": claim(object_digest=digest_bytes(b"another")),
    "another kernel of the same release": claim(vmlinuz=digest_bytes(b"another")),
    "kernel and object swapped": claim(object_digest=digest_bytes(VMLINUZ), vmlinuz=digest_bytes(OBJECT)),
    "our kernel as its config": claim(vmlinuz=digest_bytes(b"another"), config=digest_bytes(VMLINUZ)),
}


@pytest.mark.parametrize("made", REFUSED.values(), ids=REFUSED.keys())
def test_signed_but_not_what_was_asked(tmp_path: Path, made: Claim) -> None:
    """A signature that holds is not enough."""
    done = run(tmp_path, made)
    assert done.code != 0
    assert done.stdout.startswith(b"Verified OK")


def test_not_signed(tmp_path: Path) -> None:
    """Another signer, an altered payload, and no bundle at all are refused."""
    assert run(tmp_path, claim(), OTHER).code != 0
    good = envelope.sign(verdict_payload(claim()), KEY)
    assert run(tmp_path, claim(), bundle=good.replace(b"eyJ", b"eyK", 1)).code != 0
    assert run(tmp_path, claim(), bundle=b"junk").code != 0
