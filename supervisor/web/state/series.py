"""The last hour of a file in memory: readings of its totals, which give exact figures for any interval."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Final, NamedTuple

from supervisor.rates import Rates, Reading, rates

# Seconds of history, and the minimum length of a row: a file that is sampled more often has several samples in a row.
SPAN: Final = 3600.0
STEP: Final = 10.0
# Samples are sometimes a little early.
_SHORT: Final = 0.95 * STEP
# The usual maximum delay of a reading until it arrives here, in seconds.
_ON_ITS_WAY: Final = 3.0
# The six of Reading.totals(); the histogram's bins follow.
_TOTALS: Final = 6


class Interval(NamedTuple):
    """The I/O of a file from `since` to `until`, in seconds since the epoch."""

    since: float
    until: float
    rates: Rates


class Bucket(NamedTuple):
    """One bucket of a sparkline. `latency_ns` is None if no I/O completed."""

    ios_per_s: float
    latency_ns: float | None


class Series:
    """The readings of one file in the last hour. A row has the start and end of its interval, and the totals at its
    end.

    The first row is the baseline. Between two rows the file's device was idle, so it was not read. Short rows are
    extended unless a pause follows. So there are at most some 380 rows of some 120 bytes, 45 kB for a file that is
    never idle.
    """

    def __init__(self, first: Reading) -> None:
        self._begin(first)

    def _begin(self, first: Reading) -> None:
        self.bounds_ns = first.bounds_ns
        self._bins = len(first.histogram)
        self._seen = first.at
        self._interval = 0.0
        self._times = array("d", (first.at, first.at))
        self._totals = array("Q", (*first.totals(), *first.histogram))

    def __len__(self) -> int:
        return len(self._times) // 2

    @property
    def begun(self) -> float:
        """The start of the history; it may be more than an hour ago."""
        return self._times[1]

    @property
    def nbytes(self) -> int:
        """The size of the rows in bytes."""
        return len(self._times) * self._times.itemsize + len(self._totals) * self._totals.itemsize

    def add(self, reading: Reading, since: float) -> None:
        """Add a reading. Its new I/O is from after `since` and after the last reading.

        A reading with the time of the last one is ignored. If totals or clock went back, or the bounds changed, the
        history is cleared.
        """
        last = self._reading(len(self) - 1)
        if reading.at == last.at:
            return
        if rates(last, reading) is None:
            self._begin(reading)
            return
        totals = (*reading.totals(), *reading.histogram)
        since = min(max(since, self._seen), reading.at - 0.001)
        self._seen, self._interval = reading.at, reading.at - since
        if totals == (*last.totals(), *last.histogram):
            return
        if not self._joined(reading.at, totals):
            self._times.extend((since, reading.at))
            self._totals.extend(totals)
        self._drop_old(reading.at - SPAN)

    def _joined(self, until: float, totals: tuple[int, ...]) -> bool:
        """Extend the last row if it is short and stays short enough. Return whether it was extended."""
        since, before = self._times[-2], self._times[-1]
        if len(self) == 1 or before - since >= _SHORT or until - since > 2 * STEP:
            return False
        self._times[-1] = until
        self._totals[-len(totals) :] = array("Q", totals)
        return True

    def _drop_old(self, before: float) -> None:
        rows = len(self)
        old = 0
        while old < rows - 1 and self._times[2 * old + 3] <= before:
            old += 1
        if old:
            del self._times[: 2 * old]
            del self._totals[: old * (_TOTALS + self._bins)]

    def _reading(self, row: int, at: float | None = None) -> Reading:
        """Return the totals at the end of a row as a reading at `at`, by default the end of the row."""
        first = row * (_TOTALS + self._bins)
        reads, writes, bytes_read, bytes_written, read_ns, write_ns, *bins = self._totals[
            first : first + _TOTALS + self._bins
        ]
        return Reading(
            self._times[2 * row + 1] if at is None else at,
            reads,
            writes,
            bytes_read,
            bytes_written,
            read_ns,
            write_ns,
            self.bounds_ns,
            tuple(bins),
        )

    def intervals(self, now: float) -> Iterator[Interval]:
        """Yield the intervals of the last hour with I/O."""
        for row in range(1, len(self)):
            since, until = self._times[2 * row], self._times[2 * row + 1]
            if until > now - SPAN:
                found = rates(self._reading(row - 1, since), self._reading(row, until))
                if found is not None:
                    yield Interval(since, until, found)

    def now(self, now: float) -> Rates | None:
        """Return the current rates: those of the last row, or 0 after a pause. None with only one reading."""
        if len(self) == 1 or self._known_until(now) == now:
            return self.over(STEP, now)
        row = len(self) - 1
        return rates(self._reading(row - 1, self._times[-2]), self._reading(row))

    def over(self, seconds: float, now: float) -> Rates | None:
        """Return the rates of the last `seconds`, or since the first reading. None if that is the only reading and
        recent. A row that started before is included as a whole."""
        end = self._known_until(now)
        row = len(self) - 1
        while row > 0 and self._times[2 * row + 1] > end - seconds:
            row -= 1
        start = max(end - seconds, self.begun)
        if row + 1 < len(self):
            start = min(start, self._times[2 * row + 2])
        return rates(self._reading(row, start), self._reading(len(self) - 1, end))

    def _known_until(self, now: float) -> float:
        """Return the end of the last row, or `now` if I/O since then would have made another row."""
        until = self._times[-1]
        return now if now - until > 2 * self._interval + _ON_ITS_WAY else until

    def buckets(self, now: float, count: int) -> list[Bucket | None]:
        """Return the last hour in `count` buckets, with None before the first reading."""
        step, start = SPAN / count, now - SPAN
        ios, spent = [0.0] * count, [0.0] * count
        for since, until, done, took in self._work(start):
            first, last = int(since // step), int(until // step)
            if first == last:  # most rows are short
                if 0 <= first < count:
                    ios[first] += done
                    spent[first] += took
                continue
            for at in range(max(0, first), min(count - 1, last) + 1):
                share = (min(until, (at + 1) * step) - max(since, at * step)) / (until - since)
                ios[at] += done * share
                spent[at] += took * share
        known = (self.begun - start) // step
        return [
            None if at < known else Bucket(done / step, took / done if done else None)
            for at, (done, took) in enumerate(zip(ios, spent, strict=True))
        ]

    def _work(self, start: float) -> Iterator[tuple[float, float, int, int]]:
        """Yield for each row: start and end in seconds from `start`, its I/Os, and their total latency in ns."""
        totals, width = self._totals, _TOTALS + self._bins
        ios, spent = totals[0] + totals[1], totals[4] + totals[5]
        for row in range(1, len(self)):
            first = row * width
            before, took = ios, spent
            ios, spent = totals[first] + totals[first + 1], totals[first + 4] + totals[first + 5]
            yield self._times[2 * row] - start, self._times[2 * row + 1] - start, ios - before, spent - took
