"""All files according to filefrag and dmsetup at one moment, and the checks of it. Only view() calls these
tools."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.kernel import oracle
from tests.kernel.oracle import Row

Span = tuple[int, int]

_HEADER = re.compile(r"File size of (.*) is \d+ \(.*")
_TAG = re.compile(rb'DMS_GROUP=(?:".*?"|[^"]*?):([0-9,-]+)#(\S*)(?: .*)?')
_MARK = re.compile(rb"filemapd\.i(\d+)\.g\d+(?:\.[a-z0-9.]+)?(?: .*)?")


@dataclass(frozen=True, slots=True)
class View:
    """The device's regions, and where each file lies in sectors, by its path and its inode."""

    rows: tuple[Row, ...]
    spans: Mapping[Path, tuple[Span, ...]]
    inodes: Mapping[Path, int]


def view(device: str, paths: Sequence[Path]) -> View:
    """Read the files' extents and the device's regions."""
    found: dict[Path, list[Span]] = {path: [] for path in paths}
    if paths:
        path = paths[0]
        for line in oracle.run("filefrag", "-v", "-b1", *map(str, paths)).splitlines():
            if header := _HEADER.fullmatch(line):
                path = Path(header[1])
            elif (extent := oracle._EXTENT.fullmatch(line)) and not _placeless(extent[5]):
                found[path].append((int(extent[3]) // 512, (int(extent[4]) + 1) // 512))
    rows = tuple(oracle.rows(device))
    return View(
        rows,
        {path: merged(spans) for path, spans in found.items()},
        {path: path.stat().st_ino for path in paths},
    )


def _placeless(flags: str) -> bool:
    return bool(set(flags.rpartition(":")[2].strip().split(",")) & oracle._PLACELESS)


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return spans in order, with those that touch or overlap joined."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return tuple(found)


def members_of(row: Row) -> list[int]:
    """Return the ids in a region's tag, empty if it bears none."""
    match = _TAG.fullmatch(row.aux)
    ids: list[int] = []
    for item in match[1].decode().split(",") if match is not None else ():
        first, _, last = item.partition("-")
        ids += range(int(first), int(last or first) + 1)
    return ids


def marked_inode(row: Row) -> int | None:
    """Return the inode in a region's mark, in its tag's userdata or instead of a tag."""
    tag = _TAG.fullmatch(row.aux)
    mark = _MARK.fullmatch(tag[2] if tag is not None else row.aux)
    return int(mark[1]) if mark is not None else None


def group_of(rows: Iterable[Row], inode: int) -> list[Row]:
    """Return the regions whose tag names the inode: normally one."""
    return [row for row in rows if members_of(row) and marked_inode(row) == inode]


def cover_faults(seen: View) -> list[str]:
    """Return the files whose group doesn't cover exactly filefrag's extents."""
    listed = {row.id: row for row in seen.rows}
    found = []
    for path, spans in seen.spans.items():
        leaders = group_of(seen.rows, seen.inodes[path])
        if len(leaders) != (1 if spans else 0):
            found.append(f"{path.name}: {len(leaders)} groups for {len(spans)} extents")
        for leader in leaders:
            members = members_of(leader)
            gone = [number for number in members if number not in listed]
            regions = [listed[number] for number in members if number in listed]
            covered = [(row.start, row.start + row.length) for row in regions]
            twice = sum(end - start for start, end in covered) - sum(e - s for s, e in merged(covered))
            if gone:
                found.append(f"{path.name}: its tag lists {gone}, which are not there")
            if leader.id != min(members):
                found.append(f"{path.name}: its tag stands on {leader.id}, not on its lowest member")
            if twice:
                found.append(f"{path.name}: {twice} sectors are covered twice")
            if merged(covered) != spans:
                found.append(f"{path.name}: covered are {merged(covered)}, it lies at {spans}")
    return found


def orphans(seen: View) -> list[str]:
    """Return the regions with our mark that aren't in exactly one group of an existing file."""
    wanted = set(seen.inodes.values())
    holders: dict[int, list[Row]] = {}
    for row in seen.rows:
        for number in members_of(row):
            holders.setdefault(number, []).append(row)
    found = []
    for row in seen.rows:
        inode = marked_inode(row)
        if inode is None:
            continue
        tags = holders.get(row.id, [])
        if inode not in wanted or [marked_inode(tag) for tag in tags] != [inode]:
            found.append(
                f"region {row.id} {row.start}+{row.length} {row.aux!r} is in the groups {[t.id for t in tags]}"
            )
    return found


Book = Mapping[int, tuple[int, int, bytes, bytes]]


def touched(seen: View, book: Book) -> list[str]:
    """Return deviations of another program's regions from its book, and regions in nobody's book."""
    others = {
        row.id: (row.start, row.length, row.program, row.aux)
        for row in seen.rows
        if marked_inode(row) is None
    }
    gone = [f"{number} {book[number]} of the other program is {others.get(number)}" for number in book]
    found = [text for number, text in zip(book, gone, strict=True) if others.get(number) != book[number]]
    return found + [f"nobody made region {number} {others[number]}" for number in others.keys() - book.keys()]
