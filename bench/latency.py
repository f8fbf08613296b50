"""What regions cost: latency of I/O on the device, and kernel memory."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.context import Bench, Measurement
from bench.floor import Bare
from bench.noise import median
from bench.results import Goal, Row
from dmstats.ranges import Range
from sandbox.devices import Device, dm_device

_BLOCK: Final = 4096
_US: Final = 1e6
_ALLOCATED: Final = Path("/sys/module/dm_mod/parameters/stats_current_allocated_bytes")
_CPUS: Final = Path("/sys/devices/system/cpu")
# linux/drivers/md/dm-stats.c: struct dm_stat without its array of pointers, and what each area and bin takes.
_STAT: Final = 128
_SHARED: Final = 120
_PERCPU: Final = 104
_POINTER: Final = 8
_BINS: Final = 6


def latency(bench: Bench) -> Iterator[Row]:
    """Measure small reads against the number of regions on the device; a device without regions is read in turns."""
    counts = bench.pick((100, 1_000, 5_000, 10_000), (100, 400))
    reads = bench.pick(1_000, 100)
    with dm_device("busy") as busy, dm_device("free") as free:
        bare, there = Bare(busy.dev_t), 0
        for count in counts:
            bare.create(Range(8 * n, 8 * n + 8) for n in range(there, count))
            there = count
            ours, without = [], []
            for _ in range(bench.pick(15, 3)):
                without.append(_read(free, reads))
                ours.append(_read(busy, reads))
            yield Row(
                name=f"a guest's read of 4 KiB, {count:,} regions on the device",
                unit="us",
                filemapd=tuple(ours),
                floor=tuple(without),
            )
            each = (median(ours) - median(without)) / count * 1000
            yield Row(name=f"the same: for each of {count:,} regions", unit="ns", filemapd=(each,))


def _read(device: Device, times: int) -> float:
    """Return the microseconds of a read from the device."""
    fd = os.open(device.path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    buffer = [mmap.mmap(-1, _BLOCK)]
    began = time.perf_counter()
    for _ in range(times):
        os.preadv(fd, buffer, 0)
    took = time.perf_counter() - began
    os.close(fd)
    return took / times * _US


def kernel_memory(bench: Bench) -> Iterator[Row]:
    """Measure the kernel memory of a region, and compute it from the number of CPUs."""
    count = bench.pick(1_000, 100)
    with dm_device("memory") as device:
        for what, options, bins in (
            ("", b"0 dmstats -", 0),
            (", with a histogram of 5 bounds", b"1 histogram:1,2,3,4,5 dmstats -", _BINS),
        ):
            bare = Bare(device.dev_t)
            before = int(_ALLOCATED.read_text())
            bare.create((Range(8 * n, 8 * n + 8) for n in range(count)), options)
            used = (int(_ALLOCATED.read_text()) - before) / count
            bare.delete(range(count))
            yield Row(
                name=f"kernel memory of a region{what}",
                unit="bytes",
                filemapd=(used,),
                floor=(region_bytes(bins, *_cpus()),),
                goals=(Goal(most=1, of="floor"),),
            )


def region_bytes(bins: int, pointers: int, cpus: int) -> int:
    """Return what a region of one area takes: a histogram has `bins`; the kernel was built for as many CPUs as there
    are `pointers`, and `cpus` can come to be on this host."""
    histogram = bins * 8
    return _STAT + pointers * _POINTER + _SHARED + histogram + cpus * (_PERCPU + histogram)


def _cpus() -> tuple[int, int]:
    """Return the number of CPUs the kernel was built for, and the number possible here."""
    return (
        int((_CPUS / "kernel_max").read_text()) + 1,
        int((_CPUS / "possible").read_text().rpartition("-")[2]) + 1,
    )


MEASUREMENTS: Final = (
    Measurement("io", "what regions cost a guest's I/O", latency),
    Measurement("kernel-memory", "what regions take of the kernel's memory", kernel_memory),
)
