"""The last hour of a file as one chart: panels below each other, with a tooltip for each interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import svg
from markupsafe import Markup

from supervisor.web.charts import draw, figures
from supervisor.web.charts.panels import Panel, heat_panel, latency_panel, rates_panel
from supervisor.web.state.series import SPAN, Interval, Series

_AXIS: Final = 26.0
_TIMES: Final = (
    (0.0, "60 min ago", "start"),
    (0.25, "45 min", "middle"),
    (0.5, "30 min", "middle"),
    (0.75, "15 min", "middle"),
    (1.0, "now", "end"),
)


def draw_hour(series: Series, now: float) -> Markup:
    """Draw the last hour of a file: I/Os and bytes a second, mean latencies, and a heat map of latencies."""
    intervals = list(series.intervals(now))
    start = now - SPAN
    panels = _stacked(intervals, start, series.bounds_ns)
    height = _below(panels)
    whole = [element for panel in panels for element in panel.elements]
    whole += [*_unknown(series.begun - start, panels), *_axis(height)]
    whole += [_column(interval, start, height) for interval in intervals]
    return draw.picture(whole, height + _AXIS, _description(intervals), "hour")


def _stacked(intervals: Sequence[Interval], start: float, bounds_ns: Sequence[int]) -> list[Panel]:
    """Return all panels, from top to bottom."""
    panels = [rates_panel(intervals, start, 0, "I/Os a second", figures.rate, _ios)]
    panels.append(rates_panel(intervals, start, _below(panels), "Throughput", figures.speed, _bytes, 1024))
    panels.append(latency_panel(intervals, start, _below(panels)))
    if bounds_ns:
        panels.append(heat_panel(intervals, start, _below(panels), bounds_ns))
    return panels


def _below(panels: Sequence[Panel]) -> float:
    return sum(panel.height for panel in panels)


def _ios(interval: Interval) -> tuple[float, float]:
    return interval.rates.reads_per_s, interval.rates.writes_per_s


def _bytes(interval: Interval) -> tuple[float, float]:
    return interval.rates.read_bytes_per_s, interval.rates.write_bytes_per_s


def _description(intervals: Sequence[Interval]) -> str:
    if not intervals:
        return "The last hour: no I/O"
    most = max(interval.rates.ios_per_s for interval in intervals)
    return (
        f"The last hour: at most {figures.rate(most)} I/Os a second; the tables on this page show the figures"
    )


def _unknown(known_from: float, panels: Sequence[Panel]) -> list[svg.Element]:
    """Return hatching for the time before the first reading, with a label where there is room."""
    share = min(1.0, known_from / SPAN)
    if share < 0.01:  # noqa: PLR2004 - hardly visible
        return []
    covers: list[svg.Element] = [draw.hatching("no-data")]
    for top, height in (panel.plot for panel in panels):
        covers.append(draw.hatched(draw.box(0, share, top, height, "unknown"), "no-data"))
        if share > 0.2:  # noqa: PLR2004 - too narrow for the label
            middle = draw.percent(share / 2)
            covers.append(draw.label("no data", middle, top + height / 4 + 4, "kind", "middle"))
    return covers


def _axis(top: float) -> list[svg.Element]:
    return [draw.label(text, draw.percent(at), top + 16, "scale", anchor) for at, text, anchor in _TIMES]


def _column(interval: Interval, start: float, height: float) -> svg.Element:
    """Return an interval's column with its tooltip."""
    since, until = max(interval.since, start) - start, interval.until - start
    column = draw.box(since / SPAN, (until - since) / SPAN, 0, height, "column")
    column.elements = [draw.title(in_words(interval))]
    return column


def in_words(interval: Interval) -> str:
    """Return an interval's figures, one kind on each line."""
    found = interval.rates
    lines = [
        f"{figures.clock(interval.since)} to {figures.clock(interval.until)}",
        _io_in_words("reads", found.reads_per_s, found.read_bytes_per_s, found.read_latency_ns),
        _io_in_words("writes", found.writes_per_s, found.write_bytes_per_s, found.write_latency_ns),
    ]
    by_bin = zip(figures.bins(found.bounds_ns), found.bins, strict=False)
    return "\n".join(lines + [f"{name}: {figures.count(ios)}" for name, ios in by_bin if ios])


def _io_in_words(kind: str, per_s: float, bytes_per_s: float, latency_ns: float | None) -> str:
    latency = f", mean {figures.latency(latency_ns)}" if latency_ns is not None else ""
    return f"{figures.rate(per_s)} {kind}/s, {figures.speed(bytes_per_s)}{latency}"
