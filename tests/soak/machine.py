"""Exhausts the supervisor's resources (processes, descriptors, queues, time), and reboots the machine."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Final

from tests.kernel.oracle import run
from tests.soak.processes import children, workers
from tests.soak.scene import QUEUE, Scene
from tests.soak.volume import Volume

_HELD: Final = (1.0, 5.0)
# Long enough for each of the supervisor's periodic tasks.
_ALL_TURNS: Final = (11.0, 13.0)
_CGROUPS: Final = Path("/sys/fs/cgroup")
_DAY: Final = 86400


@contextmanager
def clock_jumps(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Set the clock to another day for a while."""
    ahead = rng.choice((-400, -1, 1, 400)) * _DAY
    time.clock_settime(time.CLOCK_REALTIME, time.time() + ahead)
    try:
        yield scene.volumes
        time.sleep(rng.uniform(*_HELD))
    finally:
        time.clock_settime(time.CLOCK_REALTIME, time.time() - ahead)


@contextmanager
def inotify_overflow(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Cause more events than the queue takes while it isn't read, those of our files last."""
    supervisor = scene.supervisor.process.pid
    os.kill(supervisor, signal.SIGSTOP)
    try:
        for one in scene.volumes:
            for number in range(QUEUE):
                noise = one.folder / f"noise{number}"
                noise.touch()
                noise.unlink()
            for image in scene.on(one, counted=False):
                image.change(rng)
    finally:
        os.kill(supervisor, signal.SIGCONT)
    yield scene.volumes


@contextmanager
def no_processes(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Make forks fail (EAGAIN) while some are needed."""
    group = _cgroup(scene)
    pids = group / "pids.max"
    pids.write_text("1")
    try:
        for pid in rng.sample(workers(scene), 2):
            os.kill(pid, signal.SIGKILL)
        time.sleep(rng.uniform(*_HELD))
        yield ()
    finally:
        pids.write_text("max")


def _cgroup(scene: Scene) -> Path:
    """Return a control group with all the supervisor's processes."""
    if not (_CGROUPS / "cgroup.controllers").exists():
        run("mount", "-t", "cgroup2", "none", str(_CGROUPS))
    (_CGROUPS / "cgroup.subtree_control").write_text("+pids")
    group = _CGROUPS / "soak"
    group.mkdir(exist_ok=True)
    supervisor = scene.supervisor.process.pid
    for pid in (supervisor, *children(supervisor)):
        with suppress(ProcessLookupError):  # a move's command that has just ended
            (group / "cgroup.procs").write_text(str(pid))
    return group


@contextmanager
def no_descriptors(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Make the supervisor fail to open new descriptors (EMFILE) while some are needed."""
    supervisor, some = scene.supervisor.process.pid, rng.sample(workers(scene), 2)
    before = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)
    # Stdio takes the numbers below, so none is free. With a limit of 0 poll(2) would fail too.
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        for pid in some:
            os.kill(pid, signal.SIGKILL)
        time.sleep(rng.uniform(*_ALL_TURNS))
        yield ()
    finally:
        resource.prlimit(supervisor, resource.RLIMIT_NOFILE, before)


@contextmanager
def reboot(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Kill the supervisor and recreate all devices in another order, with other numbers: all regions are
    gone, the ledger stays."""
    with scene.paused(scene.volumes):
        yield ()
        scene.wait_sampled()  # later counts are lost with the regions
        os.kill(scene.supervisor.process.pid, signal.SIGKILL)
        scene.supervisor.process.wait()
        for one in scene.volumes:
            one.unmount()
            run("dmsetup", "remove", one.name)
        for one in rng.sample(scene.volumes, len(scene.volumes)):
            one.create()
            one.mount()
        scene.supervisor.again()
        scene.wait_followed(scene.volumes)
