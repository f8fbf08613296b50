"""Kills and stops the command that runs for a move of a group."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

from supervisor.service.move_hook import LIMIT
from tests.kernel import oracle
from tests.kernel.changes import KEEP_SIZE, MIB, PUNCH_HOLE, fallocate, opened
from tests.kernel.running import DEADLINE, wait_for
from tests.soak.scene import ON_MOVE, Scene
from tests.soak.shortlived import stopped
from tests.soak.volume import Volume
from tests.torture.contents import fill
from tests.torture.view import cover_faults, group_of, view


@contextmanager
def kill_on_move(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Kill it."""
    failed = _failed(scene)
    stopped(scene, _is_command, lambda: _have_moved(scene, rng), then=signal.SIGKILL)
    yield scene.volumes
    _wait_failed(scene, failed, "killed by SIGKILL")


@contextmanager
def stop_on_move(scene: Scene, rng: Random) -> Iterator[Sequence[Volume]]:
    """Stop it, and never continue it."""
    failed = _failed(scene)
    stopped(scene, _is_command, lambda: _have_moved(scene, rng))
    yield scene.volumes
    _wait_failed(scene, failed, f"killed, as it took more than {LIMIT:g} s")


def _failed(scene: Scene) -> int:
    """Return the number of failed commands."""
    return int(scene.supervisor.status()["on_move"]["failed"])


def _wait_failed(scene: Scene, failed: int, why: str) -> None:
    """Wait until one more command has failed than before, and none runs or waits."""
    one_more = {"running": 0, "waiting": 0, "failed": failed + 1, "dropped": 0}
    wait_for(
        "just this one has failed",
        lambda: scene.supervisor.status()["on_move"] == one_more,
        LIMIT + DEADLINE,
    )
    lines = [line for line in scene.supervisor.log.read_text().splitlines() if "on_move for " in line]
    assert lines, "nothing is logged about it"
    assert why in lines[-1], lines[-1]


def _is_command(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return words[:-1] == [word.encode() for word in ON_MOVE]


def _have_moved(scene: Scene, rng: Random) -> None:
    """Free the extent of a group's first region, where the group has others: the group's id changes."""
    where = rng.choice(scene.volumes)
    file = rng.choice(scene.on(where, counted=False)).path
    fill(file)
    _punch(file, MIB, MIB)
    leader = wait_for("it is covered", lambda: _leader(file, where))
    for piece in oracle.extents(file):
        if leader.start <= piece.physical // 512 < leader.start + leader.length:
            _punch(file, piece.logical, piece.length)


def _leader(file: Path, where: Volume) -> oracle.Row:
    """Return the first region of a file's group, once the group covers the file."""
    seen = view(where.name, [file])
    assert not cover_faults(seen), cover_faults(seen)
    return group_of(seen.rows, seen.inodes[file])[0]


def _punch(file: Path, offset: int, length: int) -> None:
    with opened(file) as fd:
        fallocate(fd, KEEP_SIZE | PUNCH_HOLE, offset, length)
