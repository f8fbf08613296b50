"""Sums of what regions counted, and how one is told that was set to zero."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from dmstats.counters import Counters, from_numbers
from dmstats.region import Region
from tests.unit.dmstats.test_counters import COUNTERS
from tests.unit.model import ModelDevice
from workers.counter_rows import CounterRows
from workers.totals import Totals, pack, total_of, unpack

SOME = Counters(3, 24, 30, 2, 16, 20, 1, 40, 50, (4, 1), 50, (1_000,))


def test_histograms_that_do_not_go_together() -> None:
    """All is added, but only the histograms with the bounds of the first that has one."""
    other = replace(SOME, histogram=(1, 1, 3), bounds_ns=(500, 1_000))
    plain = SOME.without_histogram()
    total = total_of([plain, SOME, other, plain, SOME])
    assert total.reads == 15
    assert (total.histogram, total.histogram_ns, total.bounds_ns) == ((8, 2), 100, (1_000,))
    assert total_of([]) == Counters()


NUMBERS = st.lists(st.integers(0, 2**40), min_size=16, max_size=16)
IN_FLIGHT = 8
# Reads, sectors read, writes, sectors written, and the bins.
COUNTS = (0, 2, 4, 6, 13, 14, 15)
PLACE = [0, 8]


def rows(*many: list[int]) -> CounterRows:
    """Return rows with these counters."""
    return CounterRows(
        tuple(range(len(many))), array("Q", chain.from_iterable([*PLACE, *one] for one in many))
    )


@given(NUMBERS, NUMBERS)
def test_what_only_grew_did_not_go_back(one: list[int], other: list[int]) -> None:
    """Whatever was added, and whatever is in flight."""
    now = [a + b for a, b in zip(one, other, strict=True)]
    now[IN_FLIGHT] = 0
    assert rows(now, one).decreased(rows(one, one)) == []


@given(NUMBERS.filter(all), st.sampled_from(range(16)))
def test_one_count_below_is_enough(one: list[int], which: int) -> None:
    """If any count is below what it was, though all others are above, somebody has set them to zero; times and
    merges tell nothing."""
    now = [number + 1 for number in one]
    now[which] = one[which] - 1
    assert rows(one, now).decreased(rows(one, one)) == ([1] if which in COUNTS else [])


@given(st.lists(NUMBERS, min_size=1, max_size=5), st.lists(st.integers(0, 6), max_size=8, unique=True))
def test_rows_of_other_ids(many: list[list[int]], ids: list[int]) -> None:
    """Rows of any ids, in any order: what is known of them, and zeros for those that are not known."""
    found = rows(*many).select(tuple(ids))
    assert found.ids == tuple(ids)
    for at, number in enumerate(ids):
        assert list(found.counters(at)) == (many[number] if number < len(many) else [0] * 16)


PLAIN = (False, ())
PRECISE = (True, (1_000, 5_000))


class Printing(ModelDevice):
    """A device whose regions print what they are set to."""

    def __init__(self) -> None:
        super().__init__()
        self.printed: dict[int, list[int]] = {}

    def print_all(self, regions: Sequence[Region]) -> array[int]:
        """Return what the regions were set to."""
        return array("Q", chain.from_iterable([r.start, r.length, *self.printed[r.id]] for r in regions))


def numbers(reads: int, bins: tuple[int, ...] = ()) -> list[int]:
    """Return what a region prints that did so many reads of one sector, 3 ns, or ms, each."""
    return [reads, 0, reads, 3 * reads, *[0] * 9, *bins]


def sampled(totals: Totals, device: Printing, kinds: dict[int, tuple[bool, tuple[int, ...]]]) -> Counters:
    """Sample regions, which start where their id says, and return the sum."""
    totals.sample(device, [Region(n, n, 8, 8, "dmstats", "-", *kind) for n, kind in kinds.items()])
    return totals.sum()


def test_regions_of_two_kinds() -> None:
    """Figures in ms and in ns add up, and of two kinds of histograms the first one's are there."""
    totals, device = Totals(), Printing()
    device.printed = {1: numbers(5), 2: numbers(7, (4, 3, 0)), 3: numbers(1, (0, 0, 1))}
    total = sampled(totals, device, {1: PLAIN, 2: PRECISE, 3: PRECISE})
    assert (total.reads, total.read_ns) == (13, 5 * 3_000_000 + 8 * 3)
    assert (total.histogram, total.histogram_ns, total.bounds_ns) == ((4, 3, 1), 24, (1_000, 5_000))
    assert totals.ios() == [(1, 5), (2, 7), (3, 1)]
    gone = from_numbers(numbers(7, (4, 3, 0)), precise=True, bounds_ns=(1_000, 5_000))
    assert totals.remove({2}) == {2: gone}
    assert totals.remove({2}) == {}
    assert totals.sum().reads == 6


def test_what_was_cleared_is_told_once() -> None:
    """What a region had before it was set to zero is told once, and what it has since then is new."""
    totals, device = Totals(), Printing()
    device.printed = {1: numbers(5), 2: numbers(7)}
    sampled(totals, device, {1: PLAIN, 2: PLAIN})
    assert totals.take_cleared() == Counters()
    device.printed = {1: numbers(2), 2: numbers(7)}
    assert sampled(totals, device, {1: PLAIN, 2: PLAIN}).reads == 9
    assert totals.ios() == [(1, 2)]
    assert totals.take_cleared().reads == 5
    assert totals.take_cleared() == Counters()
    # A region of another kind that got the id was not set to zero.
    device.printed = {1: numbers(1, (1, 0, 0)), 2: numbers(7)}
    assert sampled(totals, device, {1: PRECISE, 2: PLAIN}).reads == 8
    assert totals.take_cleared() == Counters()
    # Nor was one that is not sampled any more.
    assert sampled(totals, device, {2: PLAIN}).reads == 7
    assert totals.ios() == []


@given(COUNTERS)
def test_packed_and_back(counters: Counters) -> None:
    """Counters come out of a message as they went in."""
    assert unpack(pack(counters)) == counters
