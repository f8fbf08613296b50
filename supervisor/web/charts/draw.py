"""SVG elements of the charts, with escaped text.

svg.py does not escape, so all texts and addresses must go through this module. x coordinates are in percent and y
coordinates in pixels: a chart is as wide as the page, and its text is not stretched. Lines are stretched, in a Plot.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import svg
from markupsafe import Markup, escape


def percent(share: float) -> svg.Length:
    """Return an x coordinate or a width, given as a share of the whole."""
    return svg.Length(_short(100 * share, 3), "%")


def _short(value: float, digits: int = 2) -> float:
    """Return a rounded coordinate with the shortest text."""
    rounded = round(value, digits)
    return int(rounded) if rounded == int(rounded) else rounded


def title(text: str) -> svg.Title:
    """Return a tooltip."""
    return svg.Title(text=str(escape(text)))


def label(text: str, x: svg.Length | float, y: float, *classes: str) -> svg.Text:
    """Return text that starts at x, or ends there with class `end`, on the base line y."""
    return svg.Text(text=str(escape(text)), x=x, y=y, class_=list(classes))


def span(text: str, *classes: str) -> svg.TSpan:
    """Return a span of a text."""
    return svg.TSpan(text=str(escape(text)), class_=list(classes))


def link(address: str, elements: list[svg.Element]) -> svg.A:
    """Return a link for the pointer. It is not in the tab order, because the tables have the same links."""
    return svg.A(href=str(escape(address)), elements=elements, tabindex=-1)


def group(elements: Iterable[svg.Element], *classes: str) -> svg.G:
    """Return a group of elements with these classes. If the first is a title, the group has it."""
    return svg.G(elements=list(elements), class_=list(classes))


def box(x: float, width: float, y: float, height: float, *classes: str) -> svg.Rect:
    """Return a rectangle: x and width as shares of the whole, y and height in pixels."""
    return svg.Rect(
        x=percent(x), width=percent(width), y=_short(y), height=_short(height), class_=list(classes)
    )


def hatching(name: str) -> svg.Element:
    """Return the pattern `name` for hatched(): oblique lines, which are visible without colours."""
    line = svg.Line(x1=0, y1=0, x2=0, y2=8, class_=["hatch"])
    turned: list[svg.Transform] = [svg.Rotate(45)]
    return svg.Defs(
        elements=[
            svg.Pattern(
                id=name,
                width=8,
                height=8,
                patternUnits="userSpaceOnUse",
                patternTransform=turned,
                elements=[line],
            )
        ]
    )


def hatched(one: svg.Rect, name: str) -> svg.Rect:
    """Return a rectangle filled with the hatching `name` of the same chart."""
    one.fill = f"url(#{name})"
    return one


def rule(y: float, *classes: str) -> svg.Line:
    """Return a horizontal line at y pixels."""
    return svg.Line(x1=0, x2=percent(1), y1=y, y2=y, class_=list(classes))


class Plot:
    """An area for lines, `height` pixels from `top`. x and y are from 0 to 1, y upwards."""

    def __init__(self, top: float, height: float) -> None:
        self.top = top
        self.height = height
        self._elements: list[svg.Element] = []

    def line(self, points: Sequence[tuple[float, float]], *classes: str) -> None:
        """Draw a line through the points."""
        self._elements.append(svg.Polyline(points=_stretched(points), class_=["line", *classes]))

    def area(self, points: Sequence[tuple[float, float]], base: float, *classes: str) -> None:
        """Draw a line through the points and down to `base` at its ends, and fill the area."""
        # SVG fills an open line as if it were closed, so one element is enough.
        self.line([(points[0][0], base), *points, (points[-1][0], base)], "area", *classes)

    def element(self) -> svg.SVG:
        """Return the area with its lines."""
        return svg.SVG(
            xmlns=None,
            x=0,
            y=self.top,
            width=percent(1),
            height=self.height,
            viewBox=svg.ViewBoxSpec(0, 0, 1000, 1000),
            preserveAspectRatio=svg.PreserveAspectRatio("none"),
            elements=self._elements,
        )


def _stretched(points: Sequence[tuple[float, float]]) -> list[svg.Point]:
    return [svg.Point(_short(1000 * x, 1), _short(1000 * (1 - y), 1)) for x, y in points]


def picture(elements: list[svg.Element], height: float, description: str, *classes: str) -> Markup:
    """Return a whole chart as markup. `description` is its text for screen readers."""
    whole = svg.SVG(
        width=percent(1),
        height=height,
        class_=list(classes),
        elements=elements,
        extra={"role": "img", "aria-label": str(escape(description))},
    )
    return Markup(whole.as_str())  # noqa: S704 - all its texts are escaped
