"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# The same examples each time, so that a run can be trusted to come out like the last one; no time limit for one of
# them, as machines are slow now and then.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")
