"""Scheduler: decides when each file is reconciled, checked for foreign changes and sampled."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from dmstats.device import Device
from dmstats.errors import DmStatsError
from dmstats.region import Region, parse_list
from supervisor.fleet.filemap import Filemap
from supervisor.fleet.fleet import Fleet
from workers import messages

_log = logging.getLogger("filemapd.supervisor")

# A group that another program deletes or changes is found within this many seconds.
TABLE_INTERVAL: Final = 2.0
# A reconcile and a sample are one request where both are due within this part of the sampling interval.
_NEAR: Final = 0.5
# Seconds. More frequent requests for samples read no counters.
_SHORTEST_SAMPLE: Final = 1.0


class Scheduler:
    """Sends requests to the workers concerned only. The event loop calls each method with the time (monotonic)."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        # The last comparison of each device: its regions, and the files they were compared with.
        self._tables: dict[int, tuple[bytes, frozenset[Filemap]]] = {}

    def reconcile_due(self, now: float) -> None:
        """Request the reconciles that are due, together with samples that are due soon."""
        found = [(self._fleet.filemaps.get(path), join) for path, join in self._fleet.watcher.start_due(now)]
        due = {filemap: join for filemap, join in found if filemap is not None}
        sampled = set(self._to_sample((f for f in due if _is_near(f, now)), now))
        for filemap, join in due.items():
            pace = self._fleet.watcher.pace(filemap.path)
            filemap.event_at = pace.event_at if pace is not None else now
            self._fleet.status_changed(filemap.path)
            self._fleet.reconcile(filemap, join=join, sample=filemap in sampled)

    def sample_due(self, now: float) -> None:
        """Request the samples that are due, where the device did I/O since the last one.

        Where a reconcile is due soon, the sample waits for it, so that the worker wakes once for both.
        """
        due = (f for f in self._running() if f.sample_at <= now and not self._reconciled_soon(f, now))
        self._sample(due, now)

    def _reconciled_soon(self, filemap: Filemap, now: float) -> bool:
        pace = self._fleet.watcher.pace(filemap.path)
        latest = filemap.sample_at + filemap.spec.options.sample_seconds * _NEAR
        return pace is not None and pace.due is not None and now < pace.due <= latest

    def sample_now(self, now: float, device: str | None) -> int:
        """Sample the files on `device` (its name), or all, that were not sampled within the last second.

        Return the number of requests. Files of a device without I/O get none.
        """
        return self._sample(
            (
                f
                for f in self._running()
                if device in {None, f.device}
                and f.sample_at - f.spec.options.sample_seconds <= now - _SHORTEST_SAMPLE
            ),
            now,
        )

    def _sample(self, filemaps: Iterable[Filemap], now: float) -> int:
        chosen = self._to_sample(filemaps, now)
        for filemap in chosen:
            self._fleet.send(filemap, messages.Sample())
        return len(chosen)

    def _to_sample(self, filemaps: Iterable[Filemap], now: float) -> list[Filemap]:
        """Return the filemaps whose device did I/O since their last sample, and mark them as being sampled."""
        chosen = []
        for dev, on_it in self._by_device(filemaps).items():
            try:
                io_text = Device(dev).io_text()
            except OSError:
                continue
            for filemap in on_it:
                filemap.sample_at = now + filemap.spec.options.sample_seconds
                if filemap.io_text != io_text:
                    filemap.io_text, filemap.sampling = io_text, True
                    chosen.append(filemap)
                elif not filemap.sampling:
                    filemap.sampled_at = time.time()  # no I/O since: the counters hold as of now
        return chosen

    def check_regions(self) -> None:
        """Compare each device's regions with the workers' reports, and request a reconcile where they differ."""
        devices = self._by_device(self._running())
        for dev in self._tables.keys() - devices.keys():
            del self._tables[dev]
            self._fleet.device_regions.pop(dev, None)
        for dev, filemaps in devices.items():
            device = Device(dev)
            self._rename_device(device, filemaps)
            for filemap in filemaps:
                if filemap.fd is None:
                    self._fleet.watch_file(filemap)
            try:
                table = device.list_text()
            except DmStatsError as error:
                _log.warning("can't list regions: %s", error)
                continue
            compared = table, frozenset(filemaps)
            if self._tables.get(dev) != compared:
                self._tables[dev] = compared
                self._fleet.device_regions[dev] = table.count(b"\n")
                self._verify_changed(filemaps, parse_list(table).regions)

    def _rename_device(self, device: Device, filemaps: Iterable[Filemap]) -> None:
        """Update the device name of files: a device can be renamed while it is in use."""
        name = device.name()
        renamed = [] if name == device.number else [f for f in filemaps if f.device != name]
        if renamed:
            _log.info("device %s is now named %s", renamed[0].device, name)
        for filemap in renamed:
            filemap.device = name
            self._fleet.status_changed(filemap.path)

    def _verify_changed(self, filemaps: Iterable[Filemap], regions: Iterable[Region]) -> None:
        """Request a reconcile of groups that differ from the workers' reports.

        A worker that is just changing its group finds no difference.
        """
        tags = {region.id: region.aux for region in regions}
        for filemap in filemaps:
            mapped = filemap.mapped
            if mapped is None or filemap.group_id is None:
                continue
            if tags.get(filemap.group_id) != mapped.tag or any(n not in tags for n in mapped.members()):
                filemap.event_at = time.monotonic()
                self._fleet.status_changed(filemap.path)
                self._fleet.reconcile(filemap, verify=True)

    def _running(self) -> Iterable[Filemap]:
        return (f for f in self._fleet.filemaps.values() if f.child is not None and f.mapped is not None)

    @staticmethod
    def _by_device(filemaps: Iterable[Filemap]) -> dict[int, list[Filemap]]:
        devices: defaultdict[int, list[Filemap]] = defaultdict(list)
        for filemap in filemaps:
            if filemap.file is not None:
                devices[filemap.file.dev].append(filemap)
        return devices


def _is_near(filemap: Filemap, now: float) -> bool:
    """Return whether a running worker's next sample is due now or soon."""
    if filemap.child is None or filemap.mapped is None:
        return False
    return filemap.sample_at - filemap.spec.options.sample_seconds * _NEAR <= now
