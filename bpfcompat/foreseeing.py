"""Predictions of a project's pairs: what its kernels and objects in the store are held against.

`[matrix] predict = "skip-certain-failures"` does not ask a kernel what is predicted to be impossible.  The pair is then
inconclusive, with what forbids it as the reason: nothing is stored, signed or called a verdict.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bpfcompat import kmods
from bpfcompat.anatomy import Anatomy, read_anatomy
from bpfcompat.errors import BpfcompatError, NotAskedError, ObjectError
from bpfcompat.looking import target
from bpfcompat.model import DirSource
from bpfcompat.predicting import Prediction, Target, Word, predict
from bpfcompat.realise import NotThere

if TYPE_CHECKING:
    from bpfcompat.asking import Asker
    from bpfcompat.plan import Pair

SKIP = "skip-certain-failures"


def refuse_certain(asker: Asker, pair: Pair) -> None:
    """NotAskedError where the project does not want to ask what is predicted to be impossible."""
    spec = asker.shop.matrix.objects[pair.object]
    if asker.shop.config["matrix.predict"] != SKIP or spec.command:
        return
    anatomy = asker.planned(
        f"anatomy:{pair.object}", lambda: _anatomy(asker.shop.store.read(asker.object(pair.object)))
    )
    if anatomy is None:
        return
    kernel = asker.planned(f"foreseen:{pair.kernel}", lambda: target(pair.kernel, facts(asker, pair.kernel)))
    found = predict(anatomy, kernel, bool(spec.declared))
    if found.word is Word.IMPOSSIBLE:
        first = next(o for o in found.obstacles if o.certain)
        said = f"{pair}: not asked, because a failure is predicted: {first.cause}: {first.words}"
        raise NotAskedError(said, hint=f'[matrix] predict = "{SKIP}" is set; without it the kernel is asked')


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
