"""What `bpfcompat inspect` needs of a project: its objects, and where all that is known of its kernels lies."""

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bpfcompat import kmods
from bpfcompat.anatomy import Anatomy, read_anatomy
from bpfcompat.asking import Asker
from bpfcompat.errors import BpfcompatError, ConfigError, ObjectError
from bpfcompat.looking import target
from bpfcompat.model import DirSource
from bpfcompat.plan import Pair
from bpfcompat.predicting import Prediction, Target, predict
from bpfcompat.realise import NotThere
from bpfcompat.rules.roots import sessions_of
from bpfcompat.rules.session import Session

_KERNELS = Path(__file__).resolve().parent.parent / "kernels"


class Opened:
    """The project in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.session = sessions_of(root)[0]

    def kernels(self) -> dict[str, dict[str, Any]]:
        """Of each kernel where its parts lie; `default`: it is asked without being named."""
        session = self.session
        asked = {pair.kernel for pair in session.matrix.pairs}
        plain = {k for k, spec in session.matrix.kernels.items() if not spec.base and not spec.libbpf}
        return {k: {**facts(session.asker, k), "default": k in asked & plain} for k in session.matrix.kernels}

    def folders(self) -> list[str]:
        """The catalogues that its kernels come from."""
        return [str(_KERNELS), *(str(self.root / c) for c in self.session.config["paths.catalogue"])]

    def object(self, name: str) -> tuple[bytes, bool, str]:
        """An object of the project, from the store."""
        session = self.session
        spec = session.matrix.objects.get(name)
        if spec is None:
            raise ConfigError(f"{name}: no such file, and no object of this project", hint=_nearest(session, name))
        try:
            blob = session.asker.object(name, make=False)
        except NotThere as error:
            raise ConfigError(f"{name}: waits for {error.label}", hint=f"doit object:{name}") from None
        why_not = "its own loader is asked, and nobody knows what that one does" if spec.command else ""
        return session.asker.shop.store.read(blob), bool(spec.declared), why_not


def predicted(asker: Asker) -> Iterator[tuple[Pair, Prediction]]:
    """A prediction of every pair of which one can be made: libbpf is asked, and the object can be read."""
    matrix, store = asker.shop.matrix, asker.shop.store
    objects: dict[str, Anatomy | None] = {}
    targets: dict[str, Target] = {}
    for pair in matrix.pairs:
        if pair.object not in objects:
            objects[pair.object] = _anatomy(store.read(asker.object(pair.object)))
        anatomy = objects[pair.object]
        if anatomy is None or matrix.objects[pair.object].command:
            continue
        if pair.kernel not in targets:
            targets[pair.kernel] = target(pair.kernel, facts(asker, pair.kernel))
        yield pair, predict(anatomy, targets[pair.kernel], bool(matrix.objects[pair.object].declared))


def _anatomy(data: bytes) -> Anatomy | None:
    try:
        return read_anatomy(data)
    except ObjectError:
        return None


def _nearest(session: Session, name: str) -> str:
    near = difflib.get_close_matches(name, session.matrix.objects, 3)
    return f"did you mean {' or '.join(near)}?" if near else "name a file, or an object of bpfcompat.toml"


def facts(asker: Asker, kernel: str) -> dict[str, Any]:
    """Where everything of one kernel lies; `absent` says why it does not."""
    spec = asker.shop.matrix.kernels[kernel]
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
