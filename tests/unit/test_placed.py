"""What the supervisor hands on of a file's regions."""

from __future__ import annotations

from supervisor.placed import Placed


def test_io_is_told_once() -> None:
    """I/Os add up until they are handed on; the next time there are only those that came since."""
    placed = Placed()
    placed.moved([100, 800], [50, 8])
    assert placed.counted([1, 0])
    assert placed.counted([2, 5])
    assert placed.take() == [(100, 50, 3), (800, 8, 5)]
    assert placed.take() == [(100, 50, 0), (800, 8, 0)]


def test_io_belongs_to_a_place() -> None:
    """I/Os of pieces that have moved, or of another number of pieces, are not taken for these pieces'."""
    placed = Placed()
    assert not placed.counted([])
    assert placed.take() == []
    placed.moved([100, 800], [50, 8])
    assert not placed.counted([])
    assert not placed.counted([7])
    assert placed.counted([7, 7])
    placed.moved([100], [50])
    assert placed.take() == [(100, 50, 0)]
