"""I/O on the three images at a low rate, while the demonstration runs."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from demo.images import Image

# Seconds between two turns of an image.
_PAUSE: Final = 0.1
_READS_AND_WRITES: Final = 2
# The fraction of turns that also change the extents.
_CHANGING: Final = 0.1
# The growing image is shortened at this size, so that it never fills the device.
_MOST_CELLS: Final = 400
_FEWEST_CELLS: Final = 16


class Load:
    """One thread per image. Leaving the context stops them."""

    def __init__(self, steady: Image, fragmented: Image, growing: Image) -> None:
        self._stop = threading.Event()
        self._failure: Exception | None = None
        turns: list[tuple[Image, Callable[[Image], None]]] = [
            (steady, _use),
            (fragmented, _change),
            (growing, _grow),
        ]
        self._threads = [threading.Thread(target=self._run, args=turn, daemon=True) for turn in turns]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def check(self) -> None:
        """Raise the exception that ended a thread, if any."""
        if self._failure is not None:
            raise self._failure

    def _run(self, image: Image, turn: Callable[[Image], None]) -> None:
        try:
            while not self._stop.wait(_PAUSE):
                turn(image)
        except Exception as error:  # noqa: BLE001 - check() raises it
            self._failure = error


def _use(image: Image) -> None:
    for _ in range(_READS_AND_WRITES):
        image.read()
        image.write()


def _change(image: Image) -> None:
    _use(image)
    if random.random() < _CHANGING:
        image.toggle()


def _grow(image: Image) -> None:
    _use(image)
    if image.cells >= _MOST_CELLS:
        image.cut(_FEWEST_CELLS)
    elif random.random() < _CHANGING:
        image.append()
