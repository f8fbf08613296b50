"""Settings for all tests."""

from __future__ import annotations

from hypothesis import settings

# The same examples each time, so that runs are reproducible; no time limit for an example, as machines are
# sometimes slow.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")
