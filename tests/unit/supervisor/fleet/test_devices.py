"""The status of a device."""

from __future__ import annotations

import os
from pathlib import Path

from supervisor.fleet.devices import Budget, device_status, devices_status
from supervisor.fleet.scheduler import Scheduler
from tests.unit.fleets import small_fleet
from workers.messages import FileOpened

# A dm device of Linux 6.1: 17 fields, as read from /sys/dev/block/253:0/stat.
STAT = "     300        7    26624       40      129        3    12392      120        2      160      160        0        0        0        0        5        1\n"  # noqa: E501 - as the kernel writes it


def test_counters_have_the_units_of_a_files_status() -> None:
    """Sectors become bytes, ms become ns. Merges, I/Os in flight and discards are left out."""
    assert device_status("vg-lv", "253:0", Budget(37, 2000, 3), 1 << 40, STAT) == {
        "device": "vg-lv",
        "number": "253:0",
        "size_bytes": 1 << 40,
        "regions": 37,
        "max_regions": 2000,
        "grants": 3,
        "reads": 300,
        "writes": 129,
        "bytes_read": 26624 * 512,
        "bytes_written": 12392 * 512,
        "read_ns": 40_000_000,
        "write_ns": 120_000_000,
    }


def test_a_removed_device(tmp_path: Path) -> None:
    """It has no status and its workers get no requests; they find out by themselves."""
    with small_fleet(tmp_path) as fleet:
        (filemap,) = fleet.filemaps.values()
        filemap.file = FileOpened(os.makedev(4095, 1), 2, 3, 4)
        assert devices_status(fleet) == []
        assert Scheduler(fleet)._sample([filemap], 1000.0) == 0


def test_older_kernels() -> None:
    """Before 4.18 there are 11 fields."""
    assert (
        device_status("vg-lv", "253:0", Budget(None, 2000), 0, "1 0 8 1 2 0 16 3 0 0 0\n")["bytes_written"]
        == 8192
    )
