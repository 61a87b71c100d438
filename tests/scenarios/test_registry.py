"""What a run publishes, and what a stranger with the public key makes of it."""

import json
import shutil

import pytest

from tests.scenarios.conftest import PAIRS, Repo

pytestmark = pytest.mark.scenario


def verify(repo: Repo) -> tuple[int, str]:
    """Exit code and words of `bpfcompat verify` on the registry."""
    named = json.loads((repo.root / ".bpfcompat/registry/registry.json").read_text())["log"]
    log = repo.root / f"keys/log-records/{named.partition('+')[0]}.vkey"
    keys = ("--key", "keys/signing.pem.pub", "--log-key", str(log))
    ran = repo.run("bpfcompat", "verify", ".bpfcompat/registry", *keys)
    assert "Traceback" not in ran.err
    return ran.code, ran.out


def test_trusted(proved: Repo) -> None:
    """What a run has published is trusted and as expected: 0, every pair listed."""
    code, out = verify(proved)
    assert code == 0
    assert all(pair in out for pair in PAIRS)
    assert ".bpfcompat.invalid: 9 leaves, signed by " in out
    proved.doit("verify")


def test_flipped(proved: Repo) -> None:
    """One flipped byte in any bundle is not trusted: 4."""
    for bundle in sorted((proved.root / ".bpfcompat/registry/bundles").iterdir()):
        data = bundle.read_bytes()
        bundle.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
        assert verify(proved)[0] == 4
        bundle.write_bytes(data)
    assert verify(proved)[0] == 0


def test_not_as_expected(proved: Repo) -> None:
    """A published answer that was not expected is trusted, and ends with 1."""
    proved.object("alpha", "rejected alpha")
    proved.doit("matrix", code=1)
    code, out = verify(proved)
    assert code == 1
    assert "trusted, and not as expected" in out


def test_registry_lost(proved: Repo) -> None:
    """A registry that is gone is published again without a boot."""
    shutil.rmtree(proved.root / ".bpfcompat/registry")
    proved.doit("matrix")
    assert proved.boots() == {}
    assert verify(proved)[0] == 0


def test_nothing_new(proved: Repo) -> None:
    """A run with nothing to do changes no byte of the registry."""
    before = proved.digests(".bpfcompat/registry")
    proved.doit("matrix")
    assert proved.digests(".bpfcompat/registry") == before


def test_conflict(proved: Repo) -> None:
    """Another answer to a published question is kept beside the first and shown, ends with 1, overwrites nothing."""
    before = proved.digests(".bpfcompat/registry/bundles")
    (proved.root / "tools/instead").write_text("rejected")
    proved.drop("probe", "alpha@k-b")
    (proved.store.root / "names/probe/alpha@k-b.json").unlink()  # as in a store that never knew the first
    ran = proved.doit("matrix", code=1)
    assert "!! conflict: alpha@k-b: now incompatible, published before: compatible" in ran.out
    after = proved.digests(".bpfcompat/registry/bundles")
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1
    assert verify(proved)[0] == 1


def test_flaky(proved: Repo) -> None:
    """A question with two answers has none: both reports are kept, nothing is published, until it is forgotten."""
    before = proved.digests(".bpfcompat/registry/bundles")
    (proved.root / "tools/instead").write_text("rejected")
    proved.drop("probe", "alpha@k-b")
    ran = proved.doit("matrix", code=3)
    words = "alpha@k-b: flaky: the same question is answered incompatible: verifier-rejected now and compatible before"
    assert words in ran.out
    kept = [json.loads(p.read_text()) for p in (proved.store.root / "flaky").iterdir()]
    assert [(k["name"], len(set(k["outputs"]))) for k in kept] == [("alpha@k-b", 2)]
    assert all(proved.store.blob_path(d).exists() for d in kept[0]["outputs"])
    assert proved.digests(".bpfcompat/registry/bundles") == before
    (proved.root / "tools/instead").unlink()
    proved.forget_boots()
    assert "flaky: guests differed before" in proved.doit("matrix", code=3).out
    assert proved.boots() == {}
    proved.doit("forget", "probe:alpha@k-b")
    proved.doit("matrix")
    assert proved.boots() == {"alpha@k-b": 1}


def test_other_key(proved: Repo) -> None:
    """With another signing key the matrix is signed anew, and the old key no longer vouches for it."""
    old = (proved.root / "keys/signing.pem.pub").read_bytes()
    for name in ("signing.pem", "signing.pem.pub"):
        (proved.root / "keys" / name).unlink()
    proved.doit("matrix")
    assert proved.boots() == {}
    assert (proved.root / "keys/signing.pem.pub").read_bytes() != old


def test_other_log_key(proved: Repo) -> None:
    """A log whose key is lost is not carried on by another: the run says so and ends with 4; nothing is overwritten."""
    before = proved.digests(".bpfcompat/registry/bundles")
    shutil.rmtree(proved.root / "keys")
    ran = proved.doit("matrix", code=4)
    assert "start a new registry" in ran.out + ran.err
    assert proved.digests(".bpfcompat/registry/bundles") == before


def test_old_copy_put_back(proved: Repo) -> None:
    """An old copy of a registry that was put back is not published to, for its log would fork."""
    registry = proved.root / ".bpfcompat/registry"
    shutil.copytree(registry, proved.root / "old")
    proved.object("alpha", "rejected alpha")
    proved.doit("matrix", code=1)
    shutil.rmtree(registry)
    (proved.root / "old").rename(registry)
    ran = proved.doit("publish", code=4)
    assert "a log is never signed backwards" in ran.out + ran.err
