"""`bpfcompat inspect` without opening the project: what is noted, and when a note no longer holds."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from bpfcompat.btfindex import make_index
from bpfcompat.errors import ConfigError, ObjectError
from bpfcompat.insns import read_code
from bpfcompat.looking import NOTE, inspect
from tests.compiling import compiled

OBJECT = 'SEC("xdp") int pass(void *ctx) { return 2; }'


class Opened:
    """A project of two kernels, one of which is not there; counts how often it was opened."""

    def __init__(self, root: Path) -> None:
        self.root, self.times = root, 0
        taken = read_code(compiled("struct task { u32 pid; } a;")).elf
        btf = taken.contents(taken.named(".BTF"))
        (root / "btf").write_bytes(btf)
        (root / "index").write_bytes(make_index(btf))
        (root / "made.o").write_bytes(compiled(OBJECT))
        (root / "bpfcompat.toml").write_text("")

    def __call__(self) -> "Opened":
        self.times += 1
        return self

    def kernels(self) -> dict[str, dict[str, Any]]:
        there = {"release": "6.1.0", "shown": True, "homes": {}, "btf": f"{self.root}/btf", "config": ""}
        return {
            "here": {**there, "index": f"{self.root}/index", "default": True},
            "far": {"absent": "doit kernel:far fetches it", "default": False},
        }

    def folders(self) -> list[str]:
        return [str(self.root / "kernels")]

    def object(self, name: str) -> dict[str, Any]:
        data = (self.root / "source").read_bytes() if (self.root / "source").exists() else compiled(OBJECT)
        place = self.root / hashlib.sha256(data).hexdigest()
        place.write_bytes(data)
        why_not = "its own loader" if name == "command" else ""
        return {"path": str(place), "declared": False, "why_not": why_not, "files": [str(self.root / "source")]}


@pytest.fixture
def project(tmp_path: Path) -> Opened:
    return Opened(tmp_path)


def said(project: Opened, kernels: list[str] | None = None, name: str = "made.o") -> str:
    """What an inspection says."""
    given = str(project.root / name) if name.endswith(".o") else name
    return inspect(project.root, given, kernels, False, project)


def test_noted(project: Opened) -> None:
    """The second look opens nothing and says the same."""
    first = said(project)
    assert "here" in first and "could work" in first and "far" not in first
    assert said(project) == first
    assert project.times == 1


def test_changed(project: Opened) -> None:
    """A setting that changed, a catalogue that grew and a file that is gone open the project again."""
    said(project)
    (project.root / "bpfcompat.toml").write_text("# more")
    said(project)
    assert project.times == 2
    (project.root / "kernels").mkdir()
    (project.root / "kernels/new.toml").write_text("")
    said(project)
    assert project.times == 3
    (project.root / "index").rename(project.root / "moved")
    with pytest.raises(FileNotFoundError):
        said(project)
    assert project.times == 4


@pytest.mark.parametrize("note", [b"", b"{}", b"[1]", b'{"format": 2, "stamps": 3, "folders": 4}', b"\xff"])
def test_damaged(project: Opened, note: bytes) -> None:
    """A note that is damaged is made anew."""
    first = said(project)
    (project.root / NOTE).write_bytes(note)
    assert said(project) == first
    assert project.times == 2


def test_absent(project: Opened) -> None:
    """A kernel that is not there is said, and looked for again each time."""
    assert "far" in said(project, ["far"]) and "doit kernel:far fetches it" in said(project, ["far"])
    assert project.times == 2
    with pytest.raises(ConfigError, match=r"no such kernel here \(hint: did you mean far\?"):
        said(project, ["fra"])


def test_command(project: Opened) -> None:
    """Nothing is predicted of an object whose own loader is asked."""
    assert "not looked at: its own loader" in said(project, None, "command")


def test_object_noted(project: Opened) -> None:
    """An object that is named is noted too, beside the kernels; the second look opens nothing and says the same."""
    (project.root / "source").write_bytes(compiled(OBJECT))
    first = said(project, None, "mine")
    assert "here" in first and project.times == 1
    assert said(project, None, "mine") == first and "here" in said(project)
    assert project.times == 1
    said(project, None, "other")
    assert project.times == 2 and said(project, None, "mine") == first and project.times == 2


def test_object_changed(project: Opened) -> None:
    """A source that changed, bytes that are not what their name says, and ones that are gone open the project again."""
    source = project.root / "source"
    source.write_bytes(compiled(OBJECT))
    said(project, None, "mine")
    source.write_bytes(compiled(OBJECT.replace("pass", "passes")))
    assert "passes" in said(project, None, "mine") and project.times == 2
    place = project.root / hashlib.sha256(source.read_bytes()).hexdigest()
    place.write_bytes(b"damaged")
    assert "passes" in said(project, None, "mine") and project.times == 3
    place.unlink()
    assert "passes" in said(project, None, "mine") and project.times == 4


def test_no_project(tmp_path: Path, project: Opened) -> None:
    """Where no project is, an object is looked at alone."""
    (project.root / "bpfcompat.toml").unlink()
    assert "kernels" not in said(project)
    assert project.times == 0
    with pytest.raises(ConfigError, match=r"nosuch\.o: no such file \(hint: name a file"):
        said(project, None, "nosuch.o")


def test_no_object(project: Opened) -> None:
    """What is no object is an error that names the file."""
    (project.root / "made.o").write_bytes(b"#!/bin/sh")
    with pytest.raises(ObjectError, match=r"made\.o: elf: expected an ELF object"):
        said(project)
