"""The pieces of a file on its device and their I/O rates, which decay as a load average does."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

# Time constant in seconds: I/O of that long ago has about a third of the weight.
FADE: Final = 60.0
# Lower rates are shown as 0.
_LEAST: Final = 1 / (10 * FADE)


class Piece(NamedTuple):
    """A part of the device, `start` to before `end` in bytes, and its I/O rate."""

    start: int
    end: int
    ios_per_s: float


class Heat:
    """The latest pieces of one file on its device, sorted by start."""

    def __init__(self) -> None:
        self._starts = array("Q")
        self._lengths = array("Q")
        self._rates = array("f")
        self._at = 0.0

    def __len__(self) -> int:
        return len(self._starts)

    def put(self, pieces: Sequence[Sequence[int]], at: float) -> None:
        """Replace the pieces. Each has start and length in sectors, and its I/Os since the last call ("regions").

        A piece at the same place keeps its rate. A new one starts at 0.
        """
        starts = array("Q", (start for start, _, _ in pieces))
        lengths = array("Q", (length for _, length, _ in pieces))
        fade = self._fade(at)
        if starts == self._starts and lengths == self._lengths:
            before: Iterator[float] = iter(self._rates)
        else:
            known = dict(zip(zip(self._starts, self._lengths, strict=True), self._rates, strict=True))
            before = (known.get(place, 0.0) for place in zip(starts, lengths, strict=True))
        self._rates = array("f", (b * fade + p[2] / FADE for b, p in zip(before, pieces, strict=True)))
        self._starts, self._lengths, self._at = starts, lengths, at

    def pieces(self, now: float) -> Iterator[Piece]:
        """Yield the pieces, sorted by start."""
        fade = self._fade(now)
        for start, length, rate_then in zip(self._starts, self._lengths, self._rates, strict=True):
            rate = rate_then * fade
            yield Piece(512 * start, 512 * (start + length), rate if rate >= _LEAST else 0.0)

    def _fade(self, now: float) -> float:
        return math.exp(min(0.0, self._at - now) / FADE)
