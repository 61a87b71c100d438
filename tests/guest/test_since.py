"""The since table against real kernels, by what their own files have; nothing is booted."""

import pytest

from bpfcompat import since
from bpfcompat.asking import Asker
from bpfcompat.builds import ENUMS, Build
from bpfcompat.errors import BpfcompatError
from bpfcompat.realise import NotThere
from bpfcompat.since import version
from tests.guest.conftest import KERNELS, absent

pytestmark = pytest.mark.guest


def series(build: Build) -> str:
    return ".".join(build.release.split(".")[:2])


@pytest.fixture(scope="module")
def builds(asker: Asker) -> dict[str, list[Build]]:
    """Every locked kernel whose files lie here, by release; the default ones are fetched."""
    found: dict[str, list[Build]] = {}
    for name in asker.shop.lock.kernels:
        try:
            asker.kernel(name, make=name in KERNELS)
            build = asker.build(name)
        except NotThere:
            continue
        except BpfcompatError as error:
            absent(str(error))
        found.setdefault(series(build), []).append(build)
    return found


def test_rows(builds: dict[str, list[Build]]) -> None:
    """What is of a release or older is in each of its builds; what is there and newer was taken back: we know none."""
    rows = {key: row for key, row in since.table().items() if key[0] in ENUMS}
    assert sum(map(len, builds.values())) >= len(KERNELS)
    for own, those in builds.items():
        for build in those:
            gone = [key for key, row in rows.items() if version(row.version) <= version(own)
                    and key[1] not in build.names(key[0])]  # fmt: skip
            early = [key for key, r in rows.items() if r.newer_than(build.release) and key[1] in build.names(key[0])]
            unknown = [(kind, name) for kind in ENUMS for name in build.names(kind) if (kind, name) not in rows]
            assert (gone, early, unknown) == ([], [], []), build.release


def test_kfuncs(builds: dict[str, list[Build]]) -> None:
    """A kfunc is in a build of each release from its first to its last one, but for a while, and in no other's.

    Builds of one release differ in what they leave out, so all that the table is made of must lie here.  What only the
    seed has is of modules, and in no vmlinux.
    """
    seen = {name for those in builds.values() for build in those for name in build.kfuncs}
    rows = {name: row for (kind, name), row in since.table().items()
            if kind == "kfuncs" and (name in seen or row.source.startswith("BTF of "))}  # fmt: skip
    told = {text.removeprefix("BTF of ").partition("; ")[0] for row in rows.values() for text in row[1::3]}
    sources = {release for text in told for release in text.split(", ")}
    here = {build.release for those in builds.values() for build in those}
    for own, those in builds.items():
        has = {name for build in those for name in build.kfuncs}
        assert has <= rows.keys(), own
        early = {name for name in has if rows[name].newer_than(f"{own}.0")}
        late = {name for name in has if rows[name].until and version(rows[name].until) <= version(own)}
        assert (early, late) == (set(), set()), own
        if all(release in here for release in sources if release.startswith(f"{own}.")):
            due = {name for name, row in rows.items() if version(row.version) <= version(own)
                   and not (row.until and version(row.until) <= version(own))}  # fmt: skip
            later = {name for other, more in builds.items() if version(other) > version(own)
                     for build in more for name in build.kfuncs}  # fmt: skip
            assert has <= due and due - has <= later, own  # one may be away for a while, under another name
