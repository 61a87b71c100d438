"""The lock: what is written is read again, and nothing else is."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bpfcompat.errors import ConfigError
from bpfcompat.kernels.lock import (
    MAX_BYTES,
    RELOCK,
    Lock,
    LockedPackage,
    LockedValidator,
    parse_lock,
    read_lock,
    render_lock,
    write_lock,
)
from bpfcompat.model import LockedFile

FILE = LockedFile("pool/main/l/linux/x_1.deb", 5, "sha256:" + "ab" * 32)
PACKAGE = LockedPackage("linux-image-6.1.0-9-cloud-amd64", "6.1.170-3", "bookworm", (FILE,))
LOCK = Lock(kernels={"b": PACKAGE, "a": PACKAGE}, sources={"libbpf": PACKAGE}, packages={})


def test_round_trip(tmp_path: Path) -> None:
    """A lock comes back as it went."""
    write_lock(tmp_path / "bpfcompat.lock", LOCK)
    assert read_lock(tmp_path / "bpfcompat.lock") == LOCK


def test_validators() -> None:
    """Builds that may be borrowed are part of a lock only where there are some; anything else in their place is not."""
    assert b"validators" not in render_lock(LOCK)
    locked = replace(LOCK, validators={"": LockedValidator("sha256:" + "12" * 32, 7, "sha256:" + "34" * 32)})
    assert parse_lock(render_lock(locked), "x") == locked
    for wrong in ([], {"": {}}, {"": {"recipe": "12", "size": 7, "sha256": "34" * 32}},
                  {"": {"recipe": "12" * 32, "size": -1, "sha256": "34" * 32}}):  # fmt: skip
        with pytest.raises(ConfigError, match="validators"):
            parse_lock(json.dumps({**json.loads(render_lock(LOCK)), "validators": wrong}).encode(), "x")


def test_same_bytes() -> None:
    """Equal locks are equal bytes, whatever the order they were made in; the file names its command."""
    other = Lock(kernels=dict(sorted(LOCK.kernels.items())), sources=LOCK.sources)
    assert render_lock(other) == render_lock(LOCK)
    assert RELOCK.encode() in render_lock(LOCK).splitlines()[1]


def test_shipped() -> None:
    """The repository's own lock is as this code writes it."""
    path = Path(__file__).parents[2] / "bpfcompat.lock"
    assert render_lock(read_lock(path)) == path.read_bytes()


def test_absent(tmp_path: Path) -> None:
    """No lock is an error that says how to get one."""
    with pytest.raises(ConfigError) as caught:
        read_lock(tmp_path / "none.lock")
    assert caught.value.hint == RELOCK


def changed(**values: Any) -> Any:
    raw = json.loads(render_lock(LOCK))
    file = raw["kernels"]["a"]["files"][0]
    for key, value in values.items():
        (file if key in file else raw["kernels"]["a"] if key in raw["kernels"]["a"] else raw)[key] = value
    return raw


@pytest.mark.hostile
@pytest.mark.parametrize(
    "raw",
    [[], 1, {}, changed(format=2), changed(extra=1), changed(kernels=[]), changed(kernels={"a": 1}), changed(files=[]),
     changed(files={}), changed(files=[1]), changed(package=""), changed(package=1), changed(version="a\nb"),
     changed(suite="x" * 2000), changed(path="../x"), changed(path="/x"), changed(path="a/../../x"), changed(path=None),
     changed(size=-1), changed(size=True), changed(size="5"), changed(size=1.5), changed(sha256="ab"),
     changed(sha256=None), changed(sha256="AB" * 32)],
)  # fmt: skip
def test_other_shape(raw: Any) -> None:
    """Anything but the shape that we write is refused, and the error names the command that mends it."""
    with pytest.raises(ConfigError) as caught:
        parse_lock(json.dumps(raw).encode(), "x.lock")
    assert caught.value.message.startswith("x.lock") and caught.value.hint == RELOCK


@pytest.mark.hostile
@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 100_000])
def test_no_json(data: bytes) -> None:
    """Bytes that are no JSON, however deep, are refused."""
    with pytest.raises(ConfigError, match=r"not JSON"):
        parse_lock(data, "x.lock")


@pytest.mark.hostile
def test_too_big(tmp_path: Path) -> None:
    """A lock beyond its bound is not read."""
    (tmp_path / "x.lock").write_bytes(b" " * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="at most"):
        read_lock(tmp_path / "x.lock")
