"""The counters of a region, as values that add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Counters:
    """What one region, or several together, counted since they were made.

    Times are nanoseconds. The kernel's two merge counters are left out: it counts them wrong.
    `histogram` holds reads and writes together, one bin more than there are bounds, or is empty.
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

    def scalars(self) -> tuple[int, ...]:
        """Return all but the histogram, in the order of the fields."""
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
        return from_scalars(sums, _add_bins(self.histogram, other.histogram))

    def take(self, other: Counters) -> tuple[Counters, Counters]:
        """Return `self` less what `other` holds too, and what is then left of `other`; neither below zero."""
        mine, theirs = self.scalars(), other.scalars()
        shared = [min(a, b) for a, b in zip(mine, theirs, strict=True)]
        bins = [min(a, b) for a, b in zip(self.histogram, other.histogram, strict=False)]
        return _less(self, shared, bins), _less(other, shared, bins)

    def settled(self) -> Counters:
        """Return the counters without what is in flight, which ends with the region."""
        return replace(self, in_flight=0)


def _less(counters: Counters, shared: list[int], bins: list[int]) -> Counters:
    histogram = counters.histogram
    if len(bins) == len(histogram):
        histogram = tuple(a - b for a, b in zip(histogram, bins, strict=True))
    return from_scalars([a - b for a, b in zip(counters.scalars(), shared, strict=True)], histogram)


def from_scalars(values: Sequence[int], histogram: tuple[int, ...]) -> Counters:
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
    )


def _add_bins(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    if not one or not other:
        return one or other
    if len(one) != len(other):
        raise ValueError(f"histograms of {len(one)} and {len(other)} bins do not add up")
    return tuple(a + b for a, b in zip(one, other, strict=True))


def parse_print(text: str, *, precise: bool) -> Counters:
    """Return the sum over the areas in a reply to @stats_print, one line an area:

        <start>+<step> c1 ... c13[ h0:h1:...:hn]

    Raises ValueError for a line of another form.
    """
    total = Counters()
    unit = 1 if precise else _NS_PER_MS
    for line in text.rstrip("\n").split("\n"):
        _, *words = line.split(" ")
        if len(words) not in (13, 14):
            raise ValueError(
                f"a line of @stats_print with {len(words)} fields instead of 13 or 14: {line[:80]!r}"
            )
        c = [int(word) for word in words[:13]]
        bins = tuple(int(count) for count in words[13].split(":")) if len(words) == 14 else ()  # noqa: PLR2004 - above
        total += Counters(
            reads=c[0],
            sectors_read=c[2],
            read_ns=c[3] * unit,
            writes=c[4],
            sectors_written=c[6],
            write_ns=c[7] * unit,
            in_flight=c[8],
            busy_ns=c[9] * unit,
            queue_ns=c[10] * unit,
            histogram=bins,
        )
    return total
