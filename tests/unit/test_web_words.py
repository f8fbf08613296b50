"""Figures in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.rates import Rates, Reading, rates
from supervisor.web import words

BOUNDS = (100_000, 1_000_000, 10_000_000)


def did(*bins: int) -> Rates | None:
    """Return so many reads in each bin within ten seconds; without any, ten reads without a histogram."""
    bounds = BOUNDS if bins else ()
    reads = sum(bins) if bins else 10
    return rates(
        Reading(0, 0, 0, 0, 0, 0, 0, bounds, (0,) * len(bins)),
        Reading(10, reads, 0, 0, 0, 0, 0, bounds, bins),
    )


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (words.count(1234567), "1,234,567"),
        (words.count(None), "-"),
        (words.rate(0), "0"),
        (words.rate(0.01), "<0.1"),
        (words.rate(0.26), "0.3"),
        (words.rate(9.96), "10.0"),
        (words.rate(12345.4), "12,345"),
        (words.rate(None), "-"),
        (words.size(0), "0 B"),
        (words.size(1023), "1023 B"),
        (words.size(1536), "1.5 KiB"),
        (words.size(20 << 30), "20 GiB"),
        (words.size(None), "-"),
        (words.speed(1536), "1.5 KiB/s"),
        (words.latency(999.4), "999 ns"),
        (words.latency(999.6), "1 µs"),
        (words.latency(85_000), "85 µs"),
        (words.latency(1_234_567), "1.23 ms"),
        (words.latency(2e9), "2 s"),
        (words.latency(4e12), "4,000 s"),
        (words.latency(0), "under 1 ms"),
        (words.latency(None), "-"),
        (words.percentile(did(99, 0, 0, 0), 0.99), "too little I/O to tell"),
        (words.percentile(did(0, 0, 0, 200), 0.99), "over 10 ms"),
        (words.percentile(did(0, 0, 200, 0), 0.99), "9.9 ms"),
        (words.percentile(did(200, 0, 0, 0), 0.99), "under 100 µs"),
        (words.percentile(did(0, 0, 0, 0), 0.5), "-"),
        (words.percentile(did(), 0.5), "-"),
        (words.percentile(None, 0.5), "-"),
        (words.ago(0.2), "now"),
        (words.ago(42), "42 s ago"),
        (words.ago(600), "10 min ago"),
        (words.ago(10_000), "3 h ago"),
        (words.ago(400_000), "5 days ago"),
        (words.clock(1_800_000_000), "08:00:00 UTC"),
        (words.moment("2026-11-25T05:00:00.120Z"), "2026-11-25 05:00:00"),
        (words.cut("database.img", 8), "databas…"),
        (words.cut("db.img", 8), "db.img"),
        (words.place(0), "0 B"),
        (words.place(3 << 30), "3 GiB"),
        (words.place((3 << 30) + (1 << 29)), "3.5 GiB"),
    ],
)
def test_figures(told: str, text: str) -> None:
    """Figures are short, have a unit, and say so where they are not known."""
    assert told == text


def test_bins_are_named_by_their_bounds() -> None:
    """A histogram has one bin more than bounds; without bounds there is none."""
    assert words.bins(BOUNDS) == ["under 100 µs", "100 µs to 1 ms", "1 ms to 10 ms", "over 10 ms"]
    assert words.bins((5,)) == ["under 5 ns", "over 5 ns"]
    assert words.bins(()) == []


@given(st.floats(0, 1e19))
def test_they_stay_short(value: float) -> None:
    """No figure breaks a table, and none has an exponent."""
    for text in (words.size(value), words.latency(value / 1e6), words.rate(value / 1e9)):
        assert len(text) <= 16
        assert "e+" not in text
