"""Booted and thawed guests are each other's equals: all examples on all kernels, and what a difference would do."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from bpfcompat.config import load
from bpfcompat.control import Controller
from bpfcompat.digest import canonical
from bpfcompat.errors import ControlError, Exit, GuestError
from bpfcompat.kernels.catalogue import SHIPPED, load_catalogue
from bpfcompat.plan import Pair
from bpfcompat.rules.session import Session
from bpfcompat.voice import Silent
from tests.hosting import ROOT

pytestmark = pytest.mark.guest


def spread(pairs: Sequence[Pair]) -> list[Pair]:
    """A pair of every second object, its kernel taken in turn, and one of every kernel that this leaves out.

    All pairs, which take ten minutes, are asked by `doit run.control_percent=100 control`.
    """
    objects: dict[str, list[Pair]] = {}
    for pair in pairs:
        objects.setdefault(pair.object, []).append(pair)
    found = [its[turn % len(its)] for turn, its in enumerate([*objects.values()][::2])]
    kernels = {pair.kernel: pair for pair in (*pairs, *found)}
    return list(dict.fromkeys([*found, *kernels.values()]))


def test_all_examples(asker: Controller, vmlinuz: dict[str, Path]) -> None:
    """Examples say the same, byte for byte, thawed and booted, on one of their kernels; every kernel is asked."""
    chosen = spread(asker.shop.matrix.pairs)
    assert {p.kernel for p in chosen} == {p.kernel for p in asker.shop.matrix.pairs}
    argv = [str(Path(sys.executable).parent / "doit"), *(f"control:{pair}" for pair in chosen)]
    done = subprocess.run(argv, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    entries = asker.shop.store.keys("control")
    proved = [asker.control_action(p, make=False).key() in entries for p in chosen]
    assert all(proved), f"{proved.count(False)} of {len(proved)} pairs were not asked both ways\n{done.stdout}"


def test_a_difference(asker: Controller, vmlinuz: dict[str, Path], tmp_path: Path) -> None:
    """A pair whose other guest says other things has no answer any more: both are kept, and the run stops with 4."""
    store = asker.shop.store
    text = f'[paths]\nstore = "{store.root.resolve()}"\nlock = "{ROOT}/bpfcompat.lock"\n'
    text += '[objects.odd]\nprebuilt = "odd.o"\n'
    (tmp_path / "bpfcompat.toml").write_text(text)
    (tmp_path / "odd.o").write_bytes(store.read(asker.object("minimal")) + b"\n")
    config = load(tmp_path)
    session = Session(config, config.objects, load_catalogue([SHIPPED]), Silent())
    steps, pair = session.asker, Pair("odd", "debian-12")
    action = steps.probe_action(pair)
    steps.forget(action)
    entry = steps.probe(pair)
    report = json.loads(store.read(entry.outputs["report"]))
    other = store.put_bytes(canonical({**report, "load_errno": 1}))
    steps.forget(action)
    store.put(action, {**entry.outputs, "report": other}, entry.facts)
    session.step(f"control:{pair}", lambda: session.control(pair))
    assert isinstance(session.troubles[f"control:{pair}"], ControlError)
    assert store.get(action) is None
    kept = json.loads(store.quarantine_path(action.key()).read_text())
    assert sorted(kept["outputs"]) == sorted([other.digest, entry.outputs["report"].digest])
    asked = []
    session.step("probe:next@debian-12", lambda: asked.append(1))
    assert (asked, session.outcome()) == ([], Exit.UNTRUSTED)
    with pytest.raises(GuestError, match="flaky"):
        steps.probe(pair)
    assert steps.forget(action)
