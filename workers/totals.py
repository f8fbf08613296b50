"""The sum of a file's regions' counters, and counters as plain lists, for messages and the ledger."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Sequence
from operator import attrgetter
from typing import Any

from dmstats.bounds import from_kernel
from dmstats.counters import Counters, from_numbers, from_scalars
from dmstats.device import Device
from dmstats.region import Region
from workers.counter_rows import CounterRows

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


def total_of(many: Iterable[Counters]) -> Counters:
    """Return the sum of several regions' counters. Histograms with other bounds than the first are left out; an
    adopted group may have such."""
    total = Counters()
    for counters in many:
        alike = not total.histogram or counters.bounds_ns == total.bounds_ns
        total += counters if alike else counters.without_histogram()
    return total


class Totals:
    """The last counters of each region of a group, as the kernel prints them. Regions of different kinds are apart;
    nearly all groups have one kind."""

    def __init__(self) -> None:
        self._last: dict[_Kind, CounterRows] = {}
        self._ios: list[tuple[int, int]] = []
        self._cleared = Counters()

    def sample(self, device: Device, regions: Iterable[Region]) -> None:
        """Read the counters of `regions`. Raises DmError, ENOENT where one of the regions has gone."""
        kinds: dict[_Kind, list[Region]] = {}
        for region in regions:
            kinds.setdefault((region.precise, region.bounds), []).append(region)
        fresh: dict[_Kind, CounterRows] = {}
        ios: list[tuple[int, int]] = []
        cleared: list[Counters] = []
        for kind, alike in kinds.items():
            ids = tuple(map(attrgetter("id"), alike))
            now = fresh[kind] = CounterRows(ids, device.print_all(alike))
            before = self._last[kind].select(ids) if kind in self._last else None
            if before is not None:
                back = now.decreased(before)
                cleared += [_counters(kind, before.counters(at)).settled() for at in back]
                before = before.zeroed(back)
            ios += _new_ios(alike, now, before)
        self._last, self._ios = fresh, ios
        self._cleared = total_of([self._cleared, *cleared])

    def take_cleared(self) -> Counters:
        """Return the last counters of regions that another program set to zero, as `dmstats report` does, and forget
        them. A region whose counters exceed the last ones again is not recognized."""
        cleared, self._cleared = self._cleared, Counters()
        return cleared

    def ios(self) -> Sequence[tuple[int, int]]:
        """Return start and I/Os of each region that had I/O between the last two samples. A new region counts from
        zero."""
        return self._ios

    def sum(self) -> Counters:
        """Return the sum as last read."""
        return total_of(_counters(kind, rows.sum()) for kind, rows in self._last.items())

    def remove(self, region_ids: Collection[int]) -> dict[int, Counters]:
        """Remove regions; return their last counters, by id."""
        gone: dict[int, Counters] = {}
        for kind, rows in list(self._last.items()):
            there = [at for at, number in enumerate(rows.ids) if number in region_ids]
            gone |= {rows.ids[at]: _counters(kind, rows.counters(at)) for at in there}
            if len(there) == len(rows.ids):
                del self._last[kind]
            elif there:
                self._last[kind] = rows.select(tuple(n for n in rows.ids if n not in region_ids))
        return gone


def _new_ios(
    regions: Sequence[Region], now: CounterRows, before: CounterRows | None
) -> Iterable[tuple[int, int]]:
    """Yield start and I/Os of each region that had I/O since `before`."""
    ios: Iterable[int] = now.ios()
    if before is not None:
        ios = map(operator.sub, ios, before.ios())
    return ((region.start, count) for region, count in zip(regions, ios, strict=True) if count > 0)


def _counters(kind: _Kind, numbers: Sequence[int]) -> Counters:
    precise, bounds = kind
    return from_numbers(numbers, precise=precise, bounds_ns=from_kernel(bounds, precise=precise))
