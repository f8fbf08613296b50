"""Does to the device of one file system what an operator, or a failing disk, does."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random

from tests.kernel.oracle import run
from tests.soak.scene import Scene
from tests.soak.volume import Volume

_HELD = (1.0, 8.0)


@contextmanager
def suspend(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Suspend the device for some seconds, its file system frozen or not."""
    one = rng.choice(scene.volumes)
    run("dmsetup", "suspend", *rng.choice(([], ["--nolockfs"])), one.name)
    try:
        yield scene.others(one)
        time.sleep(rng.uniform(*_HELD))
    finally:
        run("dmsetup", "resume", one.name)


@contextmanager
def reload(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Give the device another table while it is in use."""
    one = rng.choice(scene.volumes)
    run("dmsetup", "load", one.name, "--table", one.table())
    run("dmsetup", "suspend", one.name)
    run("dmsetup", "resume", one.name)
    yield scene.volumes


@contextmanager
def delay(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Have every I/O of the disk below take half a second."""
    one = rng.choice(scene.volumes)
    one.below("delay", "500")
    try:
        yield scene.others(one)
        time.sleep(rng.uniform(*_HELD))
    finally:
        one.below("linear")
