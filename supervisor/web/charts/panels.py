"""The panels of the hour's chart: rates, latencies, heat map. The x axis is SPAN seconds from `start`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import svg

from supervisor.web.charts import draw, figures
from supervisor.web.charts.heatmap import heat_cells
from supervisor.web.charts.sparkline import log_share
from supervisor.web.state.series import SPAN, Interval

# Pixels. style.css has room for the scale left of the chart.
_TITLE: Final = 34.0
_RATES: Final = 130.0
_LATENCIES: Final = 110.0
_BIN: Final = 22.0
_GAP: Final = 10.0

_ROUND: Final = (1, 1.5, 2, 3, 4, 5, 6, 8)

Line = list[tuple[float, float]]


class Panel(NamedTuple):
    """A part of the chart: its height, and the place of its plot in the chart."""

    elements: list[svg.Element]
    height: float
    plot: tuple[float, float]
    """Offset from the top of the chart, and height."""


def rates_panel(
    intervals: Sequence[Interval],
    start: float,
    top: float,
    name: str,
    formatted: Callable[[float], str],
    pair: Callable[[Interval], tuple[float, float]],
    base: int = 10,
) -> Panel:
    """Draw pairs of rates from the middle, to one scale: reads upwards and writes downwards."""
    pairs = [(interval, *pair(interval)) for interval in intervals]
    most = rounded_up(max((max(reads, writes) for _, reads, writes in pairs), default=0.0), base)
    plot = draw.Plot(top + _TITLE, _RATES)
    reads = steps(((interval, 0.5 + 0.5 * value / most) for interval, value, _ in pairs), start)
    writes = steps(((interval, 0.5 - 0.5 * value / most) for interval, _, value in pairs), start)
    for kind, lines in (("reads", reads), ("writes", writes)):
        for points in lines:
            plot.area(points, 0.5, kind)
    middle, bottom = top + _TITLE + _RATES / 2, top + _TITLE + _RATES
    elements = [
        _name(name, "", top),
        draw.rule(top + _TITLE, "grid"),
        draw.rule(bottom, "grid"),
        plot.element(),
        draw.rule(middle, "base"),
        _scale(formatted(most), top + _TITLE),
        _scale("0", middle),
        _scale(formatted(most), bottom),
        draw.label("↑ reads", 4, top + _TITLE + 14, "kind", "reads"),
        draw.label("↓ writes", 4, bottom - 6, "kind", "writes"),
    ]
    return _panel(elements, top, _RATES)


def latency_panel(intervals: Sequence[Interval], start: float, top: float) -> Panel:
    """Draw the mean latencies of reads and of writes on a logarithmic scale."""
    reads = [(i, i.rates.read_latency_ns) for i in intervals if i.rates.read_latency_ns]
    writes = [(i, i.rates.write_latency_ns) for i in intervals if i.rates.write_latency_ns]
    found = [value for _, value in reads + writes]
    low = math.floor(math.log10(min(found, default=1e5)))
    high = max(low + 1, math.ceil(math.log10(max(found, default=1e6))))
    plot = draw.Plot(top + _TITLE, _LATENCIES)
    for kind, values in (("reads", reads), ("writes", writes)):
        for points in steps(((i, log_share(value, 10**low, 10**high)) for i, value in values), start):
            plot.line(points, kind)
    scale: list[svg.Element] = []
    for power in range(low, high + 1):
        y = top + _TITLE + _LATENCIES * (high - power) / (high - low)
        scale += [draw.rule(y, "grid"), _scale(figures.latency(10**power), y)]
    heading = _name("Mean latency", "reads solid, writes dotted", top)
    return _panel([heading, *scale, plot.element()], top, _LATENCIES)


def heat_panel(intervals: Sequence[Interval], start: float, top: float, bounds_ns: Sequence[int]) -> Panel:
    """Draw the I/Os by latency: a row for each bin of the histogram, the slowest on top, and percentiles."""
    height = _BIN * (len(bounds_ns) + 1)
    plot = draw.Plot(top + _TITLE, height)
    for q, kind in ((0.5, "median"), (0.99, "p99")):
        found = [(interval, interval.rates.quantile_ns(q)) for interval in intervals]
        known = ((interval, among_bins(value, bounds_ns)) for interval, value in found if value is not None)
        for points in steps(known, start):
            plot.line(points, "halo")
            plot.line(points, kind)
    bottom = top + _TITLE + height
    rows = [
        _scale(figures.latency(bound), bottom - _BIN * row) for row, bound in enumerate(bounds_ns, start=1)
    ]
    heading = _name("All latencies", "stronger colour: more I/Os; median solid, p99 dotted", top)
    ground = draw.box(0, 1, top + _TITLE, height, "ground")
    cells = heat_cells(intervals, start, top + _TITLE, _BIN)
    return _panel([heading, ground, *cells, plot.element(), *rows], top, height)


def _panel(elements: list[svg.Element], top: float, height: float) -> Panel:
    return Panel(elements, _TITLE + height + _GAP, (top + _TITLE, height))


def _name(text: str, legend: str, top: float) -> svg.Element:
    heading = draw.label(text, 0, top + 20, "name")
    heading.text = None
    heading.elements = [draw.span(text), draw.span(f"  {legend}", "legend")] if legend else [draw.span(text)]
    return heading


def _scale(text: str, y: float) -> svg.Element:
    """Return a label of the scale, left of the chart."""
    return draw.label(text, -6, y + 4, "scale", "end")


def rounded_up(value: float, base: int = 10) -> float:
    """Return the next round number from `value` upwards, or 1 for 0. With `base` 1024 it is round in KiB, MiB and so
    on."""
    unit = 1.0
    while base != 10 and value >= base * unit:  # noqa: PLR2004 - tens need no unit
        unit *= base
    if value <= 0:
        return 1.0
    power = unit * 10.0 ** math.floor(math.log10(value / unit))
    return next((step * power for step in _ROUND if step * power >= value * 0.999_999), 10 * power)


def steps(values: Iterable[tuple[Interval, float]], start: float) -> list[Line]:
    """Return step lines with x as shares of the hour. A pause starts a new line."""
    lines: list[Line] = []
    last = -math.inf
    for interval, value in values:
        if interval.since - last > 1:
            lines.append([])
        lines[-1] += [((at - start) / SPAN, value) for at in (max(interval.since, start), interval.until)]
        last = interval.until
    return lines


def among_bins(latency_ns: float, bounds_ns: Sequence[int]) -> float:
    """Return the height (0 to 1) of a latency on rows of bins with equal height: interpolated in its row, and the
    middle of the last row, which has no upper bound."""
    rows = len(bounds_ns) + 1
    lower = 0
    for row, upper in enumerate(bounds_ns):
        if latency_ns <= upper:
            return (row + (latency_ns - lower) / (upper - lower)) / rows
        lower = upper
    return (rows - 0.5) / rows
