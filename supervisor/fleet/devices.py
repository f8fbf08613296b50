"""The status of the block devices that hold the files: the kernel's counters, and how many regions they have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dmstats.device import SECTOR, Device

if TYPE_CHECKING:
    from supervisor.fleet.fleet import Fleet

_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Budget:
    """The regions of a device: how many there are, all programs' (None before the first list), how many there may be,
    and how many grants its workers got."""

    regions: int | None
    max_regions: int
    grants: int = 0


def devices_status(fleet: Fleet) -> list[dict[str, Any]]:
    """Return the status of each device that files are on, sorted by name; the keys are those of a file's status."""
    numbers = {f.file.dev for f in fleet.filemaps.values() if f.file is not None}
    return sorted(_statuses(fleet, numbers), key=lambda status: str(status["device"]))


def _statuses(fleet: Fleet, numbers: set[int]) -> Iterator[dict[str, Any]]:
    for number in numbers:
        device = Device(number)
        try:
            text, size = device.io_text(), device.size()
        except OSError:  # removed, which the workers of its files will find
            continue
        budget = Budget(
            fleet.device_regions.get(number),
            fleet.budgets.get(number, fleet.first_budget),
            fleet.grants_changed.get(number, 0),
        )
        yield device_status(device.name(), device.number, budget, size, text)


def io_of(stat: str) -> tuple[int, int]:
    """Return the number of reads and writes together, and their time in ns."""
    reads, _, _, read_ms, writes, _, _, write_ms, *_ = map(int, stat.split())
    return reads + writes, (read_ms + write_ms) * _NS_PER_MS


def device_status(name: str, number: str, budget: Budget, size: int, stat: str) -> dict[str, Any]:
    """Return the status of one device of `size` bytes. `stat` is the text of /sys/dev/block/M:m/stat
    (Documentation/block/stat.rst).

    The kernel gives these times in ms, and measures them in ticks of its clock: they are coarse.
    """
    reads, _, sectors_read, read_ms, writes, _, sectors_written, write_ms, *_ = map(int, stat.split())
    return {
        "device": name,
        "number": number,
        "size_bytes": size,
        "regions": budget.regions,
        "max_regions": budget.max_regions,
        "grants": budget.grants,
        "reads": reads,
        "writes": writes,
        "bytes_read": sectors_read * SECTOR,
        "bytes_written": sectors_written * SECTOR,
        "read_ns": read_ms * _NS_PER_MS,
        "write_ns": write_ms * _NS_PER_MS,
    }
