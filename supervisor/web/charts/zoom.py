"""The part of a device that its map shows, in bytes, with zooming and panning. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# The minimum length of a window. Windows start at a multiple of it.
LEAST: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Window:
    """The bytes from `start` to before `end` of a device of `size` bytes."""

    start: int
    end: int
    size: int

    @property
    def length(self) -> int:
        """The length of the window."""
        return self.end - self.start

    @property
    def whole(self) -> bool:
        """Return whether the window is the whole device."""
        return self.length >= self.size

    def zoomed(self, factor: float) -> Window:
        """Return a window with the same middle and `factor` times the length."""
        middle, length = (self.start + self.end) / 2, self.length * factor
        return window(middle - length / 2, middle + length / 2, self.size)

    def moved(self, share: float) -> Window:
        """Return a window of the same length, moved by a share of it, within the device."""
        return window(self.start + share * self.length, self.end + share * self.length, self.size)

    def rows(self, count: int) -> list[Window]:
        """Divide the window into `count` consecutive parts."""
        edges = [self.start + self.length * i // count for i in range(count + 1)]
        return [Window(edges[i], edges[i + 1], self.size) for i in range(count)]


def window(start: float, end: float, size: int) -> Window:
    """Return the nearest valid window: within the device, in multiples of LEAST, and at least that long."""
    size = max(size, LEAST)
    length = min(max(round((end - start) / LEAST), 1) * LEAST, size)
    begin = min(max(round(start / LEAST), 0) * LEAST, size - length)
    return Window(begin, begin + length, size)


def requested_window(query: Mapping[str, str], size: int) -> Window:
    """Return the window of the parameters `start` and `end` in bytes. Their default is the whole device.

    Raises ValueError for invalid numbers.
    """
    edges = {}
    for name, default in (("start", 0), ("end", max(size, LEAST))):
        text = query.get(name, str(default))
        if not (text.isascii() and text.isdecimal() and len(text) <= len(str(1 << 64))):
            raise ValueError(f"{name}={text!r} is not a number of bytes; an example is {name}={default}")
        edges[name] = int(text)
    if edges["start"] >= edges["end"]:
        raise ValueError(f"start={edges['start']} is not before end={edges['end']}")
    return window(edges["start"], edges["end"], size)
