"""The plots of a run: how cost grows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from bench.axis import axis
from bench.figure import Drawn, Line, figure
from bench.hosts import BYTES, IMAGES, INTERVAL, Counted, counted
from bench.noise import median
from bench.results import Row, Run, Series, Subject

_NAMES: Final[tuple[tuple[Subject, str], ...]] = (
    ("filemapd", "filemapd"),
    ("floor", "bare ioctls"),
    ("peer", "dmfilemapd"),
)
# By the rows' series: file, heading, labels of the x and y axes.
_PLOTS: Final[dict[Series, tuple[str, str, str, str]]] = {
    "update": (
        "growth-update.svg",
        "An update that changes nothing",
        "extents of the file",
        "time of an update, ms",
    ),
    "start": ("growth-start.svg", "Start of a supervisor", "files", "from exec to all mapped, s"),
    "idle-cpu": ("growth-cpu.svg", "At rest: CPU of all processes", "files", "percent of one CPU"),
    "pss": ("growth-memory.svg", "At rest: memory of all processes", "files", "PSS, MiB"),
}
_HOSTS_FILE: Final = "growth-hosts.svg"
_HOSTS: Final = (10, 30, 100, 300, 1_000)
_GB: Final = 1e9


def plots(run: Run) -> dict[str, str]:
    """Return the plots by file name. Plots without measurements are omitted."""
    drawn = {}
    for name, (file, head, across, up) in _PLOTS.items():
        rows = _rows(run, name)
        lines = [line for subject, label in _NAMES for line in _line(rows, subject, label)]
        if name == "update":
            others = _line(_rows(run, "update-other"), "filemapd", "filemapd, after")
            lines += [replace(line, drawn="other", note="another's region came") for line in others]
        if lines:
            drawn[file] = _figure(head, across, up, lines)
    series = counted(run)
    if series is not None:
        drawn[_HOSTS_FILE] = _of_hosts(series)
    return drawn


def _rows(run: Run, series: Series) -> list[Row]:
    return sorted((row for row in run.rows if row.series == series), key=lambda row: row.size)


def _figure(head: str, across: str, up: str, lines: Sequence[Line]) -> str:
    points = [point for line in lines for point in line.points]
    return figure(head, axis((x for x, _ in points), across), axis((y for _, y in points), up), lines)


def _line(rows: Sequence[Row], subject: Subject, name: str) -> list[Line]:
    """Return the line of a subject through its medians, none if it has fewer than two. Zeros are omitted, as the
    axes are logarithmic."""
    points, note = [], ""
    for row in rows:
        samples: tuple[float, ...] = getattr(row, subject)
        if samples and median(samples) > 0:
            points.append((float(row.size), median(samples)))
            note = row.note if subject == "peer" else ""
    return [Line(subject, name, tuple(points), note)] if len(points) > 1 else []


def _of_hosts(series: Counted) -> str:
    least, most = BYTES
    lines = [_stored(series, least, "filemapd", "1 byte a sample"), _stored(series, most, "other", "2 bytes")]
    head = f"On paper: Prometheus's storage, {IMAGES} images a host, every {INTERVAL:g} s"
    return _figure(head, "hosts", "GB a day", lines)


def _stored(series: Counted, each: int, drawn: Drawn, name: str) -> Line:
    return Line(drawn, name, tuple((float(hosts), series.stored(hosts, each) / _GB) for hosts in _HOSTS))
