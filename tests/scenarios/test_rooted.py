"""A project with a root document: what its runs publish, refuse, and write into the audit trail."""

import json
import time
from collections.abc import Iterator

import pytest

from bpfcompat import trail
from tests.scenarios.conftest import Repo

pytestmark = pytest.mark.scenario
REGISTRY = ".bpfcompat/registry"


def name(repo: Repo) -> str:
    """The name that the registry's log has."""
    return str(json.loads((repo.root / REGISTRY / "registry.json").read_text())["log"]).partition("+")[0]


def put_root(repo: Repo, *keys: str) -> None:
    """A draft of the next version with these edits, signed by both holders and published."""
    repo.bpfcompat("keys", "draft", REGISTRY, "draft")
    if keys:
        repo.bpfcompat("keys", keys[0], "draft", *keys[1:])
    publish_draft(repo)


def publish_draft(repo: Repo) -> None:
    """Sign and publish the draft."""
    for holder in ("a", "b"):
        repo.bpfcompat("keys", "sign", "draft", "--key", holder)
    signatures = sorted(path.name for path in repo.root.glob("draft.*.sig"))
    repo.bpfcompat("keys", "publish", "draft", *signatures, "--registry", REGISTRY)
    for used in repo.root.glob("draft*"):
        used.unlink()


@pytest.fixture
def rooted(proved: Repo) -> Repo:
    """A monorepo whose registry has a root document that lists its keys, and that knows it."""
    for holder in ("a", "b"):
        proved.bpfcompat("keys", "new", "root", holder)
    own = ["--verdict", "keys/signing.pem.pub", "--log", "keys/log.pem.pub"]
    holders = ["--root", "a.pub", "--root", "b.pub"]
    proved.bpfcompat("keys", "init", "draft", "--name", name(proved), "--threshold", "2", *holders, *own)
    publish_draft(proved)
    (proved.root / "pinned").write_bytes((proved.root / REGISTRY / "root/1.json").read_bytes())
    proved.settings(lambda s: s["signing"].update(root="pinned"))
    return proved


def events(repo: Repo) -> Iterator[str]:
    """The records of the audit trail, in short."""
    repo.bpfcompat("trail", "verify")
    for row in (repo.root / ".bpfcompat/trail.jsonl").read_text().splitlines():
        found = json.loads(row)
        yield " ".join([found["event"], *(str(v) for k, v in found["facts"].items() if k in ("role", "use", "what"))])


def test_publish_and_read(rooted: Repo) -> None:
    """With a root document a run publishes as ever, a reader needs nothing else, and the trail tells of it."""
    rooted.object("alpha", "rejected alpha")
    rooted.doit("matrix", code=1)
    rooted.doit("verify", code=1)
    said = rooted.bpfcompat("verify", REGISTRY, "--root", "pinned", code=1).out
    assert f"root of {name(rooted)}: version 1" in said
    assert "trusted, and not as expected" in said
    told = list(events(rooted))
    place = str(rooted.root / REGISTRY)
    assert told[-4:] == ["settings", f"key verdict publish to {place}", f"key log publish to {place}", "publish"]
    vkey = f"keys/log-records/{name(rooted)}.vkey"
    head = rooted.bpfcompat("trail", "verify", "--head", f"{REGISTRY}/trail", "--log-key", vkey)
    assert f"the kept head, record {len(told)}, is still in it" in head.out


def leaves(repo: Repo) -> int:
    """How many leaves the registry's log has."""
    return int((repo.root / REGISTRY / "checkpoint").read_text().split("\n")[1])


def test_the_trail_is_logged_once_a_day(rooted: Repo) -> None:
    """A day after the last one a publish logs the trail's head; every reader believes it, and it stays in the trail."""
    trail_file, count = rooted.root / ".bpfcompat/trail.jsonl", leaves(rooted)
    for n in range(2):  # a trail that is new has a day's time, and one record a day is enough
        rooted.object("alpha", f"rejected alpha{n}")
        rooted.doit("matrix", code=1)
        assert "logged" not in [line.partition(" ")[0] for line in events(rooted)]
    count = leaves(rooted)
    trail_file.unlink()
    trail.record(trail_file, "settings", {"digest": "of the day before yesterday"}, int(time.time()) - 2 * 86400)
    for n in range(2):
        rooted.object("alpha", f"rejected alpha{n + 2}")
        rooted.doit("matrix", code=1)
    assert [line.partition(" ")[0] for line in events(rooted)].count("logged") == 1
    assert leaves(rooted) == count + 2 * 3 + 1  # alpha on three kernels, twice, and the head
    trust = ["--key", "keys/signing.pem.pub", "--log-key", f"keys/log-records/{name(rooted)}.vkey"]
    said = rooted.bpfcompat("verify", REGISTRY, *trust, code=1).out
    assert "1 more bundles are heads of the publisher's audit trail" in said and "trusted, and not as expected" in said
    assert "whole: " in rooted.bpfcompat("fsck", REGISTRY).out
    asked = ["trail", "verify", "--registry", REGISTRY, *trust]
    assert f"all 1 heads in the log of {REGISTRY} are still in it" in rooted.bpfcompat(*asked).out
    other = trail_file.rename(trail_file.with_name("other.jsonl"))  # written anew, a chain as sound as the other
    for n in range(12):
        trail.record(trail_file, "settings", {"digest": str(n)}, int(time.time()))
    assert "the trail was written anew" in rooted.bpfcompat(*asked, code=4).err
    said = rooted.bpfcompat(*asked, str(trail_file), str(other)).out  # as of two projects that publish there
    assert f"all 1 heads in the log of {REGISTRY} are still in one of the 2 trails" in said


def test_key_that_is_not_listed(rooted: Repo) -> None:
    """A run with a key that no reader would believe publishes nothing, and says what to do; listed, it publishes."""
    before = rooted.digests(REGISTRY)
    for end in ("", ".pub"):
        (rooted.root / f"keys/signing.pem{end}").unlink()
    ran = rooted.doit("publish", code=2)
    assert "[signing] key: readers would refuse it" in ran.out + ran.err
    assert rooted.digests(REGISTRY) == before
    assert list(events(rooted))[-1] == f"refusal publish to {rooted.root / REGISTRY}"
    put_root(rooted, "add", "verdict", "keys/signing.pem.pub")
    rooted.doit("publish")
    rooted.doit("verify")


def test_damaged_registry_is_told(rooted: Repo) -> None:
    """What `doit verify` does not trust stands in the trail."""
    bundle = min((rooted.root / REGISTRY / "bundles").iterdir())
    bundle.write_bytes(bundle.read_bytes().replace(b"eyJ", b"eyK", 1))
    rooted.doit("verify", code=4)
    assert list(events(rooted))[-1] == "refusal doit verify"


def test_trail_that_cannot_be_written(rooted: Repo) -> None:
    """Without a trail nothing is published."""
    before = rooted.digests(REGISTRY)
    (rooted.root / ".bpfcompat/trail.jsonl").unlink()
    (rooted.root / ".bpfcompat/trail.jsonl").mkdir()
    rooted.object("alpha", "rejected alpha")
    assert "!! publish: " in (ran := rooted.doit("matrix", code=1)).out and "cannot open the audit trail" in ran.out
    assert rooted.digests(REGISTRY) == before
