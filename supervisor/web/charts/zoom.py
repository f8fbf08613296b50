"""The part of a device that its map shows, in bytes, and what it can be changed to. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# So little is shown at least, and every window begins at a multiple of it.
LEAST: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` to before `end`, of a device of `size` bytes."""

    start: int
    end: int
    size: int

    @property
    def length(self) -> int:
        """How much is shown."""
        return self.end - self.start

    @property
    def whole(self) -> bool:
        """Return whether all of the device is shown."""
        return self.length >= self.size

    def zoomed(self, factor: float) -> Window:
        """Return a window with the same middle; `factor` below 1 shows less."""
        middle, length = (self.start + self.end) / 2, self.length * factor
        return window(middle - length / 2, middle + length / 2, self.size)

    def moved(self, share: float) -> Window:
        """Return a window as long, moved by a share of its length, as far as the device goes."""
        return window(self.start + share * self.length, self.end + share * self.length, self.size)

    def rows(self, count: int) -> list[Window]:
        """Return the window in so many parts, one after the other."""
        edges = [self.start + self.length * i // count for i in range(count + 1)]
        return [Window(edges[i], edges[i + 1], self.size) for i in range(count)]


def window(start: float, end: float, size: int) -> Window:
    """Return the window nearest to what is asked for: within the device, in whole steps, and not too short."""
    size = max(size, LEAST)
    length = min(max(round((end - start) / LEAST), 1) * LEAST, size)
    begin = min(max(round(start / LEAST), 0) * LEAST, size - length)
    return Window(begin, begin + length, size)


def asked_for(query: Mapping[str, str], size: int) -> Window:
    """Return the window that `start` and `end` in an address ask for, in bytes; all of the device without them.

    Raises ValueError, which says what would be right, for what is no such number.
    """
    edges = {}
    for name, default in (("start", 0), ("end", max(size, LEAST))):
        text = query.get(name, str(default))
        if not (text.isascii() and text.isdecimal() and len(text) <= len(str(1 << 64))):
            raise ValueError(f"{name}={text!r} is no number of bytes, such as {name}={default}")
        edges[name] = int(text)
    if edges["start"] >= edges["end"]:
        raise ValueError(f"start={edges['start']} is not before end={edges['end']}")
    return window(edges["start"], edges["end"], size)
