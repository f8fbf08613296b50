"""Regions, groups and extents as the system's own tools report them (dmsetup, dmstats, filefrag), never our
parsers."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

_ROW = re.compile(rb"(\d+): (\d+)\+(\d+) \d+ (\S+) (.*)")
_ANY_ROW = re.compile(r"(\d+): (\d+\+\d+ .*)")
# filefrag -v -b1: the extent's number, its bytes in the file and on the device, and its flags.
_EXTENT = re.compile(r"\s*\d+:\s*(\d+)\.\.\s*(\d+):\s*(\d+)\.\.\s*(\d+):\s*\d+:(.*)")
_MEMBERS = re.compile(rb'DMS_GROUP=(?:".*?"|[^"]*?):([0-9,-]+)(?:#.*)?')
_PLACELESS = {"delalloc", "unknown_loc", "inline", "encoded"}


@dataclass(frozen=True, slots=True)
class Row:
    """A region in @stats_list. `aux` is everything after the program, options included."""

    id: int
    start: int
    length: int
    program: bytes
    aux: bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """An allocated extent, in bytes."""

    logical: int
    physical: int
    length: int


def run(*command: str | bytes) -> str:
    """Run a system command and return its output. Raises AssertionError with its stderr."""
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, (command, done.returncode, done.stderr)
    return done.stdout.decode("utf-8", "surrogateescape")


def message(device: str, text: str | bytes) -> bytes:
    """Send a message to a device with dmsetup and return the reply."""
    return run("dmsetup", "message", device, "0", text).encode("utf-8", "surrogateescape")


def table(device: str) -> dict[int, str]:
    """Return the rows of @stats_list of all programs, by id. Rows may have any form; an aux's second line is
    left out."""
    lines = message(device, "@stats_list").decode("utf-8", "surrogateescape").split("\n")
    return {int(match[1]): match[2] for match in map(_ANY_ROW.fullmatch, lines) if match is not None}


def rows(device: str) -> list[Row]:
    """Return the device's regions of all programs."""
    found = []
    for line in message(device, "@stats_list").splitlines():
        match = _ROW.fullmatch(line)
        assert match is not None, line
        found.append(Row(int(match[1]), int(match[2]), int(match[3]), match[4], match[5]))
    return found


def extents(file: Path) -> list[Piece]:
    """Return the file's extents that are on disk, as filefrag lists them."""
    found = []
    for line in run("filefrag", "-v", "-b1", str(file)).splitlines():
        match = _EXTENT.fullmatch(line)
        if match is None:
            continue
        flags = set(match[5].rpartition(":")[2].strip().split(","))
        if not flags & _PLACELESS:
            first, last = int(match[3]), int(match[4])
            found.append(Piece(int(match[1]), first, last + 1 - first))
    return found


def sectors_of(file: Path) -> set[int]:
    """Return every sector of the file on the device."""
    return {
        sector
        for piece in extents(file)
        for sector in range(piece.physical // 512, (piece.physical + piece.length) // 512)
    }


def groups(device: str) -> dict[int, list[int]]:
    """Return the ids in each tag, in the tag's order, by the id of the region that bears it."""
    return _groups(rows(device))


def _groups(listed: list[Row]) -> dict[int, list[int]]:
    found = {}
    for row in listed:
        match = _MEMBERS.match(row.aux)
        if match is None:
            continue
        ids: list[int] = []
        for item in match[1].decode().split(","):
            first, _, last = item.partition("-")
            ids += range(int(first), int(last or first) + 1)
        found[row.id] = ids
    return found


def groups_of(file: Path, device: str, listed: list[Row] | None = None) -> list[int]:
    """Return the ids of the groups whose userdata names the file."""
    return _groups_of(file, rows(device) if listed is None else listed)


def _groups_of(file: Path, listed: list[Row]) -> list[int]:
    mark = b"#filemapd.i%d.g" % file.stat().st_ino
    return [row.id for row in listed if row.aux.startswith(b"DMS_GROUP=") and mark in row.aux]


def assert_exact_cover(
    file: Path, device: str, group_id: int | None = None, listed: list[Row] | None = None
) -> list[int]:
    """Assert that the group's regions cover the file's extents exactly and once, and that the tag is on the
    lowest of them. Return their ids. By default the group is the one that names the file; a file without
    extents has none."""
    wanted = sectors_of(file)
    listed = rows(device) if listed is None else listed
    own = _groups_of(file, listed) if group_id is None else [group_id]
    assert len(own) == (1 if wanted else 0), (own, listed)
    if not own:
        return []
    members = _groups(listed)[own[0]]
    assert own[0] == min(members)
    places = {row.id: (row.start, row.length) for row in listed}
    covered = [
        sector
        for start, length in (places[number] for number in members)
        for sector in range(start, start + length)
    ]
    assert len(covered) == len(set(covered)), "two members lie on the same sectors"
    assert set(covered) == wanted
    return members


def assert_no_orphan(device: str, program: str = "dmstats", listed: list[Row] | None = None) -> None:
    """Assert that each of the program's regions is in exactly one tag, and that tags list only existing
    regions."""
    listed = rows(device) if listed is None else listed
    ours = [row.id for row in listed if row.program == program.encode()]
    assert sorted(number for members in _groups(listed).values() for number in members) == ours, listed


def fields(device: str, kind: str, *columns: str) -> list[list[str]]:
    """Return columns of `dmstats list`, a row for each region or group (`kind`), in sectors."""
    text = run(
        "dmstats", "list", f"--{kind}", "--noheadings", "--separator", "|", "--units", "s", "--nosuffix",
        "-o", ",".join(columns), device,
    )  # fmt: skip
    return [line.split("|") for line in text.splitlines() if line]


def report(device: str, *columns: str) -> list[list[str]]:
    """Return columns of `dmstats report`, a row for each group. It resets the counters."""
    command = ("dmstats", "report", "--group", "--noheadings", "--separator", "|", "-o", ",".join(columns))
    return [line.split("|") for line in run(*command, device).splitlines() if line]
