"""The counters of a region, as values that add up."""

from __future__ import annotations

import operator
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

_NS_PER_MS = 1_000_000

# So many numbers stand before a histogram's bins.
COUNTED: Final = 13
_TO_SPACES: Final = str.maketrans("+:", "  ")


@dataclass(frozen=True, slots=True)
class Counters:
    """The counters of one region, or the sum of several, since their creation.

    Times are nanoseconds. The kernel's two merge counters are left out: it counts them wrong.
    `histogram` holds reads and writes together, one bin more than there are bounds (`bounds_ns`), or is empty;
    `histogram_ns` is the sum of the latencies of the I/Os in it.
    """

    reads: int = 0
    sectors_read: int = 0
    read_ns: int = 0
    writes: int = 0
    sectors_written: int = 0
    write_ns: int = 0
    in_flight: int = 0
    busy_ns: int = 0
    queue_ns: int = 0
    histogram: tuple[int, ...] = ()
    histogram_ns: int = 0
    bounds_ns: tuple[int, ...] = ()

    def scalars(self) -> tuple[int, ...]:
        """Return all fields but those of the histogram, in their order."""
        return (
            self.reads,
            self.sectors_read,
            self.read_ns,
            self.writes,
            self.sectors_written,
            self.write_ns,
            self.in_flight,
            self.busy_ns,
            self.queue_ns,
        )

    def ios(self) -> int:
        """Return the I/Os, reads and writes together."""
        return self.reads + self.writes

    def __add__(self, other: Counters) -> Counters:
        sums = [a + b for a, b in zip(self.scalars(), other.scalars(), strict=True)]
        return from_scalars(
            sums,
            _add_bins(self, other),
            self.histogram_ns + other.histogram_ns,
            self.bounds_ns or other.bounds_ns,
        )

    def lacks_nothing_of(self, other: Counters) -> bool:
        """Return whether no counter is less than in `other`, I/Os in flight aside."""
        return (
            self.bounds_ns == other.bounds_ns
            and len(self.histogram) == len(other.histogram)
            and all(map(operator.ge, self._growing(), other._growing()))
        )

    def _growing(self) -> tuple[int, ...]:
        return (*self.scalars()[:6], self.busy_ns, self.queue_ns, self.histogram_ns, *self.histogram)

    def take(self, other: Counters) -> tuple[Counters, Counters]:
        """Return `self` minus `other`, and the rest of `other`; neither below zero."""
        mine, theirs = self.scalars(), other.scalars()
        shared = [min(a, b) for a, b in zip(mine, theirs, strict=True)]
        bins = [min(a, b) for a, b in zip(self.histogram, other.histogram, strict=False)]
        if self.bounds_ns != other.bounds_ns or len(self.histogram) != len(other.histogram):
            bins = []
        return _less(self, other, shared, bins), _less(other, self, shared, bins)

    def without_histogram(self) -> Counters:
        """Return the counters without the histogram, where others have other bounds."""
        return replace(self, histogram=(), histogram_ns=0, bounds_ns=())

    def settled(self) -> Counters:
        """Return the counters without I/Os in flight, which end with the region."""
        return replace(self, in_flight=0)


def _less(counters: Counters, other: Counters, shared: list[int], bins: list[int]) -> Counters:
    """Return `counters` less what is shared with `other`; with no `bins` that is nothing of the histogram."""
    histogram, histogram_ns = counters.histogram, counters.histogram_ns
    if bins:
        histogram = tuple(a - b for a, b in zip(histogram, bins, strict=True))
        histogram_ns -= min(histogram_ns, other.histogram_ns)
    left = [a - b for a, b in zip(counters.scalars(), shared, strict=True)]
    return from_scalars(left, histogram, histogram_ns, counters.bounds_ns)


def from_scalars(
    values: Sequence[int],
    histogram: tuple[int, ...],
    histogram_ns: int = 0,
    bounds_ns: tuple[int, ...] = (),
) -> Counters:
    """Return counters from what scalars() gives and a histogram. Raises ValueError where there are not as many."""
    reads, sectors_read, read_ns, writes, sectors_written, write_ns, in_flight, busy_ns, queue_ns = values
    return Counters(
        reads,
        sectors_read,
        read_ns,
        writes,
        sectors_written,
        write_ns,
        in_flight,
        busy_ns,
        queue_ns,
        histogram,
        histogram_ns,
        bounds_ns,
    )


def _add_bins(one: Counters, other: Counters) -> tuple[int, ...]:
    if not one.histogram or not other.histogram:
        return one.histogram or other.histogram
    if len(one.histogram) != len(other.histogram) or one.bounds_ns != other.bounds_ns:
        raise ValueError(f"histograms with bounds {one.bounds_ns} and {other.bounds_ns} ns do not add up")
    return tuple(a + b for a, b in zip(one.histogram, other.histogram, strict=True))


def parse_print(text: str) -> list[int]:
    """Return the numbers in a reply to @stats_print, the 13 counters and then the histogram's bins, each the sum over
    the areas, one line an area:

        <start>+<step> c1 ... c13[ h0:h1:...:hn]

    Raises ValueError for a line of another form.
    """
    if text.count("\n") == 1:
        return _parse_area(text)
    areas = [_parse_area(line) for line in text.rstrip("\n").split("\n")]
    return [sum(column) for column in zip(*areas, strict=True)]


def _parse_area(line: str) -> list[int]:
    words = line.split()
    if len(words) == COUNTED + 2:
        words[-1:] = words[-1].split(":")
    elif len(words) != COUNTED + 1:
        raise ValueError(
            f"a line of @stats_print with {len(words) - 1} fields instead of 13 or 14: {line[:80]!r}"
        )
    return list(map(int, words[1:]))


def parse_rows(text: str) -> array[int]:
    """Return the numbers in replies to @stats_print of one area each, one behind the other: the start of the area and
    its length, in sectors, and what parse_print() returns. Raises ValueError for what is no number."""
    return array("Q", map(int, text.translate(_TO_SPACES).split()))


def from_numbers(numbers: Sequence[int], *, precise: bool, bounds_ns: tuple[int, ...] = ()) -> Counters:
    """Return the counters that numbers from parse_print() are; `bounds_ns` are the histogram's."""
    unit = 1 if precise else _NS_PER_MS
    bins = tuple(numbers[COUNTED:])
    reads, _, sectors_read, reading, writes, _, sectors_written, writing, in_flight, busy, queue, *_ = numbers
    return Counters(
        reads=reads,
        sectors_read=sectors_read,
        read_ns=reading * unit,
        writes=writes,
        sectors_written=sectors_written,
        write_ns=writing * unit,
        in_flight=in_flight,
        busy_ns=busy * unit,
        queue_ns=queue * unit,
        histogram=bins,
        histogram_ns=(reading + writing) * unit if bins else 0,
        bounds_ns=bounds_ns,
    )
