"""Files by digest: only the bytes that a digest means, from whoever has them."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bpfcompat.action import Action
from bpfcompat.digest import canonical, digest_bytes
from bpfcompat.errors import TrustError
from bpfcompat.lending import archive, borrowed, fetched, unarchive
from bpfcompat.realise import Realiser
from bpfcompat.registry.client import Folder
from bpfcompat.registry.layout import blob_path
from bpfcompat.store import Store

DATA = b"a package"
DIGEST = digest_bytes(DATA)
WHOLE = {"validator": b"init", "libbpf.so": b"so", "attach.tsv": b"table", "include/bpf/usdt.bpf.h": b"header"}


def lender(folder: Path, data: bytes = DATA) -> str:
    """A registry that has these bytes under the digest's name."""
    place = folder / blob_path(DIGEST)
    place.parent.mkdir(parents=True)
    place.write_bytes(data)
    return str(folder)


def steps(said: list[str], *urls: str, borrow: tuple[str, ...] = ("kernels",)) -> Realiser:
    """A run with these settings, which keeps what it says."""
    values = {"substituters.url": urls, "substituters.borrow": borrow}
    config = type("Config", (), {"root": Path("/"), "__getitem__": lambda self, key: values[key]})()
    return cast(Realiser, SimpleNamespace(shop=SimpleNamespace(config=config, voice=SimpleNamespace(say=said.append))))


def test_fetched(tmp_path: Path) -> None:
    """A blob is its digest's bytes, within bounds; what a registry does not have is None."""
    source = Folder(Path(lender(tmp_path / "a")))
    assert fetched(source, DIGEST, 100) == DATA
    assert fetched(source, digest_bytes(b"other"), 100) is None
    with pytest.raises(TrustError, match="bytes"):
        fetched(source, DIGEST, len(DATA) - 1)
    with pytest.raises(TrustError, match="its bytes are not what its name says"):
        fetched(Folder(Path(lender(tmp_path / "b", b"another"))), DIGEST, 100)


def test_next_registry(tmp_path: Path) -> None:
    """A registry with wrong bytes is told of, and the next one asked; what nobody has is None."""
    said: list[str] = []
    urls = (lender(tmp_path / "a", b"wrong"), lender(tmp_path / "b"))
    assert borrowed(steps(said, *urls), "kernels", "kernel:k", DIGEST, len(DATA)) == DATA
    assert "!! borrow: " in said[0] and "its bytes are not what its name says" in said[0]
    assert said[1] == f"   kernel:k: 9 bytes borrowed from {urls[1]}"
    assert borrowed(steps(said, urls[0]), "kernels", "kernel:k", DIGEST, len(DATA)) is None


def test_policy(tmp_path: Path) -> None:
    """Nothing is asked for that [substituters] borrow does not name."""
    said: list[str] = []
    url = lender(tmp_path / "a")
    assert borrowed(steps(said, url, borrow=("verdicts",)), "kernels", "kernel:k", DIGEST, 9) is None
    assert borrowed(steps(said, url), "validators", "validator", DIGEST, 9) is None
    assert said == []


def test_archive(tmp_path: Path) -> None:
    """A validator comes back from its file as it went; equal ones are equal bytes."""
    store = Store(tmp_path / "store").open()
    blobs = {name: store.put_bytes(data) for name, data in WHOLE.items()}
    entry = store.put(Action("validator", "", {}), blobs, {"libbpf": "1.5.0"})
    data = archive(store, entry)
    assert unarchive(data) == (WHOLE, {"libbpf": "1.5.0"})
    assert archive(store, entry) == data


def without(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda found: found["outputs"].pop(name)


@pytest.mark.parametrize(
    "change",
    [
        without("validator"),
        without("libbpf.so"),
        without("attach.tsv"),
        lambda found: found.update(libbpf=1),
        lambda found: found.update(more=1),
        lambda found: found.update(outputs=[]),
        lambda found: found["outputs"].update({"include/bpf/../../etc.h": "AA=="}),
        lambda found: found["outputs"].update({"/etc/passwd": "AA=="}),
        lambda found: found["outputs"].update(validator="A"),
        lambda found: found["outputs"].update(validator=None),
    ],
)
def test_no_validator(change: Callable[[dict[str, Any]], object]) -> None:
    """Anything but what `archive` writes is refused, names of files above all."""
    found: dict[str, Any] = {"libbpf": "1.5.0", "outputs": dict.fromkeys(WHOLE, "AA==")}
    assert unarchive(canonical(found))[0] == dict.fromkeys(WHOLE, b"\0")
    change(found)
    with pytest.raises(TrustError):
        unarchive(canonical(found))
