"""Computes the rows of `filemapd top`: each file's rates between its last two samples. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from supervisor.rates import NS_PER_SECOND, Rates, Reading, rates, reading
from supervisor.text.times import seconds_of

P99: Final = 0.99


@dataclass(frozen=True, slots=True)
class Row:
    """One file. `rates` is None until there are two samples.

    `share` is the file's share, from 0 to 1, of the device's total I/O time (the sum of all latencies).
    """

    name: str
    path: str
    device: str | None
    state: str
    vm: Mapping[str, Any] | None
    sampled_at: str | None
    """When the counters were sampled (RFC 3339)."""
    rates: Rates | None
    share: float | None

    @property
    def ios(self) -> int:
        """The number of I/Os in the interval of the rates."""
        return round(self.rates.ios_per_s * self.rates.seconds) if self.rates is not None else 0

    @property
    def p99_ns(self) -> float | None:
        """The 99th percentile of the latency; see rates.quantile_ns()."""
        return self.rates.quantile_ns(P99) if self.rates is not None else None


class Activity:
    """The last two samples of each file and of each device.

    Several statuses can have the same sample. Rates are always between two distinct samples.
    """

    def __init__(self, device: str | None = None) -> None:
        """Track only what is on `device` (its name); None: everything."""
        self._device = device
        self._files: dict[str, tuple[Reading | None, Reading]] = {}
        self._devices: dict[str, tuple[Reading | None, Reading]] = {}
        self._statuses: list[Mapping[str, Any]] = []
        self.at: str | None = None
        """The time of the last status (RFC 3339)."""

    def take(self, status: Mapping[str, Any]) -> None:
        """Add a status (GET /v1/status)."""
        self._statuses = [f for f in status["filemaps"] if self._device in {None, f["device"]}]
        self.at = status["at"]
        at = seconds_of(status["at"])
        device_samples = {
            d["device"]: reading(d, at) for d in status["devices"] if self._device in {None, d["device"]}
        }
        samples = {
            f["path"]: reading(f, seconds_of(f["sampled_at"]))
            for f in self._statuses
            if f["sampled_at"] is not None
        }
        self._devices = _advanced(self._devices, device_samples)
        self._files = _advanced(self._files, samples)

    def rows(self) -> list[Row]:
        """Return a row for each file, with the rates between its last two samples."""
        found = {path: rates(*pair) for path, pair in _complete(self._files).items()}
        loads = self._loads(found)
        return [self._row(f, found.get(f["path"]), loads) for f in self._statuses]

    def devices(self) -> dict[str, Rates]:
        """Return the rates of the devices between their last two samples, by name."""
        found = {name: rates(*pair) for name, pair in _complete(self._devices).items()}
        return {name: done for name, done in found.items() if done is not None}

    def _row(self, status: Mapping[str, Any], done: Rates | None, loads: Mapping[str, float]) -> Row:
        # Rates from before a worker stopped are not current.
        done = done if status["state"] == "RUNNING" else None
        load = loads.get(status["device"], 0.0)
        return Row(
            status["name"],
            status["path"],
            status["device"],
            status["state"],
            status["vm"],
            status["sampled_at"],
            done,
            None if done is None else done.load / load if load else 0.0,
        )

    def _loads(self, found: Mapping[str, Rates | None]) -> dict[str, float]:
        """Return the mean number of I/Os in flight of each device, by name."""
        on_device: defaultdict[str, list[Rates]] = defaultdict(list)
        for status in self._statuses:
            done = found.get(status["path"])
            if done is not None and status["device"] is not None:
                on_device[status["device"]].append(done)
        devices = self.devices()
        return {name: _load(devices.get(name), files) for name, files in on_device.items()}


def _load(device: Rates | None, files: Sequence[Rates]) -> float:
    """Return the mean number of I/Os in flight of a device: those of `files` and all others.

    The device's latencies have the resolution of the kernel's ticks, which most I/Os are shorter than. So they are
    used only for the others; the files' latencies are in ns.
    """
    load = sum(done.load for done in files)
    if device is None or device.latency_ns is None:
        return load
    others = device.ios_per_s - sum(done.ios_per_s for done in files)
    return load + max(0.0, others) * device.latency_ns / NS_PER_SECOND


def _advanced(
    known: Mapping[str, tuple[Reading | None, Reading]], now: Mapping[str, Reading]
) -> dict[str, tuple[Reading | None, Reading]]:
    """Return the last two readings of each key of `now`. A reading of the same time changes nothing."""
    found = {}
    for key, latest in now.items():
        before, after = known.get(key, (None, None))
        if after is None:
            found[key] = (before, latest)
        else:
            found[key] = (before, after) if latest.at == after.at else (after, latest)
    return found


def _complete(
    pairs: Mapping[str, tuple[Reading | None, Reading]],
) -> dict[str, tuple[Reading, Reading]]:
    return {key: (before, after) for key, (before, after) in pairs.items() if before is not None}


_KEYS: Final[Mapping[str, Callable[[Row], float | None]]] = {
    "iops": lambda row: row.rates.ios_per_s if row.rates is not None else None,
    "bytes": lambda row: row.rates.bytes_per_s if row.rates is not None else None,
    "latency": lambda row: row.rates.latency_ns if row.rates is not None else None,
    "p99": lambda row: row.p99_ns,
    "share": lambda row: row.share,
}
SORTS: Final = (*_KEYS, "name")


def ordered(rows: Iterable[Row], sort: str, *, backwards: bool = False) -> list[Row]:
    """Return rows by `sort` (one of SORTS), the highest first, names from A; with `backwards` in reverse.

    Rows without a value come last in both orders. Rows with the same value are ordered by name.
    """
    by_name = sorted(rows, key=lambda row: row.name, reverse=backwards and sort == "name")
    if sort == "name":
        return by_name
    key = _KEYS[sort]
    known = [row for row in by_name if key(row) is not None]
    known.sort(key=lambda row: key(row) or 0.0, reverse=not backwards)
    return known + [row for row in by_name if key(row) is None]


def as_json(activity: Activity, sort: str) -> dict[str, Any]:
    """Return what `top --json` prints. Latencies are ns. `p99_above_ns` is the last bound if the p99 is above it."""
    return {
        "at": activity.at,
        "devices": [{"device": name, **_rates_json(done)} for name, done in activity.devices().items()],
        "filemaps": [_row_json(row) for row in ordered(activity.rows(), sort)],
    }


def _row_json(row: Row) -> dict[str, Any]:
    p99 = row.p99_ns
    beyond = p99 is not None and math.isinf(p99)
    return {
        "name": row.name,
        "path": row.path,
        "device": row.device,
        "state": row.state,
        "vm": row.vm,
        "sampled_at": row.sampled_at,
        **_rates_json(row.rates),
        "ios": row.ios,
        "p99_ns": None if p99 is None or beyond else round(p99),
        "p99_above_ns": row.rates.bounds_ns[-1] if row.rates is not None and beyond else None,
        "share": None if row.share is None else round(row.share, 4),
    }


_RATES: Final = ("seconds", "reads_per_s", "writes_per_s", "read_bytes_per_s", "write_bytes_per_s")
_LATENCIES: Final = ("read_latency_ns", "write_latency_ns", "latency_ns")


def _rates_json(done: Rates | None) -> dict[str, float | None]:
    if done is None:
        return dict.fromkeys((*_RATES, *_LATENCIES))
    found: dict[str, float | None] = {key: round(getattr(done, key), 3) for key in _RATES}
    for key in _LATENCIES:
        latency = getattr(done, key)
        found[key] = None if latency is None else round(latency)
    return found
