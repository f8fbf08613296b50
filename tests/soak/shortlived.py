"""Kills and stops the supervisor's short-lived processes: the search for virtual machines, and the checkpoint
of the ledger."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Final

from supervisor.control.client import call
from tests.kernel.running import wait_for
from tests.soak.processes import children, state, workers
from tests.soak.scene import Scene
from tests.soak.volume import Volume

# After a killed search the next one starts a minute later.
_PATIENCE: Final = 150.0
_SOON: Final = 10.0
_PAUSE: Final = 0.001
_FINDERS_NICENESS: Final = 10


@contextmanager
def kill_finder(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Kill a search; finally the names of machines must be correct."""
    stopped(scene, _finds, lambda: _define(scene, rng), then=signal.SIGKILL)
    yield scene.volumes


@contextmanager
def stop_finder(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Stop a search, and never continue it; finally the names must be correct."""
    stopped(scene, _finds, lambda: _define(scene, rng))
    yield scene.volumes


@contextmanager
def kill_checkpoint(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Kill the checkpoint process."""
    stopped(scene, _checkpoints, lambda: _have_written(scene, rng), then=signal.SIGKILL)
    yield scene.volumes
    _wait_on_disk(scene)


@contextmanager
def stop_checkpoint(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Stop it, and never continue it."""
    stopped(scene, _checkpoints, lambda: _have_written(scene, rng))
    yield scene.volumes
    _wait_on_disk(scene)


def stopped(
    scene: Scene, is_one: Callable[[int], bool], begin: Callable[[], None], then: signal.Signals | None = None
) -> None:
    """Stop a child of the supervisor in the middle of its work, which `begin` causes, and send it another
    signal."""

    def caught() -> int:
        for pid in children(scene.supervisor.process.pid):
            if is_one(pid) and _stop(pid):
                return pid
        return 0

    def begun() -> int:
        begin()
        until = time.monotonic() + _SOON
        while time.monotonic() < until:
            if pid := caught():
                return pid
            time.sleep(_PAUSE)
        return 0

    pid = wait_for("it is caught at its work", begun, _PATIENCE)
    if then is not None:
        os.kill(pid, then)


def _stop(pid: int) -> bool:
    """Stop a process, and return whether it was still running."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    wait_for("it has stopped or ended", lambda: state(pid) in {"T", "Z", ""})
    return state(pid) == "T"


def _finds(pid: int) -> bool:
    """Return whether a process is a search, by its priority."""
    try:
        return os.getpriority(os.PRIO_PROCESS, pid) == _FINDERS_NICENESS
    except ProcessLookupError:
        return False


def _checkpoints(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(word.endswith(b"/checkpoint_process.py") for word in words)


def _define(scene: Scene, rng: Random) -> None:
    """Rename the machine."""
    scene.machine.define(f"machine-{rng.randrange(10**6)}")


def _have_written(scene: Scene, rng: Random) -> None:
    """Cause a write to the ledger and its checkpoint, which takes longer than the response."""
    os.kill(rng.choice(workers(scene)), signal.SIGKILL)
    call(scene.supervisor.runtime_dir, "POST", "/v1/reload")


def _wait_on_disk(scene: Scene) -> None:
    """Wait until all earlier events are in the database itself, not only in SQLite's log."""
    last = _last_event(scene, "mode=ro")

    def written() -> bool:
        scene.reload()
        return _last_event(scene, "immutable=1") >= last > 0

    wait_for("the ledger is brought to disk", written)


def _last_event(scene: Scene, options: str) -> int:
    """Return the id of the ledger's last event, read by another program; 0 if it can't be read now."""
    with closing(sqlite3.connect(f"file:{scene.state.mountpoint}/ledger.sqlite3?{options}", uri=True)) as db:
        try:
            return int(db.execute("SELECT max(id) FROM events").fetchone()[0] or 0)
        except sqlite3.DatabaseError:
            return 0
