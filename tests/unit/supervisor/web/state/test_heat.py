"""The I/O rates of the parts of a device, which decay."""

from __future__ import annotations

import pytest

from supervisor.web.state.heat import Heat

T0 = 1_800_000_000.0


def test_steady_io() -> None:
    """A piece with 20 reads a second reaches that rate. One without I/O has none."""
    heat = Heat()
    for i in range(60):
        heat.put([[0, 8, 200], [16, 8, 0]], T0 + 10 * i)
    busy, idle = heat.pieces(T0 + 590)
    assert busy.ios_per_s == pytest.approx(20, rel=0.1)
    assert idle.ios_per_s == 0
    assert (busy.start, busy.end) == (0, 4096)


def test_rates_decay() -> None:
    """Without further messages a rate decays to 0."""
    heat = Heat()
    heat.put([[0, 8, 600]], T0)
    rates = [next(heat.pieces(T0 + seconds)).ios_per_s for seconds in (0, 60, 3600)]
    assert rates == pytest.approx([10, 10 / 2.718, 0], rel=0.01)


def test_places_keep_their_rate() -> None:
    """A piece keeps its rate when pieces before it change. A piece at a new place starts at 0."""
    heat = Heat()
    heat.put([[0, 8, 60], [100, 8, 600]], T0)
    heat.put([[50, 8, 0], [100, 8, 0]], T0)
    assert [piece.ios_per_s for piece in heat.pieces(T0)] == pytest.approx([0, 10])
    heat.put([], T0)
    assert len(heat) == 0
    assert list(heat.pieces(T0)) == []
