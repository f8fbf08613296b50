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


class Totals:
    """The last counters of each region of a group."""

    def __init__(self) -> None:
        self._last: dict[int, Counters] = {}
        self._ios: list[tuple[int, int]] = []

    def sample(self, device: Device, regions: Iterable[Region]) -> None:
        """Read the counters of `regions`. Raises DmError, ENOENT where one of the regions has gone."""
        before, self._last, self._ios = self._last, {}, []
        for region in regions:
            now = self._last[region.id] = device.print(region)
            ios = now.ios() - before.get(region.id, _NONE).ios()
            if ios > 0:  # somebody may have cleared them
                self._ios.append((region.start, ios))

    def ios(self) -> Sequence[tuple[int, int]]:
        """Return where a region starts and its I/Os between the last two samples, for each that had some. One that
        was not there at the first of them had none before."""
        return self._ios

    def sum(self) -> Counters:
        """Return the sum as last read."""
        return sum(self._last.values(), Counters())

    def gone(self, region_id: int) -> Counters:
        """Drop a region and return what was last read of it."""
        return self._last.pop(region_id, Counters())
