"""The product as its user runs it: this repository's own matrix on real kernels."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from bpfcompat import kmods
from bpfcompat.asking import Asker
from bpfcompat.btfindex import KernelTypes
from bpfcompat.contradictions import Around, contradictions
from bpfcompat.corelo import Resolver, relocations
from bpfcompat.foreseeing import predicted
from bpfcompat.insns import read_code
from bpfcompat.libbpf import section_type
from bpfcompat.lineinfo import Debug
from bpfcompat.model import Answer, Blob
from bpfcompat.plan import Pair
from bpfcompat.predicting import Word

pytestmark = pytest.mark.guest
ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


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
    """No verdict of the matrix says what the inventory of the same build denies, or the other way round."""
    library = asker.shop.store.checked(asker.validator().outputs["libbpf.so"])

    @cache
    def attach_type(section: str) -> str:
        found = section_type(library, section)
        return f"BPF_{found[1].upper()}" if found else ""

    wrong = []
    for pair in asker.shop.matrix.pairs:
        build, around = asker.build(pair.kernel), Around(kmods.homes(asker, pair.kernel), attach_type)
        wrong += [f"{pair}: {line}" for line in
                  contradictions(build, asker.verdict(pair), asker.report(pair), around)]  # fmt: skip
    assert wrong == []


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
    """What is called impossible no kernel found compatible; most of what is called possible works."""
    counted: dict[tuple[Word, Answer], int] = {}
    for pair, found in predicted(asker):
        answer = asker.verdict(pair).answer
        assert (found.word, answer) != (Word.IMPOSSIBLE, Answer.COMPATIBLE), f"{pair}: {found.obstacles}"
        counted[found.word, answer] = counted.get((found.word, answer), 0) + 1
    print(counted)
    assert counted[Word.IMPOSSIBLE, Answer.INCOMPATIBLE] >= 38
    assert counted[Word.POSSIBLE, Answer.COMPATIBLE] >= 4 * counted[Word.POSSIBLE, Answer.INCOMPATIBLE]
