"""What the project in a folder needs of a store: the keys of its matrix, its locked downloads, its task names.

It only looks.  A step whose key cannot be known now (a compiler is missing) is reached by its last key, by name.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from doit import loader as doit_loader
from doit.exceptions import InvalidCommand, InvalidDodoFile, InvalidTask

from bpfcompat import borrowing, kmods, plan, querying
from bpfcompat.action import Action
from bpfcompat.config import FILE
from bpfcompat.control import Controller
from bpfcompat.errors import BpfcompatError, ConfigError, did_you_mean
from bpfcompat.keeping import Roots
from bpfcompat.model import UrlSource
from bpfcompat.plan import Pair
from bpfcompat.realise import NotThere
from bpfcompat.rules import selection
from bpfcompat.rules.loader import Loader
from bpfcompat.rules.planning import survey
from bpfcompat.rules.session import Session, open_session, sessions
from bpfcompat.rules.tasks import possible
from bpfcompat.store import Store

DODO = "dodo.py"


def sessions_of(root: Path) -> tuple[Session, ...]:
    """The projects that a folder's dodo.py declares, or else its bpfcompat.toml; ConfigError when it has neither."""
    selection.select([])  # declare, make no tasks
    if (root / DODO).is_file():
        _declare(root / DODO)
    if not sessions() and (root / FILE).is_file():
        open_session(root)
    if not sessions():
        raise ConfigError(f"{root}: no bpfcompat.toml here", hint="run it in a project's folder")
    return sessions()


def pair_named(root: Path, name: str) -> tuple[Session, Pair]:
    """The pair OBJECT@KERNEL of a folder's project; ConfigError that says which half is wrong."""
    found = sessions_of(root)
    pair = Pair(*name.rpartition("@")[::2])
    session = next((s for s in found if pair in s.matrix.pairs), None)
    if session is not None:
        return session, pair
    if "@" not in name:
        raise ConfigError(f"{name[:200]}: expected OBJECT@KERNEL", hint="as doit list --all shows them")
    halves = (("object", pair.object, [o for s in found for o in s.matrix.rows]),
              ("kernel of the matrix", pair.kernel, [k for s in found for k in s.matrix.columns]))  # fmt: skip
    for what, own, known in halves:
        if own not in known:
            hint = did_you_mean(own, known, "OBJECT@KERNEL, as doit list --all shows them")
            raise ConfigError(f"{name[:200]}: no {what} is named {own[:100]!r}", hint=hint)
    hint = f"[objects.{pair.object}] kernels and libbpf in {FILE} say of which it is"
    raise ConfigError(f"{name}: {pair.object} is not asked of {pair.kernel}", hint=hint)


def stores_here(folder: Path, given: Path | None = None) -> list[tuple[Store, tuple[Session, ...]]]:
    """The stores of the projects in a folder, with those who use each; or the given one with all of them."""
    if given is not None:
        if not (given / "format").exists():
            raise ConfigError(f"{given}: no store is there", hint="name the folder that [paths] store names")
        os.environ["BPFCOMPAT_PATHS_STORE"] = str(given.absolute())  # so that the projects' keys are looked up in it
        has_project = (folder / DODO).is_file() or (folder / FILE).is_file()
        return [(Store(given.absolute()).open(), sessions_of(folder) if has_project else ())]
    if not ((folder / DODO).is_file() or (folder / FILE).is_file()):
        raise ConfigError(f"{folder}: no {FILE} here", hint="run it in a project's folder, or give --store DIR")
    found: dict[Path, tuple[Store, tuple[Session, ...]]] = {}
    for session in sessions_of(folder):
        store = session.asker.shop.store
        others = found.get(store.root.resolve(), (store, ()))[1]
        found[store.root.resolve()] = (store, (*others, session))
    return list(found.values())


def _declare(dodo: Path) -> None:
    loader = Loader()
    try:
        loader.setup({"dodoFile": str(dodo), "cwdPath": None, "seek_file": False})
        doit_loader.load_tasks(loader.namespace, [], allow_delayed=True)
    except (InvalidCommand, InvalidDodoFile, InvalidTask) as error:
        raise ConfigError(f"{dodo.name}: {error}") from error


def roots(found: Iterable[Session]) -> Roots:
    """What these projects need, together."""
    parts = [_roots(session) for session in found]
    return Roots(
        frozenset().union(*(p.keys for p in parts)),
        frozenset().union(*(p.downloads for p in parts)),
        frozenset().union(*(p.names for p in parts)),
    )


def _roots(session: Session) -> Roots:
    missing = survey(session)
    keys: set[str] = set()
    for look in _looks(session):
        try:
            keys.add(look().key())
        except (NotThere, BpfcompatError):  # has no key yet: `names` has its last one
            continue
    if missing.settled is not None:
        keys.add(missing.settled.key())
    names = {f"{n}:_" if ":" not in n else n for n in (*possible(session), "header")}
    names |= {f"explanation:{pair}" for pair in session.matrix.pairs}  # their keys hang on all results
    return Roots(frozenset(keys), frozenset(_downloads(session)), frozenset(names))


def _looks(session: Session) -> Iterator[Callable[[], Action]]:
    """How to learn the key of each step."""
    asker, matrix = session.asker, session.matrix
    yield from (partial(asker.validator_action, v) for v in ("", *matrix.loaders))
    yield partial(asker.header_action, False)
    yield from (partial(asker.kernel_action, k) for k in matrix.kernels)  # all that are locked or otherwise known
    yield from (partial(asker.build_action, k, False) for k in matrix.kernels)
    asked = {p.kernel for p in matrix.pairs}
    yield from (partial(_types_of, asker, k) for k in matrix.kernels)
    yield from (partial(asker.modules_action, k) for k in asked)
    yield from (partial(asker.hello_action, k, False) for k in asked)
    yield from (partial(querying.action_of, asker, k, False) for k in asked)
    yield from (partial(kmods.packed_action, asker, p) for p in matrix.pairs if matrix.objects[p.object].modules)
    yield from (partial(asker.initramfs_action, k, False) for k in asked)
    yield from (partial(asker.object_action, o, False) for o in {p.object for p in matrix.pairs})
    yield from (partial(asker.packing_action, o, False) for o in {p.object for p in matrix.pairs})
    yield from (partial(asker.probe_action, p, False) for p in matrix.pairs)
    yield from (partial(asker.verdict_action, p, False) for p in matrix.pairs)
    if asker.trust:
        yield from (partial(_loan_of, asker, p) for p in matrix.pairs)


def _loan_of(asker: Controller, pair: Pair) -> Action:
    return borrowing.loan_action(asker.probe_action(pair, make=False))


def _types_of(asker: Controller, kernel: str) -> Action:
    btf = asker.kernel(kernel, make=False).btf
    if btf is None:
        raise NotThere(f"kernel:{kernel}")
    return plan.types_action(btf.digest)


def _downloads(session: Session) -> Iterator[str]:
    lock = session.asker.shop.lock
    for section in (lock.kernels, lock.sources, lock.packages):
        yield from (f.digest for package in section.values() for f in package.files)
    for spec in session.matrix.kernels.values():
        if isinstance(spec.source, UrlSource):
            yield from (d for d in (spec.source.vmlinuz_digest, spec.source.config_digest) if d)
