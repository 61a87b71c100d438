"""Loaders side by side in real guests: the same object on the same kernel, and an answer that hangs on libbpf's age."""

import pytest

from bpfcompat import libbpfs
from bpfcompat.asking import Asker
from bpfcompat.model import Answer
from bpfcompat.plan import Pair

pytestmark = pytest.mark.guest
VERSIONS = {"": "1.5.0", "1.1": "1.1.2", "1.4": "1.4.6", "1.7": "1.7.0"}


@pytest.mark.parametrize(
    ("name", "refusing", "since"), [("loader_tcx", {"1.1"}, "1.4"), ("loader_session", {"1.1", "1.4"}, "1.5")]
)
def test_age(name: str, refusing: set[str], since: str, asker: Asker, vmlinuz: dict[str, object]) -> None:
    """An older libbpf knows no type for the section, and says so of itself; the kernel is not blamed."""
    pairs = {v: Pair(name, libbpfs.column("debian-13", v)) for v in VERSIONS}
    assert {v: asker.report(p).guest["libbpf"] for v, p in pairs.items()} == VERSIONS
    assert {v for v, p in pairs.items() if asker.verdict(p).answer is not Answer.COMPATIBLE} == refusing
    for loader in refusing:
        found = asker.verdict(pairs[loader])
        assert (found.answer, found.cause) == (Answer.INCONCLUSIVE, "loader-unsupported")
        assert f"libbpf {VERSIONS[loader]} knows no type" in found.sentence
        assert found.hint == f"load it with libbpf {since} or newer"
    keys = [asker.probe_action(p).inputs for p in pairs.values()]
    assert {n for one in keys for n in one if one[n] != keys[0][n]} == {"initramfs", "validator"}
