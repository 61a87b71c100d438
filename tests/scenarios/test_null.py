"""A run with nothing to do: what it must not even import."""

import pytest

from tests.scenarios.conftest import Repo

pytestmark = pytest.mark.scenario
HEAVY = "requests urllib3 cryptography jinja2 elftools cffi lz4 zstandard urllib.request"
LISTED = f"""
import sys
from doit.doit_cmd import DoitMain
code = DoitMain().run(["matrix"])
print("loaded:", *(m for m in {HEAVY.split()!r} if m in sys.modules))
sys.exit(code)
"""


def test_imports(proved: Repo) -> None:
    """A run that has nothing to do loads nothing that fetches, signs, renders, or takes files apart."""
    ran = proved.run("python", "-c", LISTED)
    assert ran.code == 0, ran.says
    assert "0 ran, 9 already proved" in ran.out
    assert ran.out.splitlines()[-1].split() == ["loaded:"]


def test_writes_nothing(proved: Repo) -> None:
    """A run that has nothing to do changes no file of store, registry and reports."""
    folders = [f".bpfcompat/{f}" for f in ("store/actions", "store/blobs", "store/names", "registry", "reports")]
    before = [proved.digests(f) for f in folders]
    proved.doit("matrix")
    assert [proved.digests(f) for f in folders] == before
