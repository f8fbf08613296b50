"""What the supervisor hands on of a file's regions."""

from __future__ import annotations

import pytest

from supervisor.fleet.placement import Placement


def is_new(placed: Placement) -> bool:
    """Tell whether there is something to hand on."""
    return placed.is_changed


@pytest.fixture
def placed() -> Placement:
    """Two pieces that were handed on."""
    made = Placement()
    made.set_pieces([100, 800], [50, 8])
    assert is_new(made)
    made.take()
    assert not is_new(made)
    return made


def test_io_is_told_once(placed: Placement) -> None:
    """I/Os add up until they are handed on; the next time there are only those that came since."""
    placed.add_ios([1, 0])
    placed.add_ios([2, 5])
    assert is_new(placed)
    assert placed.take() == [(100, 50, 3), (800, 8, 5)]
    assert not is_new(placed)
    assert placed.take() == [(100, 50, 0), (800, 8, 0)]


def test_io_belongs_to_a_place(placed: Placement) -> None:
    """I/Os of pieces that have moved, or of another number of pieces, are not taken for these pieces'."""
    placed.add_ios([])
    placed.add_ios([7])
    assert not is_new(placed)
    placed.add_ios([7, 7])
    placed.set_pieces([100], [50])
    assert placed.take() == [(100, 50, 0)]


def test_a_new_listener_is_told_no_old_io(placed: Placement) -> None:
    """Who comes new is told where the pieces are, but not the I/O of the time before."""
    placed.add_ios([7, 7])
    placed.resend()
    assert is_new(placed)
    assert placed.take() == [(100, 50, 0), (800, 8, 0)]
