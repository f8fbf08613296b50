"""The contents of the fleet's page: totals, devices, and a filtered and sorted list of images. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from markupsafe import Markup

from supervisor.rates import Rates
from supervisor.web.charts import figures, sparkline
from supervisor.web.pages import device as device_page
from supervisor.web.state.recent import Recent
from supervisor.web.state.series import Series

PER_PAGE: Final = 100
# Seconds that latencies and percentiles cover: ten seconds of a quiet image have too few I/Os.
MINUTES: Final = 300.0
# Most severe first.
_STATES: Final = ("FAILED", "BACKOFF", "STOPPING", "STARTING", "WAITING", "RUNNING", "STOPPED")

# From this share of the limit upwards, the number of regions is highlighted.
_CROWDED: Final = 0.9

Status = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One image: its status, its current rates, and its rates in the last minutes."""

    status: Status
    series: Series | None
    now: Rates | None
    minutes: Rates | None

    @property
    def ios_per_s(self) -> float:
        """I/Os a second, 0 if unknown."""
        return self.now.ios_per_s if self.now is not None else 0.0

    @property
    def bytes_per_s(self) -> float:
        """Bytes a second, 0 if unknown."""
        return self.now.bytes_per_s if self.now is not None else 0.0

    @property
    def latency_ns(self) -> float:
        """The mean latency of the last minutes, 0 without I/O."""
        return (self.minutes.latency_ns or 0.0) if self.minutes is not None else 0.0

    @property
    def p99_ns(self) -> float | None:
        """The 99th percentile of the last minutes; see Rates.quantile_ns()."""
        return self.minutes.quantile_ns(0.99) if self.minutes is not None else None

    @property
    def trouble(self) -> str:
        """Why the image is not followed, or not exactly, else empty."""
        if self.status["state"] != "RUNNING":
            return self.status["reason"] or ""
        return f"not exact: {self.status['degraded']}" if self.status["degraded"] else ""

    @property
    def p99_in_words(self) -> str:
        """The 99th percentile, or why it is unknown."""
        return figures.percentile(self.minutes, 0.99)


def _by_trouble(row: Row) -> tuple[Any, ...]:
    return _severity(row.status["state"]), -row.ios_per_s, row.status["name"]


# Sort keys by the name in the address.
SORTS: Final = {
    "trouble": _by_trouble,
    "name": lambda row: (row.status["name"],),
    "device": lambda row: (row.status["device"] or "", row.status["name"]),
    "ios": lambda row: (-row.ios_per_s, row.status["name"]),
    "bytes": lambda row: (-row.bytes_per_s, row.status["name"]),
    "latency": lambda row: (-row.latency_ns, row.status["name"]),
    "p99": lambda row: (-(row.p99_ns or 0.0), row.status["name"]),
    "regions": lambda row: (-row.status["regions"], row.status["name"]),
}


def _severity(state: str) -> int:
    return _STATES.index(state) if state in _STATES else 0


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters of the address."""

    text: str
    sort: str
    page: int

    def address(self, **changes: object) -> str:
        """Return the address of the fleet's page with some parameters changed."""
        values = {"q": self.text, "sort": self.sort, "page": self.page, **changes}
        defaults = {"q": "", "sort": "trouble", "page": 1}
        query = urlencode({k: v for k, v in values.items() if v != defaults[k]}, errors="replace")
        return f"/?{query}" if query else "/"


def parse_query(query: Mapping[str, str]) -> Query:
    """Parse the parameters of an address. Invalid ones are ignored."""
    sort = query.get("sort", "")
    page = query.get("page", "")
    number = int(page) if page.isascii() and page.isdecimal() and len(page) < 6 else 1  # noqa: PLR2004 - enough pages
    return Query(query.get("q", "").strip()[:200], sort if sort in SORTS else "trouble", max(number, 1))


def rows_of(statuses: Iterable[Status], recent: Recent, now: float) -> list[Row]:
    """Return a row for each file."""
    rows = []
    for status in statuses:
        series = recent.files.get(status["path"])
        if series is None:
            rows.append(Row(status, None, None, None))
        else:
            rows.append(Row(status, series, series.now(now), series.over(MINUTES, now)))
    return rows


def matches(status: Status, text: str) -> bool:
    """Return whether each word of `text` is in the file's name, path, device, state, VM or labels."""
    vm = status["vm"] or {}
    labels = (f"{key}={value}" for key, value in status["labels"].items())
    fields = [
        status["name"],
        status["path"],
        status["device"],
        status["state"],
        vm.get("name"),
        vm.get("uuid"),
        *labels,
    ]
    haystack = "\n".join(str(one) for one in fields if one).casefold()
    return all(word in haystack for word in text.casefold().split())


@dataclass(frozen=True, slots=True)
class Sparks:
    """The two sparklines of a row."""

    rate: Markup
    latency: Markup


def sparks_of(series: Series | None, now: float) -> Sparks | None:
    """Draw a row's sparklines. Return None before the first reading."""
    if series is None:
        return None
    buckets = series.buckets(now, sparkline.STRETCHES)
    return Sparks(sparkline.of_rate(buckets), sparkline.of_latency(buckets))


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """One device: its current I/O, including I/O outside the images."""

    name: str
    address: str
    images: int
    regions: int | None
    max_regions: int
    now: Rates | None
    spark: Markup | None

    @property
    def crowded(self) -> bool:
        """Return whether its number of regions is near the limit."""
        return self.regions is not None and self.regions >= _CROWDED * self.max_regions


def device_rows(
    devices: Iterable[Status], statuses: Iterable[Status], recent: Recent, now: float
) -> list[DeviceRow]:
    """Return a row for each device, with the number of files on it."""
    images = Counter(status["device"] for status in statuses)
    rows = []
    for device in devices:
        name, series = device["device"], recent.devices.get(device["device"])
        drawn = sparkline.of_rate(series.buckets(now, sparkline.STRETCHES)) if series is not None else None
        rate = series.now(now) if series is not None else None
        rows.append(
            DeviceRow(
                name,
                device_page.address(name),
                images[name],
                device["regions"],
                device["max_regions"],
                rate,
                drawn,
            )
        )
    return rows


def totals(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the totals of all files."""
    ios = sum(row.ios_per_s for row in rows)
    spent = sum((row.now.latency_ns or 0.0) * row.ios_per_s for row in rows if row.now is not None)
    states = Counter(row.status["state"] for row in rows)
    return {
        "files": len(rows),
        "states": sorted(states.items(), key=lambda one: _severity(one[0])),
        "ios_per_s": ios,
        "bytes_per_s": sum(row.bytes_per_s for row in rows),
        "latency_ns": spent / ios if ios else None,
        "uncovered": sum(row.status["uncovered_bytes"] for row in rows),
        "excess": sum(row.status["excess_bytes"] for row in rows),
    }


def fleet(statuses: Iterable[Status], recent: Recent, query: Mapping[str, str], now: float) -> dict[str, Any]:
    """Return the template's variables."""
    wanted = parse_query(query)
    everything = rows_of(statuses, recent, now)
    found = sorted((row for row in everything if matches(row.status, wanted.text)), key=SORTS[wanted.sort])
    pages = max(1, math.ceil(len(found) / PER_PAGE))
    page = min(wanted.page, pages)
    shown = found[PER_PAGE * (page - 1) : PER_PAGE * page]
    return {
        "query": wanted,
        "totals": totals(everything),
        "found": len(found),
        "page": page,
        "pages": pages,
        "rows": [(row, sparks_of(row.series, now)) for row in shown],
    }
