"""The product as its user runs it: this repository's own matrix on real kernels."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from bench.predictions import foretold, refuted
from bpfcompat import kmods
from bpfcompat.asking import Asker
from bpfcompat.btfindex import KernelTypes
from bpfcompat.causes import Certainty
from bpfcompat.contradictions import Around, Said, contradictions
from bpfcompat.corelo import Resolver, relocations
from bpfcompat.elf import facts_or_fault
from bpfcompat.foreseeing import predicted
from bpfcompat.insns import read_code
from bpfcompat.libbpf import section_type
from bpfcompat.lineinfo import Debug
from bpfcompat.model import Answer, AttachMode, Blob
from bpfcompat.plan import Pair
from bpfcompat.predicting import Word
from bpfcompat.verdict import refusals

pytestmark = pytest.mark.guest
ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
ABSENT = ("map-type-missing", "prog-type-missing", "attach-type-missing", "config-disabled", "helper-missing",
          "kfunc-missing")  # fmt: skip
UNTOLD = ("struct_ops", "xdp.frags")  # how a subject begins of which no inventory tells


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory, vmlinuz: dict[str, Path]) -> Path:
    """A folder for registry, reports and key; the store is the repository's."""
    return tmp_path_factory.mktemp("matrix")


def doit(outputs: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run doit in this repository; what it publishes goes to `outputs`."""
    places = {
        "BPFCOMPAT_PATHS_REGISTRY": str(outputs / "registry"),
        "BPFCOMPAT_PATHS_REPORTS": str(outputs / "reports"),
        "BPFCOMPAT_SIGNING_KEY": str(outputs / "key.pem"),
    }
    argv = [str(BIN / "doit"), *args]
    return subprocess.run(argv, cwd=ROOT, env={**os.environ, **places}, capture_output=True, text=True, timeout=1500)


@pytest.fixture(scope="module")
def first(outputs: Path) -> subprocess.CompletedProcess[str]:
    """`doit matrix`, whatever the store held before."""
    return doit(outputs, "matrix")


def test_as_expected(first: subprocess.CompletedProcess[str], outputs: Path) -> None:
    """Every example answers on every default kernel as bpfcompat.toml says it was measured."""
    assert first.returncode == 0, first.stdout + first.stderr
    result = json.loads((outputs / "reports" / "matrix.json").read_text())
    assert result["as_expected"]
    assert len({p["object"] for p in result["pairs"]}) >= 12
    assert len({p["kernel"] for p in result["pairs"]}) >= 4


def test_again(first: subprocess.CompletedProcess[str], outputs: Path) -> None:
    """A second run boots nothing and says that all is proved."""
    again = doit(outputs, "matrix")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "0 ran, " in again.stdout
    assert "all as expected" in again.stdout


def test_trusted(first: subprocess.CompletedProcess[str], outputs: Path) -> None:
    """What was published is trusted by who has the public key, and as expected."""
    argv = [str(BIN / "bpfcompat"), "verify", str(outputs / "registry"), "--key", str(outputs / "key.pem.pub")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "trusted, and as expected" in done.stdout


def test_no_contradictions(first: subprocess.CompletedProcess[str], asker: Asker) -> None:
    """No cause that the matrix has of an object, a program or a map says what the inventory of that build denies.

    Neither does one that is found without the inventory, by the tables alone; nor the inventory what a kernel showed.
    """
    library = asker.shop.store.checked(asker.validator().outputs["libbpf.so"])

    @cache
    def attach_type(section: str) -> str:
        found = section_type(library, section)
        return f"BPF_{found[1].upper()}" if found else ""

    wrong, held = [], 0
    for pair in asker.shop.matrix.pairs:
        build, homes, report = asker.build(pair.kernel), kmods.homes(asker, pair.kernel), asker.report(pair)
        facts = facts_or_fault(asker.shop.store.read(asker.object(pair.object)))
        attach = AttachMode(asker.shop.matrix.objects[pair.object].attach)
        told = {
            Said(who, refusal.cause.slug, refusal.finding.subject)
            for known in (build, None)
            for who, refusal in refusals(report, facts, attach, homes, known)
        }
        held += len(told)
        wrong += [f"{pair}: {line}" for line in contradictions(build, told, report, Around(homes, attach_type))]
    assert wrong == []
    assert held > len(asker.shop.matrix.pairs) / 2  # objects, programs and maps that were refused


def test_absent_is_proven(first: subprocess.CompletedProcess[str], asker: Asker) -> None:
    """Of all objects, programs and maps of the matrix, what an inventory can know to be absent is proven by it.

    It knows nothing of which struct_ops a kernel registers, nor of flags that are macros, as that of xdp.frags.
    """
    sure: dict[str, set[Certainty]] = {}
    for pair in asker.shop.matrix.pairs:
        report, facts = asker.report(pair), facts_or_fault(asker.shop.store.read(asker.object(pair.object)))
        attach, homes = AttachMode(asker.shop.matrix.objects[pair.object].attach), kmods.homes(asker, pair.kernel)
        for _, found in refusals(report, facts, attach, homes, asker.build(pair.kernel)):
            if found.cause.slug in ABSENT and not found.finding.subject.startswith(UNTOLD):
                certainty = found.finding.certainty or found.cause.certainty
                sure.setdefault(found.cause.slug, set()).add(certainty)
    assert sure == {slug: {Certainty.PROVEN} for slug in ABSENT}


def test_one_frame_of_truth(first: subprocess.CompletedProcess[str], asker: Asker) -> None:
    """Asking again gives the same report, byte for byte: nothing in it depends on the run."""
    pair = Pair("ringbuf", "debian-12")
    before = asker.probe(pair).outputs["report"]
    assert asker.forget(asker.probe_action(pair))
    assert asker.probe(pair).outputs["report"] == before


def test_relocations_as_reported(first: subprocess.CompletedProcess[str], asker: Asker) -> None:
    """Every CO-RE relocation that a guest told of is resolved to the same values without a guest.

    But for objects that declare modules: their types are in the modules' BTF, which is not looked at before a boot.
    """
    store, known, compared = asker.shop.store, dict[Blob, KernelTypes](), 0
    for pair in asker.shop.matrix.pairs:
        btf, told = asker.kernel(pair.kernel).btf, asker.report(pair).relocations
        if not told or btf is None or asker.shop.matrix.objects[pair.object].modules:
            continue
        types = known.get(btf) or known.setdefault(btf, KernelTypes(store.read(btf)))
        debug = Debug(read_code(store.read(asker.object(pair.object))))
        found = {
            (r.local.function, r.local.word, r.local.spec, None if r.poisoned else r.values)
            for r in Resolver(debug, types).all(relocations(debug))
        }
        assert {(r.function, r.kind, r.spec, r.found) for r in told} <= found, str(pair)
        compared += len(told)
    assert compared > 300


def test_never_more_pessimistic(first: subprocess.CompletedProcess[str], asker: Asker) -> None:
    """What is called impossible no kernel found compatible; most of what is called possible works.

    That goes for each program too: one that cannot load does not, asked alone.
    """
    counted: dict[tuple[Word, Answer], int] = {}
    programs = 0
    for pair, found in predicted(asker):
        answer, report = asker.verdict(pair).answer, asker.report(pair)
        assert refuted(found, answer, report) == [], str(pair)
        counted[found.word, answer] = counted.get((found.word, answer), 0) + 1
        programs += sum(p.name in foretold(found) for p in report.programs)
    print(counted, programs)
    assert programs >= 25
    assert counted[Word.IMPOSSIBLE, Answer.INCOMPATIBLE] >= 38
    assert counted[Word.POSSIBLE, Answer.COMPATIBLE] >= 4 * counted[Word.POSSIBLE, Answer.INCOMPATIBLE]
