"""The contents of an image's page. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from markupsafe import Markup

from supervisor.rates import Rates
from supervisor.web.charts import figures
from supervisor.web.charts.device_map import Image, draw_map, parts
from supervisor.web.charts.hour_chart import draw_hour
from supervisor.web.charts.zoom import Window
from supervisor.web.state.heat import Heat
from supervisor.web.state.recent import Recent
from supervisor.web.state.series import SPAN, Series

_STRETCHES: Final = ((None, "now"), (300.0, "last 5 min"), (SPAN, "last hour"))

Status = Mapping[str, Any]


def address(name: str) -> str:
    """Return the address of an image's page."""
    return f"/image?{urlencode({'name': name})}"


@dataclass(frozen=True, slots=True)
class Figures:
    """The rates in an interval as text, each with its name."""

    when: str
    cells: Sequence[tuple[str, str]]


def _figures(when: str, found: Rates | None, bounds_ns: Sequence[int]) -> Figures:
    """Return rates as text; None is unknown. Without bounds there are no percentiles."""
    cells = [
        ("Reads/s", figures.rate(found.reads_per_s if found else None)),
        ("Writes/s", figures.rate(found.writes_per_s if found else None)),
        ("Read", figures.speed(found.read_bytes_per_s if found else None)),
        ("Written", figures.speed(found.write_bytes_per_s if found else None)),
        ("Read latency", figures.latency(found.read_latency_ns if found else None)),
        ("Write latency", figures.latency(found.write_latency_ns if found else None)),
    ]
    if bounds_ns:
        cells += [
            ("Median", figures.percentile(found, 0.5)),
            ("p99", figures.percentile(found, 0.99)),
        ]
    return Figures(when, cells)


def stretches(series: Series, now: float) -> list[Figures]:
    """Return a file's rates now, in the last minutes and in the last hour."""
    return [
        _figures(when, series.now(now) if seconds is None else series.over(seconds, now), series.bounds_ns)
        for seconds, when in _STRETCHES
    ]


def strip(heat: Heat | None, status: Status, size: int, now: float) -> Markup | None:
    """Draw the place of a file on its device in one row. Return None if it has no pieces."""
    pieces = list(heat.pieces(now)) if heat is not None else []
    if not pieces:
        return None
    whole = Window(0, max(size, pieces[-1].end), max(size, pieces[-1].end))
    image = Image(1, status["name"], address(status["name"]), pieces)
    return draw_map(parts([image], whole, 1), whole, 1, named=False)


def image(
    status: Status, recent: Recent, events: Sequence[Mapping[str, Any]], size: int, now: float
) -> dict[str, Any]:
    """Return the template's variables. `events` are those of the image, newest last. `size` is that of its device in
    bytes, 0 if unknown."""
    series = recent.files.get(status["path"])
    heat = recent.heats.get(status["path"])
    return {
        "status": status,
        "figures": stretches(series, now) if series is not None else [],
        "hour": draw_hour(series, now) if series is not None else None,
        "since": series.begun if series is not None else None,
        "strip": strip(heat, status, size, now),
        "bins": _bins(status),
        "history": history(events, status["moves"]),
    }


def history(events: Iterable[Mapping[str, Any]], moves: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return time and text of a file's events and of older moves, newest first."""
    found = {(event["at"], _in_words(event)) for event in events}
    found |= {(move["at"], _moved(move, move["reason"])) for move in moves}
    return sorted(found, reverse=True)


def _in_words(event: Mapping[str, Any]) -> str:
    """Return an event (supervisor/ledger/events.py) as text."""
    details, because = event["details"], f": {event['reason']}" if event["reason"] else ""
    match event["kind"]:
        case "moved":
            return _moved(details, event["reason"])
        case "restarted":
            return f"Worker restarted (restart {details['restarts']}){because}"
        case _:
            return f"State {details['from']} → {details['to']}{because}"


def _moved(ids: Mapping[str, Any], reason: str | None) -> str:
    return f"Group moved: {ids['from']} → {ids['to']}{f': {reason}' if reason else ''}"


def _bins(status: Status) -> Sequence[tuple[str, int]]:
    """Return the names of the histogram's bins and their total I/Os."""
    names = figures.bins(status["bounds_ns"])
    return (
        list(zip(names, status["histogram"], strict=True)) if len(names) == len(status["histogram"]) else []
    )
