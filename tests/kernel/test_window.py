"""How much I/O is missed or counted twice while regions are replaced under load: see ARCHITECTURE.md."""

from __future__ import annotations

import mmap
import multiprocessing
import os
from multiprocessing.synchronize import Event
from pathlib import Path

from sandbox.devices import filesystem
from tests.kernel import oracle
from tests.kernel.changes import KEEP_SIZE, MIB, PUNCH_HOLE, fallocate, opened
from tests.kernel.running import running, wait_for, write

_CHANGES = 12
_BLOCK = 4096


def _load(file: Path, stop: Event, done: multiprocessing.SimpleQueue[int]) -> None:
    """Write block after block into the file's second half until stopped; report the number of writes."""
    buffer, count = mmap.mmap(-1, _BLOCK), 0
    with opened(file, os.O_WRONLY | os.O_DIRECT) as fd:
        while not stop.is_set():
            os.pwrite(fd, buffer, 32 * MIB + count % 256 * _BLOCK)
            count += 1
    done.put(count)


def test_replacing_regions_under_load(tmp_path: Path) -> None:
    """The region under the load is replaced again and again. Only I/O that completes between two prints is
    missed or counted twice, here less than one in 500."""
    context = multiprocessing.get_context("fork")
    stop, done = context.Event(), context.SimpleQueue()
    with filesystem("ext4", size_mb=200) as fs:
        file = fs.mountpoint / "disk.img"
        write(file, 40)
        os.sync()
        config = {"filemaps": [{"path": str(file)}], "defaults": {"sample": "100ms"}}
        with running(tmp_path, config) as supervisor:
            supervisor.wait_state(file)
            load = context.Process(target=_load, args=(file, stop, done))
            load.start()
            with opened(file) as fd:
                for i in range(_CHANGES):
                    # The end of the extent under load is cut off, so that its region must be recreated.
                    fallocate(fd, KEEP_SIZE | PUNCH_HOLE, 40 * MIB - (i + 1) * 16 * _BLOCK, 16 * _BLOCK)
                    wait_for(
                        "the change is followed",
                        lambda: bool(oracle.assert_exact_cover(file, fs.device.name)),
                    )
            stop.set()
            written = done.get()
            load.join()

            def settled() -> bool:
                counted = supervisor.filemap(file)["writes"]
                assert abs(counted - written) * 500 <= written, f"{counted} of {written} writes counted"
                return True

            wait_for("all is counted", settled)
            print(
                f"{supervisor.filemap(file)['writes']} of {written} writes counted, {_CHANGES} replacements"
            )
            assert written > 10 * _CHANGES
