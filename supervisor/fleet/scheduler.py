"""Whose turn it is: files to look at, groups that others changed, counters to sample."""

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

# A group deleted or changed by somebody else is noticed within this time.
TABLE_INTERVAL: Final = 2.0
# A look and a sample are done together where the one is due within this part of the sample's interval.
_NEAR: Final = 0.5
# However often somebody asks, counters are not read more often than the sweep would.
_SHORTEST_SAMPLE: Final = 1.0


class Scheduler:
    """Wakes just the workers concerned. Every method is called by the main loop with the time."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        # What was compared last, of each device: its regions, and with which files.
        self._tables: dict[int, tuple[bytes, frozenset[Filemap]]] = {}

    def reconcile_due(self, now: float) -> None:
        """Have the files looked at whose turn it is, and the counters of those read whose turn for that is near."""
        known = [(self._fleet.filemaps.get(path), join) for path, join in self._fleet.watcher.start_due(now)]
        due = {filemap: join for filemap, join in known if filemap is not None}
        sampled = set(self._to_sample((f for f in due if _is_near(f, now)), now))
        for filemap, join in due.items():
            pace = self._fleet.watcher.pace(filemap.path)
            filemap.event_at = pace.event_at if pace is not None else now
            self._fleet.status_changed(filemap.path)
            self._fleet.reconcile(filemap, join=join, sample=filemap in sampled)

    def sample_due(self, now: float) -> None:
        """Have counters read where the interval is over and the device did I/O since the last time. A file that is
        written all the time has its look soon, which is worth the wait: its worker is woken once for both."""
        due = (f for f in self._running() if f.sample_at <= now and not self._reconciled_soon(f, now))
        self._sample(due, now)

    def _reconciled_soon(self, filemap: Filemap, now: float) -> bool:
        pace = self._fleet.watcher.pace(filemap.path)
        latest = filemap.sample_at + filemap.spec.options.sample_seconds * _NEAR
        return pace is not None and pace.due is not None and now < pace.due <= latest

    def sample_now(self, now: float, device: str | None) -> int:
        """Have counters read that were not within the last second, on `device` (its name) or all; return how many
        workers were asked. Where a device did nothing, none is."""
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
        asked = self._to_sample(filemaps, now)
        for filemap in asked:
            self._fleet.send(filemap, messages.Sample())
        return len(asked)

    def _to_sample(self, filemaps: Iterable[Filemap], now: float) -> list[Filemap]:
        """Return those of `filemaps` whose workers are to be asked, as their device did I/O since the last time."""
        asked = []
        for dev, on_it in self._by_device(filemaps).items():
            try:
                io_text = Device(dev).io_text()
            except OSError:
                continue
            for filemap in on_it:
                filemap.sample_at = now + filemap.spec.options.sample_seconds
                if filemap.io_text != io_text:
                    filemap.io_text, filemap.sampling = io_text, True
                    asked.append(filemap)
                elif not filemap.sampling:
                    filemap.sampled_at = time.time()  # nothing was done since: they hold as of now
        return asked

    def check_regions(self) -> None:
        """Compare each device's regions with what the workers reported, and wake those who are concerned."""
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
                _log.warning("regions can't be listed: %s", error)
                continue
            compared = table, frozenset(filemaps)
            if self._tables.get(dev) != compared:
                self._tables[dev] = compared
                self._fleet.device_regions[dev] = table.count(b"\n")
                self._verify_changed(filemaps, parse_list(table).regions)

    def _rename_device(self, device: Device, filemaps: Iterable[Filemap]) -> None:
        """Have files be told with the name that their device has now: it can be renamed while it is in use."""
        name = device.name()
        renamed = [] if name == device.number else [f for f in filemaps if f.device != name]
        if renamed:
            _log.info("device %s is now named %s", renamed[0].device, name)
        for filemap in renamed:
            filemap.device = name
            self._fleet.status_changed(filemap.path)

    def _verify_changed(self, filemaps: Iterable[Filemap], regions: Iterable[Region]) -> None:
        """Wake the workers whose group is not as they reported. One that is at work just now will find it so."""
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
    """Tell whether a running worker's next sample is due, or will be soon."""
    if filemap.child is None or filemap.mapped is None:
        return False
    return filemap.sample_at - filemap.spec.options.sample_seconds * _NEAR <= now
