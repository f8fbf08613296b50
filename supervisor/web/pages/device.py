"""The contents of a device's page: its map, and tables of its images and parts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from supervisor.web.charts import figures
from supervisor.web.charts.device_map import ROWS, Image, draw_map, draw_overview, legend, parts
from supervisor.web.charts.hour_chart import draw_hour
from supervisor.web.charts.zoom import Window, requested_window
from supervisor.web.pages import image as image_page
from supervisor.web.pages.image import stretches
from supervisor.web.state.recent import Recent

# The parts are listed up to this number. With more in the window, the page asks to zoom in.
MOST_PARTS: Final = 200

Status = Mapping[str, Any]


def address(device: str, shown: Window | None = None) -> str:
    """Return the address of a device's page, or of a window of it."""
    query: dict[str, object] = {"name": device}
    if shown is not None and not shown.whole:
        query |= {"start": shown.start, "end": shown.end}
    return f"/device?{urlencode(query)}"


@dataclass(frozen=True, slots=True)
class ImageInWindow:
    """The part of an image in a window."""

    image: Image
    bytes: int
    regions: int
    ios_per_s: float


def images_on(device: str, statuses: Iterable[Status], recent: Recent, now: float) -> list[Image]:
    """Return the images on a device with their pieces, sorted by path."""
    on_it = sorted((s for s in statuses if s["device"] == device), key=lambda status: str(status["path"]))
    found = []
    for number, status in enumerate(on_it, start=1):
        heat = recent.heats.get(status["path"])
        pieces = list(heat.pieces(now)) if heat is not None else []
        found.append(Image(number, status["name"], image_page.address(status["name"]), pieces))
    return found


def images_in_window(images: Iterable[Image], shown: Window) -> list[ImageInWindow]:
    """Return the part of each image in a window, the busiest first."""
    found = []
    for image in images:
        inside = [piece for piece in image.pieces if piece.start < shown.end and piece.end > shown.start]
        if inside:
            length = sum(min(piece.end, shown.end) - max(piece.start, shown.start) for piece in inside)
            found.append(ImageInWindow(image, length, len(inside), sum(piece.ios_per_s for piece in inside)))
    return sorted(found, key=lambda one: (-one.ios_per_s, -one.bytes, one.image.number))


def size_of(status: Status | None, images: Sequence[Image]) -> int:
    """Return the size of a device in bytes. If it is unknown, return the end of the last piece."""
    last = max((image.pieces[-1].end for image in images if image.pieces), default=0)
    return max((status or {}).get("size_bytes") or 0, last)


def device(
    name: str,
    statuses: Iterable[Status],
    device_status: Status | None,
    recent: Recent,
    query: Mapping[str, str],
    now: float,
) -> dict[str, Any]:
    """Return the template's variables. `device_status` is the device's own status.

    Raises ValueError for an invalid window in `query`.
    """
    images = images_on(name, statuses, recent, now)
    shown = requested_window(query, size_of(device_status, images))
    whole = Window(0, shown.size, shown.size)
    found = parts(images, shown)
    series = recent.devices.get(name)
    return {
        "name": name,
        "device_status": device_status,
        "images": images,
        "shown": shown,
        "map": draw_map(found, shown),
        "overview": draw_overview(parts(images, whole, 1), shown),
        "rows": [(figures.place(row.start), address(name, row)) for row in shown.rows(ROWS)],
        "legend": legend(),
        "zooms": _zooms(name, shown),
        "in_window": images_in_window(images, shown),
        "parts": sorted(found, key=lambda part: part.start) if len(found) <= MOST_PARTS else None,
        "found": len(found),
        "figures": stretches(series, now) if series is not None else [],
        "hour": draw_hour(series, now) if series is not None else None,
    }


def _zooms(name: str, shown: Window) -> list[tuple[str, str, str | None]]:
    """Return the controls of the map: sign, text, and address, which is None if it would change nothing."""
    changed = [
        ("+", "Zoom in", shown.zoomed(0.5)),
        ("−", "Zoom out", shown.zoomed(2)),  # noqa: RUF001 - a minus
        ("←", "Towards the start", shown.moved(-0.5)),
        ("→", "Towards the end", shown.moved(0.5)),
        ("↔", "Whole device", Window(0, shown.size, shown.size)),
    ]
    return [(sign, text, None if other == shown else address(name, other)) for sign, text, other in changed]
