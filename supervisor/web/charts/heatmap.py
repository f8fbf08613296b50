"""The cells of a latency heat map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import svg

from supervisor.web.charts import draw
from supervisor.web.state.series import SPAN, Interval

# Each level is a quarter of the level above. The hour's fullest cell has the highest.
_LEVELS: Final = 5
_STEP: Final = 4


def heat_cells(intervals: Sequence[Interval], start: float, top: float, height: float) -> list[svg.Element]:
    """Draw a column for each interval, with a cell of `height` pixels for each bin with I/O, the fastest at the
    bottom. The class of a cell is h1 (few I/Os a second) to h5 (many)."""
    most = max((max(i.rates.bins, default=0) / i.rates.seconds for i in intervals), default=0.0)
    cells: list[svg.Element] = []
    for interval in intervals:
        bins, seconds = interval.rates.bins, interval.rates.seconds
        since, until = max(interval.since, start) - start, interval.until - start
        for row, ios in enumerate(bins):
            if ios:
                y = top + height * (len(bins) - 1 - row)
                shade = f"h{level(ios / seconds, most)}"
                cells.append(draw.box(since / SPAN, (until - since) / SPAN, y, height, shade))
    return cells


def level(value: float, most: float) -> int:
    """Return 5 from half of `most` upwards, one less for each quarter of that, at least 1."""
    found, least = _LEVELS, most / 2
    while found > 1 and value < least:
        found, least = found - 1, least / _STEP
    return found
