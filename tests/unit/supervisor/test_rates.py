"""Rates and latencies from differences of totals."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.rates import Rates, Reading, least_ios, quantile_ns, rates, reading

BOUNDS = (100_000, 1_000_000, 10_000_000)
BEFORE = Reading(100.0, 10, 20, 40960, 81920, 1_000, 2_000, BOUNDS, (25, 5, 0, 0))
AFTER = Reading(110.0, 110, 70, 450_560, 286_720, 5_001_000, 7_502_000, BOUNDS, (125, 50, 4, 1))

NUMBERS = st.integers(0, 2**60)
TOTALS = st.lists(NUMBERS, min_size=6, max_size=6)
BINS = st.lists(st.integers(0, 2**40), min_size=4, max_size=4)


def known(before: Reading = BEFORE, after: Reading = AFTER) -> Rates:
    """Return rates(), which must not be None."""
    found = rates(before, after)
    assert found is not None
    return found


def made(at: float, totals: list[int], bins: list[int]) -> Reading:
    """Return a reading of six totals, in the order of the fields, and a histogram of BOUNDS."""
    reads, writes, bytes_read, bytes_written, read_ns, write_ns = totals
    return Reading(at, reads, writes, bytes_read, bytes_written, read_ns, write_ns, BOUNDS, tuple(bins))


def test_a_reading_has_the_totals_of_the_status() -> None:
    """Every total of a file's status is in the field of its name."""
    status: dict[str, Any] = {
        "name": "db01.img",
        "reads": 1,
        "writes": 2,
        "bytes_read": 3,
        "bytes_written": 4,
        "read_ns": 5,
        "write_ns": 6,
        "bounds_ns": [10, 20],
        "histogram": [7, 8, 9],
    }
    assert reading(status, 1.5) == Reading(1.5, 1, 2, 3, 4, 5, 6, (10, 20), (7, 8, 9))
    assert reading(status | {"bounds_ns": [], "histogram": []}, 1.5).histogram == ()


def test_rates_are_differences_by_seconds() -> None:
    """Reads, writes and bytes are per second, time is per I/O, bins are counts."""
    assert known() == Rates(
        seconds=10.0,
        reads_per_s=10.0,
        writes_per_s=5.0,
        read_bytes_per_s=40_960.0,
        write_bytes_per_s=20_480.0,
        read_latency_ns=50_000.0,
        write_latency_ns=150_000.0,
        latency_ns=12_500_000 / 150,
        bounds_ns=BOUNDS,
        bins=(100, 45, 4, 1),
    )
    assert (known().ios_per_s, known().bytes_per_s) == (15.0, 61_440.0)
    assert known().quantile_ns(0.5) == quantile_ns(BOUNDS, (100, 45, 4, 1), 0.5) == 75_000.0


def test_no_io_has_rates_of_zero_and_no_latency() -> None:
    """The rates of an idle file are 0. Its latency is None."""
    idle = known(BEFORE, replace(BEFORE, at=105.0))
    assert (idle.ios_per_s, idle.bytes_per_s, idle.bins) == (0.0, 0.0, (0, 0, 0, 0))
    assert (idle.read_latency_ns, idle.write_latency_ns, idle.latency_ns) == (None, None, None)
    assert idle.quantile_ns(0.5) is None


def test_only_reads_have_no_write_latency() -> None:
    """Without writes, only the latency of reads is known."""
    found = known(BEFORE, replace(BEFORE, at=105.0, reads=12, read_ns=3_000))
    assert (found.read_latency_ns, found.write_latency_ns, found.latency_ns) == (1_000.0, None, 1_000.0)


@pytest.mark.parametrize("at", [100.0, 99.0])
def test_no_rates_without_time_between(at: float) -> None:
    """The same sample twice, or a clock that was set back, has no rates."""
    assert rates(BEFORE, replace(AFTER, at=at)) is None


@pytest.mark.parametrize(
    "total", ["reads", "writes", "bytes_read", "bytes_written", "read_ns", "write_ns"], ids=str
)
def test_no_rates_if_a_total_decreased(total: str) -> None:
    """Totals never decrease, unless counting was restarted. Then there is no difference."""
    changes: dict[str, Any] = {total: 0}
    assert rates(BEFORE, replace(AFTER, **changes)) is None


def test_no_rates_if_a_bin_decreased() -> None:
    """The same if only the histogram was restarted."""
    assert rates(BEFORE, replace(AFTER, histogram=(24, 150, 4, 1))) is None


def test_no_rates_if_bounds_differ() -> None:
    """Bins of different bounds can't be compared, even if they are equally many."""
    assert rates(BEFORE, replace(AFTER, bounds_ns=(100_000, 1_000_000, 20_000_000))) is None
    assert rates(BEFORE, replace(AFTER, bounds_ns=(), histogram=())) is None


def test_without_histogram_there_are_rates_but_no_quantile() -> None:
    """With `histogram: []` in the configuration there are no bins."""
    found = known(replace(BEFORE, bounds_ns=(), histogram=()), replace(AFTER, bounds_ns=(), histogram=()))
    assert (found.reads_per_s, found.bins, found.quantile_ns(0.5)) == (10.0, (), None)


@pytest.mark.parametrize("bins", [(), (1, 2), (125, 50, 4, 1, 0)], ids=str)
def test_no_bins_if_a_histogram_does_not_fit_the_bounds(bins: tuple[int, ...]) -> None:
    """Until the first sample after a change of bounds, the histogram is empty or the previous one."""
    assert known(BEFORE, replace(AFTER, histogram=bins)).bins == ()
    assert known(replace(BEFORE, histogram=bins), AFTER).bins == ()


@given(st.floats(0.001, 1e6), TOTALS, TOTALS, BINS, BINS)
def test_rates_times_seconds_is_the_growth(
    seconds: float, totals: list[int], grown: list[int], bins: list[int], more: list[int]
) -> None:
    """For any totals, rates times seconds is the growth: nothing negative, nothing lost."""
    before = made(0.0, totals, bins)
    sums = [a + b for a, b in zip(totals, grown, strict=True)]
    after = made(seconds, sums, [a + b for a, b in zip(bins, more, strict=True)])
    found = known(before, after)
    assert found.bins == tuple(more)
    per_second = (
        found.reads_per_s,
        found.writes_per_s,
        found.read_bytes_per_s,
        found.write_bytes_per_s,
    )
    for rate, growth in zip(per_second, grown[:4], strict=True):
        assert rate * seconds == pytest.approx(growth)
    assert (found.latency_ns is None) == (grown[0] + grown[1] == 0)


@pytest.mark.parametrize(
    ("bins", "q", "latency"),
    [
        ((50, 50, 0, 0), 0.25, 50_000),
        ((50, 50, 0, 0), 0.5, 100_000),
        ((50, 50, 0, 0), 0.6, 100_000 + 900_000 * 10 / 50),
        ((50, 45, 5, 0), 0.99, 1_000_000 + 9_000_000 * 4 / 5),
    ],
)
def test_a_quantile_lies_within_its_bin_in_proportion(
    bins: tuple[int, ...], q: float, latency: float
) -> None:
    """Within its bin, a quantile is interpolated by the number of I/Os below it."""
    assert quantile_ns(BOUNDS, bins, q) == pytest.approx(latency)


def test_above_the_last_bound_is_infinite() -> None:
    """A quantile in the last bin is infinite, as the bin has no upper bound."""
    assert quantile_ns(BOUNDS, (0, 0, 0, 2), 0.5) == math.inf
    assert quantile_ns(BOUNDS, (98, 0, 0, 2), 0.99) == math.inf
    assert quantile_ns(BOUNDS, (99, 0, 0, 1), 0.99) == 100_000


def test_empty_bins_are_skipped() -> None:
    """A quantile is in a bin with I/Os, not on the edge of an empty one."""
    assert quantile_ns(BOUNDS, (0, 0, 10, 0), 0.5) == 5_500_000


@pytest.mark.parametrize(
    ("q", "least"), [(0.5, 2), (0.9, 10), (0.95, 20), (0.99, 100), (0.999, 1000), (0.01, 100)]
)
def test_too_few_ios(q: float, least: int) -> None:
    """A quantile needs at least one I/O on each side."""
    assert least_ios(q) == least
    assert quantile_ns(BOUNDS, (least - 1, 0, 0, 0), q) is None
    assert quantile_ns(BOUNDS, (least, 0, 0, 0), q) == pytest.approx(q * 100_000)


@pytest.mark.parametrize("bins", [(), (1000,), (1000, 0, 0), (1000, 0, 0, 0, 0)], ids=str)
def test_no_quantile_if_bins_do_not_fit_the_bounds(bins: tuple[int, ...]) -> None:
    """Without bins, or with those of other bounds, the quantile is None."""
    assert quantile_ns(BOUNDS, bins, 0.5) is None


@pytest.mark.parametrize("q", [0.0, 1.0, 99.0, -0.5])
def test_invalid_quantiles(q: float) -> None:
    """A quantile is above 0 and below 1."""
    with pytest.raises(ValueError, match=rf"between 0 and 1, not at {q}"):
        quantile_ns(BOUNDS, (100, 0, 0, 0), q)


@given(BINS, st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_quantiles_rise(bins: list[int], one: float, other: float) -> None:
    """A higher quantile is never lower, and is in the bin of its count."""
    low, high = sorted((one, other))
    first, second = quantile_ns(BOUNDS, bins, low), quantile_ns(BOUNDS, bins, high)
    if first is None or second is None:
        assert sum(bins) < max(least_ios(low), least_ios(high))
        return
    assert first <= second
    upto = sum(count for bound, count in zip(BOUNDS, bins, strict=False) if bound < first)
    assert upto <= low * sum(bins) * (1 + 1e-9)
