"""`bpfcompat init`: objects on disk in, proposed entries out, with what this project's store knows of kernels."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from bpfcompat import kmods
from bpfcompat.btftypes import Types
from bpfcompat.carve import objects_in
from bpfcompat.config import FILE
from bpfcompat.errors import BpfcompatError, ObjectError
from bpfcompat.objects import read_prebuilt
from bpfcompat.proposing import Around, propose
from bpfcompat.realise import MAX_OBJECT, NotThere
from bpfcompat.rules.session import Session, open_session
from bpfcompat.tomledit import quoted

ABOUT = """# Proposed by `bpfcompat init` from the objects alone: read it, correct it, add it to bpfcompat.toml.
# Each comment says why; lines that are comments themselves are only likely.  docs/declare.md has all that can be said.
"""


def proposals(paths: Sequence[Path], root: Path) -> Iterator[str]:
    """The entries, one text each; ObjectError for a file that has no object."""
    around, said = known_kernels(root)
    yield f"{ABOUT}# {said}\n"
    for path in paths:
        for number, data in _objects(path):
            origin = [f"prebuilt = {quoted(str(path))}"] + ([f"embedded = {number}"] if number else [])
            yield propose(_name(path, number), origin, data, around)


def _objects(path: Path) -> Iterator[tuple[int, bytes]]:
    """The file itself as number 0, or the objects inside it from 1."""
    data = read_prebuilt(path, MAX_OBJECT)
    found = list(objects_in(data))
    if not found:
        raise ObjectError(f"{path}: expected a BPF object, or a program with one inside")
    if found[0].offset == 0:
        yield 0, data
        return
    yield from ((number, cut.data) for number, cut in enumerate(found, 1))


def _name(path: Path, number: int) -> str:
    stem = re.sub(r"(\.bpf)?\.o$", "", path.name)
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", stem).strip("_-") or "object"
    return f"{plain}_{number}" if number > 1 else plain


def known_kernels(root: Path) -> tuple[Around, str]:
    """What the kernels of this project's store have, and what is said of that; nothing is fetched or built."""
    try:
        session = open_session(root)
    except BpfcompatError:
        return Around({}, {}), f"No {FILE} here: no kernel was looked at, so placeholders are guessed by their names."
    found = {name: types.functions() for name in session.matrix.columns if (types := _types(session, name))}
    modules = _modules(session)
    if not found:
        return Around({}, {}), "No kernel is in the store yet: placeholders are guessed by their names."
    return Around(found, modules), f"Kernels that were looked at: {', '.join(found)}."


def _modules(session: Session) -> dict[str, tuple[str, ...]]:
    """Each kfunc of a module, and the modules that have it on any kernel whose index is there."""
    found: dict[str, set[str]] = {}
    for kernel in session.matrix.columns:
        try:
            index = kmods.index_of(session.asker, kernel, make=False)
        except (NotThere, BpfcompatError):
            continue
        for kfunc, module in (index.homes() if index else {}).items():
            found.setdefault(kfunc, set()).add(module)
    return {kfunc: tuple(sorted(modules)) for kfunc, modules in found.items()}


def _types(session: Session, kernel: str) -> Types | None:
    try:
        blob = session.asker.kernel(kernel, make=False).btf
        return Types(session.asker.shop.store.read(blob)) if blob else None
    except (NotThere, BpfcompatError):
        return None
