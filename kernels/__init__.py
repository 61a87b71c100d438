"""Which kernels exist, and how one becomes files: catalogue, lock, Debian archive, packages, vmlinuz."""

import contextlib
from collections.abc import Iterator

from bpfcompat.errors import BpfcompatError


@contextlib.contextmanager
def about(what: str) -> Iterator[None]:
    """Put what this is about before the words of any error of ours."""
    try:
        yield
    except BpfcompatError as error:
        error.message = f"{what}: {error.message}"
        raise
