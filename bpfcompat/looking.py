"""The look before any boot, without opening the project: what an earlier look noted of its kernels.

A project takes a tenth of a second to open, and its kernels rarely change; so what a look needs of them (where their
types and the index of these lie in the store) is noted beside the store, with the files that it hangs on.  When one of
these has another time or size, or anything that is noted is gone, the project is opened and noted anew.
"""

import json
import mmap
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from bpfcompat.anatomy import read_anatomy
from bpfcompat.btfindex import KernelTypes
from bpfcompat.errors import ConfigError, ObjectError
from bpfcompat.files import read_bounded, write_atomic
from bpfcompat.inspecting import look, names_in, text, to_json
from bpfcompat.predicting import Target

MAX_OBJECT = 64 << 20
NOTE = ".bpfcompat/inspect.json"
NOTE_FORMAT = 1
MAX_NOTE = 16 << 20
PROJECT = ("bpfcompat.toml", "dodo.py", "bpfcompat.lock")

Facts = Mapping[str, dict[str, Any]]


class Project(Protocol):
    """A project that was opened."""

    def kernels(self) -> Facts:
        """Of each kernel where its parts lie, as `target` takes them, or why it is `absent`."""

    def folders(self) -> list[str]:
        """The catalogues that its kernels come from."""

    def object(self, name: str) -> tuple[bytes, bool, str]:
        """An object's bytes, whether its own loader changes it, and why nothing is predicted of it."""


def inspect(
    root: Path, name: str, kernels: Sequence[str] | None, as_json: bool, open_project: Callable[[], Project]
) -> str:
    """What is said of an object, and of it with these kernels; None: the project's own, if a project is here."""
    path = Path(name)
    if path.is_file():
        data, declared, why_not = read_bounded(path, MAX_OBJECT, ObjectError), False, ""
    else:
        data, declared, why_not = open_project().object(name)
    known = _wanted(root, kernels, open_project)
    absent = {k: why_not or noted["absent"] for k, noted in known.items() if why_not or "absent" in noted}
    targets = [target(k, noted) for k, noted in known.items() if k not in absent]
    try:
        looked = look(name, len(data), read_anatomy(data), targets, declared, absent)
    except ObjectError as error:
        raise names_in(error, name) from None
    return json.dumps(to_json(looked), indent=1) + "\n" if as_json else text(looked)


def _wanted(root: Path, kernels: Sequence[str] | None, open_project: Callable[[], Project]) -> Facts:
    if kernels is None and not any((root / name).is_file() for name in PROJECT[:2]):
        return {}
    known = _noted(root, kernels) or _note(root, open_project())
    names = _chosen(known, kernels)
    unknown = [n for n in names if n not in known]
    if unknown:
        raise ConfigError(f"--kernel {unknown[0]}: no such kernel here", hint=", ".join(known))
    return {name: known[name] for name in names}


def _note(root: Path, project: Project) -> Facts:
    folders = project.folders()
    stamps, found = _stamps(root, folders), project.kernels()
    if not any(noted.get("changes") for noted in found.values()):
        body = {"format": NOTE_FORMAT, "folders": folders, "stamps": stamps, "kernels": found}
        write_atomic(root / NOTE, json.dumps(body).encode())
    return found


def _stamps(root: Path, folders: Sequence[str]) -> dict[str, list[int]]:
    """Times and sizes of what the note hangs on; the environment's settings are part of it."""
    found = {}
    entries = (path for folder in folders for path in sorted(Path(folder).glob("*.toml")))
    for path in (*(root / name for name in PROJECT), Path(__file__), *entries):
        if path.exists():
            seen = path.stat()
            found[str(path)] = [seen.st_mtime_ns, seen.st_size]
    settings = sorted(f"{k}={v}" for k, v in os.environ.items() if k.startswith("BPFCOMPAT_"))
    return {**found, **{setting: [] for setting in settings}}


def _chosen(known: Facts, kernels: Sequence[str] | None) -> list[str]:
    return [n for n, noted in known.items() if noted["default"]] if kernels is None else list(kernels)


def _noted(root: Path, wanted: Sequence[str] | None) -> Facts | None:
    """What was noted, if it still holds, and if all that is wanted was there."""
    try:
        body = json.loads(read_bounded(root / NOTE, MAX_NOTE, ConfigError))
        if body["format"] != NOTE_FORMAT or body["stamps"] != _stamps(root, body["folders"]):
            return None
        kernels: dict[str, dict[str, Any]] = body["kernels"]
        looked = [kernels[name] for name in _chosen(kernels, wanted)]
        gone = [path for noted in looked for path in _paths(noted) if not os.path.exists(path)]
    except (ConfigError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return None if gone or any("absent" in noted for noted in looked) else kernels


def _paths(noted: Mapping[str, Any]) -> Iterator[str]:
    yield from (noted[name] for name in ("btf", "index", "config") if noted.get(name))


def target(name: str, noted: Mapping[str, Any]) -> Target:
    """A kernel as a prediction sees it, from where its parts lie."""
    types = None
    if noted["btf"]:
        types = KernelTypes(_mapped(noted["btf"]), _mapped(noted["index"]))
    return Target(name, noted["release"], types, noted["shown"], noted["homes"], partial(_options, noted["config"]))


def _mapped(path: str) -> mmap.mmap:
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _options(path: str) -> frozenset[str] | None:
    if not path:
        return None
    lines = Path(path).read_text("utf-8", "replace").split("\n")
    return frozenset(line.partition("=")[0] for line in lines if line.startswith("CONFIG_"))
