"""When a crashed worker is started again, and when that is given up. Pure; times are seconds."""

from __future__ import annotations

from dataclasses import dataclass

# Doubled so often, any initial wait is past any cap; more would only overflow.
_MOST_DOUBLINGS = 64


@dataclass(frozen=True, slots=True)
class Policy:
    """How a crashed worker is restarted. All but `give_up` are seconds."""

    initial: float = 0.1
    """The first wait before a restart; each further one is twice as long."""
    max: float = 60.0
    """The longest wait, before jitter."""
    give_up: int = 12
    """So many crashes within `within` end in FAILED."""
    within: float = 600.0
    healthy: float = 10.0
    """A worker that has lived so long is well: after its next crash it starts again at once, then after `initial`."""


def delay(attempt: int, policy: Policy, jitter: float) -> float:
    """Return the seconds to wait before restart number `attempt` (0 is the first).

    `jitter` is a factor from [0.5, 1.5), drawn by the caller. It is applied after the cap, so that
    workers which all wait the longest still do not come back in the same moment.
    """
    return min(policy.max, policy.initial * 2.0 ** min(attempt, _MOST_DOUBLINGS)) * jitter


def recent(crashes: tuple[float, ...], now: float, policy: Policy) -> tuple[float, ...]:
    """Return those of `crashes` (times) that still count against the worker at `now`."""
    return tuple(when for when in crashes if now - when < policy.within)[-policy.give_up :]


def gives_up(crashes: tuple[float, ...], policy: Policy) -> bool:
    """Tell whether `crashes`, all of them recent, are as many as the policy allows."""
    return len(crashes) >= policy.give_up
