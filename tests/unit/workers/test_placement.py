"""The placement of a group's regions, as reported to the supervisor."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dmstats.region import Region
from workers import messages
from workers.placement import MOST_PIECES, place


def region(number: int, start: int, length: int) -> Region:
    """Return a region of one area."""
    return Region(number, start, length, length, "dmstats", "-")


def test_pieces_are_the_regions_by_start() -> None:
    """Few regions are a piece each, in disk order, whatever their ids."""
    placement = place([region(0, 800, 8), region(1, 100, 50), region(2, 150, 10)])
    assert list(placement.starts) == [100, 150, 800]
    assert list(placement.lengths) == [50, 10, 8]


def test_io_goes_to_its_piece() -> None:
    """A region's I/O counts in its piece; without I/O the list is empty."""
    placement = place([region(0, 800, 8), region(1, 100, 50)])
    assert placement.ios([(800, 5), (100, 2)]) == [2, 5]
    assert placement.ios([]) == []
    assert list(place([]).starts) == place([]).ios([]) == []


def test_many_regions_fit_in_a_packet() -> None:
    """However many regions there are, the number of pieces is bounded, and they cover all regions and have
    all I/O."""
    regions = [region(i, i * 2**33 // 50_000 + (i % 7), 8) for i in range(50_000)]
    placement = place(regions)
    assert len(placement.starts) == MOST_PIECES
    ios = placement.ios([(one.start, 10**9) for one in regions])
    assert sum(ios) == 50_000 * 10**9
    message = messages.Placed(list(placement.starts), list(placement.lengths))
    assert len(messages.encode(message)) < 512 * 1024
    assert len(messages.encode(messages.Sampled([0] * 16, ios, 1.8e9))) < 512 * 1024


@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(1, 9), st.integers(1, 99)), min_size=1, max_size=80)
)
def test_nothing_is_lost(found: list[tuple[int, int, int]]) -> None:
    """Each region's I/O is in the piece that has the region's start."""
    regions = [region(i, 10 * start, length) for i, (start, length, _) in enumerate(found)]
    placement = place(regions)
    for one, (_, _, ios) in zip(regions, found, strict=True):
        counts = placement.ios([(one.start, ios)])
        (at,) = [i for i, count in enumerate(counts) if count]
        assert counts[at] == ios
        assert placement.starts[at] <= one.start < placement.starts[at] + placement.lengths[at]
