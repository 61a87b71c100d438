"""`bpfcompat kernel`: from a project's folder to what its kernels have, made once and kept in the store."""

import json
from pathlib import Path

import pytest

from bpfcompat.cli import main
from bpfcompat.rules import session as sessions
from tests.making import make_btf, make_elf, make_vmlinuz
from tests.unit.test_builds import CONFIG, sample, sets

PROJECT = """[matrix]
kernels = ["*"]
[kernels.old]
dir = "old"
about = "the old one"
[kernels.new]
dir = "new"
[kernels.bare]
dir = "bare"
[objects.x]
prebuilt = "x.bpf.o"
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three kernels: one with an old set of kfuncs, one whose kfuncs are tagged, one without BTF."""
    (old, (acquire, *_)), (new, _) = sample(), sample("bpf_kfunc")
    parts = {
        "old": {".BTF": old.data(), ".BTF_ids": sets(0, (acquire, 1))},
        "new": {".BTF": new.data()},
        "bare": {".text": b"x"},
    }
    for name, sections in parts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "vmlinuz").write_bytes(make_vmlinuz(make_elf(sections), f"6.1.0-{name}"))
        (tmp_path / name / "config").write_bytes(CONFIG)
    (tmp_path / "bpfcompat.toml").write_text(PROJECT)
    (tmp_path / "x.bpf.o").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sessions, "_sessions", {})  # of other tests, perhaps
    return tmp_path


def ran(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = main(["kernel", *args])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_show(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A kernel is shown, as text and as JSON, and its inventory is made once."""
    code, text, _ = ran(capsys, "show", "old")
    assert code == 0 and "old  6.1.0-old\nthe old one\n" in text and "not asked: " in text
    kept = list((project / ".bpfcompat" / "store" / "actions" / "inventory").rglob("[0-9a-f]*"))
    said = json.loads(ran(capsys, "show", "old", "--json")[1])
    assert said["kernel"] == "old" and said["kfuncs"] == {"bpf_task_acquire": ["acquire"]} and said["guest"] is None
    assert said["module_kfuncs"] == {} and said["helpers"]["loop"] == 181
    assert list((project / ".bpfcompat" / "store" / "actions" / "inventory").rglob("[0-9a-f]*")) == kept != []


def test_diff(capsys: pytest.CaptureFixture[str]) -> None:
    """Two kernels are compared; one that is the same as itself says so."""
    code, text, _ = ran(capsys, "diff", "old", "new")
    assert code == 0 and "kfuncs             +1: bpf_task_release" in text
    assert "-acquire: bpf_task_acquire" in text
    changes = json.loads(ran(capsys, "diff", "old", "new", "--json")[1])["changes"]
    assert changes["kfuncs"]["added"] == ["bpf_task_release"] and set(changes) == {"kfuncs"}
    assert "no difference" in ran(capsys, "diff", "old", "old")[1]


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("show", "none"), 2, "kernel 'none': not in the catalogue (hint: one of "),
        (("show", "odl"), 2, "kernel 'odl': not in the catalogue (hint: did you mean old?)"),
        (("show", "old", "colours"), 2, "colours: nothing that a kernel has (hint: one of helpers, "),
        (("show", "bare"), 3, "kernel 'bare': built without BTF"),
        (("diff", "old", "bare"), 3, "kernel 'bare': built without BTF"),
    ],
)
def test_wrong(args: tuple[str, ...], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown kernel or kind is the user's input; a kernel without BTF is no empty answer."""
    assert ran(capsys, *args)[0] == code
    main(["kernel", *args])
    assert said in capsys.readouterr().err


def test_damaged(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A kernel whose BTF has a kind of a newer format is an error that names the kernel."""
    elf = make_elf({".BTF": make_btf(bytes(4) + (31 << 24).to_bytes(4, "little") + bytes(4))})
    (project / "new" / "vmlinuz").write_bytes(make_vmlinuz(elf, "6.1.0-new"))
    code, _, error = ran(capsys, "show", "new")
    assert code == 3 and "kernel 6.1.0-new: btf: type 1 of kind 31" in error


def test_log_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """What is said on the way goes to stderr: the answer may be JSON, and somebody reads it."""
    assert ran(capsys, "show", "old", "--json")[0] == 0
    voice = sessions.sessions()[-1].voice
    voice.say("on the way")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "on the way\n")
