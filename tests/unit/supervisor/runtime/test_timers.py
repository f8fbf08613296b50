"""The lag of timers."""

from __future__ import annotations

import time

from supervisor.runtime.timers import Timers


def test_lag_is_of_the_latest() -> None:
    """The lag is that of the latest timer, reported once; cancelled timers don't count."""
    timers, now = Timers(), time.monotonic()
    timers.at(now - 5, lambda: None)
    timers.at(now - 2, lambda: None)
    timers.at(now - 60, lambda: None).cancel()
    timers.run(now)
    assert 5 <= timers.take_lag() < 60
    assert timers.take_lag() == 0
