"""Ranges against models that check every sector."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dmstats.fiemap import FIEMAP_EXTENT, Extent, ExtentFlag
from dmstats.ranges import Range, footprint, growth, joined, largest, limited, overlap, total

PAIRS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 8)).map(lambda p: (p[0], p[0] + p[1])), max_size=12
)
UNIONS = PAIRS.map(joined)


def sectors(ranges: object) -> set[int]:
    """Return every sector of ranges."""
    assert isinstance(ranges, (list, tuple))
    return {sector for start, end in ranges for sector in range(start, end)}


@given(PAIRS)
def test_joined(pairs: list[tuple[int, int]]) -> None:
    """The union has exactly the ranges' sectors; its parts ascend and don't touch."""
    union = joined(pairs)
    assert sectors(union) == sectors(pairs)
    assert all(one.end < other.start for one, other in pairwise(union))
    assert all(part.length > 0 for part in union)
    assert total(union) == len(sectors(pairs))


@given(UNIONS, UNIONS)
def test_overlap(one: tuple[Range, ...], other: tuple[Range, ...]) -> None:
    """The overlap counts the common sectors, in either order."""
    shared = len(sectors(one) & sectors(other))
    assert overlap(one, other) == overlap(other, one) == shared


def fewest_extra(union: tuple[Range, ...], most: int) -> int:
    """Return the minimum of excess sectors when `most` ranges cover a union: its smallest gaps."""
    gaps = sorted(other.start - one.end for one, other in pairwise(union))
    return sum(gaps[: max(0, len(union) - max(most, 1))])


@given(UNIONS, st.integers(1, 6), st.sets(st.integers(0, 60)))
def test_largest(union: tuple[Range, ...], most: int, known: set[int]) -> None:
    """The parts are ranges of the union; no other is longer, with those that are known at double length."""
    parts = largest(union, most, sorted(known))
    assert list(parts) == sorted(parts)
    assert len(parts) == min(most, len(union))

    def weight(part: Range) -> int:
        return part.length * (2 if known & set(range(*part)) else 1)

    left_out = set(union) - set(parts)
    assert set(parts) <= set(union)
    assert not left_out or max(map(weight, left_out)) <= min(map(weight, parts))


@given(UNIONS, st.integers(-1, 13))
def test_limited(union: tuple[Range, ...], most: int) -> None:
    """At most `most` ranges (but at least one) cover all, with only the smallest gaps as excess."""
    parts = limited(union, most)
    assert len(parts) == min(len(union), max(most, 1))
    assert sectors(parts) >= sectors(union)
    assert len(sectors(parts)) - len(sectors(union)) == fewest_extra(union, most)
    assert parts == joined(parts)


FLAGS = st.sampled_from(
    [
        0,
        0x800,
        0x2000,
        ExtentFlag.UNKNOWN,
        0x7,
        ExtentFlag.ENCODED,
        ExtentFlag.DATA_INLINE,
        ExtentFlag.DELALLOC,
    ]
)
EXTENTS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 4), st.integers(0, 2), FLAGS), max_size=10)


def laid_out(drawn: list[tuple[int, int, int, int]], block: int) -> list[Extent]:
    """Return consecutive extents of a file from place, length, hole before it, all in blocks, and flags."""
    extents: list[Extent] = []
    logical = 0
    for physical, blocks, hole, flags in drawn:
        logical += hole * block
        extents.append(Extent(logical, physical * block, blocks * block, int(flags)))
        logical += blocks * block
    return extents


def packed(extents: list[Extent]) -> bytes:
    """Return extents in the kernel's form."""
    return b"".join(FIEMAP_EXTENT.pack(*extent) for extent in extents)


@given(EXTENTS, st.sampled_from([1024, 4096]))
def test_footprint(drawn: list[tuple[int, int, int, int]], block: int) -> None:
    """Allocated extents are covered to the sector; others are counted in bytes."""
    extents = laid_out(drawn, block)
    where = footprint(extents)
    unplaced = [e for e in extents if e.flags & 0x20E]
    placed = [e for e in extents if not e.flags & 0x20E]
    assert sectors(where.ranges) == {
        sector for e in placed for sector in range(e.physical // 512, (e.physical + e.length) // 512)
    }
    assert where.ranges == joined(where.ranges)
    assert where.unplaced_bytes == sum(e.length for e in unplaced)
    assert where.landing == any(e.flags & ExtentFlag.DELALLOC for e in unplaced)
    separate = sum(
        1
        for i, e in enumerate(placed)
        if i == 0
        or (placed[i - 1].logical + placed[i - 1].length, placed[i - 1].physical + placed[i - 1].length)
        != (e.logical, e.physical)
    )
    assert where.extents == separate


@given(EXTENTS, EXTENTS, st.booleans())
def test_growth(
    before: list[tuple[int, int, int, int]], after: list[tuple[int, int, int, int]], more: bool
) -> None:
    """The earlier footprint with the growth is the new footprint; a sector that was lost is reported."""
    old, new = laid_out(before, 1024), laid_out([*before, *after] if more else after, 1024)
    came = growth(packed(old), bytearray(packed(new)))
    one, other = footprint(old).ranges, footprint(new).ranges
    if came is not None:
        assert joined([*one, *came]) == other
    else:
        gone = {e for e in old if e not in new and not e.flags & 0x20E}
        assert not sectors(footprint(gone).ranges) <= sectors(footprint(set(new) - set(old)).ranges)
    if more and all(not e.flags & 0x20E for e in old):
        assert came is not None


def test_pieces_of_sectors_are_covered_whole() -> None:
    """An extent that doesn't end on a sector is covered to the sector's end."""
    assert footprint([Extent(0, 513, 512, 0)]).ranges == (Range(1, 3),)


def test_flags_without_a_place() -> None:
    """Inline and encoded extents, and those of unknown place, are left out; only delayed allocation will
    land."""
    for flags in (ExtentFlag.UNKNOWN, ExtentFlag.ENCODED, ExtentFlag.DATA_INLINE):
        where = footprint([Extent(0, 4096, 100, flags)])
        assert (where.ranges, where.extents, where.unplaced_bytes, where.landing) == ((), 0, 100, False)


def test_many_ranges_are_linear() -> None:
    """A hundred thousand ranges limited to half take no quadratic time, which would be hours."""
    many = tuple(Range(4 * i, 4 * i + 1 + i % 2) for i in range(100_000))
    assert len(limited(many, 50_000)) == 50_000
    assert len(largest(many, 50_000, range(0, 400_000, 8))) == 50_000
    assert overlap(many, many) == total(many)
