"""Kills and stops processes of each kind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

from tests.kernel.running import wait_for
from tests.soak.scene import Scene
from tests.soak.volume import Volume

_STOPPED = (0.5, 3.0)


def children(pid: int) -> list[int]:
    """Return the pids of a process's children (proc(5))."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def workers(scene: Scene) -> list[int]:
    """Return the pids of all workers."""
    return [f["pid"] for f in scene.supervisor.status()["filemaps"] if f["pid"] is not None]


def state(pid: int) -> str:
    """Return the letter of a process's state (proc(5)), empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def web(scene: Scene) -> int:
    """Return the pid of the web process."""
    pid: int = wait_for("there is a web process", lambda: scene.supervisor.status()["web"]["pid"])
    return pid


def fork_server(scene: Scene) -> int:
    """Return the pid of the fork server: it runs the workers' program, and is no worker."""

    def found() -> int:
        others = workers(scene)
        pids = [pid for pid in children(scene.supervisor.process.pid) if pid not in others and _forks(pid)]
        return pids[0] if len(pids) == 1 else 0

    return wait_for("there is a fork server", found)


def _forks(pid: int) -> bool:
    """Return whether a process runs the fork server's program, and is alive."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"workers.fork_server" in words


@contextmanager
def kill_worker(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Kill a worker."""
    os.kill(rng.choice(workers(scene)), signal.SIGKILL)
    yield scene.volumes


@contextmanager
def kill_all_workers(scene: Scene, _rng: Random) -> Iterator[Sequence[Volume]]:
    """Kill all workers at once."""
    for pid in workers(scene):
        os.kill(pid, signal.SIGKILL)
    yield scene.volumes


@contextmanager
def kill_fork_server(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Kill it, and a worker, so that a new worker is needed."""
    os.kill(fork_server(scene), signal.SIGKILL)
    os.kill(rng.choice(workers(scene)), signal.SIGKILL)
    yield scene.volumes


@contextmanager
def kill_web(scene: Scene, _rng: Random) -> Iterator[Sequence[Volume]]:
    """Kill it."""
    os.kill(web(scene), signal.SIGKILL)
    yield scene.volumes


@contextmanager
def kill_supervisor(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Kill it at any moment and restart it some time later."""
    os.kill(scene.supervisor.process.pid, signal.SIGKILL)
    time.sleep(rng.uniform(0, 1))
    scene.supervisor.again()
    yield ()


@contextmanager
def stop_worker(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Stop a worker, and never continue it."""
    pid = rng.choice(workers(scene))
    os.kill(pid, signal.SIGSTOP)
    yield ()
    wait_for("a stopped worker is replaced", lambda: pid not in workers(scene))


@contextmanager
def stop_fork_server(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Stop it, and kill a worker, so that it gets a request."""
    os.kill(fork_server(scene), signal.SIGSTOP)
    os.kill(rng.choice(workers(scene)), signal.SIGKILL)
    yield scene.volumes


@contextmanager
def stop_web(scene: Scene, _rng: Random) -> Iterator[Sequence[Volume]]:
    """Stop it, and never continue it."""
    pid = web(scene)
    os.kill(pid, signal.SIGSTOP)
    yield scene.volumes
    wait_for("a stopped web process is replaced", lambda: web(scene) != pid)


@contextmanager
def stop_supervisor(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Stop it for some seconds."""
    os.kill(scene.supervisor.process.pid, signal.SIGSTOP)
    time.sleep(rng.uniform(*_STOPPED))
    os.kill(scene.supervisor.process.pid, signal.SIGCONT)
    yield ()
