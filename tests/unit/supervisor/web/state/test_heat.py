"""The I/O of the parts of a device, as a rate that fades."""

from __future__ import annotations

import pytest

from supervisor.web.state.heat import Heat

T0 = 1_800_000_000.0


def test_steady_io_is_its_rate() -> None:
    """A piece that is read 20 times a second comes to that rate; one that isn't has none."""
    heat = Heat()
    for i in range(60):
        heat.put([[0, 8, 200], [16, 8, 0]], T0 + 10 * i)
    busy, idle = heat.pieces(T0 + 590)
    assert busy.ios_per_s == pytest.approx(20, rel=0.1)
    assert idle.ios_per_s == 0
    assert (busy.start, busy.end) == (0, 4096)


def test_it_fades() -> None:
    """What is not done any more fades, and is none in the end, though nobody tells."""
    heat = Heat()
    heat.put([[0, 8, 600]], T0)
    rates = [next(heat.pieces(T0 + seconds)).ios_per_s for seconds in (0, 60, 3600)]
    assert rates == pytest.approx([10, 10 / 2.718, 0], rel=0.01)


def test_places_keep_their_rate() -> None:
    """A piece that stays keeps its rate when others come or go before it; one elsewhere begins at none."""
    heat = Heat()
    heat.put([[0, 8, 60], [100, 8, 600]], T0)
    heat.put([[50, 8, 0], [100, 8, 0]], T0)
    assert [piece.ios_per_s for piece in heat.pieces(T0)] == pytest.approx([0, 10])
    heat.put([], T0)
    assert len(heat) == 0
    assert list(heat.pieces(T0)) == []
