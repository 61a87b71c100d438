"""Fixtures of the tests that boot real kernels: this repository's catalogue, fetched and built as a user's run does.

Where a mirror, QEMU or a compiler is missing, the tests are skipped with that reason; CI sets CI=true, and there a
skip would hide a broken product, so it is a failure.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfcompat.asking import Asker
from bpfcompat.errors import BpfcompatError
from bpfcompat.qemu import BINARY, Qemu, find_qemu
from bpfcompat.rules.session import open_session

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ("debian-11", "debian-12", "debian-13", "debian-13-backports")


def absent(reason: str) -> None:
    """Skip for a person, fail in CI."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def qemu() -> Qemu:
    """The host's QEMU, software emulation."""
    if shutil.which(BINARY) is None:
        absent(f"{BINARY} is not installed")
    return find_qemu()


@pytest.fixture(scope="session")
def asker() -> Iterator[Asker]:
    """This repository's steps over its own store."""
    yield open_session(ROOT).asker


@pytest.fixture(scope="session")
def vmlinuz(asker: Asker) -> dict[str, Path]:
    """The default kernels by name."""
    found = {}
    for name in KERNELS:
        try:
            found[name] = asker.shop.store.checked(asker.kernel(name).image)
        except BpfcompatError as error:
            absent(str(error))
    return found


@pytest.fixture(scope="session")
def a_vmlinuz(vmlinuz: dict[str, Path]) -> Path:
    """Any bootable kernel."""
    return vmlinuz["debian-12"]
