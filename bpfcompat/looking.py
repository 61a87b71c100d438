"""The look before any boot, without opening the project: what an earlier look noted of its kernels.

A project takes a tenth of a second to open, and its kernels rarely change; so what a look needs of them (where their
types and the index of these lie in the store) is noted beside the store, with the files that it hangs on; of objects
that were looked at by name likewise.  When one of these files has another time or size, or anything that is noted is
gone, the project is opened and noted anew.
"""

import json
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, Protocol

from bpfcompat.anatomy import read_anatomy
from bpfcompat.btfindex import KernelTypes
from bpfcompat.digest import digest_bytes, hex_of
from bpfcompat.errors import ConfigError, ObjectError, did_you_mean
from bpfcompat.files import read_bounded, write_atomic
from bpfcompat.inspecting import look, names_in, text, to_json
from bpfcompat.predicting import Target

MAX_OBJECT = 64 << 20
NOTE = ".bpfcompat/inspect.json"
NOTE_FORMAT = 2
MAX_NOTE = 16 << 20
PROJECT = ("bpfcompat.toml", "dodo.py", "bpfcompat.lock")

Facts = Mapping[str, dict[str, Any]]


class Project(Protocol):
    """A project that was opened."""

    def kernels(self) -> Facts:
        """Of each kernel where its parts lie, as `target` takes them, or why it is `absent`."""

    def folders(self) -> list[str]:
        """The catalogues that its kernels come from."""

    def object(self, name: str) -> dict[str, Any]:
        """Where an object's bytes lie, whether its own loader changes it (`declared`), why nothing is predicted of it
        (`why_not`), and the `files` that its bytes hang on.
        """


def inspect(
    root: Path, name: str, kernels: Sequence[str] | None, as_json: bool, open_project: Callable[[], Project]
) -> str:
    """What is said of an object, and of it with these kernels; None: the project's own, if a project is here."""
    note = _Note(root, open_project)
    if Path(name).is_file():
        data, declared, why_not = read_bounded(Path(name), MAX_OBJECT, ObjectError), False, ""
    elif not _is_project(root):
        raise ConfigError(f"{name}: no such file", hint="name a file, or run it in a project's folder")
    else:
        data, declared, why_not = note.object(name)
    known = note.wanted(kernels)
    absent = {k: why_not or noted["absent"] for k, noted in known.items() if why_not or "absent" in noted}
    targets = [target(k, noted) for k, noted in known.items() if k not in absent]
    try:
        looked = look(name, len(data), read_anatomy(data), targets, declared, absent)
    except ObjectError as error:
        raise names_in(error, name) from None
    return json.dumps(to_json(looked), indent=1) + "\n" if as_json else text(looked)


class _Note:
    """What was noted of a project, and the project itself, which is opened once where the note does not do."""

    def __init__(self, root: Path, open_project: Callable[[], Project]) -> None:
        self.root = root
        self.project = cache(open_project)

    @cached_property
    def body(self) -> dict[str, Any]:
        """The whole note, if it still holds; else of the project as it is now, and no object."""
        return self._kept() or self._fresh()

    def object(self, name: str) -> tuple[bytes, bool, str]:
        """An object of the project: its bytes, whether it is changed before loading, why nothing is predicted of it."""
        noted = self._object_kept(name)
        if noted is None:
            noted = self.project().object(name)
            noted = {**noted, "stamps": _stamps(noted["files"])}
            self.body["objects"][name] = noted
            self._write()
        return read_bounded(Path(noted["path"]), MAX_OBJECT, ObjectError), noted["declared"], noted["why_not"]

    def _object_kept(self, name: str) -> dict[str, Any] | None:
        try:
            noted: dict[str, Any] = (self._kept() or {})["objects"][name]
            data = read_bounded(Path(noted["path"]), MAX_OBJECT, ObjectError)
            same = noted["stamps"] == _stamps(noted["files"]) and Path(noted["path"]).name == hex_of(digest_bytes(data))
        except (ObjectError, OSError, KeyError, TypeError, AttributeError):
            return None
        return noted if same else None

    def wanted(self, kernels: Sequence[str] | None) -> Facts:
        """The kernels that are asked for, of the note if all that is wanted was there."""
        if kernels is None and not _is_project(self.root):
            return {}
        if not self._complete(kernels):
            self.body = self._fresh()
        known: Facts = self.body["kernels"]
        names = _chosen(known, kernels)
        unknown = [n for n in names if n not in known]
        if unknown:
            hint = did_you_mean(unknown[0], known, ", ".join(known))
            raise ConfigError(f"--kernel {unknown[0]}: no such kernel here", hint=hint)
        return {name: known[name] for name in names}

    def _complete(self, wanted: Sequence[str] | None) -> bool:
        try:
            looked = [self.body["kernels"][name] for name in _chosen(self.body["kernels"], wanted)]
            gone = [path for noted in looked for path in _paths(noted) if not os.path.exists(path)]
        except (KeyError, TypeError, AttributeError):
            return False
        return not gone and not any("absent" in noted for noted in looked)

    def _fresh(self) -> dict[str, Any]:
        project = self.project()
        folders = project.folders()
        stamps, found = _project_stamps(self.root, folders), project.kernels()
        self.body = {"format": NOTE_FORMAT, "folders": folders, "stamps": stamps, "kernels": found, "objects": {}}
        self._write()
        return self.body

    def _write(self) -> None:
        if not any(noted.get("changes") for noted in self.body["kernels"].values()):
            write_atomic(self.root / NOTE, json.dumps(self.body).encode())

    def _kept(self) -> dict[str, Any] | None:
        """The note, if the project is as it was."""
        try:
            body: dict[str, Any] = json.loads(read_bounded(self.root / NOTE, MAX_NOTE, ConfigError))
            if body["format"] != NOTE_FORMAT or body["stamps"] != _project_stamps(self.root, body["folders"]):
                return None
        except (ConfigError, OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return body


def _is_project(root: Path) -> bool:
    return any((root / name).is_file() for name in PROJECT[:2])


def _project_stamps(root: Path, folders: Sequence[str]) -> dict[str, list[int]]:
    """Of what the note hangs on; the environment's settings are part of it."""
    entries = (path for folder in folders for path in sorted(Path(folder).glob("*.toml")))
    settings = sorted(f"{k}={v}" for k, v in os.environ.items() if k.startswith("BPFCOMPAT_"))
    found = _stamps((*(root / name for name in PROJECT), Path(__file__), *entries))
    return {**found, **{setting: [] for setting in settings}}


def _stamps(paths: Iterable[Path | str]) -> dict[str, list[int]]:
    """Times and sizes of the files and folders that are there."""
    found = {}
    for path in map(Path, paths):
        if path.exists():
            seen = path.stat()
            found[str(path)] = [seen.st_mtime_ns, seen.st_size]
    return found


def _chosen(known: Facts, kernels: Sequence[str] | None) -> list[str]:
    return [n for n, noted in known.items() if noted["default"]] if kernels is None else list(kernels)


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
