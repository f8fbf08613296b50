"""When a crashed worker is restarted, and after how many crashes it is not. Pure; times are seconds."""

from __future__ import annotations

from supervisor.config.restart_policy import RestartPolicy

# Doubled this often, any initial wait exceeds any cap; more doublings would only overflow.
_MOST_DOUBLINGS = 64


def delay(attempt: int, policy: RestartPolicy, jitter: float) -> float:
    """Return the seconds to wait before restart number `attempt` (0 is the first).

    `jitter` is a factor from [0.5, 1.5), drawn by the caller. It is applied after the cap, so that workers
    which all wait the longest do not restart at the same moment.
    """
    return min(policy.max, policy.initial * 2.0 ** min(attempt, _MOST_DOUBLINGS)) * jitter


def recent(crashes: tuple[float, ...], now: float, policy: RestartPolicy) -> tuple[float, ...]:
    """Return the times in `crashes` that still count at `now`."""
    return tuple(when for when in crashes if now - when < policy.within)[-policy.give_up :]


def gives_up(crashes: tuple[float, ...], policy: RestartPolicy) -> bool:
    """Return whether `crashes`, all of them recent, are as many as the policy allows."""
    return len(crashes) >= policy.give_up
