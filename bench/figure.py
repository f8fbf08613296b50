"""A plot as an SVG file of its own: lines over two logarithmic axes. Pure.

A line is identified by the name at its end, its marks and its dashes; colour is redundant. The colours are
for light and dark surroundings, as the reader has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import svg

from bench.axis import Axis
from supervisor.web.charts.draw import group, label

Drawn = Literal["filemapd", "other", "floor", "peer"]
Points = tuple[tuple[float, float], ...]

_WIDTH: Final = 760
_HEIGHT: Final = 420
_LEFT: Final = 76
_RIGHT: Final = 600
_TOP: Final = 56
_BOTTOM: Final = 360
_MARK: Final = 4.5
_LINE: Final = 16
_STYLE: Final = """
svg { font: 13px system-ui, sans-serif; --ground: #fff; --ink: #1c1e21; --faint: #d5d8dc;
  --filemapd: #0b5cad; --other: #7a3fa0; --peer: #a8430b; --floor: #4a6b2a; }
@media (prefers-color-scheme: dark) { svg { --ground: #16181c; --ink: #e4e6ea; --faint: #3c4148;
  --filemapd: #6fb1f7; --other: #c99af0; --peer: #f0a06a; --floor: #a5cf7c; } }
.ground { fill: var(--ground); } text { fill: var(--ink); } .head { font-size: 16px; font-weight: 600; }
.grid line { stroke: var(--faint); } .y text, .end { text-anchor: end; } .x text, .middle { text-anchor: middle; }
.line { fill: none; stroke-width: 2; }
.filemapd { --own: var(--filemapd); }
.other { --own: var(--other); } .peer { --own: var(--peer); } .floor { --own: var(--floor); }
.line { stroke: var(--own); }
.mark, text.filemapd, text.other, text.peer, text.floor { fill: var(--own); }
.other.line { stroke-dasharray: 12 3 2 3; } .other .mark { fill: var(--ground); stroke: var(--own); stroke-width: 2; }
.peer.line { stroke-dasharray: 7 4; } .floor.line { stroke-dasharray: 2 4; }
"""


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points in the axes' units, which are `drawn` so; `name` stands at its end, a word of what is
    special below it."""

    drawn: Drawn
    name: str
    points: Points
    note: str = ""


def figure(head: str, x: Axis, y: Axis, lines: Sequence[Line]) -> str:
    """Return a plot as the text of an SVG file."""
    elements: list[svg.Element] = [
        svg.Style(text=_STYLE),
        svg.Rect(width=_WIDTH, height=_HEIGHT, class_=["ground"]),
        label(head, _LEFT, 26, "head"),
        label(y.label, _LEFT, 46),
        label(x.label, (_LEFT + _RIGHT) / 2, _BOTTOM + 44, "middle"),
        group((_across(x.place(tick)) for tick in x.ticks()), "grid"),
        group((_down(y.place(tick)) for tick in y.ticks()), "grid"),
        group((label(_written(tick), _x(x.place(tick)), _BOTTOM + 20) for tick in x.ticks()), "x"),
        group((label(_written(tick), _LEFT - 8, _y(y.place(tick)) + 4) for tick in y.ticks()), "y"),
    ]
    placed = [
        (line, [(_x(x.place(across)), _y(y.place(up))) for across, up in line.points]) for line in lines
    ]
    for line, points in placed:
        elements += _drawn(line, points)
    elements += _names(placed)
    whole = svg.SVG(
        width=_WIDTH,
        height=_HEIGHT,
        viewBox=svg.ViewBoxSpec(0, 0, _WIDTH, _HEIGHT),
        elements=elements,
        extra={"role": "img", "aria-label": head},
    )
    return whole.as_str() + "\n"


def _written(tick: float) -> str:
    return f"{tick:,.0f}" if tick >= 1 else f"{tick:g}"


def _x(share: float) -> float:
    return round(_LEFT + share * (_RIGHT - _LEFT), 1)


def _y(share: float) -> float:
    return round(_BOTTOM - share * (_BOTTOM - _TOP), 1)


def _across(share: float) -> svg.Line:
    return svg.Line(x1=_x(share), x2=_x(share), y1=_TOP, y2=_BOTTOM)


def _down(share: float) -> svg.Line:
    return svg.Line(x1=_LEFT, x2=_RIGHT, y1=_y(share), y2=_y(share))


def _drawn(line: Line, points: Sequence[tuple[float, float]]) -> list[svg.Element]:
    marks = [_mark(line.drawn, x, y) for x, y in points]
    track = svg.Polyline(points=[svg.Point(x, y) for x, y in points], class_=["line", line.drawn])
    return [track, group(marks, line.drawn)]


def _mark(drawn: Drawn, x: float, y: float) -> svg.Element:
    """Return a disc (a ring for another one of ours), a square or a triangle."""
    if drawn in {"filemapd", "other"}:
        return svg.Circle(cx=x, cy=y, r=_MARK, class_=["mark"])
    if drawn == "peer":
        return svg.Rect(x=x - _MARK, y=y - _MARK, width=2 * _MARK, height=2 * _MARK, class_=["mark"])
    corners = [svg.Point(x, y - _MARK), svg.Point(x + _MARK, y + _MARK), svg.Point(x - _MARK, y + _MARK)]
    return svg.Polygon(points=corners, class_=["mark"])


def _names(placed: Sequence[tuple[Line, Sequence[tuple[float, float]]]]) -> list[svg.Element]:
    """Return the lines' names: right of the end of each, moved apart where they would lie upon each other; or over
    it, where it is not at the plot's edge, as there may be other lines on its right."""
    ends = sorted(((points[-1], line) for line, points in placed), key=lambda end: end[0][1])
    edge = max(x for (x, _), _ in ends)
    names: list[svg.Element] = []
    free = 0.0
    for (x, y), line in ends:
        rows = [text for text in (line.name, line.note) if text]
        if x < edge:
            top = y - 12 - _LINE * (len(rows) - 1)
            names += [label(text, x, top + _LINE * i, line.drawn, "end") for i, text in enumerate(rows)]
        else:
            top = max(y + 4, free)
            names += [label(text, x + 10, top + _LINE * i, line.drawn) for i, text in enumerate(rows)]
            free = top + _LINE * len(rows)
    return names
