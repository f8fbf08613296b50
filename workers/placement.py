"""Where a group's regions lie and which of them have I/O, in pieces that are few enough for one packet. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from dmstats.ranges import Range, limited
from dmstats.region import Region

# Some 30 bytes each on their way; a map of the device shows no more of one file.
MOST_PIECES: Final = 2048


@dataclass(slots=True)
class Placement:
    """Pieces of the device by where they start, in sectors. They are in arrays, as every worker keeps them."""

    starts: array[int]
    lengths: array[int]

    def ios(self, by_start: Sequence[tuple[int, int]]) -> list[int]:
        """Return the I/Os of each piece, given where a region starts and its I/Os; empty where there are none."""
        if not by_start:
            return []
        sums = [0] * len(self.starts)
        for start, ios in by_start:
            sums[bisect_right(self.starts, start) - 1] += ios
        return sums


def place(regions: Iterable[Region]) -> Placement:
    """Return the pieces that regions are. Where there are very many, those with the smallest gaps between them
    are one piece."""
    pieces = limited(sorted(Range(region.start, region.end) for region in regions), MOST_PIECES)
    return Placement(
        array("Q", (piece.start for piece in pieces)), array("Q", (piece.length for piece in pieces))
    )
