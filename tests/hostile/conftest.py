"""What several attacks begin with."""

import shutil
from pathlib import Path

import pytest

from tests.claims import registry


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry that verifies, made once; not to be changed."""
    folder = tmp_path_factory.mktemp("whole") / "registry"
    registry(folder)
    return folder


@pytest.fixture
def good(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "registry"))
