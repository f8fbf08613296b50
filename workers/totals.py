"""What a file's regions count together, and how counters travel and are stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from dmstats.counters import Counters, from_scalars
from dmstats.device import Device
from dmstats.region import Region

_NONE: Final = Counters()


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


def went_back(last: Counters, now: Counters) -> bool:
    """Tell whether counters that only grow are less than they were. Only counts are compared, not times, which the
    kernel adds up for each CPU while others read."""
    counts = zip(
        (last.reads, last.writes, last.sectors_read, last.sectors_written, *last.histogram),
        (now.reads, now.writes, now.sectors_read, now.sectors_written, *now.histogram),
        strict=False,
    )
    return any(was > is_now for was, is_now in counts)


class Totals:
    """The last counters of each region of a group."""

    def __init__(self) -> None:
        self._last: dict[int, Counters] = {}
        self._ios: list[tuple[int, int]] = []
        self._cleared = Counters()

    def sample(self, device: Device, regions: Iterable[Region]) -> None:
        """Read the counters of `regions`. Raises DmError, ENOENT where one of the regions has gone."""
        fresh: dict[int, Counters] = {}
        ios: list[tuple[int, int]] = []
        cleared: list[Counters] = []
        for region in regions:
            last, now = self._last.get(region.id, _NONE), device.print(region)
            fresh[region.id] = now
            if went_back(last, now):
                cleared.append(last.settled())
                last = _NONE
            if now.ios() > last.ios():
                ios.append((region.start, now.ios() - last.ios()))
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
        return together(self._last.values())

    def gone(self, region_id: int) -> Counters:
        """Drop a region and return what was last read of it."""
        return self._last.pop(region_id, Counters())
