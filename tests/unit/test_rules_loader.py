"""doit's task loader, ours: names are checked before anything runs, and our errors come without a traceback."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from doit import doit_cmd

from bpfcompat.rules import selection
from bpfcompat.rules.loader import STATE, Loader, check_names, overrides

DODO = """
from bpfcompat.rules import selection
DOIT_CONFIG = {"verbosity": 0}
seen = []
def task_hello():
    seen.append(selection.named("hello"))
    return {"actions": []}
def task_probe():
    for name in ("a@k", "b@k"):
        yield {"name": name, "actions": []}
"""


@pytest.fixture(autouse=True)
def afterwards() -> Iterator[None]:
    """Leave as they were found: doit's variables, the path, the dodo.py as a module, and the selection."""
    path = sys.path[:]
    yield
    sys.path[:] = path
    sys.modules.pop("dodo", None)
    doit_cmd.reset_vars()
    selection.select(None, managed=False)


def loader(folder: Path, dodo: str = DODO) -> Loader:
    """The loader, set up as doit does it, on a dodo.py."""
    (folder / "dodo.py").write_text(dodo)
    made = Loader()
    made.setup({"dodoFile": str(folder / "dodo.py"), "cwdPath": None, "seek_file": False})
    return made


def names(made: Loader, *asked: str, runs: bool = True, default: tuple[str, ...] = ()) -> list[str]:
    """The tasks that it loads for a command line."""
    return [t.name for t in made.load_tasks(SimpleNamespace(execute_tasks=runs, sel_tasks=default), list(asked))]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder, and the one we are in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_defaults(here: Path) -> None:
    """Our defaults stand below the dodo.py's own: its word wins."""
    found = loader(here).load_doit_config()
    assert (found["par_type"], found["continue"], found["verbosity"]) == ("thread", True, 0)
    assert found["dep_file"] == str(STATE / "doit.db") and STATE.is_dir()


def test_state_cannot_be_made(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file where doit's folder should be ends the process with 2 and one line."""
    (here / STATE).write_text("")
    with pytest.raises(SystemExit, match="2"):
        loader(here).load_doit_config()
    assert "cannot make the folder" in capsys.readouterr().err


def test_rules_see_the_selection(here: Path) -> None:
    """When a rule makes its tasks it can see already what was asked for."""
    made = loader(here)
    assert "probe:a@k" in names(made, "probe:a@k")
    assert made.namespace["seen"] == [False]
    assert not selection.everything() and selection.managed()


def test_default_tasks_select(here: Path) -> None:
    """Without a name on the command line the default tasks are what was asked for."""
    names(loader(here), default=("hello",))
    assert selection.named("hello") and not selection.named("probe:a@k")


def test_list_sees_everything(here: Path) -> None:
    """A command that runs nothing, such as list, sees every task."""
    names(loader(here), runs=False)
    assert selection.everything()


@pytest.mark.parametrize("asked", ["probe:a@k", "probe", "probe:*", "*@k", "hello"])
def test_known(asked: str, here: Path) -> None:
    """Names, groups and globs that match something pass."""
    assert names(loader(here), asked)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("probe:a@j", r"probe:a@j: no task has this name \(hint: did you mean probe:a@k or"),
        ("helo", r"helo: no task has this name \(hint: did you mean hello\?"),
        ("zzzzzzzzzzzzz", r"no task has this name \(hint: doit list --all\)"),
        ("verdict:*", r"verdict:\*: no task has this name"),
    ],
)
def test_unknown(asked: str, said: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is nobody's ends the process with 2 before anything runs, with the nearest names."""
    with pytest.raises(SystemExit, match="2"):
        names(loader(here), asked)
    assert re.search(said, capsys.readouterr().err)


def test_options_are_no_names(here: Path) -> None:
    """What begins with a dash is doit's to judge."""
    assert names(loader(here), "hello", "-x")


def test_error_in_dodo(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Our error in a dodo.py ends the process with 2 and its own words."""
    ours = "from bpfcompat.rules import bpf_object\ndef task_x():\n    bpf_object('../x', source='x')\n"
    with pytest.raises(SystemExit, match="2"):
        names(loader(here, ours))
    assert "expected a name of letters, digits" in capsys.readouterr().err


def test_bug_in_dodo(here: Path) -> None:
    """Any other exception is not ours to hide: it traces."""
    with pytest.raises(ZeroDivisionError):
        names(loader(here, "def task_x():\n    1 / 0\n"))


def test_no_names() -> None:
    """Nothing asked is nothing to check."""
    check_names([], set())


@pytest.mark.parametrize(
    ("given", "found"), [({}, {}), ({"guest.memory_mb": "512", "other": "1"}, {"guest.memory_mb": "512"})]
)
def test_overrides(given: dict[str, Any], found: dict[str, str]) -> None:
    """Settings on doit's command line are taken; variables of the dodo.py's own are not ours."""
    for name, value in given.items():
        doit_cmd.set_var(name, value)
    assert overrides() == found
