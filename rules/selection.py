"""Which tasks were asked for, so that rules make only those: set by our loader, None under doit's own."""

import fnmatch
from collections.abc import Iterable, Sequence

_selected: tuple[str, ...] | None = None
_managed = False
_plain = True


def select(names: Sequence[str] | None, managed: bool = True) -> None:
    """Remember the names on the command line; None means every task.  `managed`: our commands are in charge."""
    global _selected, _managed, _plain  # noqa: PLW0603 - doit gives creators no arguments, so this is its only way in
    _selected = None if names is None else tuple(names)
    _managed = managed
    _plain = False


def managed() -> bool:
    """True when our own commands run, which turn troubles into exit codes after all tasks had their turn."""
    return _managed


def plain() -> bool:
    """True under doit's own loader, where a bare `doit` runs every task that there is."""
    return _plain


def everything() -> bool:
    """True when every task is wanted: `doit list`, `info`, `clean`, or doit without our loader."""
    return _selected is None


def named(label: str) -> bool:
    """True when a task is asked for by its name, a glob, or the name of its group."""
    if _selected is None:
        return True
    group = label.partition(":")[0]
    return any(n in (label, group) or ("*" in n and fnmatch.fnmatch(label, n)) for n in _selected)


def exactly(label: str) -> bool:
    """True when a task is asked for by its whole name."""
    return _selected is not None and label in _selected


def subjects(groups: Iterable[str]) -> list[str] | None:
    """What tasks of these groups were asked for, each by its whole name; None when anything else was asked for."""
    if not _selected:
        return None
    found = [(group, name) for group, _, name in (n.partition(":") for n in _selected)]
    return [name for _, name in found] if all(g in groups and n and "*" not in n for g, n in found) else None


def any_named(labels: Iterable[str]) -> bool:
    """True when any of these is asked for."""
    return any(named(label) for label in labels)


def may_name(groups: Iterable[str]) -> bool:
    """False when nothing that is asked for can be a task of these groups, so that none of them must be looked at."""
    return _selected is None or any("*" in n or n.partition(":")[0] in groups for n in _selected)
