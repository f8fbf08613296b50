"""Takes the folder in which the ledger is from the supervisor."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

from tests.kernel.running import wait_for
from tests.soak.filesystems import fill
from tests.soak.processes import workers
from tests.soak.scene import Scene
from tests.soak.volume import Volume


def _folder(scene: Scene) -> Path:
    return scene.folder / "state"


@contextmanager
def state_dir_full(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Have no room left for the ledger, and something to write into it."""
    filler = _folder(scene) / "filler"
    fill(filler)
    try:
        _restart_some(scene, rng)
        yield scene.volumes
    finally:
        filler.unlink()
    _wait_for_mending(scene)


def _restart_some(scene: Scene, rng: Random) -> None:
    """Have something happen that is written down."""
    for pid in rng.sample(workers(scene), 3):
        os.kill(pid, signal.SIGKILL)


def _wait_for_mending(scene: Scene) -> None:
    """Wait until the ledger is on disk again; it is tried at a reload, and by itself every 30 s."""

    def mended() -> bool:
        scene.reload()
        return scene.supervisor.status()["ledger_problem"] is None

    wait_for("the ledger is on disk again", mended)
