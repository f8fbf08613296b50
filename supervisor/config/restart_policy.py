"""The policy for restarting a crashed worker."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How a crashed worker is restarted. All but `give_up` are seconds."""

    initial: float = 0.1
    """The first wait before a restart; each further one is twice as long."""
    max: float = 60.0
    """The longest wait, before jitter."""
    give_up: int = 12
    """This many crashes within `within` end in FAILED."""
    within: float = 600.0
    healthy: float = 10.0
    """A worker that has run this long is healthy: its next crash restarts it at once, the following
    one after `initial`."""
