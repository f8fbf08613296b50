"""Numbers and times as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.rates import Rates, Reading, rates
from supervisor.web.charts import figures

BOUNDS = (100_000, 1_000_000, 10_000_000)


def did(*bins: int) -> Rates | None:
    """Return the rates of ten seconds with these reads in each bin; by default ten reads without a histogram."""
    bounds = BOUNDS if bins else ()
    reads = sum(bins) if bins else 10
    return rates(
        Reading(0, 0, 0, 0, 0, 0, 0, bounds, (0,) * len(bins)),
        Reading(10, reads, 0, 0, 0, 0, 0, bounds, bins),
    )


@pytest.mark.parametrize(
    ("formatted", "text"),
    [
        (figures.count(1234567), "1,234,567"),
        (figures.count(None), "-"),
        (figures.rate(0), "0"),
        (figures.rate(0.01), "<0.1"),
        (figures.rate(0.26), "0.3"),
        (figures.rate(9.96), "10.0"),
        (figures.rate(12345.4), "12,345"),
        (figures.rate(None), "-"),
        (figures.size(0), "0 B"),
        (figures.size(1023), "1023 B"),
        (figures.size(1536), "1.5 KiB"),
        (figures.size(20 << 30), "20 GiB"),
        (figures.size(None), "-"),
        (figures.speed(1536), "1.5 KiB/s"),
        (figures.latency(999.4), "999 ns"),
        (figures.latency(999.6), "1 µs"),
        (figures.latency(85_000), "85 µs"),
        (figures.latency(1_234_567), "1.23 ms"),
        (figures.latency(2e9), "2 s"),
        (figures.latency(4e12), "4,000 s"),
        (figures.latency(0), "under 1 ms"),
        (figures.latency(None), "-"),
        (figures.percentile(did(99, 0, 0, 0), 0.99), "too few I/Os"),
        (figures.percentile(did(0, 0, 0, 200), 0.99), "over 10 ms"),
        (figures.percentile(did(0, 0, 200, 0), 0.99), "9.9 ms"),
        (figures.percentile(did(200, 0, 0, 0), 0.99), "under 100 µs"),
        (figures.percentile(did(0, 0, 0, 0), 0.5), "-"),
        (figures.percentile(did(), 0.5), "-"),
        (figures.percentile(None, 0.5), "-"),
        (figures.ago(0.2), "now"),
        (figures.ago(42), "42 s ago"),
        (figures.ago(600), "10 min ago"),
        (figures.ago(10_000), "3 h ago"),
        (figures.ago(400_000), "5 days ago"),
        (figures.clock(1_800_000_000), "08:00:00 UTC"),
        (figures.moment("2026-11-25T05:00:00.120Z"), "2026-11-25 05:00:00"),
        (figures.cut("database.img", 8), "databas…"),
        (figures.cut("db.img", 8), "db.img"),
        (figures.place(0), "0 B"),
        (figures.place(3 << 30), "3 GiB"),
        (figures.place((3 << 30) + (1 << 29)), "3.5 GiB"),
    ],
)
def test_figures(formatted: str, text: str) -> None:
    """Figures are short and have a unit. Unknown values are marked."""
    assert formatted == text


def test_bins_are_named_by_their_bounds() -> None:
    """A histogram has one bin more than bounds, or none without bounds."""
    assert figures.bins(BOUNDS) == ["under 100 µs", "100 µs to 1 ms", "1 ms to 10 ms", "over 10 ms"]
    assert figures.bins((5,)) == ["under 5 ns", "over 5 ns"]
    assert figures.bins(()) == []


@given(st.floats(0, 1e19))
def test_they_stay_short(value: float) -> None:
    """Figures fit into a table cell and have no exponent."""
    for text in (figures.size(value), figures.latency(value / 1e6), figures.rate(value / 1e9)):
        assert len(text) <= 16
        assert "e+" not in text
