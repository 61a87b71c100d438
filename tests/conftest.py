"""Which tests stay together when several processes share them out (`pytest -n auto --dist loadgroup`).

Tests that boot real kernels stay with one process: they share this repository's store, count their own guests, and
some of them fill every core by themselves.  Of the others a file stays whole, because its fixtures are dear; scenarios
are told one by one, because they are alone in their folder and long enough to even out who ends last.
"""

import pytest
from hypothesis import settings

# a loaded machine is no finding: no test says how long it may take
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each test the name of its group."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            group = _group(item)
            if group is not None:
                item.add_marker(pytest.mark.xdist_group(group))


def _group(item: pytest.Item) -> str | None:
    if item.get_closest_marker("guest"):
        return "guest"
    return None if item.get_closest_marker("scenario") else item.path.name
