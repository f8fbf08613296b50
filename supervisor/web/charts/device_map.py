"""The map of a device in rows: the place of each image, and how busy each part is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import svg
from markupsafe import Markup

from supervisor.web.charts import draw, figures
from supervisor.web.charts.zoom import Window
from supervisor.web.state.heat import Piece

ROWS: Final = 24
# Pixels. style.css has the same height for the labels of the rows.
ROW_HEIGHT: Final = 20.0
ROW_STEP: Final = 24.0
COLOURS: Final = 10
# Parts of one image are merged if the gap between them is below this share of a row. It grows if there are too many
# shapes.
_NEAR: Final = 1 / 1500
_MOST_SHAPES: Final = 2500
# A narrower part would be hard to see.
_NARROWEST: Final = 1 / 700
# Shares of a row: the width of a number, and of each letter of a name.
_FOR_NUMBER: Final = 0.012
_PER_LETTER: Final = 0.0075
# I/Os a second above which a part has the next level of heat. The first level is any I/O.
HEAT_LEVELS: Final = (0.0, 1.0, 10.0, 100.0, 1000.0)


@dataclass(frozen=True, slots=True)
class Image:
    """An image on the map: its number in the table, its name and the address of its page."""

    number: int
    name: str
    address: str
    pieces: Sequence[Piece]

    @property
    def colour(self) -> str:
        """The CSS class of its colour."""
        return f"c{(self.number - 1) % COLOURS}"


@dataclass(slots=True)
class Part:
    """Neighbouring pieces of one image, drawn as one."""

    image: Image
    start: int
    end: int
    ios_per_s: float
    pieces: int = 1


def heat_level(ios_per_s: float) -> int:
    """Return 0 for no I/O, else 1 to 5."""
    return sum(ios_per_s > least for least in HEAT_LEVELS)


def parts(images: Iterable[Image], shown: Window, rows: int = ROWS) -> list[Part]:
    """Return the parts of the images in a window: the pieces of each image, with near ones merged."""
    inside = [
        (image, piece)
        for image in images
        for piece in image.pieces
        if piece.start < shown.end and piece.end > shown.start
    ]
    near = shown.length / rows * _NEAR
    found = _joined(inside, near)
    while len(found) > _MOST_SHAPES:
        near *= 2
        found = _joined(inside, near)
    return found


def _joined(inside: Iterable[tuple[Image, Piece]], near: float) -> list[Part]:
    found: list[Part] = []
    for image, (start, end, ios_per_s) in inside:
        last = found[-1] if found else None
        if last is not None and last.image is image and start - last.end < near:
            last.end = max(last.end, end)
            last.ios_per_s += ios_per_s
            last.pieces += 1
        else:
            found.append(Part(image, start, end, ios_per_s))
    return found


def draw_map(found: Sequence[Part], shown: Window, rows: int = ROWS, *, named: bool = True) -> Markup:
    """Draw parts in rows that divide the window. With `named`, label them with number and name if there is room."""
    stretches = shown.rows(rows)
    elements: list[svg.Element] = [
        draw.box(0, 1, ROW_STEP * row, ROW_HEIGHT, "ground") for row in range(rows)
    ]
    for part in found:
        shapes = list(_shapes(part, stretches, shown, named=named))
        elements.append(draw.link(part.image.address, [draw.title(in_words(part)), *shapes]))
    described = (
        f"Map of {figures.size(shown.length)} of the device in {rows} rows; "
        "the tables below list the images on it"
    )
    return draw.picture(elements, ROW_STEP * rows, described, "map")


def _shapes(part: Part, stretches: Sequence[Window], shown: Window, *, named: bool) -> Iterator[svg.Element]:
    """Yield the shapes of one part: a tank in each row that it touches, filled by its level of heat."""
    level = heat_level(part.ios_per_s)
    per_row = shown.length / len(stretches)
    first = max(0, int((part.start - shown.start) / per_row) - 1)
    for row in range(first, len(stretches)):
        stretch = stretches[row]
        if stretch.start >= part.end:
            return
        start, end = max(part.start, stretch.start), min(part.end, stretch.end)
        if start >= end:
            continue
        x, width = (start - stretch.start) / stretch.length, (end - start) / stretch.length
        x, width = min(x, 1 - _NARROWEST), max(width, _NARROWEST)
        y = ROW_STEP * row
        yield draw.box(x, width, y, ROW_HEIGHT, "tank", part.image.colour)
        yield from _filled(level, x, width, y, part.image.colour)
        if named:
            yield from _name(part.image, x, width, y + ROW_HEIGHT - 6)


def _filled(level: int, x: float, width: float, y: float, colour: str) -> Iterator[svg.Element]:
    """Yield the filling of a tank for a level of heat."""
    if level:
        height = ROW_HEIGHT * (0.15 + 0.17 * level)
        yield draw.box(x, width, y + ROW_HEIGHT - height, height, "heat", colour, f"h{level}")


def _name(image: Image, x: float, width: float, y: float) -> Iterator[svg.Element]:
    """Label a part with its number, and with as much of its name as fits."""
    number = str(image.number)
    room = int(width / _PER_LETTER) - len(number) - 2
    if width < _FOR_NUMBER * len(number):
        return
    at = draw.percent(x + 0.003)
    few = 4
    if room < few:
        yield draw.label(number, at, y, "on-map", "narrow")
    else:
        yield draw.label(f"{number} {figures.cut(image.name, room)}", at, y, "on-map", "long")
        yield draw.label(number, at, y, "on-map", "short")


def in_words(part: Part) -> str:
    """Return the tooltip of a part: image, place and I/O."""
    regions = "1 region" if part.pieces == 1 else f"{part.pieces} regions"
    io = f"{figures.rate(part.ios_per_s)} I/Os a second" if part.ios_per_s else "no I/O"
    return (
        f"{part.image.number}: {part.image.name}\n"
        f"{figures.place(part.start)} to {figures.place(part.end)}, {figures.size(part.end - part.start)}, "
        f"{regions}\n{io}"
    )


def draw_overview(found: Sequence[Part], shown: Window) -> Markup:
    """Draw the whole device in one row, with a frame around the part that the map shows."""
    whole = Window(0, shown.size, shown.size)
    elements: list[svg.Element] = [draw.box(0, 1, 0, ROW_HEIGHT, "ground")]
    for part in found:
        elements += _shapes(part, [whole], whole, named=False)
    x, width = shown.start / shown.size, max(shown.length / shown.size, _NARROWEST)
    elements.append(draw.box(x, width, 0, ROW_HEIGHT, "frame"))
    described = (
        f"The whole device; the map shows {figures.place(shown.start)} to {figures.place(shown.end)} of it"
    )
    return draw.picture(elements, ROW_HEIGHT, described, "map", "overview")


def legend() -> list[tuple[Markup, str]]:
    """Return a sample of each level of heat, and its meaning."""
    labels = ["no I/O", *(f"under {figures.count(most)}" for most in HEAT_LEVELS[1:]), "more"]
    return [(_sample(level, text), text) for level, text in enumerate(labels)]


def _sample(level: int, text: str) -> Markup:
    elements = [draw.box(0, 1, 0, ROW_HEIGHT, "ground"), draw.box(0, 1, 0, ROW_HEIGHT, "tank", "c0")]
    return draw.picture([*elements, *_filled(level, 0, 1, 0, "c0")], ROW_HEIGHT, text, "map", "sample")
