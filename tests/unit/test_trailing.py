"""What a project writes into its audit trail, and `bpfcompat trail`."""

from pathlib import Path

import pytest

from bpfcompat import trail, trailing
from bpfcompat.cli import main
from bpfcompat.config import load
from bpfcompat.errors import Exit, TrustError
from bpfcompat.keys import load_log_private
from bpfcompat.note import Kind, keygen_named, sign_note


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with settings of its own; the trail is in its usual place."""
    (tmp_path / "bpfcompat.toml").write_text(
        '[signing]\nvalid_days = 30\n[mirror]\ndebian = "http://u:secret@mirror"\n'
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def events(project: Path) -> list[tuple[str, dict[str, object]]]:
    """What stands in the trail, whose chain holds."""
    path = project / ".bpfcompat" / "trail.jsonl"
    trail.check(path)
    return [(line.event, dict(line.facts)) for line in trail.lines(path)]


def test_settings_once(project: Path) -> None:
    """Settings are recorded when they changed since the last record: what differs from its default, no address."""
    for _ in range(2):
        trailing.settings(load(project))
    ((event, facts),) = events(project)
    assert (event, facts["changed"]) == ("settings", "mirror.debian signing.valid_days=30")
    trailing.settings(load(project, {"signing.valid_days": "31"}))
    trailing.settings(load(project))
    assert [f["changed"] for _, f in events(project)][1:] == [
        "mirror.debian signing.valid_days=31", "mirror.debian signing.valid_days=30",
    ]  # fmt: skip
    assert "secret" not in (project / ".bpfcompat" / "trail.jsonl").read_text()


def test_refusals(project: Path) -> None:
    """A refusal is recorded and still raised; what went well leaves no refusal."""
    config = load(project)
    with trailing.refusals(config, "publish"):
        pass
    with pytest.raises(TrustError, match="forged"), trailing.refusals(config, "publish"):
        raise TrustError("forged", hint="look")
    assert events(project) == [("refusal", {"what": "publish", "why": "forged"})]


def test_keys_commands(project: Path) -> None:
    """Keys that are made, root keys that sign, versions that are published or refused: all stand in the trail."""
    for role, name in (("root", "a"), ("root", "b"), ("verdict", "v")):
        assert main(["keys", "new", role, name]) == Exit.OK
    roots = ["--root", "a.pub", "--root", "b.pub", "--verdict", "v.pub"]
    main(["keys", "init", "d", "--name", "results.example", "--threshold", "2", *roots])
    main(["keys", "sign", "d", "--key", "a"])
    assert main(["keys", "publish", "d", *map(str, Path().glob("*.sig")), "--registry", "reg"]) == Exit.UNTRUSTED
    main(["keys", "sign", "d", "--key", "b"])
    for _ in range(2):
        assert main(["keys", "publish", "d", *map(str, Path().glob("*.sig")), "--registry", "reg"]) == Exit.OK
    found = events(project)
    assert [event for event, _ in found] == ["key", "key", "key", "key", "refusal", "key", "root"]
    assert found[4][1] == {"what": "root 1 for reg", "why": "root 1: 1 of 2 needed own root keys signed it"}
    assert (found[6][1]["version"], found[6][1]["name"], found[6][1]["registry"]) == (1, "results.example", "reg")
    text = (project / ".bpfcompat" / "trail.jsonl").read_text()
    assert not any(line in text for name in "abv" for line in Path(name).read_text().splitlines()[1:-1])


def test_no_trail_no_signature(project: Path) -> None:
    """Where the trail cannot be written, no root key signs: nothing happens that it does not tell of."""
    main(["keys", "new", "root", "a"])
    main(["keys", "new", "verdict", "v"])
    main(
        ["keys", "init", "d", "--name", "results.example", "--threshold", "1", "--root", "a.pub", "--verdict", "v.pub"]
    )
    (project / ".bpfcompat" / "trail.jsonl").unlink()
    (project / ".bpfcompat" / "trail.jsonl").mkdir()
    assert main(["keys", "sign", "d", "--key", "a"]) == Exit.INPUT
    assert not list(project.glob("*.sig"))


def test_show_and_verify(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`trail show` prints records that cannot move a cursor; `trail verify` counts them, and finds a changed one."""
    config = load(project)
    trailing.write(config, "refusal", what="verify", why="a\x1b[2Jb\nc")
    trailing.settings(config)
    assert main(["trail", "show", "--event", "refusal"]) == Exit.OK
    assert capsys.readouterr().out.endswith("refusal   what verify  why a\\x1b[2Jb\\x0ac\n")
    assert main(["trail", "show", "--last", "1"]) == Exit.OK
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert main(["trail", "verify"]) == Exit.OK
    assert "2 records, each follows from the one before" in capsys.readouterr().out
    path = project / ".bpfcompat" / "trail.jsonl"
    path.write_bytes(path.read_bytes().replace(b"verify", b"verifY", 1))
    assert main(["trail", "verify", str(path)]) == Exit.UNTRUSTED
    assert "does not follow from the one before" in capsys.readouterr().err


def test_kept_head(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A head that a log's key signed finds a trail that was written anew, also where its own chain holds."""
    config = load(project)
    keygen_named(project / "log", Kind.LOG, "results.example")
    line = trailing.write(config, "settings", digest="one", changed="")
    note = sign_note(trail.head_text("results.example", line), "results.example", load_log_private(project / "log"))
    Path("head").write_bytes(note)
    trailing.write(config, "settings", digest="two", changed="")
    asked = ["trail", "verify", "--head", "head", "--log-key", "log.vkey"]
    assert main(asked) == Exit.OK
    assert "the kept head, record 1, is still in it" in capsys.readouterr().out
    config.path("paths.trail").unlink()
    trailing.write(config, "settings", digest="three", changed="")
    assert main(asked) == Exit.UNTRUSTED
    assert "the trail was written anew" in capsys.readouterr().err
    assert main(asked[:4]) == Exit.INPUT


@pytest.mark.parametrize(
    "args", [("show", "--event", "nothing"), ("show", "--last", "0"), ("verify", "missing"), ("verify",)]
)
def test_input_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]) -> None:
    """What is not there, or no event, is the asker's input."""
    monkeypatch.chdir(tmp_path)
    assert main(["trail", *args]) == Exit.INPUT
