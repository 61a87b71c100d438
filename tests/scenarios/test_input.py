"""Input that is wrong: exit code 2, one clear line, nothing half-written."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.scenarios.conftest import Ran, Repo

pytestmark = pytest.mark.scenario


def refused(repo: Repo, *args: str) -> Ran:
    """Run, and hold that input was refused in one line and that nothing was begun."""
    ran = repo.doit(*args, code=2)
    assert len(ran.err.splitlines()) == 1, ran.says
    assert ran.err.startswith("bpfcompat: ")
    assert ran.out == ""
    assert repo.boots() == {}
    assert not (repo.store.root / "actions/kernel").exists()
    assert not (repo.root / ".bpfcompat/reports").exists()
    assert not (repo.root / ".bpfcompat/registry").exists()
    return ran


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s["matrix"].update(kernels=["k-a", "debain-12"]), "named 'debain-12' (hint: did you mean debian-12"),
        (lambda s: s["matrix"].update(objects=["alhpa"]), "no object is named 'alhpa' (hint: did you mean alpha?)"),
        (lambda s: s["objects"]["alpha"].update(kernels=["k-d"]), "no kernel is named 'k-d' (hint: did you mean k-"),
        (lambda s: s["objects"]["alpha"].update(expect={"k-d": "compatible"}), "no kernel is named 'k-d'"),
        (lambda s: s["objects"]["alpha"].update(expect="compatable"), "expected pass, fail[:cause]"),
        (lambda s: s["matrix"].update(kernels=[]), "no pair is left"),
        (lambda s: s.update(objects={}), "no objects"),
        (lambda s: s["guest"].update(deadlne_s=3), "[guest]: deadlne_s: unknown key (hint: did you mean deadline_s?)"),
        (lambda s: s["objects"]["alpha"].update(prebuild="x"), "prebuild: unknown key (hint: did you mean prebuilt?)"),
        (lambda s: s.update(object={}), "object: unknown key (hint: did you mean objects?)"),
        (lambda s: s["guest"].update(memory_mb="much"), "expected a whole number from 128 to 65536: with less"),
        (lambda s: s["objects"]["alpha"].update(source="x.bpf.c"), "expected exactly one of source, prebuilt, package"),
    ],
)  # fmt: skip
def test_settings(change: Change, words: str, repo: Repo) -> None:
    """A wrong setting is named, with what was expected and what came."""
    repo.settings(change)
    assert words in refused(repo, "matrix").err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[objects.alpha\n", "not TOML"),
        ('[objects.a]\nprebuilt = "x"\n[objects.a]\nprebuilt = "y"\n', "not TOML: What? a already exists?"),
        ("\0", "not TOML"),
        ('[guest]\nmemory_mb = 256\nmemory_mb = 300\n', "not TOML: Duplicate keys!"),
    ],
)  # fmt: skip
def test_broken_toml(text: str, words: str, repo: Repo) -> None:
    """A file that is not TOML, or says something twice, is refused in the parser's words."""
    (repo.root / "bpfcompat.toml").write_text(text)
    assert f"bpfcompat.toml: {words}" in refused(repo, "matrix").err


def test_no_settings(repo: Repo) -> None:
    """A project without bpfcompat.toml is told so."""
    (repo.root / "bpfcompat.toml").unlink()
    assert "bpfcompat.toml: cannot open: No such file or directory" in refused(repo, "matrix").err


def test_override(repo: Repo) -> None:
    """A setting on the command line is checked as the file is."""
    assert "memory_mb: expected a whole number" in refused(repo, "matrix", "guest.memory_mb=lots").err


def test_override_mistyped(repo: Repo) -> None:
    """A setting on the command line that is nobody's is refused, with the nearest name."""
    assert (
        "guest.memry_mb: unknown setting (hint: did you mean guest.memory_mb?)"
        in refused(repo, "matrix", "guest.memry_mb=300").err
    )


def test_declared_twice(repo: Repo) -> None:
    """An object that dodo.py and bpfcompat.toml both declare is refused: nobody could say which one was meant."""
    (repo.root / "dodo.py").write_text(
        "from bpfcompat.rules import bpf_matrix, bpf_object\n"
        'alpha = bpf_object("alpha", prebuilt="objects/beta.bpf.o")\n'
        "def task_bpf():\n    yield from bpf_matrix(alpha)\n"
    )
    assert "object 'alpha': declared twice" in refused(repo, "matrix").err


def test_object_absent(repo: Repo) -> None:
    """An object whose file is not there is named; the others are asked; the exit code says: your input."""
    (repo.root / "objects/alpha.bpf.o").unlink()
    ran = repo.doit("matrix", code=2)
    assert ran.out.count("!! object:alpha: ") == 1
    assert "objects/alpha.bpf.o" in ran.out
    assert {p.partition("@")[0] for p in repo.boots()} == {"beta", "gamma"}


def test_wrong_in_dodo(repo: Repo) -> None:
    """What dodo.py declares wrongly is refused as the settings file would be."""
    (repo.root / "dodo.py").write_text(
        "from bpfcompat.rules import bpf_matrix, bpf_object\n"
        'delta = bpf_object("delta", prebuild="objects/beta.bpf.o")\n'
        "def task_bpf():\n    yield from bpf_matrix(delta)\n"
    )
    assert "bpf_object('delta'): prebuild: unknown key (hint: did you mean prebuilt?)" in refused(repo, "matrix").err
