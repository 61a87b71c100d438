"""A reader never goes back to an older root document, and sees another one under a number that it knows."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from bpfcompat.errors import StoreError, TrustError
from bpfcompat.registry.rootmemory import RootMemory
from bpfcompat.rootchain import pinned
from bpfcompat.rootdoc import Document
from tests.roots import HOLDERS, NAME, ed25519, root, signed, versions

CHAIN = versions(5)


@dataclass
class Served:
    """A registry that has these versions, and counts who asks."""

    found: dict[int, bytes]
    asked: list[str] = field(default_factory=list)

    def read(self, path: str, limit: int) -> bytes | None:
        """As Source.read."""
        self.asked.append(path)
        return self.found.get(int(path.removeprefix("root/").removesuffix(".json")))

    def names(self, folder: str) -> None:
        """As Source.names."""


def upto(version: int, chain: dict[int, bytes] = CHAIN) -> Served:
    """A registry up to this version."""
    return Served({n: data for n, data in chain.items() if n <= version})


def meet(folder: Path, start: int, served: Served) -> int:
    """The version that a reader who pinned `start` comes to."""
    return RootMemory(folder).meet(pinned(CHAIN[start]), served).root.version


def test_newer_versions_are_found_and_kept(tmp_path: Path) -> None:
    """From the pinned one to the newest; the next time from there, with one request."""
    assert meet(tmp_path, 1, upto(3)) == 3
    again = upto(4)
    assert meet(tmp_path, 1, again) == 4
    assert again.asked == ["root/4.json", "root/5.json"]
    assert (tmp_path / f"{NAME}.root.json").stat().st_mode & 0o777 == 0o600


def test_never_back(tmp_path: Path) -> None:
    """A registry that holds versions back takes no reader back."""
    assert meet(tmp_path, 1, upto(4)) == 4
    assert meet(tmp_path, 1, upto(2)) == 4
    assert meet(tmp_path, 2, Served({})) == 4


def test_another_pin_of_the_same_chain(tmp_path: Path) -> None:
    """An older or newer pin than the first one leads to the same place; one from beyond what was seen is believed."""
    assert meet(tmp_path, 3, upto(4)) == 4
    assert meet(tmp_path, 1, upto(3)) == 4
    assert meet(tmp_path, 1, Served({})) == 4
    assert meet(tmp_path, 5, Served({})) == 5


def test_held_back_before_they_meet(tmp_path: Path) -> None:
    """A registry that ends before what was seen, and cannot be told to be the same, is refused."""
    assert meet(tmp_path, 3, upto(4)) == 4
    with pytest.raises(TrustError, match="version 2 is the newest here, 4 was seen before"):
        meet(tmp_path, 1, upto(2))
    assert meet(tmp_path, 3, upto(4)) == 4


def test_fork(tmp_path: Path) -> None:
    """Another document under a number that was seen is refused, with both digests, and the memory stays."""
    assert meet(tmp_path, 1, upto(2)) == 2
    fork = pinned(signed(replace(root(), threshold=1)))
    kept = (tmp_path / f"{NAME}.root.json").read_bytes()
    with pytest.raises(TrustError, match=f"root 1 of {NAME}: is {fork.digest} now, {pinned(CHAIN[1]).digest} when"):
        RootMemory(tmp_path).meet(fork, upto(1))
    assert (tmp_path / f"{NAME}.root.json").read_bytes() == kept


def test_broken_chain_changes_nothing(tmp_path: Path) -> None:
    """A chain that does not hold is refused, and what was seen before stays."""
    assert meet(tmp_path, 1, upto(2)) == 2
    strangers = [ed25519(n) for n in (60, 61)]
    forged = signed(root(3, strangers), strangers)
    with pytest.raises(TrustError, match="root 3: 0 of 2 needed version 2's root keys"):
        meet(tmp_path, 1, Served({**CHAIN, 3: forged}))
    assert meet(tmp_path, 1, upto(2)) == 2


def test_registries_do_not_meet(tmp_path: Path) -> None:
    """Two registries have two memories."""
    assert meet(tmp_path, 1, upto(4)) == 4
    other: Document = pinned(signed(replace(root(), name="other.example", keys=()), HOLDERS[:2]))
    assert RootMemory(tmp_path).meet(other, Served({})).root.version == 1


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"newest":"{}","seen":{"1":"sha256:0"}}', b"\xff"])
def test_damaged_memory(tmp_path: Path, damage: bytes) -> None:
    """A damaged memory is an error that says what to do, never the same as none."""
    assert meet(tmp_path, 1, upto(4)) == 4
    (tmp_path / f"{NAME}.root.json").write_bytes(damage)
    with pytest.raises(StoreError, match=r"results\.example\.root\.json.*hint: it is damaged"):
        meet(tmp_path, 1, upto(4))
