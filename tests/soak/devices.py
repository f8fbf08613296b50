"""Faults of one file system's device, as by an operator or a failing disk."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final

from tests.kernel.changes import opened
from tests.kernel.oracle import message, run
from tests.kernel.running import DEADLINE, wait_for
from tests.soak.processes import state
from tests.soak.scene import Scene
from tests.soak.volume import ROOM, Volume
from tests.torture.contents import fill
from tests.torture.view import cover_faults, group_of, view

_HELD: Final = (1.0, 8.0)


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
def block_fiemap(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Block a worker within FIEMAP. On XFS it waits for a process that changes the file, which in turn waits
    for a suspended device to read the rest of the last block."""
    one = next(one for one in scene.volumes if one.kind == "xfs")
    file = rng.choice(scene.on(one, counted=False)).path
    fill(file)
    with opened(file) as fd:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    pid, leader = wait_for("it is followed", lambda: _followed(scene, file, one))
    run("dmsetup", "suspend", "--nolockfs", one.name)
    try:
        changing = subprocess.Popen(["truncate", "--size=-100", str(file)])
        wait_for("the change waits for the disk", lambda: state(changing.pid) == "D")
        message(one.name, f"@stats_set_aux {leader} -")
        wait_for("the worker waits for it", lambda: state(pid) == "D")
        yield scene.others(one)
        time.sleep(rng.uniform(*_HELD))
        assert state(pid) == "D"
    finally:
        run("dmsetup", "resume", one.name)
    assert changing.wait(DEADLINE) == 0


def _followed(scene: Scene, file: Path, where: Volume) -> tuple[int, int]:
    """Return a file's worker and its group's id, once it is covered."""
    seen = view(where.name, [file])
    assert not cover_faults(seen)
    return scene.supervisor.filemap(file)["pid"], group_of(seen.rows, seen.inodes[file])[0].id


@contextmanager
def reload(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Replace the device's table while it is in use."""
    rng.choice(scene.volumes).load()
    yield scene.volumes


@contextmanager
def resize(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Grow the device, or shrink it to the size of its file system."""
    one = rng.choice(scene.volumes)
    one.room = ROOM - one.room
    one.load()
    yield scene.volumes


@contextmanager
def rename(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Rename the device while it is in use."""
    one = rng.choice(scene.volumes)
    before, one.name = one.name, f"{one.name.rpartition('-')[0]}-{rng.randrange(1000)}"
    run("dmsetup", "rename", before, one.name)
    yield scene.volumes


@contextmanager
def delay(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Delay every I/O of the disk below by half a second."""
    one = rng.choice(scene.volumes)
    one.below("delay", "500")
    try:
        yield scene.others(one)
        time.sleep(rng.uniform(*_HELD))
    finally:
        one.below("linear")


@contextmanager
def hang(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Make the device, or the disk below it, hang for some seconds, with the kernel's caches of its file
    system dropped."""
    one = rng.choice(scene.volumes)
    hanging = rng.choice((one.name, one.lower))
    os.sync()
    for _ in range(2):
        Path("/proc/sys/vm/drop_caches").write_text("3")
        run("blockdev", "--flushbufs", str(one.device))
    run("dmsetup", "suspend", "--noflush", "--nolockfs", hanging)
    try:
        # Direct, as the page cache has the file system's metadata; no file lies there.
        command = [
            "dd",
            f"if={one.device}",
            "of=/dev/null",
            "bs=4096",
            "count=1",
            "iflag=direct",
            "status=none",
        ]
        reading = subprocess.Popen(command)
        wait_for("who reads waits for the disk", lambda: state(reading.pid) == "D")
        image = rng.choice(scene.on(one, counted=False))
        os.kill(scene.supervisor.filemap(image.path)["pid"], signal.SIGKILL)
        yield scene.others(one)
        time.sleep(rng.uniform(*_HELD))
        assert scene.supervisor.status()["filemaps"], "the status has no files"
        assert state(reading.pid) == "D"
    finally:
        run("dmsetup", "resume", hanging)
    assert reading.wait(DEADLINE) == 0


@contextmanager
def flakey(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Make every I/O of the disk below fail for some seconds, then remount the file system."""
    one = rng.choice(scene.volumes)
    one.below("flakey", "0 60")
    try:
        yield scene.others(one)
        time.sleep(rng.uniform(*_HELD))
    finally:
        one.below("linear")
    with scene.let_go(one):
        one.repair()


@contextmanager
def remove_and_make_again(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Remove the device by force, which replaces it with an error target, and create it again."""
    one = rng.choice(scene.volumes)
    removed = subprocess.run(["dmsetup", "remove", "--force", one.name], capture_output=True, check=False)
    assert removed.returncode != 0, "it was not in use"
    yield scene.others(one)
    with scene.let_go(one):
        run("dmsetup", "remove", one.name)
        one.create()
        one.repair()
