"""What the supervisor hands on of a file's regions."""

from __future__ import annotations

import pytest

from supervisor.fleet.placement import Placed


def is_new(placed: Placed) -> bool:
    """Tell whether there is something to hand on."""
    return placed.news


@pytest.fixture
def placed() -> Placed:
    """Two pieces that were handed on."""
    made = Placed()
    made.moved([100, 800], [50, 8])
    assert is_new(made)
    made.take()
    assert not is_new(made)
    return made


def test_io_is_told_once(placed: Placed) -> None:
    """I/Os add up until they are handed on; the next time there are only those that came since."""
    placed.counted([1, 0])
    placed.counted([2, 5])
    assert is_new(placed)
    assert placed.take() == [(100, 50, 3), (800, 8, 5)]
    assert not is_new(placed)
    assert placed.take() == [(100, 50, 0), (800, 8, 0)]


def test_io_belongs_to_a_place(placed: Placed) -> None:
    """I/Os of pieces that have moved, or of another number of pieces, are not taken for these pieces'."""
    placed.counted([])
    placed.counted([7])
    assert not is_new(placed)
    placed.counted([7, 7])
    placed.moved([100], [50])
    assert placed.take() == [(100, 50, 0)]


def test_a_new_listener_is_told_no_old_io(placed: Placed) -> None:
    """Who comes new is told where the pieces are, but not the I/O of the time before."""
    placed.counted([7, 7])
    placed.anew()
    assert is_new(placed)
    assert placed.take() == [(100, 50, 0), (800, 8, 0)]
