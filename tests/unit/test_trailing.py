"""What a project writes into its audit trail, and `bpfcompat trail`."""

import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bpfcompat import trail, trailing
from bpfcompat.cli import main
from bpfcompat.config import load
from bpfcompat.errors import Exit, KernelError, TrustError
from bpfcompat.files import locked
from bpfcompat.keys import load_log_private, public_pem
from bpfcompat.note import Kind, keygen_named, sign_note
from bpfcompat.origins import Refused
from bpfcompat.registry import layout
from bpfcompat.rules import session
from bpfcompat.trailhead import Head, head_payload
from tests import claims
from tests.hosting import child_python


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with settings of its own; the trail is in its usual place."""
    (tmp_path / "bpfcompat.toml").write_text(
        '[signing]\nvalid_days = 30\n[mirror]\ndebian = "http://u:secret@mirror"\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BPFCOMPAT_PATHS_TRAIL")
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


def registry_of(folder: Path) -> list[str]:
    """A registry there, and the options that believe it; the key stands there too, as `key.pub`."""
    claims.registry(folder / "reg", now=int(time.time()))
    (folder / "key.pub").write_bytes(public_pem(claims.KEY.public_key()))
    return ["reg", "--key", "key.pub"]


def damage(folder: Path) -> Path:
    """A bundle of that registry, which does not hold any more."""
    bundle = min((folder / "reg/bundles").iterdir())
    bundle.write_bytes(bundle.read_bytes().replace(b"eyJ", b"eyK", 1))
    return bundle


@pytest.mark.parametrize("command", ["verify", "audit"])
def test_what_readers_refuse(project: Path, command: str) -> None:
    """`verify` and `audit` tell of each reason not to believe; of a registry that holds they tell nothing."""
    asked = registry_of(project)
    main([command, *asked])
    assert not (project / ".bpfcompat").exists()
    bundle = damage(project)
    assert main([command, *asked]) == Exit.UNTRUSTED
    assert {(event, facts["what"]) for event, facts in events(project)} == {("refusal", f"{command} reg")}
    assert any(bundle.name in str(facts["why"]) for _, facts in events(project))


def test_what_reproduce_refuses(project: Path) -> None:
    """`reproduce` of a bundle that is not believed stands in the trail, with the command, once."""
    registry_of(project)
    asked = ["reproduce", str(damage(project)), "--key", "key.pub"]
    assert main(asked) == Exit.UNTRUSTED
    ((event, facts),) = events(project)
    assert (event, facts["what"]) == ("refusal", " ".join(asked))


def test_what_the_guard_refuses(project: Path) -> None:
    """Where the guard does not go stands in the trail, and the address's password and query do not."""
    secret = "http://me:hunter2@10.1.2.3/a?token=hunter3:hunter4"
    trailing.refused(load(project), "kernel:k", Refused(f"{secret}: not from here"), KernelError("just gone"))
    assert events(project) == [
        ("refusal", {"what": "kernel:k", "why": "http://…@10.1.2.3/a?…: not from here"}),
    ]  # fmt: skip


def test_many_reasons(project: Path) -> None:
    """Of many reasons MAX_REASONS are written, and how many more there were; an error is told once."""
    errors = [TrustError(f"reason {n}") for n in range(1000)]
    for _ in range(2):
        trailing.refused(load(project), "verify", *errors)
    why = [facts["why"] for _, facts in events(project)]
    assert why == [*(f"reason {n}" for n in range(trailing.MAX_REASONS)), f"{1000 - trailing.MAX_REASONS} more reasons"]


@pytest.mark.parametrize("breaks", ["trail", "settings"])
def test_refusal_without_a_trail(project: Path, breaks: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A refusal that cannot be written down is one all the same, and that it was not is said."""
    asked = registry_of(project)
    damage(project)
    if breaks == "trail":
        (project / ".bpfcompat/trail.jsonl").mkdir(parents=True)
    else:
        (project / "bpfcompat.toml").write_text("[nonsense]\n")
    assert main(["verify", *asked]) == Exit.UNTRUSTED
    assert "the refusal is not in the audit trail: " in capsys.readouterr().err


def test_settings_at_fault(project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong with the settings is no refusal, and is said once: not again as what hinders the trail."""
    (project / "bpfcompat.toml").write_text('[objects.a]\nprebuilt = "a.o"\n[expect]\n"*@k" = "nope"\n')
    monkeypatch.setattr(session, "_sessions", {})  # those of other tests' projects
    assert main(["explain", "a@k"]) == Exit.INPUT
    assert capsys.readouterr().err.count("got 'nope'") == 1


def test_keys_that_are_made_and_used(project: Path) -> None:
    """`keygen` and `witness` tell which key was made, and which cosigned what, before it did."""
    registry_of(project)
    (project / "log.vkey").write_text(claims.LOG.vkey)
    assert main(["keygen", "v"]) == main(["keygen", "w", "--kind", "witness", "--name", "w.example"]) == Exit.OK
    asked = ["witness", "reg", "--log-key", "log.vkey", "--key", "w", "--state", "s", "--out"]
    assert main([*asked, "line"]) == Exit.OK
    told = [(facts["role"], facts["use"]) for _, facts in events(project)]
    assert told == [("verdict", "made: v"), ("witness", "made: w"), ("witness", "cosign reg")]
    (project / ".bpfcompat/trail.jsonl").unlink()
    (project / ".bpfcompat/trail.jsonl").mkdir()
    assert main([*asked, "second"]) == Exit.INPUT
    assert not Path("second").exists()


def test_whom_a_borrower_believes(project: Path) -> None:
    """Key files that change under their names are a change of the settings of whoever borrows by them."""
    config = load(project)
    for trust in ("one", "one", "", "two", "two", ""):
        trailing.settings(config, trust)
    assert [facts.get("trust") for _, facts in events(project)] == ["one", "two"]


def test_two_at_once(project: Path) -> None:
    """Processes that record at the same time leave one whole chain with all of it."""
    code = (
        "from pathlib import Path; from bpfcompat import trailing; from bpfcompat.errors import TrustError\n"
        "for n in range(20): trailing.refused_here('w', TrustError(f'{n}'))"
    )
    argv = [sys.executable, "-c", code]
    children = [subprocess.Popen(argv, env=child_python(), cwd=project) for _ in range(3)]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert sorted(str(facts["why"]) for _, facts in events(project)) == sorted(
        str(n) for n in range(20) for _ in range(3)
    )


def test_killed_while_recording(project: Path) -> None:
    """Whenever a recorder is killed, what is there is a chain, and the next record goes on from it."""
    code = (
        "import itertools; from bpfcompat import trailing; from bpfcompat.errors import TrustError\n"
        "for n in itertools.count(): trailing.refused_here('w', TrustError('x' * 300)); print(n, flush=True)"
    )
    for wanted in range(1, 6):
        argv = [sys.executable, "-c", code]
        with subprocess.Popen(argv, env=child_python(), cwd=project, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            told = [child.stdout.readline() for _ in range(wanted)]
            child.kill()
        before = len(events(project))
        assert len(told) == wanted <= before
        trailing.write(load(project), "refusal", what="after", why="a kill")
        assert events(project)[-1] == ("refusal", {"what": "after", "why": "a kill"})


def test_head_under_the_registrys_lock(project: Path) -> None:
    """The head names the trail's end as it is when the registry's lock is ours: none goes back behind a newer one."""
    config, waits = load(project), threading.Event()
    trailing.write(config, "settings", digest="one", changed="")
    given = (config, project / "reg", "results.example", claims.LOG_KEY, lambda who: waits.set())
    with locked(project / "reg" / layout.LOCK_FILE):
        slow = threading.Thread(target=trailing.leave_head, args=given)
        slow.start()
        assert waits.wait(60)
        last = trailing.write(config, "settings", digest="two", changed="")
    slow.join(60)
    assert trail.head_text("results.example", last) in (project / "reg" / layout.TRAIL).read_bytes()


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


def test_an_old_log_lacks_heads(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who came before is not shown the log of before, where the heads of a trail that was written anew are not yet."""
    config, registry = load(project), project / "reg"
    now = int(time.time())
    claims.registry(registry, now=now)
    shutil.copytree(registry, project / "old")
    line = trailing.write(config, "settings", digest="one", changed="")
    rows = [claims.row(claims.two_claims()[0])]
    claims.put(registry, [], rows, now=now, head=head_payload(Head(line.number, line.digest)))
    Path("key.pub").write_bytes(public_pem(claims.KEY.public_key()))
    Path("log.vkey").write_text(claims.LOG.vkey)
    trust = ["--key", "key.pub", "--log-key", "log.vkey", "--state", "state"]
    assert main(["trail", "verify", "--registry", "reg", *trust]) == Exit.OK
    assert "all 1 heads in the log of reg are still in it" in capsys.readouterr().out
    config.path("paths.trail").unlink()
    trailing.write(config, "settings", digest="two", changed="")
    assert main(["trail", "verify", "--registry", "old", *trust]) == Exit.UNTRUSTED
    assert "rollback" in capsys.readouterr().err
    assert main(["trail", "verify", "--registry", "old", *trust[:-1], "nobody"]) == Exit.OK, "a first visit cannot know"


@pytest.mark.parametrize(
    "args", [("show", "--event", "nothing"), ("show", "--last", "0"), ("verify", "missing"), ("verify",)]
)
def test_input_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]) -> None:
    """What is not there, or no event, is the asker's input."""
    monkeypatch.chdir(tmp_path)
    assert main(["trail", *args]) == Exit.INPUT
