"""How long filemapd takes to follow a change, by the demonstration's own clock."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from demo.filemapd import Seen
from demo.images import Image


class Timing:
    """Milliseconds from just before an image was changed to when filemapd had its regions in step again."""

    def __init__(self, images: Iterable[Image]) -> None:
        self._took_ms: dict[str, list[float]] = {}
        for image in images:
            self._took_ms[image.path.name] = []
            image.changed.clear()  # nobody followed it then

    def take(self, image: Image, seen: Seen) -> None:
        """Record a status. To be called often, as it holds the time of the last change only."""
        while image.changed and seen.last_change is not None and image.changed[0] <= seen.last_change:
            took = seen.last_change - image.changed.popleft()
            self._took_ms[image.path.name].append(took * 1000)

    def median(self, name: str) -> str:
        """The median, "-" where nothing changed."""
        took = self._took_ms[name]
        return f"{statistics.median(took):.0f}" if took else "-"

    def span(self, name: str) -> str:
        """The median and the longest, "-" where nothing changed."""
        took = self._took_ms[name]
        return f"{self.median(name)}-{max(took):.0f}" if took else "-"
