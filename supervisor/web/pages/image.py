"""What the page of one image shows. Pure."""

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
# A table of the hour has so many rows.
_TWELFTHS: Final = 12

Status = Mapping[str, Any]


def address(name: str) -> str:
    """Return the address of an image's page."""
    return f"/image?{urlencode({'name': name})}"


@dataclass(frozen=True, slots=True)
class Figures:
    """What was done in a stretch of time, in words, each with its name."""

    when: str
    cells: Sequence[tuple[str, str]]


def _figures(when: str, found: Rates | None, bounds_ns: Sequence[int]) -> Figures:
    """Return rates in words; None is told as unknown. Without bounds there are no percentiles."""
    told = [
        ("Reads/s", figures.rate(found.reads_per_s if found else None)),
        ("Writes/s", figures.rate(found.writes_per_s if found else None)),
        ("Read", figures.speed(found.read_bytes_per_s if found else None)),
        ("Written", figures.speed(found.write_bytes_per_s if found else None)),
        ("Read latency", figures.latency(found.read_latency_ns if found else None)),
        ("Write latency", figures.latency(found.write_latency_ns if found else None)),
    ]
    if bounds_ns:
        told += [
            ("Median", figures.percentile(found, 0.5)),
            ("p99", figures.percentile(found, 0.99)),
        ]
    return Figures(when, told)


def stretches(series: Series, now: float) -> list[Figures]:
    """Return what a file does now, and did in the last minutes and the last hour."""
    return [
        _figures(when, series.now(now) if seconds is None else series.over(seconds, now), series.bounds_ns)
        for seconds, when in _STRETCHES
    ]


def strip(heat: Heat | None, status: Status, size: int, now: float) -> Markup | None:
    """Draw where a file lies on its device, in one row; None where it lies nowhere."""
    pieces = list(heat.pieces(now)) if heat is not None else []
    if not pieces:
        return None
    whole = Window(0, max(size, pieces[-1].end), max(size, pieces[-1].end))
    image = Image(1, status["name"], address(status["name"]), pieces)
    return draw_map(parts([image], whole, 1), whole, 1, named=False)


def image(
    status: Status, recent: Recent, events: Sequence[Mapping[str, Any]], size: int, now: float
) -> dict[str, Any]:
    """Return what the template of an image needs. `events` are its own, the newest last; `size` is its device's in
    bytes, 0 where that is not known."""
    series = recent.files.get(status["path"])
    heat = recent.heats.get(status["path"])
    return {
        "status": status,
        "figures": stretches(series, now) if series is not None else [],
        "hour": draw_hour(series, now) if series is not None else None,
        "since": series.begun if series is not None else None,
        "strip": strip(heat, status, size, now),
        "bins": _bins(status),
        "happened": happened(events, status["moves"]),
    }


def happened(
    events: Iterable[Mapping[str, Any]], moves: Iterable[Mapping[str, Any]]
) -> list[tuple[str, str]]:
    """Return when and what happened to a file, the newest first: its events, and moves that are no event any more."""
    found = {(event["at"], _in_words(event)) for event in events}
    found |= {(move["at"], _moved(move, move["reason"])) for move in moves}
    return sorted(found, reverse=True)


def _in_words(event: Mapping[str, Any]) -> str:
    """Return an event (supervisor/ledger/events.py) as a sentence."""
    details, because = event["details"], f": {event['reason']}" if event["reason"] else ""
    match event["kind"]:
        case "moved":
            return _moved(details, event["reason"])
        case "restarted":
            return f"Its worker was started anew, restart {details['restarts']}{because}"
        case _:
            return f"{details['from']} became {details['to']}{because}"


def _moved(ids: Mapping[str, Any], reason: str | None) -> str:
    return f"Group {ids['from']} became group {ids['to']}{f': {reason}' if reason else ''}"


def _bins(status: Status) -> Sequence[tuple[str, int]]:
    """Return the histogram since the file has been counted: the names of the bins and their I/Os."""
    names = figures.bins(status["bounds_ns"])
    return (
        list(zip(names, status["histogram"], strict=True)) if len(names) == len(status["histogram"]) else []
    )
