"""Verifiers that are not ours: they accept every bundle offline with its inclusion in our log, and refuse the rest."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bpfcompat import process
from bpfcompat.cli import main
from bpfcompat.digest import canonical, digest_bytes
from bpfcompat.envelope import parse
from bpfcompat.keys import LogPrivateKey
from bpfcompat.logentry import trusted_root
from bpfcompat.rootdoc import Key
from bpfcompat.statement import verdict_payload
from tests import independent
from tests.claims import BAD, GOOD, KEY, LOG, LOG_KEY, OBJECT, ORIGIN, claim, registry
from tests.hosting import needs
from tests.logs import logged
from tests.roots import FROM, root, signed

pytestmark = pytest.mark.hostile


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """The public key, the trusted root and the object, as files."""
    (tmp_path / "root.json").write_bytes(trusted_root(LOG))
    (tmp_path / "probe.bpf.o").write_bytes(OBJECT)
    key = independent.public_pem_file(tmp_path, KEY.public_key())
    return {"key": key, "root": tmp_path / "root.json", "file": tmp_path / "probe.bpf.o"}


def bundles(folder: Path, count: int) -> list[Path]:
    """This many logged bundles about one object, as files; every second one incompatible."""
    claims = [claim(classifier=str(n), **({"verdict": BAD} if n % 2 else {})) for n in range(count)]
    places = [folder / f"{n}.json" for n in range(count)]
    for place, data in zip(places, logged(*map(verdict_payload, claims)), strict=True):
        place.write_bytes(data)
    return places


BREAKS: dict[str, Callable[[Any], object]] = {
    "hash": lambda p: p["hashes"].__setitem__(0, "A" * 43 + "="),
    "root": lambda p: p.update(rootHash="A" * 43 + "="),
    "checkpoint": lambda p: p["checkpoint"].update(envelope=p["checkpoint"]["envelope"].replace("\n3\n", "\n4\n")),
    "no proof": lambda p: p.clear(),
}


def broken(place: Path, change: Callable[[Any], object]) -> Path:
    """The same bundle with another inclusion proof."""
    bundle = json.loads(place.read_bytes())
    change(bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"])
    made = place.with_name(f"broken-{place.name}")
    made.write_bytes(canonical(bundle))
    return made


def test_cosign(tmp_path: Path, files: dict[str, Path]) -> None:
    """cosign, without a network and with inclusion required, accepts bundles and refuses broken proofs."""
    made = bundles(tmp_path, 3)
    for place in made:
        done = independent.cosign(place, **{name: files[name] for name in ("key", "root", "file")})
        assert (done.code, "Verified OK" in done.stderr + done.stdout.decode()) == (0, True), done
    for name in ("hash", "checkpoint", "no proof"):  # it takes the root from the checkpoint alone
        assert independent.cosign(broken(made[1], BREAKS[name]), **files).code != 0, name


def test_cosign_wants_the_object(tmp_path: Path, files: dict[str, Path]) -> None:
    """cosign refuses a bundle beside another object than its subject."""
    (place,) = bundles(tmp_path, 1)
    files["file"].write_bytes(OBJECT + b"\0")
    assert independent.cosign(place, **files).code != 0


def test_log_key_that_changed(tmp_path: Path, files: dict[str, Path]) -> None:
    """After a change of the log's key, cosign and npm accept bundles of both keys by `keys trusted-root`."""
    keys = (LOG_KEY, LogPrivateKey.generate())
    listed = tuple(Key("log", ORIGIN, key.public_key(), FROM) for key in keys)
    document = signed(replace(root(), name=ORIGIN, keys=(replace(listed[0], below=1), listed[1])))
    (tmp_path / "1.json").write_bytes(document)
    assert main(["keys", "trusted-root", str(tmp_path / "1.json"), str(files["root"])]) == 0
    places = [tmp_path / "old.json", tmp_path / "new.json"]
    for place, key in zip(places, keys, strict=True):
        place.write_bytes(logged(verdict_payload(claim()), log=key)[0])
        done = independent.cosign(place, **{name: files[name] for name in ("key", "root", "file")})
        assert (done.code, "Verified OK" in done.stderr + done.stdout.decode()) == (0, True), done
    assert independent.npm(places, files["key"], files["root"]) == ["ok"] * 2


def test_npm(tmp_path: Path, files: dict[str, Path]) -> None:
    """Sigstore's JavaScript verifier accepts the same bundles, and refuses the same broken ones."""
    made = bundles(tmp_path, 3)
    assert independent.npm(made, files["key"], files["root"]) == ["ok"] * 3
    refused = independent.npm([broken(made[1], c) for c in BREAKS.values()], files["key"], files["root"])
    assert [said.partition(":")[0] for said in refused] == ["refused"] * 4, refused


def published(folder: Path) -> list[Path]:
    """Every bundle of a registry that was published to again and again, so that proofs lead to many checkpoints."""
    for size in (1, 2, 3, 6):
        made = [claim(kernel_name=f"k{n}", vmlinuz=digest_bytes(b"%d" % n), verdict=BAD if n % 2 else GOOD)
                for n in range(size)]  # fmt: skip
        registry(folder / "registry", *made)
    return sorted((folder / "registry/bundles").iterdir())


def test_every_bundle_of_a_registry(tmp_path: Path, files: dict[str, Path]) -> None:
    """cosign and npm accept every bundle that a publisher wrote, old and new, by the trust root beside its record."""
    made = published(tmp_path)
    files["root"] = tmp_path / f"registry.records/{ORIGIN}.trusted_root.json"
    sizes = {entry.size for entry in (parse(place.read_bytes()).entry for place in made) if entry}
    assert (len(made), sizes) == (6, {1, 2, 3, 6})
    assert independent.npm(made, files["key"], files["root"]) == ["ok"] * len(made)
    assert [independent.cosign(place, **files).code for place in made] == [0] * len(made)


@needs("jq", "openssl")
def test_openssl_and_jq(tmp_path: Path, files: dict[str, Path]) -> None:
    """openssl and jq alone verify every signature, and that the leaf in the entry is of that signature."""
    script = """jq -j .dsseEnvelope.payload "$1" | base64 -d >payload
jq -j '.dsseEnvelope.signatures[0].sig' "$1" | base64 -d >sig
{ printf 'DSSEv1 28 application/vnd.in-toto+json %d ' "$(wc -c <payload)"; cat payload; } >pae
openssl dgst -sha256 -verify publisher.pub -signature sig pae
jq -j '.verificationMaterial.tlogEntries[0].canonicalizedBody' "$1" | base64 -d >leaf
hash=$(openssl dgst -sha256 -binary pae | base64 -w0)
jq -e --arg b "$hash" --arg sig "$(base64 -w0 sig)" '.spec.hashedRekordV002
  | .data.digest == $b and .signature.content == $sig' leaf"""
    for place in published(tmp_path):
        done = process.run(["bash", "-euc", script, "bash", str(place)], cwd=tmp_path)
        assert (done.code, done.stdout.split()) == (0, [b"Verified", b"OK", b"true"]), done
