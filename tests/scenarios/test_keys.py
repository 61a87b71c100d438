"""A whole life of a registry's keys on the command line, seen by readers who have one pinned root document."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from bpfcompat.cli import main
from bpfcompat.errors import Exit
from bpfcompat.keys import load_log_private, load_private
from bpfcompat.model import Answer, Verdict
from bpfcompat.policy import Policy
from bpfcompat.registry.client import Folder
from bpfcompat.registry.log import LogSigner
from bpfcompat.registry.publish import Published, publish
from bpfcompat.registry.rootmemory import reader_policy
from bpfcompat.registry.roots import published
from bpfcompat.statement import Claim
from tests.claims import BAD, GOOD, claim, item, row

NAME = "results.example"


def asked(kernel: str, digit: str, verdict: Verdict = GOOD) -> Claim:
    """The object on a kernel of this name."""
    return claim(kernel_name=kernel, kernel_release=kernel, vmlinuz="sha256:" + digit * 64, verdict=verdict)


OLD, NEW, LATE = asked("old", "1"), asked("new", "2"), asked("late", "3", BAD)


class Stage:
    """A folder with three root holders, a runner, a publisher, and their registry `reg`."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        for role, names in (("root", "abc"), ("verdict", "v"), ("log", "l")):
            for name in names:
                self.keys("new", role, name)
        roots = [part for name in "abc" for part in ("--root", f"{name}.pub")]
        self.keys("init", "d", "--name", NAME, "--threshold", "2", *roots, "--verdict", "v.pub", "--log", "l.pub")
        self.sign_and_publish("a", "b")
        shutil.copy("reg/root/1.json", "pinned")

    def keys(self, *args: str, code: int = Exit.OK) -> str:
        """One of `bpfcompat keys`."""
        found = main(["keys", *args])
        said = self.capsys.readouterr()
        assert found == code, said
        return said.out + said.err

    def change(self, *edits: Sequence[str], by: str = "ab") -> None:
        """The next version of the root document, with these edits, signed by these holders."""
        self.keys("draft", "reg", "d")
        for command, *rest in edits:
            self.keys(command, "d", *rest)
        self.sign_and_publish(*by)

    def sign_and_publish(self, *holders: str) -> None:
        """The draft `d`, signed and put into the registry."""
        for holder in holders:
            self.keys("sign", "d", "--key", holder)
        self.keys("publish", "d", *map(str, Path().glob("d.*.sig")), "--registry", "reg")
        for used in Path().glob("d*"):
            used.unlink()

    def publish(self, *claims: Claim, key: str = "v", log: str = "l", policy: bool = True) -> Published:
        """Verdicts, and a matrix of just them; with `policy`, by somebody who knows the root document."""
        signer = LogSigner(load_log_private(Path(log)), Path("records"), NAME)
        return publish(Path("reg"), [item(c) for c in claims], [row(c) for c in claims], load_private(Path(key)),
                       log=signer, now=int(time.time()), policy=self.policy() if policy else None)  # fmt: skip

    def policy(self) -> Policy:
        """Whom a reader trusts by the newest root document."""
        newest = published(Path("reg"))
        assert newest is not None
        return reader_policy(newest, Folder(Path("reg")), None, now=int(time.time()))[1]

    def verify(self, code: int = Exit.OK, state: str = "", registry: str = "reg", *more: str) -> str:
        """What a reader with the pinned document says; without a state, a reader who never was here."""
        fresh = state or f"fresh-{time.monotonic_ns()}"
        found = main(["verify", registry, "--root", "pinned", "--state", fresh, *more])
        said = self.capsys.readouterr()
        assert found == code, said
        return said.out + said.err


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Stage:
    """A registry with two verdicts, seen once by a reader who remembers it in `state`."""
    monkeypatch.chdir(tmp_path)
    made = Stage(tmp_path, capsys)
    made.publish(OLD, NEW)
    assert "root of results.example: version 1" in made.verify(state="state")
    return made


def bundles() -> dict[str, bytes]:
    """Every bundle of the registry."""
    return {path.name: path.read_bytes() for path in Path("reg/bundles").iterdir()}


def test_a_whole_life(stage: Stage) -> None:
    """Verdict and log key rotate, a root key is lost, old bundles stay, byte for byte, and are believed."""
    before = bundles()
    stage.keys("new", "verdict", "v2")
    stage.change(["add", "verdict", "v2.pub"])
    stage.publish(OLD, NEW, key="v2")
    stage.change(["expire", "v.pub", "--log", "reg"])
    assert "version 3" in stage.verify(state="state")
    stage.publish(OLD, NEW, LATE, key="v2")
    stage.verify()

    stage.keys("new", "log", "l2")
    stage.change(["add", "log", "l2.pub"])
    stage.publish(OLD, NEW, LATE, key="v2", log="l2")
    stage.change(["expire", "l.pub", "--log", "reg"])
    for state in ("state", ""):
        assert "3 bundles hold" in stage.verify(state=state)

    stage.keys("new", "root", "e")
    stage.change(["rotate", "c.pub", "e.pub"])
    stage.change(["set", "--days", "700"], by="ae")
    for state in ("state", ""):
        assert "root of results.example: version 7" in stage.verify(state=state)
    assert bundles().items() >= before.items()


def test_new_key_before_it_is_listed(stage: Stage) -> None:
    """A key that no version lists is nobody's, even while it signs the whole registry."""
    stage.keys("new", "verdict", "v2")
    stage.publish(OLD, NEW, key="v2", policy=False)
    assert "trusted: SHA256:" in stage.verify(Exit.UNTRUSTED)
    stage.change(["add", "verdict", "v2.pub"])
    stage.verify()


def test_stolen_verdict_key(stage: Stage) -> None:
    """What a thief signs from an index on is refused; older verdicts are believed and nothing is signed again."""
    before = bundles()
    forged = asked("late", "3")
    stage.publish(OLD, NEW, forged)  # by the thief, with the runner's key, on the publisher's machine
    stage.verify()
    stage.keys("new", "verdict", "v2")
    stage.change(["rotate", "v.pub", "v2.pub", "--below", "2"])
    said = stage.verify(Exit.UNTRUSTED, "state")
    assert "holds only below log index 2, this is not in the log" in said
    stage.publish(OLD, NEW, LATE, key="v2")
    for state in ("state", ""):
        said = stage.verify(state=state)
        assert "1 more bundles are by a key that does not count for them: passed over" in said
        assert "conflict" not in said
    assert bundles().items() >= before.items()


def test_matrix_rests_on_a_stolen_key(stage: Stage) -> None:
    """A matrix by a good key that rests on a verdict of the thief's is refused, and publishing again mends it."""
    stage.publish(OLD, NEW, LATE)
    stage.keys("new", "verdict", "v2")
    stage.change(["rotate", "v.pub", "v2.pub", "--below", "2"])
    stage.publish(OLD, NEW, LATE, key="v2", policy=False)
    assert "only below log index 2, this is log index 2" in stage.verify(Exit.UNTRUSTED)
    found = stage.publish(OLD, NEW, LATE, key="v2")
    assert (found.new, found.known, found.log.size) == (1, 2, 4)
    for state in ("state", ""):
        assert "3 bundles hold" in stage.verify(state=state)


@pytest.mark.parametrize(("below", "trusted"), [(1, False), (2, True), (3, True)])
def test_revoked_at_the_boundary(stage: Stage, below: int, trusted: bool) -> None:
    """Revoked from N: the leaf N-1 counts, the leaf N does not."""
    stage.keys("new", "verdict", "v2")
    stage.change(["rotate", "v.pub", "v2.pub", "--below", str(below)])
    stage.publish(OLD, NEW, key="v2", policy=False)
    stage.verify(Exit.OK if trusted else Exit.UNTRUSTED)


def test_expired_key(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """An expired key without a last index takes its verdicts with it; the recorded index gives them back."""
    stage.keys("new", "verdict", "v2")
    stage.change(["add", "verdict", "v2.pub"])
    stage.publish(OLD, NEW, key="v2")
    stage.change(["expire", "v.pub"])
    later = time.time() + 60
    monkeypatch.setattr(time, "time", lambda: later)
    assert "expired at" in stage.verify(Exit.UNTRUSTED)
    stage.change(["revoke", "v.pub", "--log", "reg"])
    stage.verify()


def test_mirror_that_holds_back(stage: Stage) -> None:
    """A mirror without the newest versions takes no returning reader back to a key that was revoked."""
    shutil.copytree("reg", "mirror")
    stage.keys("new", "verdict", "v2")
    stage.change(["rotate", "v.pub", "v2.pub", "--below", "0"])
    stage.publish(OLD, NEW, key="v2")
    stage.verify(state="state")
    stage.verify(Exit.UNTRUSTED, "state", "mirror")
    stage.verify(Exit.OK, "", "mirror")  # a first-time reader cannot know, until the document expires


def test_expired_document(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old root document is refused, also by a clock of the year 2100; old results can still be looked at."""
    for moment in (4_102_444_800, int(time.time()) + 366 * 86400):
        with monkeypatch.context() as patched:
            patched.setattr(time, "time", lambda moment=moment: float(moment))
            assert "root 1: expired at" in stage.verify(Exit.UNTRUSTED)
            stage.verify(Exit.OK, "", "reg", "--allow-expired")


def test_answers_differ(stage: Stage) -> None:
    """Without a theft two answers by keys that count are a conflict as ever."""
    found = stage.publish(OLD, asked("new", "2", BAD))
    assert [c.before for c in found.conflicts] == [(Answer.COMPATIBLE,)]
    assert "conflict" in stage.verify(Exit.UNEXPECTED)


@pytest.mark.parametrize(
    "more", [("--key", "v.pub"), ("--log-key", "l.pub"), ("--needed", "1"), ("--witness", "l.pub")]
)
def test_root_says_it_all(stage: Stage, more: tuple[str, str]) -> None:
    """Keys beside a root document are an input error: which of both would be meant?"""
    assert "leave --key" in stage.verify(Exit.INPUT, "", "reg", *more)
