"""The table of `filemapd map`."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from supervisor.cli.map_table import exact, print_map


def piece(offset: int, length: int, sector: int | None, flags: list[str], *regions: int) -> dict[str, Any]:
    """Return a piece as the JSON has it."""
    return {"offset": offset, "length": length, "sector": sector, "flags": flags, "regions": list(regions)}


def region(number: int, group_id: int | None) -> dict[str, Any]:
    """Return a region as the JSON has it."""
    return {"id": number, "group_id": group_id, "program": "dmstats", "sector": 0, "length": 1 << 20}


RESULT: dict[str, Any] = {
    "path": "/images/\x1b[2Jdb01.img",
    "device": "vg-images",
    "number": "253:3",
    "inode": 12,
    "generation": 7,
    "size": 5 << 20,
    "extents": 3,
    "uncovered_bytes": 4096,
    "pieces": [
        piece(0, 1 << 20, 2048, [], 0),
        piece(1 << 20, 1 << 20, None, ["hole"]),
        piece(2 << 20, 1 << 20, 1 << 33, ["unwritten", "shared"], 0, 7),
        piece(3 << 20, 4096, 8192, ["unwritten"]),
        piece((3 << 20) + 4096, 512, None, ["delayed"]),
    ],
    "regions": [region(0, 0), region(7, None)],
    "groups": [
        {
            "group_id": 0,
            "alias": "db01.img",
            "program": "dmstats",
            "regions": 1,
            "covered_bytes": 2 << 20,
            "excess_bytes": 0,
        },
        {
            "group_id": 9,
            "alias": "",
            "program": "o[red]ther",
            "regions": 2,
            "covered_bytes": 4096,
            "excess_bytes": 512,
        },
    ],
}


def printed(result: dict[str, Any]) -> list[str]:
    """Return the lines on a terminal of 80 columns without colours."""
    out = io.StringIO()
    print_map(result, Console(file=out, width=80))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_table() -> None:
    """The file, each piece with its regions, the groups, and the uncovered bytes."""
    assert printed(RESULT) == [
        r"/images/\x1b[2Jdb01.img: 5MiB in 3 extents, inode 12 on vg-images (253:3)",
        " OFFSET LENGTH     SECTOR REGION GROUP FLAGS",
        "     0B   1MiB       2048      0     0",
        "   1MiB   1MiB          -      -     - hole",
        "   2MiB   1MiB 8589934592      0     0 unwritten, shared",
        "                               7     -",
        "   3MiB   4KiB       8192      -     - unwritten, uncovered",
        "3076KiB   512B          -      -     - delayed",
        "group 0 (db01.img, dmstats): 1 region, 2MiB of the file",
        "group 9 (no name, o[red]ther): 2 regions, 4KiB of the file, 512B in excess",
        "uncovered: 4KiB that no region counts",
    ]


def test_the_widest_fits() -> None:
    """The longest offsets, sectors and ids fit into 80 columns; the flags may wrap."""
    most = (16 << 40) - 4096
    widest = piece(most, most, 1 << 35, ["encoded", "unwritten", "shared"], 1234567)
    lines = printed(RESULT | {"pieces": [widest], "regions": [region(1234567, 1234567)]})
    assert lines[2].split()[:5] == ["17179869180KiB", "17179869180KiB", "34359738368", "1234567", "1234567"]
    words = " ".join(line[len(lines[2].split("encoded")[0]) :].strip() for line in lines[2:4])
    assert words == "encoded, unwritten, shared"
    assert max(map(len, lines[1:])) <= 80


def test_a_long_path_is_one_line() -> None:
    """A long path isn't broken, so that it can be copied and searched for."""
    assert printed(RESULT | {"path": "/" + 200 * "x"})[0].startswith("/" + 200 * "x" + ": 5MiB")


def test_an_empty_file() -> None:
    """An empty file has a header and nothing else."""
    empty = RESULT | {
        "size": 0,
        "extents": 0,
        "uncovered_bytes": 0,
        "pieces": [],
        "regions": [],
        "groups": [],
    }
    assert printed(empty) == [r"/images/\x1b[2Jdb01.img: 0B in 0 extents, inode 12 on vg-images (253:3)"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0B"),
        (511, "511B"),
        (4096, "4KiB"),
        ((1 << 20) + 512, "1049088B"),
        (3 << 40, "3TiB"),
        ((1 << 30) + (1 << 20), "1025MiB"),
    ],
)
def test_exact(value: int, text: str) -> None:
    """Sizes are not rounded."""
    assert exact(value) == text
