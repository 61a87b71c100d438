"""`bpfcompat inspect`: an object by path or name, kernels of the project, and what was noted of them before.

A project takes a tenth of a second to open, and its kernels rarely change; so what an inspection needs of them (where
their types and the index of these lie in the store) is noted beside the store, with the files that it hangs on.  When
one of these has another time or size, or anything that is noted is gone, the project is opened and noted anew.
"""

import json
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfcompat.anatomy import read_anatomy
from bpfcompat.btfindex import KernelTypes
from bpfcompat.errors import BpfcompatError, ConfigError, ObjectError
from bpfcompat.files import read_bounded, write_atomic
from bpfcompat.inspecting import look, names_in, text, to_json
from bpfcompat.predicting import Target

if TYPE_CHECKING:
    from bpfcompat.rules.session import Session

MAX_OBJECT = 64 << 20
NOTE = ".bpfcompat/inspect.json"
NOTE_FORMAT = 1
MAX_NOTE = 16 << 20
_HANGS_ON = ("bpfcompat.toml", "bpfcompat.lock", "dodo.py")
_HERE = Path(__file__).resolve()
_KERNELS = _HERE.parent.parent / "kernels"


def inspect(root: Path, name: str, kernels: Sequence[str] | None, as_json: bool) -> str:
    """What is said of an object, and of it with these kernels; None: the project's own, if a project is here."""
    known = _Known(root)
    data, declared, why_not = _object(known, name)
    wanted = () if why_not else known.wanted(kernels)
    targets, absent = [], dict.fromkeys(known.wanted(kernels), why_not) if why_not else {}
    for kernel in wanted:
        noted = known.kernels[kernel]
        if "absent" in noted:
            absent[kernel] = noted["absent"]
        else:
            targets.append(_target(kernel, noted))
    try:
        looked = look(name, len(data), read_anatomy(data), targets, declared, absent)
    except ObjectError as error:
        raise names_in(error, name) from None
    return json.dumps(to_json(looked), indent=1) + "\n" if as_json else text(looked)


def _object(known: "_Known", name: str) -> tuple[bytes, bool, str]:
    """An object's bytes, whether its own loader changes it, and why nothing is predicted of it."""
    path = Path(name)
    if path.is_file():
        return read_bounded(path, MAX_OBJECT, ObjectError), False, ""
    return known.object(name)


class _Known:
    """What is known of the project in a folder; opened only if nothing is noted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kernels: Mapping[str, dict[str, Any]] = {}
        self._session: Session | None = None

    def wanted(self, kernels: Sequence[str] | None) -> tuple[str, ...]:
        """The kernels that are asked for, with all that is known of them in `kernels`."""
        if kernels is None and not any((self.root / name).is_file() for name in ("bpfcompat.toml", "dodo.py")):
            return ()
        if not self.kernels:
            self.kernels = _noted(self.root, kernels) or self._note()
        names = _chosen(self.kernels, kernels)
        unknown = [n for n in names if n not in self.kernels]
        if unknown:
            raise ConfigError(f"--kernel {unknown[0]}: no such kernel here", hint=", ".join(self.kernels))
        return tuple(dict.fromkeys(names))

    def session(self) -> "Session":
        """The project, opened."""
        from bpfcompat.rules.roots import sessions_of

        if self._session is None:
            self._session = sessions_of(self.root)[0]
        return self._session

    def object(self, name: str) -> tuple[bytes, bool, str]:
        """An object of the project, from the store."""
        from bpfcompat.realise import NotThere

        session = self.session()
        spec = session.matrix.objects.get(name)
        if spec is None:
            raise ConfigError(f"{name}: no such file, and no object of this project", hint=_nearest(session, name))
        try:
            blob = session.asker.object(name, make=False)
        except NotThere as error:
            raise ConfigError(f"{name}: waits for {error.label}", hint=f"doit object:{name}") from None
        why_not = "its own loader is asked, and nobody knows what that one does" if spec.command else ""
        return session.asker.shop.store.read(blob), bool(spec.declared), why_not

    def _note(self) -> Mapping[str, dict[str, Any]]:
        session = self.session()
        folders = [str(_KERNELS), *(str(self.root / c) for c in session.config["paths.catalogue"])]
        stamps = _stamps(self.root, folders)
        asked = {pair.kernel for pair in session.matrix.pairs}
        plain = {k for k, spec in session.matrix.kernels.items() if not spec.base and not spec.libbpf}
        found = {k: {**_facts(session, k), "default": k in asked & plain} for k in session.matrix.kernels}
        if not any(noted.pop("changes", False) for noted in found.values()):
            body = {"format": NOTE_FORMAT, "folders": folders, "stamps": stamps, "kernels": found}
            write_atomic(self.root / NOTE, json.dumps(body).encode())
        return found


def _nearest(session: "Session", name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, session.matrix.objects, 3)
    return f"did you mean {' or '.join(near)}?" if near else "name a file, or an object of bpfcompat.toml"


def _facts(session: "Session", kernel: str) -> dict[str, Any]:
    """Where everything of one kernel lies; `absent` says why it does not."""
    from bpfcompat import kmods
    from bpfcompat.model import DirSource
    from bpfcompat.realise import NotThere

    asker, spec = session.asker, session.matrix.kernels[kernel]
    try:
        found = asker.kernel(kernel, make=False)
    except NotThere:
        return {"absent": f"doit kernel:{spec.locked_as} fetches it"}
    except BpfcompatError as error:
        return {"absent": error.message}
    store = asker.shop.store
    index = asker.types_index(found.btf) if found.btf else None
    try:
        homes: dict[str, str] | None = kmods.homes(asker, kernel, make=False)
    except (NotThere, BpfcompatError):
        homes = None
    blobs = {"btf": found.btf, "index": index, "config": found.config}
    return {
        "release": found.release,
        "shown": spec.conditions.btf,
        "homes": homes,
        "changes": isinstance(spec.source, DirSource),  # a folder may change without a word in any file of ours
        **{name: str(store.blob_path(blob.digest)) if blob else "" for name, blob in blobs.items()},
    }


def _stamps(root: Path, folders: Sequence[str]) -> dict[str, list[int]]:
    """Times and sizes of what the note hangs on; the environment's settings are part of it."""
    found = {}
    entries = (path for folder in folders for path in sorted(Path(folder).glob("*.toml")))
    for path in (*(root / name for name in _HANGS_ON), _HERE, *entries):
        if path.exists():
            seen = path.stat()
            found[str(path)] = [seen.st_mtime_ns, seen.st_size]
    settings = sorted(f"{k}={v}" for k, v in os.environ.items() if k.startswith("BPFCOMPAT_"))
    return {**found, **{setting: [] for setting in settings}}


def _chosen(known: Mapping[str, dict[str, Any]], kernels: Sequence[str] | None) -> list[str]:
    return [n for n, noted in known.items() if noted["default"]] if kernels is None else list(kernels)


def _noted(root: Path, wanted: Sequence[str] | None) -> Mapping[str, dict[str, Any]] | None:
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


def _target(name: str, noted: Mapping[str, Any]) -> Target:
    types = None
    if noted["btf"]:
        types = KernelTypes(_mapped(noted["btf"]), Path(noted["index"]).read_bytes())
    return Target(name, noted["release"], types, noted["shown"], noted["homes"], partial(_options, noted["config"]))


def _mapped(path: str) -> mmap.mmap:
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _options(path: str) -> frozenset[str] | None:
    if not path:
        return None
    lines = Path(path).read_text("utf-8", "replace").split("\n")
    return frozenset(line.partition("=")[0] for line in lines if line.startswith("CONFIG_"))
