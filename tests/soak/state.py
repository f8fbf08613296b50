"""Faults of the ledger's folder."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

from tests.kernel.oracle import run
from tests.kernel.running import wait_for
from tests.soak.filesystems import fill
from tests.soak.processes import workers
from tests.soak.scene import Scene
from tests.soak.volume import Volume, insist, repair


@contextmanager
def state_dir_full(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Fill the ledger's file system while the ledger must be written."""
    filler = scene.state.mountpoint / "filler"
    fill(filler)
    try:
        _restart_some(scene, rng)
        yield scene.volumes
    finally:
        filler.unlink()
    _wait_for_mending(scene)


@contextmanager
def state_dir_read_only(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Make the ledger's file system read-only, as after an error of its disk. It is unmounted and repaired,
    which filemapd must not block."""
    folder, device = str(scene.state.mountpoint), scene.state.device
    run("mount", "-o", "remount,errors=remount-ro", folder)
    Path(f"/sys/fs/ext4/dm-{os.minor(device.dev_t)}/trigger_fs_error").write_text("soak")
    _restart_some(scene, rng)
    wait_for("it is reported", lambda: not _mended(scene))
    yield scene.volumes
    insist("umount", folder)
    repair(device.path)
    run("mount", str(device.path), folder)
    _wait_for_mending(scene)


def _restart_some(scene: Scene, rng: Random) -> None:
    """Cause an event that is stored."""
    for pid in rng.sample(workers(scene), 3):
        os.kill(pid, signal.SIGKILL)


def _wait_for_mending(scene: Scene) -> None:
    """Wait until the ledger is on disk again; this is retried at a reload, and every 30 s."""
    wait_for("the ledger is on disk again", lambda: _mended(scene))


def _mended(scene: Scene) -> bool:
    scene.reload()
    return scene.supervisor.status()["ledger_problem"] is None
