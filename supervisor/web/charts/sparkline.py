"""Sparklines: the last hour of a file in a table cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final

from markupsafe import Markup

from supervisor.web.charts import draw, figures
from supervisor.web.state.series import Bucket

STRETCHES: Final = 60
_HEIGHT: Final = 26.0
# Latencies in ns at the bottom and at the top, the same in all rows for comparison.
_FAST, _SLOW = 1e4, 1e9


def of_rate(buckets: Sequence[Bucket | None]) -> Markup:
    """Draw I/Os a second, scaled to the hour's maximum."""
    most = max((bucket.ios_per_s for bucket in buckets if bucket), default=0.0)
    description = (
        f"I/Os a second in the last hour, at most {figures.rate(most)}" if most else "no I/O in the last hour"
    )
    return _spark(buckets, lambda bucket: bucket.ios_per_s / most if most else 0.0, description, "rate")


def of_latency(buckets: Sequence[Bucket | None]) -> Markup:
    """Draw the mean latency on a logarithmic scale, the same in all sparklines. Without I/O there is a gap."""
    most = max((bucket.latency_ns for bucket in buckets if bucket and bucket.latency_ns), default=None)
    description = (
        f"mean latency in the last hour, at most {figures.latency(most)}"
        if most
        else "no I/O in the last hour"
    )
    return _spark(buckets, _latency_height, description, "latency")


def _latency_height(bucket: Bucket) -> float | None:
    if bucket.latency_ns is None:
        return None
    return log_share(bucket.latency_ns, _FAST, _SLOW, least=0.05)


def log_share(value: float, low: float, high: float, *, least: float = 0.0) -> float:
    """Return the position of `value` between `low` (0) and `high` (1) on a logarithmic scale, at least `least`."""
    share = math.log(max(value, low) / low) / math.log(high / low)
    return max(least, min(share, 1.0))


def _spark(
    buckets: Sequence[Bucket | None], height: Callable[[Bucket], float | None], description: str, kind: str
) -> Markup:
    plot = draw.Plot(0, _HEIGHT)
    heights = [height(bucket) if bucket is not None else None for bucket in buckets]
    at = 0
    for known, stretch in groupby(heights, lambda value: value is not None):
        found = list(stretch)
        if known:
            # The last point is repeated, so that a single bucket has a width.
            points = [
                ((at + i) / len(heights), y) for i, y in enumerate([*found, found[-1]]) if y is not None
            ]
            plot.area(points, 0, kind)
        at += len(found)
    return draw.picture([draw.title(description), plot.element()], _HEIGHT, description, "spark")
