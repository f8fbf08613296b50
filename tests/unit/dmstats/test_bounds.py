"""Histogram bounds between text, nanoseconds and the kernel's units."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmstats.bounds import format_bound, from_kernel, parse_bound, parse_bounds, to_kernel


@pytest.mark.parametrize(
    ("text", "ns"),
    [("1ns", 1), ("100us", 100_000), ("1ms", 1_000_000), ("2 s", 2_000_000_000), (" 30ms ", 30_000_000)],
)
def test_parse(text: str, ns: int) -> None:
    """Bounds are parsed with their unit."""
    assert parse_bound(text) == ns


@pytest.mark.parametrize("text", ["", "1", "0ms", "1.5ms", "-1ms", "1m", "ms", "1ms 2ms", "१"])
def test_parse_refuses(text: str) -> None:
    """Invalid bounds are refused, quoted, with a valid example."""
    with pytest.raises(ValueError, match="as in 100us") as refused:
        parse_bound(text)
    assert repr(text) in str(refused.value)


def test_bounds_increase() -> None:
    """Bounds that don't increase are refused, with the two that are out of order."""
    assert parse_bounds(["100us", "1ms", "1s"]) == (100_000, 1_000_000, 1_000_000_000)
    with pytest.raises(ValueError, match="1ms stands before 1ms"):
        parse_bounds(["1ms", "1000us"])
    with pytest.raises(ValueError, match="2s stands before 1ms"):
        parse_bounds(["2s", "1ms"])


@given(st.integers(1, 10**15))
def test_format_is_read_back(ns: int) -> None:
    """A formatted bound parses to the same bound."""
    assert parse_bound(format_bound(ns)) == ns


@given(st.lists(st.integers(1, 10**6)), st.booleans())
def test_kernel_units_are_read_back(ms: list[int], precise: bool) -> None:
    """Whole milliseconds survive the kernel's units, precise or not."""
    bounds = tuple(bound * 1_000_000 for bound in ms)
    assert from_kernel(to_kernel(bounds, precise=precise), precise=precise) == bounds


def test_fine_bounds_need_precise_timestamps() -> None:
    """A bound below a millisecond is sent in ns with precise timestamps, and refused without."""
    assert to_kernel([100_000, 1_000_000], precise=True) == (100_000, 1_000_000)
    assert to_kernel([1_000_000, 5_000_000], precise=False) == (1, 5)
    with pytest.raises(ValueError, match="100us needs precise timestamps"):
        to_kernel([100_000], precise=False)
