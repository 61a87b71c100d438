"""The since table against real kernels, by what their own BTF has; nothing is booted."""

from pathlib import Path

import pytest

from bpfcompat import since
from bpfcompat.asking import Asker
from bpfcompat.builds import ENUMS
from tests.guest.conftest import KERNELS

pytestmark = pytest.mark.guest


@pytest.mark.parametrize("kernel", KERNELS)
def test_rows(kernel: str, asker: Asker, vmlinuz: dict[str, Path]) -> None:
    """What is of this release or older is there; what is there and newer was taken back, of which we know none."""
    build = asker.build(kernel)
    own = since.version(".".join(build.release.split(".")[:2]))
    rows = {key: row for key, row in since.table().items() if key[0] in ENUMS}
    absent = [
        key for key, row in rows.items() if since.version(row.version) <= own and key[1] not in build.names(key[0])
    ]
    early = [key for key, row in rows.items() if row.newer_than(build.release) and key[1] in build.names(key[0])]
    unknown = [(kind, name) for kind in ENUMS for name in build.names(kind) if (kind, name) not in rows]
    assert (absent, early, unknown) == ([], [], [])
