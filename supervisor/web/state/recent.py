"""History for the pages: the last hour of each file and device, and the places of files."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from supervisor.rates import reading
from supervisor.text.times import seconds_of
from supervisor.web.state.heat import Heat
from supervisor.web.state.series import Series
from supervisor.web.state.store import Message

Status = Mapping[str, Any]


class Recent:
    """The last hours of files (by path) and devices (by name), and the places of files (by path).

    put() takes the feed's messages. The data of removed files and devices is dropped.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.files: dict[str, Series] = {}
        self.devices: dict[str, Series] = {}
        self.heats: dict[str, Heat] = {}

    def put(self, message: Message) -> None:
        """Handle a message that the store has accepted."""
        match message:
            case ["file", status]:
                self._file(status)
            case ["gone", path]:
                self.files.pop(path, None)
                self.heats.pop(path, None)
            case ["regions", path, pieces]:
                self.heats.setdefault(path, Heat()).put(pieces, self._clock())
            case ["supervisor", status]:
                self._devices(status["devices"], seconds_of(status["at"]))

    def _file(self, status: Status) -> None:
        if status["sampled_at"] is not None:
            since = status["sampled_since"]
            _add(
                self.files,
                status["path"],
                status,
                seconds_of(status["sampled_at"]),
                seconds_of(since) if since is not None else 0.0,
            )

    def _devices(self, devices: Sequence[Status], at: float) -> None:
        for status in devices:
            _add(self.devices, status["device"], status, at, 0.0)
        for name in self.devices.keys() - {status["device"] for status in devices}:
            del self.devices[name]


def _add(all_series: dict[str, Series], key: str, status: Status, at: float, since: float) -> None:
    found = reading(status, at)
    series = all_series.get(key)
    if series is None:
        all_series[key] = Series(found)
    else:
        series.add(found, since)
