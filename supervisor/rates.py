"""Computes rates and latencies from two readings of a file's totals. Pure, with few imports."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

NS_PER_SECOND: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Reading:
    """A file's totals at `at` (seconds; compared readings must use the same clock).

    Times and bounds are in ns. `histogram` has one bin more than there are bounds, or is empty.
    """

    at: float
    reads: int
    writes: int
    bytes_read: int
    bytes_written: int
    read_ns: int
    write_ns: int
    bounds_ns: tuple[int, ...] = ()
    histogram: tuple[int, ...] = ()

    def totals(self) -> tuple[int, ...]:
        """Return the counters, which only grow, without the histogram."""
        return (self.reads, self.writes, self.bytes_read, self.bytes_written, self.read_ns, self.write_ns)


@dataclass(frozen=True, slots=True)
class Rates:
    """The rates of a file in the `seconds` between two readings.

    A latency is the mean of the completed I/Os, in ns; None if there are none. `bins` are these I/Os by latency, in
    the bins of the readings' `bounds_ns`; empty without a histogram.
    """

    seconds: float
    reads_per_s: float
    writes_per_s: float
    read_bytes_per_s: float
    write_bytes_per_s: float
    read_latency_ns: float | None
    write_latency_ns: float | None
    latency_ns: float | None
    bounds_ns: tuple[int, ...]
    bins: tuple[int, ...]

    @property
    def ios_per_s(self) -> float:
        """Reads and writes a second."""
        return self.reads_per_s + self.writes_per_s

    @property
    def bytes_per_s(self) -> float:
        """Bytes read and written a second."""
        return self.read_bytes_per_s + self.write_bytes_per_s

    @property
    def load(self) -> float:
        """The mean number of I/Os in flight: the sum of their latencies divided by the time."""
        return self.ios_per_s * (self.latency_ns or 0.0) / NS_PER_SECOND

    def quantile_ns(self, q: float) -> float | None:
        """Return the quantile `q` of the latency; see quantile_ns()."""
        return quantile_ns(self.bounds_ns, self.bins, q)


def reading(status: Mapping[str, Any], at: float) -> Reading:
    """Return the totals in the status of a file or device (supervisor/control/status.py), read at `at`."""
    return Reading(
        at,
        status["reads"],
        status["writes"],
        status["bytes_read"],
        status["bytes_written"],
        status["read_ns"],
        status["write_ns"],
        tuple(status.get("bounds_ns") or ()),
        tuple(status.get("histogram") or ()),
    )


def rates(before: Reading, after: Reading) -> Rates | None:
    """Return the rates between two readings of one file; None if they can't be compared.

    This is so if no time has passed, if a total decreased (the ledger was lost), and if the histogram's bounds differ
    (the regions were recreated).
    """
    seconds = after.at - before.at
    if seconds <= 0 or before.bounds_ns != after.bounds_ns:
        return None
    growth = [new - old for old, new in zip(before.totals(), after.totals(), strict=True)]
    bins = _grown_bins(before, after)
    if min(growth) < 0 or min(bins, default=0) < 0:
        return None
    reads, writes, bytes_read, bytes_written, read_ns, write_ns = growth
    return Rates(
        seconds,
        reads / seconds,
        writes / seconds,
        bytes_read / seconds,
        bytes_written / seconds,
        _mean(read_ns, reads),
        _mean(write_ns, writes),
        _mean(read_ns + write_ns, reads + writes),
        after.bounds_ns,
        bins,
    )


def _grown_bins(before: Reading, after: Reading) -> tuple[int, ...]:
    """Return the difference of two histograms; empty if one of them doesn't fit the bounds."""
    bins = len(after.bounds_ns) + 1
    if len(before.histogram) != bins or len(after.histogram) != bins:
        return ()
    return tuple(new - old for old, new in zip(before.histogram, after.histogram, strict=True))


def _mean(total: int, count: int) -> float | None:
    return total / count if count else None


def quantile_ns(bounds_ns: Sequence[int], bins: Sequence[int], q: float) -> float | None:
    """Return the quantile `q` (above 0, below 1) of the latency, in ns.

    I/Os are assumed to be spread evenly within a bin, so the result is as coarse as the bounds. The last bin has no
    upper bound: a quantile in it is math.inf, to be shown as "more than the last bound".

    Return None if there are too few I/Os, so that less than one would lie on a side of the quantile. The 99th
    percentile needs 100 I/Os, the median two; with fewer it would just be the slowest.
    """
    count = sum(bins)
    if len(bins) != len(bounds_ns) + 1 or count < least_ios(q):
        return None
    rank, seen, lower = q * count, 0, 0
    for upper, ios in zip(bounds_ns, bins, strict=False):
        if ios and seen + ios >= rank:
            return lower + (upper - lower) * (rank - seen) / ios
        seen, lower = seen + ios, upper
    return math.inf


def least_ios(q: float) -> int:
    """Return the number of I/Os that the quantile `q` needs. Raises ValueError for a `q` outside 0 to 1."""
    if not 0 < q < 1:
        raise ValueError(f"a quantile lies between 0 and 1, not at {q}")
    # Rounded first: 1 / (1 - 0.99) is a little above 100.
    return math.ceil(round(1 / min(q, 1 - q), 6))
