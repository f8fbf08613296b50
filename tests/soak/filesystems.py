"""Faults of one file system, as by an operator or a user who fills it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Final

from tests.kernel.changes import append
from tests.kernel.oracle import run
from tests.soak.scene import Scene
from tests.soak.volume import Volume, insist

_HELD: Final = (1.0, 4.0)
_CHUNK: Final = 1 << 20


@contextmanager
def read_only(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Remount it read-only for a while; files are still read."""
    one = rng.choice(scene.volumes)
    with scene.paused([one]):
        insist("mount", "-o", "remount,ro", str(one.folder))
    yield scene.others(one)
    time.sleep(rng.uniform(*_HELD))
    run("mount", "-o", "remount,rw", str(one.folder))


@contextmanager
def full(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Fill it for a while, with images that try to grow."""
    one = rng.choice(scene.volumes)
    filler = one.folder / "filler"
    try:
        fill(filler)
        for image in scene.on(one, counted=False):
            with suppress(OSError):
                append(image.path)
        yield scene.others(one)
        time.sleep(rng.uniform(*_HELD))
    finally:
        filler.unlink()


def fill(file: Path) -> None:
    """Write a file that takes all free space."""
    fd = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        offset, length = 0, 1 << 30
        while length >= 4096:
            try:
                os.posix_fallocate(fd, offset, length)
                offset += length
            except OSError:
                length //= 2
    finally:
        os.close(fd)


@contextmanager
def unmount(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Remove its files from the configuration and unmount it for a while."""
    one = rng.choice(scene.volumes)
    with scene.let_go(one):
        yield scene.others(one)


@contextmanager
def stop_and_unmount(scene: Scene, _rng: Random) -> Iterator[Sequence[Volume]]:
    """Stop filemapd, which retains groups, and remount both before its restart."""
    with scene.paused(scene.volumes):
        done = scene.supervisor.command("stop")
        assert done.returncode == 0, done
        for one in scene.volumes:
            one.unmount()
            one.mount()
    scene.supervisor.again()
    yield ()
