"""The images' extents and the regions, as filefrag and dmstats report them.

Independent of filemapd's own code, which is checked against it.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SECTOR: Final = 512
# "  ext:  logical..:  physical..:  length:  expected: flags", in blocks of 512 bytes.
_EXTENT: Final = re.compile(r"\s*\d+:\s*(\d+)\.\.\s*\d+:\s*(\d+)\.\.\s*\d+:\s*(\d+):(?:\s*\d+:)?\s*([\w,]*)")
# Extents with these flags are not yet on the device, or not as plain blocks.
_NOT_ON_DISK: Final = frozenset({"delalloc", "unknown_loc", "encoded", "inline", "not_aligned"})


class OracleError(Exception):
    """A tool failed, or its output can't be parsed."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Sectors of a file: in the file, and on the device."""

    logical: int
    sectors: range


@dataclass(frozen=True, slots=True)
class Region:
    """A region of dm_stats; group_id is None for one in no group."""

    region_id: int
    group_id: int | None
    sectors: range


def read_extents(path: Path) -> list[Extent]:
    """Return the extents of a file that are on the device. Raises OracleError."""
    return parse_filefrag(_output("filefrag", "-v", f"-b{SECTOR}", str(path)))


def read_regions(device: str) -> list[Region]:
    """Return all regions on a device-mapper device, of all programs. Raises OracleError."""
    fields = "region_id,group_id,region_start,region_len"
    plain = ("--noheadings", "--nosuffix", "--units", "s", "--separator", "|")
    return parse_dmstats(
        _output("dmstats", "list", "--allprograms", "--region", *plain, "-o", fields, device)
    )


def parse_filefrag(text: str) -> list[Extent]:
    """Return the extents in the output of `filefrag -v -b512`."""
    return [
        Extent(int(match[1]), range(int(match[2]), int(match[2]) + int(match[3])))
        for line in text.splitlines()
        if (match := _EXTENT.fullmatch(line)) and not _NOT_ON_DISK & set(match[4].split(","))
    ]


def parse_dmstats(text: str) -> list[Region]:
    """Return the regions in lines such as "3|0|20480|2048"; no group is "-". Raises OracleError."""
    regions = []
    for line in text.split():
        try:
            region_id, group_id, start, length = line.split("|")
            sectors = range(int(start), int(start) + int(length))
            regions.append(Region(int(region_id), None if group_id == "-" else int(group_id), sectors))
        except ValueError:
            raise OracleError(f"dmstats printed a line that is no region: {line!r}") from None
    return regions


def union(ranges: Iterable[range]) -> list[range]:
    """Return the union of ranges, ascending, adjacent and overlapping ones merged."""
    merged: list[range] = []
    for one in sorted(ranges, key=lambda r: r.start):
        if merged and one.start <= merged[-1].stop:
            merged[-1] = range(merged[-1].start, max(merged[-1].stop, one.stop))
        elif one:
            merged.append(one)
    return merged


def overlap(one: range, other: range) -> bool:
    """Return whether two ranges overlap."""
    return max(one.start, other.start) < min(one.stop, other.stop)


def without(ranges: Iterable[range], taken: Iterable[range]) -> int:
    """Return how many sectors are in the first ranges and not in the second."""
    first, second = union(ranges), union(taken)
    return sum(map(len, union([*first, *second]))) - sum(map(len, second))


def _output(*command: str) -> str:
    # Its own session: Ctrl-C goes to the demonstration only, which still needs the output.
    try:
        done = subprocess.run(
            command,
            check=True,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    except FileNotFoundError:
        raise OracleError(f"{command[0]} is not installed") from None
    except subprocess.CalledProcessError as error:
        raise OracleError(f"{' '.join(command)}: {error.stderr.strip() or error}") from None
    return done.stdout
