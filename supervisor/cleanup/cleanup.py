"""Finds regions that filemapd left on the devices, and removes them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from dmstats import ioctl
from dmstats.device import Device
from dmstats.errors import DmError, NotOurGroupError
from dmstats.marker import maker_lives
from supervisor.cleanup.leftovers import Leftover, find_leftovers
from supervisor.cleanup.owners import find_owners, read_known
from supervisor.config.models import Config
from workers.group_lock import GroupLock

# What is taken in hand at once: each group's lock is a descriptor.
_AT_ONCE: Final = 256
_SYSFS: Final = Path("/sys/block")


class Cleanup:
    """What is left over beside `config` and the supervisor that runs with its runtime_dir. Raises, as each of its
    methods, UnknownError, ControlError, and DmStatsError."""

    def __init__(self, config: Config) -> None:
        ioctl.control()
        self._config = config
        self._known = read_known(Path(config.state_dir))
        self._devices = dict(device_numbers())

    def find(self) -> list[Leftover]:
        """Return the leftovers, by device and file."""
        keepers = find_owners(self._config, self._devices, self._known)
        found = []
        for _, dev in sorted(self._devices.items()):
            try:
                regions = Device(dev).list().regions
            except DmError as error:
                if error.errno not in {errno.ENXIO, errno.ENODEV}:  # gone meanwhile
                    raise
                continue
            found += find_leftovers(dev, regions, keepers, maker_lives)
        return found

    def remove(self, found: list[Leftover]) -> Iterator[tuple[Leftover, str | None]]:
        """Delete the leftovers of find(); yield each with the reason why it was not deleted, or None.

        The locks of its groups are taken first, so that no worker can take it over, then it is searched again.
        """
        for start in range(0, len(found), _AT_ONCE):
            some = found[start : start + _AT_ONCE]
            with ExitStack() as locks:
                refused = {one.file: _lock(one, locks) for one in some}
                now = {one.file: one for one in self.find()}
                for one in some:
                    still = now.get(one.file)
                    if still is None or still.groups != one.groups:
                        yield one, refused[one.file] or "another process changed it, or owns it now"
                    else:
                        yield one, refused[one.file] or _delete(still)

    def as_json(self, one: Leftover) -> dict[str, Any]:
        """Return the leftovers of a file, for JSON and for the table."""
        device = Device(one.file.dev)
        path = next((path for path, file in self._known.items() if file == one.file), None)
        return {
            "device": device.name(),
            "number": device.number,
            "group_id": one.groups[0] if one.groups else None,
            "regions": [region.id for region in one.regions],
            "path": path,
            "alias": one.alias or None,
            "inode": one.file.inode,
            "generation": one.file.generation,
            "reason": _why(one, path),
        }


def device_numbers() -> Iterator[tuple[str, int]]:
    """Yield the name and number (st_dev) of each device-mapper device."""
    for folder in _SYSFS.glob("dm-*"):
        try:
            major, minor = (folder / "dev").read_text(encoding="ascii").split(":")
            name = (folder / "dm/name").read_text(encoding="utf-8").rstrip("\n")
        except OSError:  # gone meanwhile
            continue
        yield name, os.makedev(int(major), int(minor))


def _why(one: Leftover, path: str | None) -> str:
    """Return why it has no owner."""
    if not one.groups:
        return f"in no group, made by process {one.makers[0]}, which ended" if one.makers else "in no group"
    if path is not None and not os.path.lexists(path):
        return "gone, and not configured"
    return "not configured"


def _lock(one: Leftover, locks: ExitStack) -> str | None:
    """Take the locks of its groups. Return the owner of a taken one, None if all are ours now."""
    for number in one.groups:
        lock = GroupLock()
        locks.callback(lock.release)
        try:
            lock.acquire(one.file.dev, number)
        except NotOurGroupError as error:
            return str(error)
    return None


def _delete(one: Leftover) -> str | None:
    """Delete its regions, lowest id first; return what the kernel refused. What is left of it by a kill in between
    bears its mark still."""
    device = Device(one.file.dev)
    for region in one.regions:
        try:
            device.delete(region.id)
        except DmError as error:
            if error.errno != errno.ENOENT:
                return str(error)
    return None
