"""The dm_stats messages of one device (Documentation/admin-guide/device-mapper/statistics.rst)."""

from __future__ import annotations

import errno
import functools
import os
import re
from array import array
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from dmstats import ioctl
from dmstats.bounds import from_kernel
from dmstats.counters import Counters, from_numbers, parse_print, parse_rows
from dmstats.errors import DmError
from dmstats.region import Listing, Region, Table, parse_list

SECTOR: Final = 512

Numbers = list[int]

# Replies are taken apart so many at a time: the words of 10,000 take megabytes.
_AT_ONCE: Final = 256

# What dm_split_args() in drivers/md/dm-table.c takes for the end of a word: the kernel's isspace() counts
# 0xa0 too, the second byte of many letters in UTF-8.
_SPLITS = re.compile(rb"[\x09-\x0d\x20\xa0\\]")


def escape(word: str) -> bytes:
    """Return `word` such that the kernel reads it as one word with just these bytes; an empty one is "-"."""
    return _SPLITS.sub(rb"\\\g<0>", word.encode("utf-8", "surrogateescape")) or b"-"


# Nearly all regions that a process makes for a file have the same.
@functools.lru_cache(maxsize=64)
def _create_words(precise: bool, bounds: tuple[int, ...], program: str, aux: str) -> bytes:
    """Return the words of a @stats_create after the range."""
    options = [b"precise_timestamps"] if precise else []
    if bounds:
        options.append(b"histogram:" + ",".join(map(str, bounds)).encode())
    return b" ".join([b"%d" % len(options), *options, escape(program), escape(aux)])


class Device:
    """One device-mapper device, known by its number (st_dev of a file on it). Every method is one message."""

    def __init__(self, dev: int) -> None:
        self.dev = dev
        self.number = ioctl.device_text(dev)

    def _send(self, message: bytes) -> memoryview:
        return ioctl.target_message(self.dev, message)

    def create(
        self,
        start: int,
        length: int,
        *,
        precise: bool = False,
        bounds: Sequence[int] = (),
        program: str = "dmstats",
        aux: str = "",
    ) -> int:
        """Make a region of one area over `length` sectors from `start` and return its id.

        `bounds` are the kernel's: ns with `precise`, else ms. Raises DmError: EINVAL for a range or bounds
        that it won't have, ENOMEM where its limits on memory are reached.
        """
        words = _create_words(precise, tuple(bounds), program, aux)
        return int(self._send(b"@stats_create %d+%d /1 %b" % (start, length, words)))

    def delete(self, region_id: int) -> None:
        """Delete a region. Raises DmError (ENOENT where there is none)."""
        self._send(b"@stats_delete %d" % region_id)

    def clear(self, region_id: int) -> None:
        """Set a region's counters to zero, except I/Os in flight. Raises DmError."""
        self._send(b"@stats_clear %d" % region_id)

    def list(self, program: str | None = None) -> Listing:
        """Return the regions of all programs, or of just `program`. Raises DmError."""
        return parse_list(self.list_text(program))

    def table(self) -> Table:
        """Return the regions of all programs, not yet taken apart. Raises DmError."""
        return Table(self.list_text())

    def list_text(self, program: str | None = None) -> bytes:
        """Return the reply to @stats_list as it came: enough to see whether anything changed."""
        return bytes(self._send(b"@stats_list" if program is None else b"@stats_list " + escape(program)))

    def list_view(self) -> memoryview:
        """Return the same of all programs without a copy: it holds until the next message."""
        return self._send(b"@stats_list")

    def print(self, region: Region) -> Counters:
        """Return a region's counters. Raises DmError, ENOENT too where the id now stands for another range."""
        return _counters(self._numbers(b"@stats_print", region), region)

    def print_clear(self, region: Region) -> Counters:
        """Return a region's counters and zero them, in one step. Raises DmError like print()."""
        return _counters(self._numbers(b"@stats_print_clear", region), region)

    def print_all(self, regions: Sequence[Region]) -> array[int]:
        """Return the counters of regions that have as many bins each: a row for each region, of where it starts, its
        length in sectors, and the numbers of parse_print(). A message for each. Raises DmError like print()."""
        rows = array("Q")
        if not regions:
            return rows
        for at in range(0, len(regions), _AT_ONCE):
            rows += parse_rows("".join(map(self._row, regions[at : at + _AT_ONCE])))
        width = len(rows) // len(regions)
        for column, where in enumerate((attrgetter("start"), attrgetter("length"))):
            if rows[column::width] != array("Q", map(where, regions)):
                raise DmError(
                    errno.ENOENT, "@stats_print (the range of a region is another now)", self.number
                )
        return rows

    def _row(self, region: Region) -> str:
        """Return the reply to @stats_print, with several areas summed up to one."""
        if region.step == region.length:
            return str(self._send(b"@stats_print %d" % region.id), "ascii")
        return " ".join(map(str, (region.start, region.length, *self._numbers(b"@stats_print", region), "")))

    def _numbers(self, command: bytes, region: Region) -> Numbers:
        reply = str(self._send(b"%b %d" % (command, region.id)), "ascii")
        if not reply.startswith(f"{region.start}+{region.step} "):
            message = f"{command.decode()} {region.id} (its range is another now)"
            raise DmError(errno.ENOENT, message, self.number)
        return parse_print(reply)

    def set_aux(self, region_id: int, aux: str) -> None:
        """Set a region's aux. Raises DmError (ENOENT where there is no such region)."""
        self._send(b"@stats_set_aux %d %s" % (region_id, escape(aux)))

    def name(self) -> str:
        """Return the device's name, or its number where it has gone."""
        try:
            return self._attribute("dm/name").decode().rstrip("\n")
        except OSError:
            return self.number

    def size(self) -> int:
        """Return the device's size in bytes. Raises OSError where it has gone."""
        return int(self._attribute("size")) * SECTOR

    def io_text(self) -> str:
        """Return /sys/dev/block/M:m/stat: the same text twice means that no I/O was done in between."""
        return self._attribute("stat").decode("ascii")

    def _attribute(self, name: str) -> bytes:
        """Return a file of the device's in sysfs, which one read(2) gives as a whole: it is a page at most."""
        fd = os.open(f"/sys/dev/block/{self.number}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, 4096)
        finally:
            os.close(fd)


def _counters(numbers: Numbers, region: Region) -> Counters:
    bounds_ns = from_kernel(region.bounds, precise=region.precise)
    return from_numbers(numbers, precise=region.precise, bounds_ns=bounds_ns)
