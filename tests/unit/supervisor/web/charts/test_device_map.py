"""The map of a device: its window and its drawing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.web.charts.device_map import ROWS, Image, draw_map, draw_overview, heat_level, legend, parts
from supervisor.web.charts.zoom import LEAST, Window, requested_window, window
from supervisor.web.state.heat import Piece

GIB = 1 << 30
WHOLE = Window(0, 24 * GIB, 24 * GIB)
SVG = "{http://www.w3.org/2000/svg}"


def image(number: int, pieces: Sequence[tuple[int, int, float]], name: str = "disk.img") -> Image:
    """Return an image with pieces (start, end, I/Os a second)."""
    return Image(number, name, f"/image?name={number}", [Piece(*piece) for piece in pieces])


def shapes(markup: str, kind: str) -> list[ET.Element]:
    """Return the rectangles with a class."""
    tree = ET.fromstring(markup)  # noqa: S314 - our own
    return [rect for rect in tree.iter(f"{SVG}rect") if kind in str(rect.get("class")).split()]


def labels(markup: str) -> list[str]:
    """Return the labels on the map."""
    return [str(text.text) for text in ET.fromstring(markup).iter(f"{SVG}text")]  # noqa: S314 - our own


def test_requested_window() -> None:
    """The default is the whole device. A window is moved into the device, and invalid numbers are errors."""
    assert requested_window({}, 24 * GIB) == WHOLE
    assert requested_window({"start": str(GIB), "end": str(3 * GIB)}, 24 * GIB) == Window(
        GIB, 3 * GIB, 24 * GIB
    )
    assert requested_window({"start": str(23 * GIB), "end": str(99 * GIB)}, 24 * GIB) == WHOLE
    assert requested_window({}, 0) == Window(0, LEAST, LEAST)
    for query, error in (
        ({"start": "1G"}, "start='1G' is not a number of bytes; an example is start=0"),
        ({"start": "-1"}, "start='-1' is not a number"),
        ({"end": "9" * 99}, "is not a number"),
        ({"start": "5", "end": "5"}, "start=5 is not before end=5"),
        ({"start": "٣"}, "is not a number"),
    ):
        with pytest.raises(ValueError, match=re.escape(error)):
            requested_window(query, 24 * GIB)


@given(st.integers(0, 1 << 60), st.integers(0, 1 << 60), st.integers(0, 1 << 50))
def test_a_window_is_in_its_device(start: int, end: int, size: int) -> None:
    """Any requested, zoomed or moved window is within the device and not too short."""
    first = window(min(start, end), max(start, end), size)
    for found in (first, first.zoomed(0.5), first.zoomed(2), first.moved(0.5), first.moved(-0.5)):
        assert 0 <= found.start < found.end <= found.size
        assert found.length >= LEAST
        rows = found.rows(ROWS)
        assert (rows[0].start, rows[-1].end, len(rows)) == (found.start, found.end, ROWS)
    assert first.zoomed(0.5).length <= first.length


def test_zooming_goes_around_the_middle() -> None:
    """Zooming keeps the middle. Moving keeps the length."""
    shown = Window(8 * GIB, 16 * GIB, 24 * GIB)
    assert shown.zoomed(0.5) == Window(10 * GIB, 14 * GIB, 24 * GIB)
    assert shown.zoomed(2) == Window(4 * GIB, 20 * GIB, 24 * GIB)
    assert shown.moved(0.5) == Window(12 * GIB, 20 * GIB, 24 * GIB)
    assert shown.moved(-2) == Window(0, 8 * GIB, 24 * GIB)
    assert WHOLE.zoomed(2) == WHOLE
    assert WHOLE.whole
    assert not shown.whole


def test_near_pieces_are_one_part() -> None:
    """Near pieces of one image are merged, with the sum of their I/O. Pieces of different images are not."""
    one = image(1, [(0, GIB, 2), (GIB + 4096, 2 * GIB, 3), (10 * GIB, 11 * GIB, 0)])
    other = image(2, [(2 * GIB, 3 * GIB, 1)])
    found = parts([one, other], WHOLE)
    assert [(p.image.number, p.start, p.end, p.ios_per_s, p.pieces) for p in found] == [
        (1, 0, 2 * GIB, 5, 2),
        (1, 10 * GIB, 11 * GIB, 0, 1),
        (2, 2 * GIB, 3 * GIB, 1, 1),
    ]
    assert len(parts([one], Window(GIB - 65536, GIB + 65536, 24 * GIB))) == 2


def test_only_parts_in_the_window_are_drawn() -> None:
    """Adjacent pieces outside the window are not drawn."""
    found = parts(
        [image(1, [(0, GIB, 0), (GIB, 2 * GIB, 0), (2 * GIB, 3 * GIB, 0)])], Window(GIB, 2 * GIB, 24 * GIB)
    )
    assert [(part.start, part.end) for part in found] == [(GIB, 2 * GIB)]


def test_there_are_never_too_many_shapes() -> None:
    """50,000 pieces are merged into at most 2,500 parts, with all of their I/O."""
    apart = 10 * GIB // 5000
    images = [
        image(n, [(i * apart + n * 4096, i * apart + n * 4096 + 4096, 0.5) for i in range(5000)])
        for n in range(10)
    ]
    found = parts(images, Window(0, 10 * GIB, 24 * GIB))
    assert len(found) <= 2500
    assert sum(part.ios_per_s for part in found) == pytest.approx(25_000)
    assert sum(part.pieces for part in found) == 50_000


def test_a_part_is_in_each_row_that_it_touches() -> None:
    """Rows have the same length. A part that continues in the next row is drawn and labelled in both."""
    drawn = draw_map(parts([image(3, [(GIB // 2, 2 * GIB, 50)])], WHOLE), WHOLE)
    assert [(rect.get("x"), rect.get("width"), rect.get("y")) for rect in shapes(drawn, "tank")] == [
        ("50%", "50%", "0"),
        ("0%", "100%", "24"),
    ]
    assert labels(drawn) == ["3 disk.img", "3", "3 disk.img", "3"]


def test_fill_height_shows_heat() -> None:
    """Each level is higher than the one before. Without I/O nothing is filled. The legend shows all levels."""
    assert [heat_level(rate) for rate in (0, 0.01, 1, 1.1, 11, 101, 1001)] == [0, 1, 1, 2, 3, 4, 5]
    heights = []
    for rate in (0.5, 5, 50, 500, 5000):
        (filled,) = shapes(draw_map(parts([image(1, [(0, GIB, rate)])], WHOLE), WHOLE), "heat")
        heights.append(float(str(filled.get("height"))))
    assert heights == sorted(heights)
    assert len(set(heights)) == 5
    assert shapes(draw_map(parts([image(1, [(0, GIB, 0)])], WHOLE), WHOLE), "heat") == []
    assert [text for _, text in legend()] == [
        "no I/O",
        "under 1",
        "under 10",
        "under 100",
        "under 1,000",
        "more",
    ]


def test_tooltips() -> None:
    """The tooltip of a part has its image, place and I/O. Its link leads to the image's page, with any name."""
    name = '"><script>.img'
    drawn = draw_map(parts([image(7, [(GIB, 3 * GIB, 12)], name)], WHOLE), WHOLE)
    tree = ET.fromstring(drawn)  # noqa: S314 - our own
    (title,) = tree.iter(f"{SVG}title")
    assert title.text == f"7: {name}\n1 GiB to 3 GiB, 2.0 GiB, 1 region\n12 I/Os a second"
    (link,) = tree.iter(f"{SVG}a")
    assert link.get("href") == "/image?name=7"


def test_small_parts_can_be_seen() -> None:
    """A part has a minimum width. At the end of a row it is moved inwards."""
    (tank,) = shapes(draw_map(parts([image(1, [(GIB - 4096, GIB, 0)])], WHOLE), WHOLE), "tank")
    x, width = (float(str(tank.get(name)).rstrip("%")) for name in ("x", "width"))
    assert width > 0.1
    assert x + width <= 100.001


def test_the_overview_shows_where_the_map_is() -> None:
    """It shows the whole device in one row without labels, and a frame."""
    shown = Window(6 * GIB, 12 * GIB, 24 * GIB)
    drawn = draw_overview(parts([image(1, [(0, 12 * GIB, 3)])], WHOLE, 1), shown)
    assert [rect.get("width") for rect in shapes(drawn, "tank")] == ["50%"]
    (frame,) = shapes(drawn, "frame")
    assert (frame.get("x"), frame.get("width")) == ("25%", "25%")
    assert labels(drawn) == []
