"""doit's task loader, ours: rules see what was asked for before they make tasks, and names are checked first.

`[tool.doit] loader = "bpfcompat"` in pyproject.toml turns it on.
"""

import difflib
import fnmatch
from pathlib import Path
from typing import Any

from doit.cmd_base import DodoTaskLoader
from doit.doit_cmd import get_var
from doit.exceptions import InvalidDodoFile

from bpfcompat.config import SETTINGS
from bpfcompat.errors import BpfcompatError, ConfigError
from bpfcompat.files import ensure_dir
from bpfcompat.rules import selection, session
from bpfcompat.rules.planning import without_gc
from bpfcompat.rules.tasks import possible

STATE = Path(".bpfcompat")  # doit's own database only; losing it costs nothing


class Refused(InvalidDodoFile):  # type: ignore[misc]
    """One of our errors on its way through doit, which prints it without a traceback."""

    def __init__(self, error: BpfcompatError) -> None:
        super().__init__(str(error))
        self.error = error


class Loader(DodoTaskLoader):  # type: ignore[misc]
    """Loads dodo.py as doit does, with our defaults and our checks."""

    def load_doit_config(self) -> dict[str, Any]:
        """DOIT_CONFIG of the dodo.py over our defaults."""
        try:
            ensure_dir(STATE)
        except BpfcompatError as error:
            raise Refused(error) from error
        ours = {
            "backend": "sqlite3",
            "dep_file": str(STATE / "doit.db"),
            "par_type": "thread",
            "continue": True,
            "verbosity": 2,
            "default_tasks": ["matrix"],
        }
        return {**ours, **super().load_doit_config()}

    def load_tasks(self, cmd: Any, pos_args: list[str]) -> list[Any]:
        """Tasks for what was asked; Refused for a name that is nobody's."""
        runs = bool(cmd.execute_tasks)
        names = list(pos_args or cmd.sel_tasks or ()) if runs else None
        selection.select(names)
        try:
            with without_gc():
                tasks: list[Any] = super().load_tasks(cmd, pos_args)
            check_names([n for n in pos_args if not n.startswith("-")], {t.name for t in tasks})
        except BpfcompatError as error:
            raise Refused(error) from error
        return tasks


def check_names(names: list[str], tasks: set[str]) -> None:
    """ConfigError for a name or glob that no task answers to, with the nearest names."""
    everything = tasks | {n for s in session.sessions() for n in possible(s)}
    for name in names:
        if name in tasks or ("*" in name and fnmatch.filter(tasks, name)):
            continue
        near = difflib.get_close_matches(name, sorted(everything), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "doit list --all"
        raise ConfigError(f"{name}: no task has this name", hint=hint)


def overrides() -> dict[str, str]:
    """Settings given on doit's command line as `section.key=value`."""
    names = [f"{s}.{k}" for s, keys in SETTINGS.items() for k in keys]
    return {n: str(v) for n in names if (v := get_var(n)) is not None}
