"""What a kernel's guests are given beside the kernel: modules, and those that an object declares.

A kernel's own modules lie in its initramfs and are loaded before a guest is frozen.  An object's are handed over when
its guest is thawed, so that they cost no template of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from bpfcompat import plan
from bpfcompat.digest import digest_bytes
from bpfcompat.errors import ConditionError, KernelError
from bpfcompat.kernels import modules as ko
from bpfcompat.kernels.modules import Chosen, Index
from bpfcompat.model import AptSource, DirSource, ObjectSpec

IN_FOLDER = "a folder holds them in lib/modules/RELEASE"

if TYPE_CHECKING:
    from bpfcompat.action import Action
    from bpfcompat.plan import Pair
    from bpfcompat.realise import Made, Realiser
    from bpfcompat.store import Entry


def entry_of(steps: Realiser, name: str, make: bool = True) -> Entry | None:
    """The stored index of a kernel's modules, with the bytes of its own; None where it came without modules."""
    action = action_of(steps, name, make)
    return steps.have(action, lambda work: _make_index(steps, name), make) if action else None


def action_of(steps: Realiser, name: str, make: bool = True) -> Action | None:
    """The action that reads a kernel's modules."""
    return steps.planned(f"modules:{name}", partial(_action, steps, name, make))


def index_of(steps: Realiser, name: str, make: bool = True) -> Index | None:
    """A kernel's modules; None where it came without."""
    entry = entry_of(steps, name, make)
    if entry is None:
        return None
    blob = entry.outputs["index"]
    return steps.planned(f"index:{blob.digest}", lambda: ko.index_from_bytes(steps.shop.store.read(blob)))


def own(steps: Realiser, name: str, make: bool = True) -> tuple[str, ...]:
    """What this kernel's guests load before anything is asked, in order; ConditionError for a declared one that it
    does not have.
    """
    wanted = steps.shop.matrix.kernels[name].conditions.modules
    entry = entry_of(steps, name, make)
    if entry is None and wanted:
        words = f"kernel {name!r}: modules: {', '.join(wanted)}: it came without modules"
        raise ConditionError(words, hint=IN_FOLDER)
    lacking = [m for m in wanted if entry and m in entry.facts["absent"]]
    if lacking:
        raise ConditionError(f"kernel {name!r}: modules: {', '.join(lacking)}: this kernel has no such module")
    return tuple(entry.facts["given"]) if entry else ()


def content(steps: Realiser, name: str) -> list[tuple[str, bytes]]:
    """The files of a kernel's own modules in its initramfs, by path, and the order file last."""
    names, entry, index = own(steps, name), entry_of(steps, name), index_of(steps, name)
    if entry is None or index is None or not names:
        return []
    top, read = f"lib/modules/{index.release}", steps.shop.store.read
    given = [index.modules[n] for n in names]
    files = [(f"{top}/{m.path}", read(entry.outputs[f"ko/{m.name}"])) for m in given]
    return [*files, (f"{top}/{ko.ORDER}", ko.order_lines(given))]


def declared(steps: Realiser, pair: Pair) -> bytes:
    """What a pair's guest is handed over: modules that the object declares and the kernel has not loaded by then."""
    spec = steps.shop.matrix.objects[pair.object]
    if not spec.modules:
        return b""
    index = index_of(steps, pair.kernel)
    if index is None:
        names = ", ".join(spec.modules)
        said = f"kernel {pair.kernel!r}: came without modules, and object {pair.object!r} declares {names}"
        raise KernelError(said, hint=IN_FOLDER)
    wanted = _beyond(steps, pair, index)
    return ko.pack(_contents(steps, pair.kernel, wanted) if wanted.order else [], wanted.absent)


def packed_action(steps: Realiser, pair: Pair) -> Action:
    """The action of taking what `declared` hands over from its package; NotThere where nothing is taken."""
    from bpfcompat.realise import NotThere

    index = index_of(steps, pair.kernel, make=False) if steps.shop.matrix.objects[pair.object].modules else None
    wanted = _beyond(steps, pair, index) if index else None
    if wanted is None or not wanted.order:
        raise NotThere(f"pack:{pair.kernel}")
    return _pack_action(steps, pair.kernel, wanted)


def _beyond(steps: Realiser, pair: Pair, index: Index) -> Chosen:
    """What an object declares and its kernel's guests have not loaded by themselves."""
    chosen = _chosen(pair.kernel, index, steps.shop.matrix.objects[pair.object].modules)
    loaded = own(steps, pair.kernel)
    return Chosen(tuple(m for m in chosen.order if m.name not in loaded), chosen.absent)


def homes(steps: Realiser, name: str, make: bool = True) -> dict[str, str]:
    """kfunc → the module of this kernel that holds it."""
    index = index_of(steps, name, make)
    return index.homes() if index else {}


def digest_of(steps: Realiser, name: str, make: bool = True) -> str | None:
    """The digest of a kernel's index, which stands for every byte of its modules."""
    entry = entry_of(steps, name, make)
    return entry.outputs["index"].digest if entry else None


# --- from the package


def _action(steps: Realiser, name: str, make: bool) -> Action | None:
    files = _files(steps, name)
    if not files:
        return None
    kept = (*ko.DEFAULT, *steps.shop.matrix.kernels[name].conditions.modules)
    return plan.modules_action(name, files, steps.kernel(name, make).release, kept)


def _files(steps: Realiser, name: str) -> dict[str, str]:
    """The files that hold modules, or say which are built in, by role; none where the kernel came without."""
    spec = steps.shop.matrix.kernels[name]
    if isinstance(spec.source, AptSource):
        locked = steps.shop.lock.kernels.get(spec.locked_as)
        files = [f for f in locked.files if ko.may_hold(f.path)] if locked else []
        return {str(n): f.digest for n, f in enumerate(files)} if any(ko.holds(f.path) for f in files) else {}
    if isinstance(spec.source, DirSource):
        return {path: steps.shop.memo.digest(spec.source.path / path) for path in ko.folder_files(spec.source.path)}
    return {}


def _members(steps: Realiser, name: str) -> Iterator[tuple[str, bytes]]:
    from bpfcompat.files import read_bounded
    from bpfcompat.kernels.deb import deb_files

    spec = steps.shop.matrix.kernels[name]
    if isinstance(spec.source, DirSource):
        for path in ko.folder_files(spec.source.path):
            yield path, read_bounded(spec.source.path / path, ko.MAX_MODULE, KernelError)
        return
    locked = steps.shop.lock.kernels[spec.locked_as]
    for file in (f for f in locked.files if ko.may_hold(f.path)):
        yield from deb_files(steps.obtain(file, f"kernel:{name}"), ko.wanted_path, ko.MAX_MODULE)


def _make_index(steps: Realiser, name: str) -> Made:
    from bpfcompat.realise import Made

    try:
        index, raw = ko.read(_members(steps, name), steps.kernel(name).release)
    except KernelError as error:
        raise KernelError(f"kernel {name!r}: {error.message}", error.hint) from error
    chosen = _chosen(name, index, (*ko.DEFAULT, *steps.shop.matrix.kernels[name].conditions.modules))
    kept = {f"ko/{m.name}": ko.unpacked(m.path, raw[m.name]) for m in chosen.order}
    facts = {"given": [m.name for m in chosen.order], "absent": list(chosen.absent)}
    return Made({"index": ko.index_bytes(index), **kept}, facts)


def _contents(steps: Realiser, name: str, chosen: Chosen) -> list[tuple[str, bytes]]:
    """The modules' bytes, from the store or now from the package."""
    packed = steps.have(_pack_action(steps, name, chosen), lambda work: _make_pack(steps, name, chosen))
    return [(m.name, steps.shop.store.read(packed.outputs[f"ko/{m.name}"])) for m in chosen.order]


def _pack_action(steps: Realiser, name: str, chosen: Chosen) -> Action:
    return plan.pack_action(name, digest_of(steps, name) or "", [m.name for m in chosen.order])


def _make_pack(steps: Realiser, name: str, chosen: Chosen) -> Made:
    from bpfcompat.realise import AGAIN, CHANGED, Made

    wanted = {m.path: m for m in chosen.order}
    found = {}
    for path, data in _members(steps, name):
        module = wanted.get(ko.below_release(path))
        if module is not None:
            found[f"ko/{module.name}"] = code = ko.unpacked(path, data)
            if digest_bytes(code) != module.digest:
                raise KernelError(f"kernel {name!r}: {path}: {CHANGED}", hint=AGAIN)
    if len(found) != len(wanted):
        raise KernelError(f"kernel {name!r}: its modules {CHANGED}", hint=AGAIN)
    return Made(found)


def _chosen(name: str, index: Index, names: tuple[str, ...]) -> Chosen:
    try:
        return ko.choose(index, names)
    except KernelError as error:
        raise KernelError(f"kernel {name!r}: {error.message}", error.hint) from error


def spec_of(spec: ObjectSpec) -> dict[str, list[str]]:
    """What of an object's modules enters its probe's spec: their names, for the column has the index of all bytes."""
    return {"modules": sorted(spec.modules)} if spec.modules else {}
