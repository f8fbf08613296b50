"""What the supervisor sends of a file's regions."""

from __future__ import annotations

import pytest

from supervisor.fleet.placement import Placement


def is_new(placed: Placement) -> bool:
    """Return whether there is something to send."""
    return placed.is_changed


@pytest.fixture
def placed() -> Placement:
    """Two pieces that were sent."""
    made = Placement()
    made.set_pieces([100, 800], [50, 8])
    assert is_new(made)
    made.take()
    assert not is_new(made)
    return made


def test_io_is_sent_once(placed: Placement) -> None:
    """I/Os add up until they are sent, and start at zero again."""
    placed.add_ios([1, 0])
    placed.add_ios([2, 5])
    assert is_new(placed)
    assert placed.take() == [(100, 50, 3), (800, 8, 5)]
    assert not is_new(placed)
    assert placed.take() == [(100, 50, 0), (800, 8, 0)]


def test_io_belongs_to_a_place(placed: Placement) -> None:
    """I/Os of former pieces, or of another number of pieces, are dropped."""
    placed.add_ios([])
    placed.add_ios([7])
    assert not is_new(placed)
    placed.add_ios([7, 7])
    placed.set_pieces([100], [50])
    assert placed.take() == [(100, 50, 0)]


def test_a_new_receiver_gets_no_old_io(placed: Placement) -> None:
    """It gets the pieces, without the I/Os counted before."""
    placed.add_ios([7, 7])
    placed.resend()
    assert is_new(placed)
    assert placed.take() == [(100, 50, 0), (800, 8, 0)]
