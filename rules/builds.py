"""`bpfcompat kernel show` and `kernel diff`: inventories of this project's kernels, made where they are not there."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bpfcompat import buildtext, kmods, libbpfs, querying
from bpfcompat.builds import Build
from bpfcompat.buildtext import Asked
from bpfcompat.errors import BpfcompatError, ConfigError, did_you_mean
from bpfcompat.realise import NotThere
from bpfcompat.rules.roots import sessions_of
from bpfcompat.rules.session import Session
from bpfcompat.voice import Terminal


def shown(root: Path, name: str, kinds: Sequence[str], as_json: bool, boot: bool = False) -> str:
    """One kernel's inventory, as text or as JSON; ConfigError for a kernel that nobody knows.

    With `boot`, guests are asked what no file says, if they were not before.
    """
    kinds = [_kind(kind) for kind in kinds]
    session = _session(root, name)
    build, modules, asked = session.asker.build(name), _modules(session, name), _asked(session, name, boot)
    if as_json:
        return _json(buildtext.as_json(name, build, modules, asked))
    return buildtext.show(name, session.matrix.kernels[name].about, build, modules, kinds, asked) + "\n"


def _kind(word: str) -> str:
    kind = word.replace("-", "_")
    if kind not in buildtext.KINDS:
        raise ConfigError(f"{word}: nothing that a kernel has", hint=f"one of {', '.join(buildtext.KINDS)}")
    return kind


def _asked(session: Session, name: str, boot: bool) -> Asked | None:
    """What guests said; without `boot` what they said before, if it can be looked up at all."""
    asker = session.asker
    return Asked(asker.hello(name), querying.abilities(asker, name)) if boot else querying.said(asker, name)


def difference(root: Path, names: tuple[str, str], whole: bool, as_json: bool) -> str:
    """What changed from one kernel to another."""
    old, new = ((name, _build(root, name)) for name in names)
    if as_json:
        return _json(buildtext.difference_as_json(old, new))
    return buildtext.show_difference(old, new, whole) + "\n"


def _build(root: Path, name: str) -> Build:
    return _session(root, name).asker.build(name)


def _session(root: Path, name: str) -> Session:
    found = sessions_of(root)
    session = next((s for s in found if name in s.matrix.kernels), None)
    if session is None:
        known = sorted({libbpfs.split(k)[0] for s in found for k in s.matrix.kernels})
        hint = did_you_mean(name, known, f"one of {', '.join(known)}")
        raise ConfigError(f"kernel {name!r}: not in the catalogue", hint=hint)
    if isinstance(session.voice, Terminal):
        session.voice.turn(sys.stderr)
    return session


def _modules(session: Session, name: str) -> dict[str, str] | None:
    """kfunc → module, where a matrix has read the kernel's modules already; reading them takes longer than all else."""
    try:
        index = kmods.index_of(session.asker, name, make=False)
    except (NotThere, BpfcompatError):
        return None
    return index.homes() if index else {}


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
