"""An API like libdm's (libdevmapper.h): create and update the regions of a file, and start the daemon."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dmstats.bounds import to_kernel
from dmstats.device import Device
from dmstats.fiemap import read_structs
from dmstats.files import FileIdentity, identify_mappable
from dmstats.marker import file_mark
from dmstats.mode import FilemapdMode
from dmstats.ownership import GroupSpec, Own
from dmstats.reconcile import DiscardCounters, Limits, reconcile
from dmstats.update import placed, update
from dmstats.update_cache import DeviceCache

# libdm 1.02.185 ends an alias at a space, and then finds no group.
_UNSAFE_IN_ALIAS = dict.fromkeys([*map(ord, ' ":#\\'), *range(0x20), 0x7F], "_")

# The cache of each device, by its number.
_devices: dict[int, DeviceCache] = {}
_MOST_DEVICES: Final = 8


def safe_alias(name: str) -> str:
    """Return `name` as an alias that every libdm reads back: without quotes, separators, spaces, control bytes,
    and bytes that are no text."""
    return name.encode("utf-8", "replace").decode().translate(_UNSAFE_IN_ALIAS)


def default_alias(fd: int) -> str:
    """Return dmstats' alias for a file: its basename, also of an unlinked file."""
    name = Path(f"/proc/self/fd/{fd}").readlink().name
    return safe_alias(name if os.fstat(fd).st_nlink else name.removesuffix(" (deleted)"))


def new_spec(
    file: FileIdentity,
    *,
    alias: str,
    program: str = "dmstats",
    precise: bool = False,
    bounds_ns: Sequence[int] = (),
) -> GroupSpec:
    """Return the spec of a new group for `file`. Raises ValueError for bounds that need `precise`."""
    return GroupSpec(
        alias, True, str(file_mark(file)), program, precise, to_kernel(bounds_ns, precise=precise)
    )


def create_regions_from_fd(
    fd: int,
    *,
    group: bool = True,
    alias: str | None = None,
    precise: bool = False,
    bounds: Sequence[int] | None = None,
    program_id: str = "dmstats",
) -> tuple[int, ...]:
    """Make regions that cover the extents of the file open at `fd` and return their ids, ascending.

    With `group` they are made one group, named `alias` or after the file; its id is the first of the result.
    `bounds` are those of a histogram, in ns. Raises DmStatsError of the kind that fits; where the kernel refuses a
    region, those made before are deleted again.
    """
    device, file = _device_of(fd)
    where = placed(read_structs(fd))
    spec = new_spec(
        file, alias=alias or default_alias(fd), program=program_id, precise=precise, bounds_ns=bounds or ()
    )
    made: list[int] = []
    if not group:
        try:
            for start, end in where.ranges:
                made.append(
                    device.create(start, end - start, precise=precise, bounds=spec.bounds, program=program_id)
                )
        except BaseException:
            for number in made:
                device.delete(number)
            raise
        return tuple(sorted(made))
    outcome = reconcile(
        device,
        file,
        where,
        device.table(),
        Own(None, ()),
        spec,
        limits=Limits(),
        retirement=DiscardCounters(),
    )
    if outcome.failure is not None:
        for region in outcome.members:
            device.delete(region.id)
        raise outcome.failure
    return tuple(region.id for region in outcome.members)


def update_regions_from_fd(fd: int, group_id: int) -> tuple[int, ...]:
    """Bring a group in step with the extents of the file open at `fd` and return its ids, ascending: the first
    is the group's id from now on. None are left where the file has no extents. The results of the last updates
    are cached, and only what differs from them is parsed.

    Raises GroupNotFoundError where there is no such group or it is another file's, DmError where the kernel refuses.
    """
    device, file = _device_of(fd)
    seen = _cache_of(device)
    structs = read_structs(fd, seen.spare_extents(file, group_id))
    return update(seen, device, file, structs, group_id)


def start_filemapd(
    fd: int, group_id: int, path: str, mode: FilemapdMode, foreground: bool = False, verbose: int = 0
) -> int:
    """Start `dmfilemapd` from PATH for the file open at `fd` and return the pid of the process started.

    Unless `foreground` is set the daemon leaves that process behind, which is waited for. Raises ValueError for
    arguments out of range, FileNotFoundError where there is no dmfilemapd, OSError where it ended with an error.
    """
    if not path.startswith("/"):
        raise ValueError(f"not an absolute path: {path!r}")
    if not 0 <= verbose <= 3:  # noqa: PLR2004 - dmfilemapd(8): log_level
        raise ValueError(f"verbose is 0 to 3, not {verbose}")
    program = shutil.which("dmfilemapd")
    if program is None:
        raise FileNotFoundError(errno.ENOENT, "no such command in PATH", "dmfilemapd")
    arguments = [program, str(fd), str(group_id), path, mode.value, str(int(foreground)), str(verbose)]
    daemon = subprocess.Popen(arguments, pass_fds=[fd])
    if foreground:
        daemon.returncode = (
            0  # it is the caller's to wait for: Popen, which ends here, must not do so behind its back
        )
    elif daemon.wait() != 0:
        raise OSError(errno.ECHILD, f"dmfilemapd ended with status {daemon.returncode}", path)
    return daemon.pid


def _device_of(fd: int) -> tuple[Device, FileIdentity]:
    file = identify_mappable(fd)
    return Device(file.dev), file


def _cache_of(device: Device) -> DeviceCache:
    """Return the cache of a device. Above the limit the oldest one is dropped."""
    if device.dev not in _devices and len(_devices) == _MOST_DEVICES:
        del _devices[next(iter(_devices))]
    return _devices.setdefault(device.dev, DeviceCache())
