"""docs/verify.md followed from top to bottom, each command as it is printed."""

import json
import os
import re
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bpfcompat import envelope, process
from bpfcompat.cli import main
from bpfcompat.digest import canonical, digest_bytes
from bpfcompat.keys import PrivateKey, public_pem
from bpfcompat.logentry import trusted_root
from bpfcompat.note import NoteKey, sign_note
from bpfcompat.statement import Claim, verdict_payload
from tests import independent
from tests.claims import BAD, KEY, LOG, LOG_KEY, OBJECT, ORIGIN, OTHER, VMLINUZ, claim, item, put, row
from tests.histories import LOG_PRIVATE
from tests.hosting import needs
from tests.logs import logged

TOOLS = ("bash", "jq", "openssl", "base64", "sha256sum", "cut", "sed", "grep")
DOCS = Path(__file__).parents[2] / "docs"

GET, SIGNATURE, IN_LOG, FETCH_COSIGN, COSIGN, NPM, GO = range(7)  # the blocks of the page

pytestmark = needs(*TOOLS)


def blocks(kind: str = "sh") -> list[str]:
    """The page's blocks of commands, from top to bottom; `kind` is what stands behind the three ticks."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", (DOCS / "verify.md").read_text(), re.MULTILINE | re.DOTALL)
    return [text for its, text in found if its == kind]


def recipe() -> str:
    """The block of openssl and jq about signature, result, object and kernel."""
    return blocks()[SIGNATURE]


def files(folder: Path, bundle: bytes) -> None:
    """What a reader has: a bundle, and the tests' key, object and kernel."""
    (folder / "bundle.json").write_bytes(bundle)
    (folder / "publisher.pub").write_bytes(public_pem(KEY.public_key()))
    (folder / "probe.bpf.o").write_bytes(OBJECT)
    (folder / "vmlinuz").write_bytes(VMLINUZ)
    (folder / "log.vkey").write_text(LOG.vkey + "\n")
    (folder / "trusted_root.json").write_bytes(trusted_root(LOG))


def run(folder: Path, made: Claim, key: PrivateKey = KEY, bundle: bytes | None = None) -> process.Completed:
    """How the recipe ends with a bundle of this claim."""
    files(folder, bundle or envelope.sign(verdict_payload(made), key))
    return process.run(["bash", "-c", recipe()], cwd=folder)


def test_all_blocks() -> None:
    """The page has these commands and no other; each is run by a test of this file, or of test_checklog.py."""
    begins = ["curl", "jq", "jq", "from=$(apt-get", "unshare", "npm", "sudo"]
    assert [block.split()[0] for block in blocks()] == begins
    assert [block.split()[:2] for block in blocks("")] == [["bpfcompat", "verify"], ["log", "results.example:"]]


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


# --- the log


def in_log(folder: Path, bundle: bytes) -> process.Completed:
    """How the second block ends, after the lines of the first that it builds on."""
    files(folder, bundle)
    before = "".join(line + "\n" for line in recipe().splitlines()[:3])
    return process.run(["bash", "-c", before + blocks()[IN_LOG]], cwd=folder)


def bundles(count: int) -> list[bytes]:
    """A log of so many verdicts."""
    return logged(*(verdict_payload(claim(classifier=str(n))) for n in range(count)))


@pytest.mark.parametrize("size", [1, 3, 6])
def test_every_leaf(tmp_path: Path, size: int) -> None:
    """Every leaf of a log of this size is found in it, with openssl and jq alone."""
    for bundle in bundles(size):
        done = in_log(tmp_path, bundle)
        assert done.code == 0 and f"in the log of {size} leaves" in done.stdout.decode(), done


def _proof(change: Callable[[Any], object]) -> Callable[[Any], object]:
    return lambda bundle: change(bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"])


def _note(old: str, new: str) -> Callable[[Any], object]:
    return _proof(lambda proof: proof["checkpoint"].update(envelope=proof["checkpoint"]["envelope"].replace(old, new)))


BROKEN: dict[str, Callable[[Any], object]] = {
    "a hash": _proof(lambda proof: proof["hashes"].__setitem__(1, "A" * 43 + "=")),
    "hashes in another order": _proof(lambda proof: proof["hashes"].reverse()),
    "a hash less": _proof(lambda proof: proof["hashes"].pop()),
    "a hash more": _proof(lambda proof: proof["hashes"].append("A" * 43 + "=")),
    "many hashes more": _proof(lambda proof: proof["hashes"].extend(["A" * 43 + "="] * 5)),
    "another index": _proof(lambda proof: proof.update(logIndex="3")),
    "an index beyond": _proof(lambda proof: proof.update(logIndex="5")),
    "a negative index": _proof(lambda proof: proof.update(logIndex="-1")),
    "an index that runs": _proof(lambda proof: proof.update(logIndex="a[$(touch ran)]")),
    "another size": _note("\n5\n", "\n6\n"),
    "another log's name": _note(LOG.name, "log.example"),
    "no checkpoint": _proof(lambda proof: proof.pop("checkpoint")),
    "no entry": lambda bundle: bundle["verificationMaterial"].pop("tlogEntries"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_not_in_the_log(tmp_path: Path, name: str) -> None:
    """An altered proof or checkpoint is refused, and nothing in it is run."""
    bundle = json.loads(bundles(5)[2])
    BROKEN[name](bundle)
    assert in_log(tmp_path, canonical(bundle)).code != 0
    assert not (tmp_path / "ran").exists()


def test_entry_of_another_verdict(tmp_path: Path) -> None:
    """A proof that holds for another verdict's leaf is not one for this verdict."""
    mine, other = map(json.loads, bundles(2))
    mine["verificationMaterial"] = other["verificationMaterial"]
    assert in_log(tmp_path, canonical(mine)).code != 0


def test_entry_of_another_signature(tmp_path: Path) -> None:
    """Nor is one for another signature of the same payload, valid as it may be."""
    mine, other = map(json.loads, logged(verdict_payload(claim()), verdict_payload(claim())))
    assert mine["dsseEnvelope"]["payload"] == other["dsseEnvelope"]["payload"]
    mine["verificationMaterial"] = other["verificationMaterial"]
    assert in_log(tmp_path, canonical(mine)).code != 0


@pytest.mark.parametrize("size", ["x[$(touch ran)]", "1+0", "01", "0"])
def test_a_size_that_is_no_number(tmp_path: Path, size: str) -> None:
    """What a thief of the log's key signs is not run as a command on the machine of who checks."""
    bundle = json.loads(bundles(1)[0])
    proof = bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    text = f"{ORIGIN}\n{size}\n{proof['rootHash']}\n".encode()
    proof["checkpoint"]["envelope"] = sign_note(text, ORIGIN, LOG_KEY).decode()
    done = in_log(tmp_path, canonical(bundle))
    assert done.code != 0 and b"in the log" not in done.stdout and b"Signature Verified" in done.stdout
    assert not (tmp_path / "ran").exists()


def test_another_logs_key(tmp_path: Path) -> None:
    """A checkpoint by another key than the one in log.vkey is refused, whatever name it has."""
    files(tmp_path, bundles(1)[0])
    block = "".join(line + "\n" for line in recipe().splitlines()[:3]) + blocks()[IN_LOG]
    (tmp_path / "log.vkey").write_text(NoteKey(LOG.name, LOG_PRIVATE.public_key()).vkey + "\n")
    assert process.run(["bash", "-c", block], cwd=tmp_path).code != 0


# --- other tools


@pytest.mark.parametrize(("verdict", "said"), [({}, b"PASSED"), ({"verdict": BAD}, b"FAILED")])
def test_cosign(tmp_path: Path, verdict: dict[str, Any], said: bytes) -> None:
    """cosign's line as it is printed, without a network, and what the result is: a FAILED is Verified OK too."""
    files(tmp_path, logged(verdict_payload(claim(**verdict)))[0])
    (tmp_path / "cosign/usr/bin").mkdir(parents=True)
    (tmp_path / "cosign/usr/bin/cosign").symlink_to(independent.cosign_program())
    done = process.run(["bash", "-c", blocks()[COSIGN]], cwd=tmp_path, timeout_s=120)
    assert (done.code, done.stdout.split()[-1], "Verified OK" in done.stderr + done.stdout.decode()) == (0, said, True)


def test_npm(tmp_path: Path) -> None:
    """The line of Sigstore's JavaScript verifier as it is printed; the version is the one that was installed."""
    install, command = blocks()[NPM].splitlines()
    assert install.split()[-1] == independent.NPM
    (tmp_path / "node_modules").symlink_to(independent.modules())
    (tmp_path / "docs").symlink_to(DOCS)
    for bundle, said in ((bundles(2)[1], b"ok"), (envelope.sign(verdict_payload(claim()), KEY), b"refused")):
        files(tmp_path, bundle)
        done = process.run(["bash", "-c", command], cwd=tmp_path, env=dict(os.environ), timeout_s=120)
        assert done.stdout.startswith(said) and done.code == (0 if said == b"ok" else 1), done


def test_our_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own line, with and without what stands in brackets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    files(tmp_path, b"")
    put(Path("registry"), [item(claim())], [row(claim())], now=int(time.time()))
    (line,) = blocks("")[0].replace("REGISTRY", "registry").splitlines()
    for command in (re.sub(r"\[.*?\]", "", line), line.replace("[", "").replace("]", "")):
        assert main(shlex.split(command)[1:]) == 0
