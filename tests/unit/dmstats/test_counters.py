"""Replies to @stats_print, recorded from a kernel, and the arithmetic of counters."""

from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmstats.counters import Counters, from_numbers, parse_print
from tests.unit.data import recorded_text

NUMBERS = st.integers(0, 2**40)
COUNTERS = st.builds(
    Counters,
    *[NUMBERS] * 9,
    st.lists(NUMBERS, min_size=3, max_size=3).map(tuple),
    NUMBERS,
    st.just((1_000, 1_000_000)),
)


def printed(text: str, *, precise: bool, bounds_ns: tuple[int, ...] = ()) -> Counters:
    """Return the counters of a reply to @stats_print."""
    return from_numbers(parse_print(text), precise=precise, bounds_ns=bounds_ns)


def test_recorded_milliseconds() -> None:
    """Without precise timestamps the kernel's ms become ns; the merges, fields 2 and 6, are left out."""
    assert printed(recorded_text("print_nameless.txt"), precise=False) == Counters(
        reads=15, sectors_read=120, writes=10, sectors_written=160, write_ns=0, in_flight=0
    )
    line = "0+8 1 2 3 4 5 6 7 8 9 10 11 12 13\n"
    assert printed(line, precise=False) == Counters(
        1, 3, 4_000_000, 5, 7, 8_000_000, 9, 10_000_000, 11_000_000
    )
    assert printed(line, precise=True) == Counters(1, 3, 4, 5, 7, 8, 9, 10, 11)


def test_recorded_precise() -> None:
    """With precise timestamps the values are ns already. Without a histogram its sum is zero."""
    assert printed(recorded_text("print_precise.txt"), precise=True) == Counters(
        reads=3,
        sectors_read=24,
        read_ns=10240,
        writes=2,
        sectors_written=32,
        write_ns=14080,
        busy_ns=23040,
        queue_ns=23040,
    )


def test_recorded_histograms() -> None:
    """A histogram has one bin more than it has bounds, with and without precise timestamps."""
    assert printed(recorded_text("print_histogram.txt"), precise=False).histogram == (5, 0, 0, 0)
    precise = printed(recorded_text("print_precise_histogram.txt"), precise=True, bounds_ns=(10_000, 20_000))
    assert (precise.histogram, precise.bounds_ns) == ((5, 0, 0), (10_000, 20_000))
    assert (precise.reads, precise.writes, precise.read_ns) == (3, 2, 8704)
    assert precise.histogram_ns == precise.read_ns + precise.write_ns


def test_recorded_areas() -> None:
    """The areas of a region add up, and so do their histograms."""
    assert printed(recorded_text("print_areas.txt"), precise=True).reads == 3
    total = printed(recorded_text("print_areas_histogram.txt"), precise=False)
    assert (total.reads, total.writes, total.sectors_read, total.histogram) == (12, 8, 96, (20, 0))


@pytest.mark.parametrize(
    "text", ["", "0+8", "0+8 1 2 3", "0+8 1 2 3 4 5 6 7 8 9 10 11 12 x", "0+8" + " 1" * 15]
)
def test_other_forms_are_refused(text: str) -> None:
    """A line of another form is an error, never false counters."""
    with pytest.raises(ValueError, match=r"fields|invalid literal"):
        printed(text, precise=True)


@given(st.lists(COUNTERS, max_size=5))
def test_sum_is_field_by_field(many: list[Counters]) -> None:
    """Counters add up field by field, in any order; without any the sum is zero."""
    total = reduce(Counters.__add__, many, Counters())
    assert total.scalars() == tuple(map(sum, zip(*(c.scalars() for c in many), strict=True))) or not many
    assert total == reduce(Counters.__add__, reversed(many), Counters())


def test_histograms_of_different_bins_do_not_add_up() -> None:
    """Bins with different bounds don't add up; a region without a histogram adds to one that has it."""
    with pytest.raises(ValueError, match="do not add up"):
        Counters(histogram=(1, 2, 3)) + Counters(histogram=(1, 2))
    with pytest.raises(ValueError, match=r"\(10,\) and \(20,\) ns do not add up"):
        Counters(histogram=(1, 2), bounds_ns=(10,)) + Counters(histogram=(1, 2), bounds_ns=(20,))
    assert (Counters(histogram=(1, 2)) + Counters()).histogram == (1, 2)
    assert (Counters() + Counters(histogram=(1, 2))).histogram == (1, 2)


@given(COUNTERS, COUNTERS)
def test_take_takes_what_both_have(one: Counters, other: Counters) -> None:
    """The same is subtracted from both: no field gets negative, and no count is lost or added."""
    mine, theirs = one.take(other)
    columns = (one.scalars(), other.scalars(), mine.scalars(), theirs.scalars())
    for a, b, left, rest in zip(*columns, strict=True):
        assert (left, rest) == (a - min(a, b), b - min(a, b))
    for a, b, left, rest in zip(
        one.histogram, other.histogram, mine.histogram, theirs.histogram, strict=True
    ):
        assert (left, rest) == (a - min(a, b), b - min(a, b))
    shared_ns = min(one.histogram_ns, other.histogram_ns)
    assert (mine.histogram_ns, theirs.histogram_ns) == (
        one.histogram_ns - shared_ns,
        other.histogram_ns - shared_ns,
    )


@pytest.mark.parametrize(
    "other", [Counters(reads=1), Counters(1, histogram=(1, 0), histogram_ns=5, bounds_ns=(20,))]
)
def test_take_leaves_another_histogram(other: Counters) -> None:
    """With different bounds, or none, the histograms and their sums don't change."""
    one = Counters(reads=3, histogram=(2, 1), histogram_ns=30, bounds_ns=(10,))
    mine, theirs = one.take(other)
    assert (mine.reads, mine.histogram, mine.histogram_ns, mine.bounds_ns) == (2, (2, 1), 30, (10,))
    assert (theirs.reads, theirs.histogram, theirs.histogram_ns) == (0, other.histogram, other.histogram_ns)


def test_settled() -> None:
    """In-flight I/O of a deleted region is dropped."""
    assert Counters(reads=5, in_flight=2, histogram=(5,)).settled() == Counters(reads=5, histogram=(5,))
