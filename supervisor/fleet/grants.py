"""Grants: gives each file its part of its device's budget of regions, where the I/O is."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from dmstats.device import Device
from dmstats.marker import parse_mark
from supervisor.fleet.budget import UNMEASURED, Activity, Demand, grants, measured_budget
from supervisor.fleet.devices import io_of
from supervisor.fleet.filemap import Filemap
from supervisor.fleet.fleet import Fleet
from workers import messages

_log = logging.getLogger("filemapd.supervisor")

GRANT_INTERVAL: Final = 2.0
# Seconds over which rates are measured.
_RATE_INTERVAL: Final = 10.0
# The weight of the last interval in a rate.
_LATEST: Final = 0.5
# Seconds over which a device's latency is measured.
_BUDGET_INTERVAL: Final = 60.0
# Regions that new grants may create on a device within a minute: each drains the device.
_CREATES_A_MINUTE: Final = 600


@dataclass(slots=True)
class _Rate:
    """The I/Os that a file's regions counted, and how many a second."""

    ios: int
    at: float
    a_second: float = 0.0


class Grants:
    """Sends grants to workers. The event loop calls tick() every GRANT_INTERVAL seconds with the time (monotonic)."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._rates: dict[Filemap, _Rate] = {}
        # The fleet's count of changed mappings at the last round, and when the next round is due without a change.
        self._mappings = 0
        self._due = 0.0
        # The last measurement of each device: its time, I/Os and their time in ns.
        self._measured: dict[int, tuple[float, int, int]] = {}

    def tick(self, now: float) -> None:
        """Measure, and grant again where the shares have changed. While no mapping changes it is rarely done."""
        if self._fleet.mapping_changes == self._mappings and now < self._due:
            return
        self._mappings, self._due = self._fleet.mapping_changes, now + _RATE_INTERVAL
        devices: dict[int, list[Filemap]] = {}
        for filemap in self._fleet.filemaps.values():
            if filemap.child is not None and filemap.mapped is not None and filemap.file is not None:
                devices.setdefault(filemap.file.dev, []).append(filemap)
        for gone in self._fleet.budgets.keys() - devices.keys():
            del self._fleet.budgets[gone]
            self._measured.pop(gone, None)
        self._rates = {
            filemap: self._rate(filemap, now) for on_device in devices.values() for filemap in on_device
        }
        for dev, on_device in devices.items():
            self._measure(dev, now)
            self._grant(dev, [filemap for filemap in on_device if _has_limit(filemap)])
        free = [self._free(dev, on_device) for dev, on_device in devices.items()]
        starting = (f.grant or 0 for f in self._fleet.filemaps.values() if f.mapped is None)
        self._fleet.free_regions = min(free) - sum(starting) if free else None

    def _rate(self, filemap: Filemap, now: float) -> _Rate:
        last = self._rates.get(filemap)
        if last is not None and now - last.at < _RATE_INTERVAL:
            return last
        ios = filemap.account.retired.ios() + filemap.account.live.ios()
        if last is None:
            return _Rate(ios, now)
        latest = max(0, ios - last.ios) / (now - last.at)
        return _Rate(ios, now, _LATEST * latest + (1 - _LATEST) * last.a_second)

    def _measure(self, dev: int, now: float) -> None:
        """Set the device's budget: the configured one, else by its latency and rate."""
        devices = self._fleet.config.devices
        if devices.max_regions is not None:
            self._fleet.budgets[dev] = devices.max_regions
            return
        present = self._fleet.budgets.setdefault(dev, UNMEASURED)
        last = self._measured.get(dev)
        if last is not None and now - last[0] < _BUDGET_INTERVAL:
            return
        try:
            ios, io_ns = io_of(Device(dev).io_text())
        except OSError:
            return
        self._measured[dev] = now, ios, io_ns
        if last is None:
            return
        activity = Activity(ios - last[1], io_ns - last[2], now - last[0])
        budget = measured_budget(activity, devices.max_slowdown / 100, present)
        if budget != present:
            self._fleet.budgets[dev] = budget
            _log.info("device %s: at most %d regions, as its I/O was measured", Device(dev).name(), budget)

    def _grant(self, dev: int, filemaps: list[Filemap]) -> None:
        demands = [self._demand(filemap) for filemap in filemaps]
        present = self._fleet.device_regions.get(dev)
        ours = sum(one.regions for one in demands)
        others = max(0, present - ours) if present is not None else 0
        budget = self._fleet.budgets[dev] - others
        increase = round(_CREATES_A_MINUTE * GRANT_INTERVAL / 60)
        for filemap, one, grant in zip(
            filemaps, demands, grants(budget, demands, increase=increase), strict=True
        ):
            if grant != filemap.grant or (filemap.grant_is_first and one.regions < min(one.wanted, grant)):
                self._send(dev, filemap, grant)

    def _free(self, dev: int, filemaps: list[Filemap]) -> int:
        return self._fleet.budgets[dev] - sum(
            one.mapped.regions for one in filemaps if one.mapped is not None
        )

    def _demand(self, filemap: Filemap) -> Demand:
        mapped, limit = filemap.mapped, filemap.spec.options.max_regions
        extents = max(1, mapped.extents if mapped is not None else 0)
        wanted = extents if limit is None else min(extents, limit)
        rate = self._rates[filemap].a_second
        regions = mapped.regions if mapped is not None else 0
        granted = filemap.grant or 0
        if filemap.grant_is_first:  # its worker retained a predecessor's regions
            granted = max(granted, regions)
        return Demand(wanted, granted, regions, rate)

    def _send(self, dev: int, filemap: Filemap, grant: int) -> None:
        self._fleet.grants_changed[dev] = self._fleet.grants_changed.get(dev, 0) + 1
        filemap.grant, filemap.grant_is_first = grant, False
        self._fleet.send(filemap, messages.Grant(grant))


def _has_limit(filemap: Filemap) -> bool:
    """Return whether filemapd made the file's group: one of another program keeps its exact cover."""
    group = filemap.mapped.group if filemap.mapped is not None else None
    return group is None or parse_mark(group["userdata"]) is not None
