"""The type of a fault, and all faults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from random import Random
from typing import Final

from tests.soak import devices, filesystems, machine, messages, moves, processes, shortlived, state
from tests.soak.scene import Scene
from tests.soak.volume import Volume

Fault = Callable[[Scene, Random], AbstractContextManager[Sequence[Volume]]]
"""Injects a fault while the context lasts. Yields the file systems whose files must be served meanwhile."""

FAULTS: Final[dict[str, Fault]] = {
    f.__name__.replace("_", " "): f
    for f in (
        processes.kill_worker, processes.kill_all_workers, processes.kill_fork_server, processes.kill_web,
        processes.kill_supervisor, processes.stop_worker, processes.stop_fork_server, processes.stop_web,
        processes.stop_supervisor,
        shortlived.kill_finder, shortlived.stop_finder, shortlived.kill_checkpoint, shortlived.stop_checkpoint,
        moves.kill_on_move, moves.stop_on_move,
        devices.suspend, devices.block_fiemap, devices.reload, devices.resize, devices.rename, devices.delay,
        devices.hang, devices.flakey, devices.remove_and_make_again,
        filesystems.read_only, filesystems.full, filesystems.unmount, filesystems.stop_and_unmount,
        state.state_dir_full, state.state_dir_read_only,
        machine.clock_jumps, machine.inotify_overflow, machine.no_processes, machine.no_descriptors,
        machine.reboot,
        messages.refuse_messages,
    )
}  # fmt: skip
