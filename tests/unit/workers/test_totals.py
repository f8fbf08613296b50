"""Sums of regions' counters, and the detection of reset regions."""

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
    """All counters are added, but only histograms with the same bounds as the first one."""
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
def test_growth_is_no_reset(one: list[int], other: list[int]) -> None:
    """Growth is no reset, whatever is in flight."""
    now = [a + b for a, b in zip(one, other, strict=True)]
    now[IN_FLIGHT] = 0
    assert rows(now, one).decreased(rows(one, one)) == []


@given(NUMBERS.filter(all), st.sampled_from(range(16)))
def test_one_count_below_is_enough(one: list[int], which: int) -> None:
    """If any count has decreased, though all others have grown, the region was reset; times and merges prove
    nothing."""
    now = [number + 1 for number in one]
    now[which] = one[which] - 1
    assert rows(one, now).decreased(rows(one, one)) == ([1] if which in COUNTS else [])


@given(st.lists(NUMBERS, min_size=1, max_size=5), st.lists(st.integers(0, 6), max_size=8, unique=True))
def test_rows_of_other_ids(many: list[list[int]], ids: list[int]) -> None:
    """Rows of any ids in any order: known rows, and zeros for unknown ones."""
    found = rows(*many).select(tuple(ids))
    assert found.ids == tuple(ids)
    for at, number in enumerate(ids):
        assert list(found.counters(at)) == (many[number] if number < len(many) else [0] * 16)


PLAIN = (False, ())
PRECISE = (True, (1_000, 5_000))


class Printing(ModelDevice):
    """A device that prints prepared counters."""

    def __init__(self) -> None:
        super().__init__()
        self.printed: dict[int, list[int]] = {}

    def print_all(self, regions: Sequence[Region]) -> array[int]:
        """Return the prepared counters."""
        return array("Q", chain.from_iterable([r.start, r.length, *self.printed[r.id]] for r in regions))


def numbers(reads: int, bins: tuple[int, ...] = ()) -> list[int]:
    """Return the printed counters of a region with `reads` reads of one sector, 3 ns or ms each."""
    return [reads, 0, reads, 3 * reads, *[0] * 9, *bins]


def sampled(totals: Totals, device: Printing, kinds: dict[int, tuple[bool, tuple[int, ...]]]) -> Counters:
    """Sample regions, placed by their ids, and return the sum."""
    totals.sample(device, [Region(n, n, 8, 8, "dmstats", "-", *kind) for n, kind in kinds.items()])
    return totals.sum()


def test_regions_of_two_kinds() -> None:
    """Values in ms and ns add up; of two kinds of histograms the first one's are counted."""
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


def test_counts_before_a_reset_are_reported_once() -> None:
    """A region's counts before a reset are reported once, and later ones count as new."""
    totals, device = Totals(), Printing()
    device.printed = {1: numbers(5), 2: numbers(7)}
    sampled(totals, device, {1: PLAIN, 2: PLAIN})
    assert totals.take_cleared() == Counters()
    device.printed = {1: numbers(2), 2: numbers(7)}
    assert sampled(totals, device, {1: PLAIN, 2: PLAIN}).reads == 9
    assert totals.ios() == [(1, 2)]
    assert totals.take_cleared().reads == 5
    assert totals.take_cleared() == Counters()
    # A region of another kind that reuses the id was not reset.
    device.printed = {1: numbers(1, (1, 0, 0)), 2: numbers(7)}
    assert sampled(totals, device, {1: PRECISE, 2: PLAIN}).reads == 8
    assert totals.take_cleared() == Counters()
    # Nor was a region that is no longer sampled.
    assert sampled(totals, device, {2: PLAIN}).reads == 7
    assert totals.ios() == []


@given(COUNTERS)
def test_packed_and_back(counters: Counters) -> None:
    """Counters are unpacked as they were packed."""
    assert unpack(pack(counters)) == counters
