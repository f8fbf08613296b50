"""The status of the block devices that hold the files: the kernel's counters, and how many regions they have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dmstats.device import SECTOR, Device

if TYPE_CHECKING:
    from supervisor.fleet.fleet import Fleet

_NS_PER_MS = 1_000_000


def devices_status(fleet: Fleet) -> list[dict[str, Any]]:
    """Return the status of each device that files are on, sorted by name; the keys are those of a file's status."""
    numbers = {f.file.dev for f in fleet.filemaps.values() if f.file is not None}
    return sorted(_statuses(fleet, numbers), key=lambda status: str(status["device"]))


def _statuses(fleet: Fleet, numbers: set[int]) -> Iterator[dict[str, Any]]:
    limit = fleet.config.devices.max_regions
    for number in numbers:
        device = Device(number)
        try:
            text, size = device.io_text(), device.size()
        except OSError:  # removed, which the workers of its files will find
            continue
        yield device_status(device.name(), device.number, fleet.device_regions.get(number), limit, size, text)


def device_status(
    name: str, number: str, regions: int | None, max_regions: int, size: int, stat: str
) -> dict[str, Any]:
    """Return the status of one device of `size` bytes. `stat` is the text of /sys/dev/block/M:m/stat
    (Documentation/block/stat.rst).

    The kernel gives these times in ms, and measures them in ticks of its clock: they are coarse.
    """
    reads, _, sectors_read, read_ms, writes, _, sectors_written, write_ms, *_ = map(int, stat.split())
    return {
        "device": name,
        "number": number,
        "size_bytes": size,
        "regions": regions,
        "max_regions": max_regions,
        "reads": reads,
        "writes": writes,
        "bytes_read": sectors_read * SECTOR,
        "bytes_written": sectors_written * SECTOR,
        "read_ns": read_ms * _NS_PER_MS,
        "write_ns": write_ms * _NS_PER_MS,
    }
