"""What a measurement is, and what it is given."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from bench.libdm import Peer
from bench.results import Row

T = TypeVar("T")

_MS: Final = 1000.0


@dataclass(frozen=True, slots=True)
class Bench:
    """How a run is to be."""

    quick: bool = False
    peer: Peer | None = None

    def pick(self, usual: T, quick: T) -> T:
        """Return the usual size of something, or that of a quick run."""
        return quick if self.quick else usual


@dataclass(frozen=True, slots=True)
class Measurement:
    """One or a few rows of the table. `name` is what --only takes."""

    name: str
    what: str
    run: Callable[[Bench], Iterator[Row]]


def timed(action: Callable[[], object]) -> float:
    """Do something once and return the milliseconds it took, with no garbage of others' collected meanwhile."""
    gc.collect()
    gc.freeze()
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * _MS
