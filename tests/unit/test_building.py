"""A kernel's inventory for a verdict: known by its key before it is read, and none where the files say nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from bpfcompat import building
from bpfcompat.errors import KernelError, StoreError
from bpfcompat.model import Blob, Kernel

IMAGE, BTF = Blob("sha256:" + "1" * 64, 1), Blob("sha256:" + "2" * 64, 1)


class Steps:
    """Steps over one kernel, whose inventory ends in an error."""

    def __init__(self, kernel: Kernel, error: Exception) -> None:
        self._kernel, self._error = kernel, error

    def kernel(self, _name: str, _make: bool = True) -> Kernel:
        return self._kernel

    def planned(self, _label: str, compute: Callable[[], Any]) -> Any:
        return compute()

    def have(self, _action: object, _maker: object, _make: bool) -> Any:
        raise self._error


def steps(error: Exception, btf: Blob | None = BTF) -> Any:
    return Steps(Kernel("k", "6.1.0", "x86_64", IMAGE, None, btf, IMAGE), error)


def test_key_without_reading() -> None:
    """The key is there though nothing was read, and is another for other files; a kernel without BTF has none."""
    unread = steps(AssertionError("read"))
    assert building.key_of(unread, "k") == building.action_of(unread, "k").key()
    assert building.key_of(unread, "k") != building.key_of(steps(AssertionError("read"), IMAGE), "k")
    assert building.key_of(steps(AssertionError("read"), None), "k") is None


def test_what_no_reader_reads() -> None:
    """Files that no machine can read an inventory from give none; what only fails here and now is an error."""
    assert building.if_readable(steps(KernelError("damaged")), "k") is None
    assert building.if_readable(steps(AssertionError("read"), None), "k") is None
    with pytest.raises(StoreError):
        building.if_readable(steps(StoreError("cannot read")), "k")


def test_kernel_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network for a kernel that lies here no more is trouble, and no verdict is made as if it had no inventory."""
    away = steps(AssertionError("read"))

    def kernel(_name: str, _make: bool = True) -> Kernel:
        raise KernelError("cannot fetch")

    monkeypatch.setattr(away, "kernel", kernel)
    with pytest.raises(KernelError, match="cannot fetch"):
        building.if_readable(away, "k")
