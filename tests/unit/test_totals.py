"""Sums of what regions counted, and how one is told that was set to zero."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from dmstats.counters import Counters
from tests.unit.test_counters import COUNTERS
from workers.totals import pack, together, unpack, went_back

SOME = Counters(3, 24, 30, 2, 16, 20, 1, 40, 50, (4, 1), 50, (1_000,))


def test_histograms_that_do_not_go_together() -> None:
    """All is added, but only the histograms with the bounds of the first that has one."""
    other = replace(SOME, histogram=(1, 1, 3), bounds_ns=(500, 1_000))
    plain = SOME.without_histogram()
    total = together([plain, SOME, other, plain, SOME])
    assert total.reads == 15
    assert (total.histogram, total.histogram_ns, total.bounds_ns) == ((8, 2), 100, (1_000,))
    assert together([]) == Counters()


@given(COUNTERS, COUNTERS)
def test_what_only_grew_did_not_go_back(one: Counters, other: Counters) -> None:
    """Whatever was added, and whatever is in flight."""
    assert not went_back(one, replace(one + other, in_flight=0))


@pytest.mark.parametrize(
    "less",
    [{"reads": 2}, {"writes": 0}, {"sectors_read": 23}, {"sectors_written": 8}, {"histogram": (5, 0)}],
)
def test_one_count_below_is_enough(less: dict[str, int]) -> None:
    """If any count is below what it was, somebody has set them to zero."""
    more = SOME + Counters(
        reads=9, writes=9, sectors_read=90, sectors_written=90, histogram=(9, 0), bounds_ns=(1_000,)
    )
    assert went_back(SOME, replace(more, **less))  # type: ignore[arg-type] # each as its field wants it


def test_nothing_before_is_nothing_to_go_back_from() -> None:
    """A region that was not there before, or had no histogram, did not go back."""
    assert not went_back(Counters(), SOME)
    assert not went_back(SOME.without_histogram(), SOME)


@given(COUNTERS)
def test_packed_and_back(counters: Counters) -> None:
    """Counters come out of a message as they went in."""
    assert unpack(pack(counters)) == counters
