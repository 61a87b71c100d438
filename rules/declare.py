"""The rules: objects and kernels declared in Python, checked as bpfcompat.toml is, and turned into tasks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bpfcompat.config import kernel_spec, object_spec
from bpfcompat.model import KernelSpec, ObjectSpec
from bpfcompat.rules.loader import overrides
from bpfcompat.rules.session import open_session
from bpfcompat.rules.tasks import Task, matrix_tasks, publish_tasks


def bpf_object(name: str, **fields: Any) -> ObjectSpec:
    """An object: the fields of an [objects.NAME] table; paths are relative to the folder of the dodo.py.

    Exactly one of source, prebuilt, package (with member); then cflags, attach, kernels, modules, files, optional,
    expect, tests, and what its own loader does before load: maps, programs, variants, constants, kconfig
    (docs/declare.md); or that loader itself: command, a dict as the table (docs/command.md).
    Raises ConfigError as the settings file does.
    """
    return object_spec(name, fields, Path.cwd(), f"bpf_object({name!r})")


def kernel(name: str, **fields: Any) -> KernelSpec:
    """A kernel: the fields of a [kernels.NAME] table: exactly one of apt, dir, url, base; then arch, optional,
    about, conditions (lockdown, modules, …) and asserts.
    """
    return kernel_spec(name, fields, Path.cwd(), f"kernel({name!r})")


def bpf_matrix(*members: ObjectSpec | KernelSpec, root: Path | str = ".", publish: bool = True) -> Iterator[Task]:
    """All tasks of one project: its settings' objects and kernels, and those given here; once per project.

    Yields doit task dictionaries named `kernel:…`, `validator`, `guest:…`, `object:…`, `probe:…@…`, `verdict:…@…`,
    `report`, `matrix` and `kernels:lock`; with `publish` also those of `bpf_publish`, on which `matrix` then waits.
    """
    objects = {m.name: m for m in members if isinstance(m, ObjectSpec)}
    kernels = {m.name: m for m in members if isinstance(m, KernelSpec)}
    yield from matrix_tasks(open_session(Path(root), objects, kernels, overrides()), publish)


def bpf_publish(root: Path | str = ".") -> Iterator[Task]:
    """`publish`, `verify` and `serve` of a project whose matrix was declared above with `publish=False`.

    Publishing is then a step of its own: `doit publish` asks what is missing, judges, and signs what came of it.
    """
    yield from publish_tasks(open_session(Path(root)))
