"""`bpfcompat keys …`: drafts, signatures and versions as files; what is refused, and with which exit code."""

import json
from pathlib import Path

import pytest

from bpfcompat.cli import main
from bpfcompat.errors import Exit
from bpfcompat.keys import fingerprint, load_log_public, load_public
from bpfcompat.note import NoteKey
from bpfcompat.rootchain import pinned
from bpfcompat.rootdoc import parse

NAME = "results.example"


class Desk:
    """A folder with keys of every role, and the commands run in it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        for name, role in [
            ("a", "root"),
            ("b", "root"),
            ("c", "root"),
            ("v", "verdict"),
            ("l", "log"),
            ("w", "witness"),
        ]:
            self.run("new", role, name)

    def run(self, *args: str | Path, code: int = Exit.OK) -> str:
        """One command; its words on both streams."""
        assert main(["keys", *map(str, args)]) == code, self.capsys.readouterr().err
        said = self.capsys.readouterr()
        return said.out + said.err

    def id(self, name: str) -> str:
        """The id of a key by its file."""
        data = (self.folder / f"{name}.pub").read_bytes()
        return fingerprint(load_public(data) if name.startswith("v") else load_log_public(data))

    def init(self, *more: str) -> str:
        """A draft `d` of version 1."""
        roots = [part for name in "abc" for part in ("--root", f"{name}.pub")]
        return self.run(
            "init", "d", "--name", NAME, "--threshold", "2", *roots, "--verdict", "v.pub", "--log", "l.pub", *more
        )

    def sign(self, *names: str) -> list[Path]:
        """The draft signed by these; their signatures."""
        before = set(self.folder.glob("*.sig"))
        for name in names:
            self.run("sign", "d", "--key", name)
        return sorted(set(self.folder.glob("*.sig")) - before)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    """A desk with all keys made."""
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path, capsys)


def test_first_version(desk: Desk) -> None:
    """Two of three holders sign a draft, each by a file; only then it can be published, and be pinned."""
    desk.init("--witness", "auditor.example=w.pub", "--needed", "1")
    one, two = desk.sign("a", "c")
    said = desk.run("publish", "d", one, "--registry", "reg", code=Exit.UNTRUSTED)
    assert "root 1: 1 of 2 needed own root keys signed it" in said
    assert not list(Path("reg").rglob("*.json"))
    assert "root 1 is now in reg" in desk.run("publish", "d", one, two, "--registry", "reg")
    found = pinned(Path("reg/root/1.json").read_bytes())
    assert {fingerprint(h) for h in found.root.holders} == {desk.id(n) for n in "abc"}
    assert [(k.role, k.name) for k in found.root.keys] == [
        ("log", NAME), ("verdict", "v"), ("witness", "auditor.example"),
    ]  # fmt: skip
    assert "root 1 is already in reg" in desk.run("publish", "d", one, two, "--registry", "reg")
    assert f"signed by {', '.join(sorted([desk.id('a'), desk.id('c')]))}" in desk.run("show", "reg")


def test_second_version(desk: Desk) -> None:
    """A lost root key is replaced by the two others; the registry's lock and order hold for every version."""
    desk.init()
    desk.run("publish", "d", *desk.sign("a", "b"), "--registry", "reg")
    Path("d").unlink()
    desk.run("new", "root", "e")
    desk.run("draft", "reg", "d")
    desk.run("rotate", "d", desk.id("c"), "e.pub")
    assert f"- root     {desk.id('c')}" in desk.run("show", "d", "--since", "reg")
    assert "is no root key of this version" in desk.run("sign", "d", "--key", "c")
    desk.run("publish", "d", *desk.sign("a", "e"), "--registry", "reg", code=Exit.UNTRUSTED)
    desk.run("publish", "d", *desk.sign("b"), *Path().glob("d.*.sig"), "--registry", "reg")
    assert desk.id("e") in desk.run("show", "reg")


def test_signatures_of_another_draft(desk: Desk) -> None:
    """A signature made before an edit is refused by name: the holder has not seen what is there now."""
    desk.init()
    old = desk.sign("a", "b")
    desk.run("set", "d", "--days", "10")
    said = desk.run("publish", "d", *old, "--registry", "reg", code=Exit.UNTRUSTED)
    assert f"{old[0]}: is of sha256:" in said and "sign the draft again" in said


@pytest.mark.parametrize("body", [b"", b"[]", b'{"keyid":"a"}', b'{"keyid":1,"root":"x","sig":""}', b"\xff"])
def test_garbage_for_a_signature(desk: Desk, body: bytes) -> None:
    """A file that is no signature is named, and nothing is published."""
    desk.init()
    Path("x.sig").write_bytes(body)
    assert "x.sig" in desk.run("publish", "d", "x.sig", "--registry", "reg", code=Exit.UNTRUSTED)


def test_forged_signature(desk: Desk) -> None:
    """A signature under somebody else's id fills no threshold."""
    desk.init()
    one, two = desk.sign("a", "b")
    forged = {**json.loads(one.read_bytes()), "keyid": desk.id("c")}
    one.write_text(json.dumps(forged))
    assert "1 of 2 needed own" in desk.run("publish", "d", one, two, "--registry", "reg", code=Exit.UNTRUSTED)


def test_limits(desk: Desk) -> None:
    """Revocation, expiry, a new key and a dropped one stand in the draft; without an index rotation asks for one."""
    desk.init("--witness", "auditor.example=w.pub")
    for role, name in (("verdict", "v2"), ("log", "l2"), ("witness", "w2")):
        desk.run("new", role, name)
    assert "below which log index" in desk.run("rotate", "d", desk.id("v"), "v2.pub", code=Exit.INPUT)
    desk.run("rotate", "d", desk.id("v"), "v2.pub", "--below", "7")
    desk.run("add", "d", "log", "l2.pub")
    desk.run("expire", "d", desk.id("l"), "--at", "2099-01-01T00:00:00Z", "--below", "9")
    desk.run("revoke", "d", desk.id("v"), "--below", "5")
    desk.run("drop", "d", desk.id("w"))
    desk.run("add", "d", "witness", "w2.pub", "--name", "w2.example")
    keys = {k.id: k for k in parse(Path("d").read_bytes()).root.keys}
    assert (keys[desk.id("v")].below, keys[desk.id("v2")].below, keys[desk.id("v2")].name) == (5, None, "v2")
    assert (keys[desk.id("l")].below, keys[desk.id("l")].not_after) == (9, 4070908800)
    assert desk.id("w") not in keys and keys[desk.id("w2")].name == "w2.example"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("set", "d"), "nothing to set"),
        (("set", "d", "--days", "0"), "expected 1 to 3650"),
        (("set", "d", "--threshold", "4"), "threshold 4 of 3"),
        (("set", "d", "--needed", "1"), "1 witnesses needed, 0 listed"),
        (("revoke", "d", "nobody", "--below", "3"), "expected the id of one key"),
        (("add", "d", "verdict", "l.pub"), "expected an ECDSA P-256 key, got an Ed25519 key"),
        (("add", "d", "log", "v.pub"), "expected an Ed25519 key"),
        (("add", "d", "witness", "w.pub"), "a witness needs its name"),
        (("add", "d", "witness", "l.pub", "--name", "x"), "is listed twice"),
        (("add", "d", "root", "a.pub"), "is listed twice"),
        (("add", "d", "root", "missing.pub"), "missing.pub"),
        (("draft", "reg", "e"), "reg"),
        (("draft", ".", "e"), "has no root document"),
        (("revoke", "d", "v.pub", "--log", "."), "checkpoint: is missing"),
        (("revoke", "d", "v.pub"), "from which log index on"),
        (("revoke", "d", "v.pub", "--log", ".", "--below", "3"), "expected one of them"),
        (("expire", "d", "v.pub", "--at", "tomorrow"), "--at: expected a time like"),
        (("drop", "d", "d"), "expected an Ed25519"),
    ],
)
def test_input_errors(desk: Desk, args: tuple[str, ...], words: str) -> None:
    """What contradicts itself is the asker's input (exit code 2), and the draft stays as it was."""
    desk.init()
    before = Path("d").read_bytes()
    assert words in desk.run(*args, code=Exit.INPUT)
    assert Path("d").read_bytes() == before


def test_signed_documents_are_not_edited(desk: Desk) -> None:
    """A published version is never edited, and a draft file never overwrites one."""
    desk.init()
    desk.run("publish", "d", *desk.sign("a", "b"), "--registry", "reg")
    before = Path("reg/root/1.json").read_bytes()
    for args in (
        ("set", "reg/root/1.json", "--days", "9"),
        ("set", "reg", "--days", "9"),
        ("draft", "reg", "reg/root/1.json"),
    ):
        assert "is signed, and not to be edited" in desk.run(*args, code=Exit.INPUT)
    assert Path("reg/root/1.json").read_bytes() == before


def test_versions_in_order(desk: Desk) -> None:
    """Another version 1, or a version 3 after 1, does not get in, however well signed."""
    desk.init()
    desk.run("publish", "d", *desk.sign("a", "b"), "--registry", "reg")
    desk.run("set", "d", "--days", "99")
    assert "needs version 2 next" in desk.run(
        "publish", "d", *desk.sign("a", "b"), "--registry", "reg", code=Exit.INPUT
    )
    desk.run("draft", "d", "e")
    desk.run("draft", "e", "f")
    Path("f").rename("d")
    assert "needs version 2 next" in desk.run(
        "publish", "d", *desk.sign("a", "b"), "--registry", "reg", code=Exit.INPUT
    )


def test_witness_by_its_vkey(desk: Desk) -> None:
    """A witness gives its vkey, which has its name; a log's vkey is not taken for one."""
    desk.run("new", "witness", "w2", "--name", "w.example")
    Path("l.vkey").write_text(NoteKey("w.example", load_log_public(Path("w.pub").read_bytes())).vkey)
    desk.init("--witness", "w2.vkey")
    assert [k.name for k in parse(Path("d").read_bytes()).root.keys if k.role == "witness"] == ["w.example"]
    assert "got a log's" in desk.run("add", "d", "witness", "l.vkey", code=Exit.INPUT)


def test_damaged_newest_version(desk: Desk) -> None:
    """A registry whose newest version is damaged is not built upon."""
    desk.init()
    desk.run("publish", "d", *desk.sign("a", "b"), "--registry", "reg")
    Path("reg/root/1.json").write_bytes(b"{}")
    assert "root/1.json" in desk.run("show", "reg", code=Exit.UNTRUSTED)
    assert "root/1.json" in desk.run("publish", "d", *Path().glob("*.sig"), "--registry", "reg", code=Exit.UNTRUSTED)


def test_encrypted_root_key(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A root key with a passphrase signs when the named variable holds it; a missing variable is said."""
    monkeypatch.setenv("PASS", "open sesame")
    desk.run("new", "root", "locked", "--passphrase-env", "PASS")
    desk.init()
    desk.run("add", "d", "root", "locked.pub")
    assert "no passphrase was given" in desk.run("sign", "d", "--key", "locked", code=Exit.INPUT)
    assert "NOTHING: not set" in desk.run(
        "sign", "d", "--key", "locked", "--passphrase-env", "NOTHING", code=Exit.INPUT
    )
    assert "signed by" in desk.run("sign", "d", "--key", "locked", "--passphrase-env", "PASS")
