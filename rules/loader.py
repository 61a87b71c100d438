"""doit's task loader, ours: rules see what was asked for before they make tasks, and names are checked first.

`[tool.doit] loader = "bpfcompat"` in pyproject.toml turns it on.
"""

import fnmatch
import sys
from pathlib import Path
from typing import Any, NoReturn

from doit import doit_cmd
from doit.cmd_base import DodoTaskLoader
from doit.cmd_run import Run as StockRun

from bpfcompat.errors import BpfcompatError, ConfigError, did_you_mean
from bpfcompat.files import ensure_dir
from bpfcompat.rules import selection, session
from bpfcompat.rules.planning import without_gc
from bpfcompat.rules.tasks import possible
from bpfcompat.voice import clean_lines

STATE = Path(".bpfcompat")
DATABASE = STATE / "doit.db"  # doit's own; losing it costs nothing


def refuse(error: BpfcompatError) -> NoReturn:
    """Say one of our errors and end the process: doit would print a traceback, or end with its own code."""
    sys.stderr.write(f"bpfcompat: {clean_lines(str(error))}\n")
    raise SystemExit(int(error.exit_code))


class Loader(DodoTaskLoader):  # type: ignore[misc]
    """Loads dodo.py as doit does, with our defaults and our checks."""

    def setup(self, opt_values: Any) -> None:
        """Import the dodo.py, whose rules may refuse what they are given."""
        try:
            super().setup(opt_values)
        except BpfcompatError as error:
            refuse(error)

    def load_doit_config(self) -> dict[str, Any]:
        """DOIT_CONFIG of the dodo.py over our defaults."""
        try:
            ensure_dir(STATE)
        except BpfcompatError as error:
            refuse(error)
        ours = {
            "backend": "sqlite3",
            "dep_file": str(DATABASE),
            "par_type": "thread",
            "continue": True,
            "verbosity": 2,
            "default_tasks": ["matrix"],
        }
        return {**ours, **super().load_doit_config()}

    def load_tasks(self, cmd: Any, pos_args: list[str]) -> list[Any]:
        """Tasks for what was asked; a name that is nobody's ends the process with exit code 2."""
        names = list(pos_args or cmd.sel_tasks or ()) if cmd.execute_tasks else None
        selection.select(names, managed=type(cmd) is not StockRun)
        try:
            with without_gc():
                tasks: list[Any] = super().load_tasks(cmd, pos_args)
            if not any(t.loader for t in tasks):  # what a delayed creator will make is not known yet
                known = {t.name for t in tasks}.union(*(t.targets for t in tasks))
                check_names([n for n in pos_args if not n.startswith("-")], known)
        except BpfcompatError as error:
            refuse(error)
        return tasks


def check_names(names: list[str], tasks: set[str]) -> None:
    """ConfigError for a name or glob that no task answers to, with the nearest names."""
    for name in names:
        if name in tasks or ("*" in name and fnmatch.filter(tasks, name)):
            continue
        everything = tasks | {n for s in session.sessions() for n in possible(s)}
        hint = did_you_mean(name, sorted(everything), "doit list --all", likeness=0.5)
        raise ConfigError(f"{name}: no task has this name", hint=hint)


def override(setting: str, value: str) -> None:
    """As if `setting=value` stood on doit's command line."""
    doit_cmd._CMDLINE_VARS = {**(doit_cmd._CMDLINE_VARS or {}), setting: value}


def overrides() -> dict[str, str]:
    """Settings given on doit's command line as `section.key=value`; other variables are the dodo.py's own."""
    given: dict[str, Any] = doit_cmd._CMDLINE_VARS or {}  # doit offers no way to list them, only to ask for one
    return {name: str(value) for name, value in given.items() if "." in name}
