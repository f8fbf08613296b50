"""How long filemapd takes to follow a change, measured by the demonstration."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from demo.filemapd import Seen
from demo.images import Image


class Timing:
    """Milliseconds from just before a change of an image until its regions cover it again."""

    def __init__(self, images: Iterable[Image]) -> None:
        self._took_ms: dict[str, list[float]] = {}
        for image in images:
            self._took_ms[image.path.name] = []
            image.changed.clear()  # it was not followed yet

    def take(self, image: Image, seen: Seen) -> None:
        """Record a status. To be called often, as it holds the time of the last change only."""
        while image.changed and seen.last_change is not None and image.changed[0] <= seen.last_change:
            took = seen.last_change - image.changed.popleft()
            self._took_ms[image.path.name].append(took * 1000)

    def median(self, name: str) -> str:
        """The median, "-" without changes."""
        took = self._took_ms[name]
        return f"{statistics.median(took):.0f}" if took else "-"

    def span(self, name: str) -> str:
        """The median and the maximum, "-" without changes."""
        took = self._took_ms[name]
        return f"{self.median(name)}-{max(took):.0f}" if took else "-"
