"""How many regions a device may have, and how they are shared among its files. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# Nanoseconds that a region adds to each I/O of its device (docs/PERFORMANCE.md).
REGION_NS: Final = 12
# The budget of a device that was not measured yet.
UNMEASURED: Final = 300
_FEWEST: Final = 64
_MOST: Final = 10_000
# I/Os after which a mean is trusted: the kernel's times are coarse.
_ENOUGH_IOS: Final = 1_000
# A budget stays where the measured one is within this factor of it, as does a grant: each change drains the device.
_HYSTERESIS: Final = 1.33
# I/Os a second below which a file is idle. While all are, grants stay where they are.
_IDLE_RATE: Final = 1.0
# The share of the busiest file's weight that a file without I/O has: it gets what a busy one leaves.
_IDLE_WEIGHT: Final = 0.001


@dataclass(frozen=True, slots=True)
class Activity:
    """What a device did: `ios` that took `io_ns` together, within `seconds`."""

    ios: int
    io_ns: int
    seconds: float


def measured_budget(activity: Activity, slowdown: float, present: int) -> int:
    """Return the number of regions that slow the device down by the share `slowdown`; `present` where that is near
    it, or where there was too little I/O to measure.

    The regions add to each I/O at most that share of its mean latency, and take at most that share of a CPU.
    """
    if activity.ios < _ENOUGH_IOS or activity.seconds <= 0:
        return present
    by_latency = slowdown * activity.io_ns / activity.ios / REGION_NS
    by_rate = slowdown * 1e9 * activity.seconds / activity.ios / REGION_NS
    budget = round(min(max(min(by_latency, by_rate), _FEWEST), _MOST))
    is_near = present / _HYSTERESIS <= budget <= present * _HYSTERESIS
    return present if is_near else budget


@dataclass(frozen=True, slots=True)
class Demand:
    """A file's part: the regions `wanted` for exact cover, `granted`, and present; `rate` in I/Os a second."""

    wanted: int
    granted: int
    regions: int
    rate: float


def grants(budget: int, demands: Sequence[Demand], *, increase: int) -> list[int]:
    """Return the new grant of each file. The regions that they allow are at most `budget`, or one for each file.

    The regions go where the I/O is. Grants that shrink do so at once; the others grow into what is free, by at most
    `increase` regions together. A grant above what the file wants lets it grow before the next round.
    """
    used = sum(min(one.granted, one.wanted) for one in demands)
    is_idle = all(one.rate < _IDLE_RATE for one in demands)
    if is_idle and used <= budget < sum(one.wanted for one in demands):
        return [one.granted for one in demands]
    targets = _targets(budget, demands)
    settled = [_settled(target, one) for target, one in zip(targets, demands, strict=True)]
    if sum(min(target, one.wanted) for target, one in zip(settled, demands, strict=True)) <= budget:
        targets = settled
    room = budget - sum(
        max(min(target, one.granted, one.wanted), one.regions)
        for target, one in zip(targets, demands, strict=True)
    )
    left = max(0, min(room, increase))
    result = []
    for target, one in zip(targets, demands, strict=True):
        present = max(min(one.granted, one.wanted), one.regions, 1)
        needed = max(0, min(target, one.wanted) - present)
        more = min(needed, left)
        left -= more
        is_limited = target > one.granted and more < needed
        result.append(max(one.granted, present + more) if is_limited else target)
    return result


def _targets(budget: int, demands: Sequence[Demand]) -> list[int]:
    wanted = sum(one.wanted for one in demands)
    if not demands or wanted <= budget:
        spare = (budget - wanted) // max(1, len(demands))
        return [one.wanted + spare for one in demands]
    least = _IDLE_WEIGHT * max(one.rate for one in demands) or 1.0
    weights = [max(one.rate, least) for one in demands]
    return [1 + more for more in _shared(budget - len(demands), [one.wanted - 1 for one in demands], weights)]


def _shared(amount: int, caps: Sequence[int], weights: Sequence[float]) -> list[int]:
    """Return how `amount` is shared by the weights, at most the cap each; it is less than the caps together."""
    shares = [0] * len(caps)
    left, weight_left = max(0, amount), sum(weights)
    # Those that their weight gives more than their cap come first: what they leave is shared by the others.
    for place in sorted(range(len(caps)), key=lambda place: caps[place] / weights[place]):
        shares[place] = min(caps[place], int(left * weights[place] / weight_left + 1e-9))
        left -= shares[place]
        weight_left -= weights[place]
    return shares


def _settled(target: int, one: Demand) -> int:
    """Return the present grant where the target is near it or both allow exact cover, else the target."""
    if target >= one.wanted:
        return one.granted if one.granted >= one.wanted else target
    present = min(one.granted, one.wanted)
    is_near = present / _HYSTERESIS <= target <= present * _HYSTERESIS
    return one.granted if is_near else target
