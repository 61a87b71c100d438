"""What is predicted to be impossible is not asked, where the project wants that; and it has no answer then."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bpfcompat.btfindex import make_index
from bpfcompat.errors import Exit, NotAskedError
from bpfcompat.foreseeing import SKIP, refuse_certain
from bpfcompat.insns import read_code
from bpfcompat.model import AptSource, Blob, Conditions, Kernel, KernelSpec
from bpfcompat.plan import Pair
from tests.compiling import compiled
from tests.unit.test_predicting import KERNEL

SURE = 'SEC("kprobe/known") int one(void *ctx) { return bpf_loop(1, 0, 0, 0); }'
MAYBE = 'SEC("kprobe/known") int one(void *ctx) { return bpf_ktime_get_ns() ? bpf_loop(1, 0, 0, 0) : 0; }'
GOOD = 'SEC("kprobe/known") int one(void *ctx) { return bpf_ktime_get_ns(); }'


class Store:
    """Bytes by digest, as files."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def blob_path(self, digest: str) -> Path:
        return self.root / digest

    def read(self, blob: Blob) -> bytes:
        return self.blob_path(blob.digest).read_bytes()

    def put(self, name: str, data: bytes) -> Blob:
        self.blob_path(name).write_bytes(data)
        return Blob(name, len(data))


def asker(root: Path, source: str, predict: str = SKIP, **spec: Any) -> Any:
    """Steps of a project of one object and one kernel, KERNEL of test_predicting."""
    store, taken = Store(root), read_code(compiled(KERNEL)).elf
    btf = store.put("btf", taken.contents(taken.named(".BTF")))
    index = store.put("index", make_index(store.read(btf)))
    made = store.put("object", compiled(source))
    found = Kernel("small", "5.8.0", "amd64", Blob("v", 1), None, btf, Blob("v", 1))
    kernels = {"small": KernelSpec("small", "amd64", AptSource("s", "amd64", "p"), conditions=Conditions())}
    objects = {"one": SimpleNamespace(command=None, declared=(), **spec)}
    shop = SimpleNamespace(
        config={"matrix.predict": predict},
        matrix=SimpleNamespace(objects=objects, kernels=kernels),
        store=store,
        lock=SimpleNamespace(kernels={}),
    )
    return SimpleNamespace(
        shop=shop,
        planned=lambda _label, work: work(),
        object=lambda _name: made,
        kernel=lambda _name, make=True: found,
        types_index=lambda _btf: index,
    )


def test_refused(tmp_path: Path) -> None:
    """A certain failure is an error without an answer, which says that it predicts and what forbids the object."""
    with pytest.raises(NotAskedError, match="not asked, because a failure is predicted: helper-missing") as caught:
        refuse_certain(asker(tmp_path, SURE), Pair("one", "small"))
    assert caught.value.exit_code is Exit.INCONCLUSIVE
    assert SKIP in str(caught.value)


@pytest.mark.parametrize("source", [MAYBE, GOOD])
def test_asked(tmp_path: Path, source: str) -> None:
    """What is not certain is asked."""
    refuse_certain(asker(tmp_path, source), Pair("one", "small"))


def test_not_wanted(tmp_path: Path) -> None:
    """By default every kernel is asked."""
    refuse_certain(asker(tmp_path, SURE, "ask"), Pair("one", "small"))
