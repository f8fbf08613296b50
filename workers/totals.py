"""What a file's regions count together, and how counters travel and are stored."""

from __future__ import annotations

import operator
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, Final

from dmstats.bounds import from_kernel
from dmstats.counters import COUNTED, Counters, from_numbers, from_scalars
from dmstats.device import Device
from dmstats.region import Region

# Where the numbers stand in a reply to @stats_print.
_READS: Final = 0
_SECTORS_READ: Final = 2
_WRITES: Final = 4
_SECTORS_WRITTEN: Final = 6

# Whether timestamps are precise, and the kernel's bounds.
_Kind = tuple[bool, tuple[int, ...]]


def pack(counters: Counters) -> list[Any]:
    """Return counters as plain lists."""
    return [
        *counters.scalars(),
        list(counters.histogram),
        counters.histogram_ns,
        list(counters.bounds_ns),
    ]


def unpack(values: list[Any]) -> Counters:
    """Return counters from what pack() made. Raises ValueError or TypeError for anything else."""
    *scalars, histogram, histogram_ns, bounds_ns = values
    return from_scalars(scalars, tuple(histogram), histogram_ns, tuple(bounds_ns))


def together(many: Iterable[Counters]) -> Counters:
    """Return the sum of several regions' counters. In a group that somebody else put together some may have
    histograms with other bounds than the first has: these are left out."""
    total = Counters()
    for counters in many:
        alike = not total.histogram or counters.bounds_ns == total.bounds_ns
        total += counters if alike else counters.without_histogram()
    return total


def went_back(last: Sequence[int], now: Sequence[int]) -> bool:
    """Tell whether numbers that only grow (see parse_print()) are less than they were. Only counts are compared, not
    times, which the kernel adds up for each CPU while others read."""
    return (
        last[_READS] > now[_READS]
        or last[_WRITES] > now[_WRITES]
        or last[_SECTORS_READ] > now[_SECTORS_READ]
        or last[_SECTORS_WRITTEN] > now[_SECTORS_WRITTEN]
        or any(map(operator.gt, last[COUNTED:], now[COUNTED:]))
    )


class Totals:
    """The last counters of each region of a group.

    They are kept as the kernel prints them, in arrays, which take a third of the memory of Counters, and added up
    before they become such: apart for each kind of region, which nearly all groups have one of.
    """

    def __init__(self) -> None:
        self._last: dict[_Kind, dict[int, array[int]]] = {}
        self._ios: list[tuple[int, int]] = []
        self._cleared = Counters()

    def sample(self, device: Device, regions: Iterable[Region]) -> None:
        """Read the counters of `regions`. Raises DmError, ENOENT where one of the regions has gone."""
        fresh: dict[_Kind, dict[int, array[int]]] = {}
        ios: list[tuple[int, int]] = []
        cleared: list[Counters] = []
        for region in regions:
            kind = (region.precise, region.bounds)
            last = self._last.get(kind, {}).get(region.id)
            now = array("Q", device.numbers(region))
            fresh.setdefault(kind, {})[region.id] = now
            if last is not None and went_back(last, now):
                cleared.append(_counters(kind, last).settled())
                last = None
            done = now[_READS] + now[_WRITES] - (last[_READS] + last[_WRITES] if last is not None else 0)
            if done > 0:
                ios.append((region.start, done))
        self._last, self._ios = fresh, ios
        self._cleared = together([self._cleared, *cleared])

    def take_cleared(self) -> Counters:
        """Return what was last read of regions that somebody has set to zero since then, as `dmstats report` does;
        told once. Those whose counters are already beyond what they were can't be told from others."""
        cleared, self._cleared = self._cleared, Counters()
        return cleared

    def ios(self) -> Sequence[tuple[int, int]]:
        """Return where a region starts and its I/Os between the last two samples, for each that had some. One that
        was not there at the first of them had none before."""
        return self._ios

    def sum(self) -> Counters:
        """Return the sum as last read."""
        return together(
            _counters(kind, [sum(column) for column in zip(*regions.values(), strict=True)])
            for kind, regions in self._last.items()
            if regions
        )

    def gone(self, region_id: int) -> Counters:
        """Drop a region and return what was last read of it."""
        for kind, regions in self._last.items():
            if region_id in regions:
                return _counters(kind, regions.pop(region_id))
        return Counters()


def _counters(kind: _Kind, numbers: Sequence[int]) -> Counters:
    precise, bounds = kind
    return from_numbers(numbers, precise=precise, bounds_ns=from_kernel(bounds, precise=precise))
