"""The last hour of a file: its figures and its bounds."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.rates import Reading
from supervisor.web.state.series import SPAN, Series

T0 = 1_800_000_000.0
BOUNDS = (100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000)


def at(seconds: float, reads: int, writes: int = 0) -> Reading:
    """Return totals: reads of 4 KiB that took 0.05 ms each, writes of 8 KiB that took 5 ms each."""
    bins = (reads, 0, writes, 0, 0, 0)
    return Reading(
        T0 + seconds,
        reads,
        writes,
        4096 * reads,
        8192 * writes,
        50_000 * reads,
        5_000_000 * writes,
        BOUNDS,
        bins,
    )


def steady(seconds: float, every: float = 10.0) -> Series:
    """Return a file with ten reads and one write a second for this long."""
    series = Series(at(0, 0))
    for i in range(1, int(seconds / every) + 1):
        now = i * every
        series.add(at(now, round(10 * now), round(now)), T0 + now - every)
    return series


def test_current_rates() -> None:
    """They are those of the last row. With one reading there are none."""
    assert Series(at(0, 5)).now(T0) is None
    rates = steady(100).now(T0 + 103)
    assert rates is not None
    assert (rates.seconds, rates.reads_per_s, rates.writes_per_s) == (10, 10, 1)
    assert rates.write_bytes_per_s == 8192
    assert rates.latency_ns == pytest.approx((10 * 50_000 + 5_000_000) / 11)


def test_intervals_older_than_an_hour() -> None:
    """They are not returned, even if their rows still exist."""
    assert list(steady(100).intervals(T0 + 103))
    assert list(steady(100).intervals(T0 + 100 + SPAN)) == []


def test_idle_is_no_io() -> None:
    """A file without samples because its device is idle has no current I/O, and keeps its history."""
    series = steady(100)
    rates = series.now(T0 + 100 + 2 * 10 + 4)
    assert rates is not None
    assert rates.ios_per_s == 0
    assert rates.latency_ns is None
    hour = series.over(3600, T0 + 200)
    assert hour is not None
    assert hour.ios_per_s * hour.seconds == pytest.approx(1100)
    assert hour.seconds == 200


def test_a_pause_is_not_spread_over() -> None:
    """I/O after a pause is counted in its own interval, not averaged over the pause."""
    series = steady(100)
    series.add(at(700, 1500, 100), T0 + 690)
    *_, last = series.intervals(T0 + 700)
    assert (last.since, last.until) == (T0 + 690, T0 + 700)
    assert last.rates.reads_per_s == 50
    last_minutes = series.over(300, T0 + 700)
    assert last_minutes is not None
    assert last_minutes.reads_per_s == pytest.approx(500 / 300)


def test_a_pause_is_in_no_row() -> None:
    """A short row is not extended by a sample after a pause."""
    series = Series(at(0, 0))
    series.add(at(1, 50), T0)
    series.add(at(301, 150), T0 + 300)
    assert [i.rates.reads_per_s for i in series.intervals(T0 + 302)] == [50, 100]


def test_percentiles_of_a_window() -> None:
    """Percentiles of several rows cover all their I/O."""
    rates = steady(600).over(300, T0 + 600)
    assert rates is not None
    assert rates.quantile_ns(0.5) == pytest.approx(100_000 * 0.5 * 11 / 10, rel=0.01)
    p99 = rates.quantile_ns(0.99)
    assert p99 is not None
    assert 1_000_000 < p99 < 10_000_000


def test_frequent_samples_share_rows() -> None:
    """A file sampled every second has no more rows than one sampled every ten seconds, and the same I/O."""
    series = steady(7200, every=1)
    assert len(series) <= 381
    intervals = list(series.intervals(T0 + 7200))
    assert sum(i.rates.reads_per_s * i.rates.seconds for i in intervals) == pytest.approx(36_000, rel=0.01)
    assert all(i.until - i.since <= 20 for i in intervals)


def test_an_hour_is_kept() -> None:
    """Older rows are dropped, newer ones are kept."""
    series = steady(9000)
    assert T0 + 9000 - SPAN - 11 <= series.begun <= T0 + 9000 - SPAN
    hour = series.over(SPAN, T0 + 9000)
    assert hour is not None
    assert hour.reads_per_s == pytest.approx(10)


def test_a_thousand_busy_files_take_tens_of_megabytes() -> None:
    """An hour of one file that is never idle takes less than 50 kB."""
    assert steady(7200).nbytes < 50_000
    assert steady(7200, every=3.3).nbytes < 50_000


def test_history_is_cleared() -> None:
    """Decreased totals, changed bounds and a clock that was set back clear the history. A repeated reading is
    ignored."""
    later = at(110, 2000, 200)
    for other in (at(110, 5), at(50, 2000, 200), replace(later, bounds_ns=BOUNDS[:2], histogram=(1, 2, 3))):
        series = steady(100)
        series.add(other, T0 + 100)
        assert len(series) == 1
        assert series.begun == other.at
    series = steady(100)
    series.add(at(100, 1000, 100), T0 + 90)
    assert len(series) == 11


def test_sparkline() -> None:
    """Buckets before the first reading are unknown, idle ones are 0, and no I/O is lost between buckets."""
    series = Series(at(1800, 0))
    series.add(at(1845, 90), T0 + 1835.5)
    buckets = series.buckets(T0 + 3600, 60)
    assert buckets[:30] == [None] * 30
    known = [bucket for bucket in buckets if bucket is not None]
    assert len(known) == 30
    assert [bucket.ios_per_s * 60 for bucket in known[:2]] == pytest.approx([90, 0])
    assert known[0].latency_ns == pytest.approx(50_000)
    assert known[1].latency_ns is None


@given(
    st.lists(st.tuples(st.floats(0.5, 400), st.floats(0, 1), st.integers(0, 1000)), max_size=60),
    st.integers(1, 120),
)
def test_nothing_counted_is_lost(steps: list[tuple[float, float, int]], count: int) -> None:
    """With any readings, rows and buckets contain the I/O of the hour, and their number is bounded."""
    series, now, reads = Series(at(0, 0)), 0.0, 0
    for seconds, busy, more in steps:
        now, reads = now + seconds, reads + more
        series.add(at(now, reads), T0 + now - busy * seconds)
    intervals = list(series.intervals(T0 + now))
    assert len(intervals) <= 381
    assert all(a.until <= b.since + 0.01 for a, b in pairwise(intervals))
    if now <= SPAN:
        counted = sum(i.rates.reads_per_s * i.rates.seconds for i in intervals)
        assert counted == pytest.approx(reads, abs=0.01)
        buckets = [b for b in series.buckets(T0 + now, count) if b is not None]
        in_buckets = sum(b.ios_per_s for b in buckets) * SPAN / count
        assert in_buckets <= reads + 0.01
        assert math.isclose(in_buckets, reads, abs_tol=0.01) or now > SPAN - SPAN / count
