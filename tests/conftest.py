"""What every test runs with."""

from hypothesis import settings

# a loaded machine is no finding: no test says how long it may take
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")
