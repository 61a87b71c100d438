"""What every test runs with."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

# a loaded machine is no finding: no test says how long it may take
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")


@pytest.fixture(autouse=True, scope="session")
def nobodys_memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests see of logs is not remembered for whoever runs them, nor what they refuse told in this project."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("BPFCOMPAT_PATHS_TRAIL", str(tmp_path_factory.mktemp("trail") / "trail.jsonl"))
        yield
