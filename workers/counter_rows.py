"""The counters of many regions in one array: a row for each, as dmstats.device.Device.print_all() gives them. Pure.

Python's arithmetic on whole columns takes a small part of the time of the same on one row after the other.
"""

from __future__ import annotations

import operator
from array import array
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from dmstats.counters import COUNTED

# Where a region lies stands before its counters.
_PLACE: Final = 2
_READS: Final = _PLACE
_SECTORS_READ: Final = _PLACE + 2
_WRITES: Final = _PLACE + 4
_SECTORS_WRITTEN: Final = _PLACE + 6
_BINS: Final = _PLACE + COUNTED


@dataclass(frozen=True, slots=True)
class CounterRows:
    """A row of `numbers` for each of `ids`, all of the same length."""

    ids: tuple[int, ...]
    numbers: array[int]

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return len(self.numbers) // len(self.ids)

    def counters(self, at: int) -> Sequence[int]:
        """Return the counters of a row, without the region's place."""
        return self.numbers[at * self.width + _PLACE : (at + 1) * self.width]

    def sum(self) -> list[int]:
        """Return the sum of the counters of all rows."""
        return [sum(self.numbers[at :: self.width]) for at in range(_PLACE, self.width)]

    def select(self, ids: tuple[int, ...]) -> CounterRows:
        """Return the rows of `ids`, in their order; an unknown id has zeros."""
        if ids == self.ids:
            return self
        width, here = self.width, dict(zip(self.ids, range(len(self.ids)), strict=True))
        numbers = array("Q", bytes(8 * width * len(ids)))
        for at, number in enumerate(ids):
            there = here.get(number)
            if there is not None:
                numbers[at * width : (at + 1) * width] = self.numbers[there * width : (there + 1) * width]
        return CounterRows(ids, numbers)

    def zeroed(self, places: Collection[int]) -> CounterRows:
        """Return the rows, with zeros at some places."""
        return (
            self.select(tuple(-1 if at in places else n for at, n in enumerate(self.ids))) if places else self
        )

    def decreased(self, before: CounterRows) -> list[int]:
        """Return the places of rows whose counts have decreased. Times are not compared: the kernel sums them up
        over the CPUs while I/O goes on."""
        width, back = self.width, set[int]()
        for which in (_READS, _SECTORS_READ, _WRITES, _SECTORS_WRITTEN, *range(_BINS, width)):
            less = list(map(operator.lt, self.numbers[which::width], before.numbers[which::width]))
            if True in less:
                back.update(at for at, is_less in enumerate(less) if is_less)
        return sorted(back)

    def ios(self) -> list[int]:
        """Return the I/Os of each row."""
        width = self.width
        return list(map(operator.add, self.numbers[_READS::width], self.numbers[_WRITES::width]))
