"""Latency from a change or a worker's death to exact cover, and a worker's memory."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import psutil

from bench.context import Bench, Measurement
from bench.daemons import daemons
from bench.fleet import SETTLING, files, fleet
from bench.noise import percentile
from bench.processes import uss
from bench.results import Goal, Row
from bench.volume import BLOCK, Volume, ranges_of, volume
from dmstats.ranges import joined, overlap, total
from supervisor.config.restart_policy import RestartPolicy
from tests.kernel.changes import fallocate

_FILES: Final = 10
_EXTENTS: Final = 4
_BETWEEN: Final = 0.15
_POLL: Final = 0.001
_DEADLINE: Final = 20.0
_MS: Final = 1000.0
_BATCHES: Final = 3


def followed(bench: Bench) -> Iterator[Row]:
    """Measure how long it takes from a change to regions that cover the file exactly."""
    count = bench.pick(300, 12)
    with volume(128) as disk:
        paths = files(disk, _FILES, _EXTENTS)
        with fleet(disk, _FILES):
            time.sleep(bench.pick(SETTLING, 1))
            ours = _follow(disk, paths, count)
        disk.clear()
        peers: list[float] = []
        if bench.peer is not None:
            with daemons(bench.peer, disk, paths):
                time.sleep(1)
                peers = _follow(disk, paths, count)
    for percent, word in ((50, "median"), (99, "p99")):
        yield Row(
            name=f"event to exact cover, {word}",
            unit="ms",
            filemapd=_percentiles(ours, percent),
            peer=_percentiles(peers, percent),
            goals=(Goal(most=1 / 10, of="peer"),),
        )


def _percentiles(samples: Sequence[float], percent: float) -> tuple[float, ...]:
    """Return the percentile of each of a few batches."""
    return (
        tuple(percentile(samples[batch::_BATCHES], percent) for batch in range(_BATCHES)) if samples else ()
    )


def _follow(disk: Volume, paths: Sequence[Path], count: int) -> list[float]:
    """Change the files one after the other, each after a pause without events, and return the milliseconds until
    each was covered."""
    fds = [disk.open(path) for path in paths]
    took = []
    for turn in range(count):
        time.sleep(_BETWEEN)
        fd = fds[turn % len(fds)]
        began = time.perf_counter()
        _one_more(fd)
        took.append(_until(partial(covered, disk, fd)) - began)
    return [seconds * _MS for seconds in took]


def _one_more(fd: int) -> None:
    """Give a file one more extent, with a hole before it, in one call: one event."""
    fallocate(fd, 0, os.fstat(fd).st_size + BLOCK, BLOCK)


def _until(condition: Callable[[], bool]) -> float:
    """Return when the condition was first seen to be true. Raises TimeoutError."""
    deadline = time.perf_counter() + _DEADLINE
    while not condition():
        if time.perf_counter() > deadline:
            raise TimeoutError(f"a change was not followed within {_DEADLINE:g} s")
        time.sleep(_POLL)
    return time.perf_counter()


def covered(disk: Volume, fd: int) -> bool:
    """Return whether the device's regions cover all of a file."""
    ranges = ranges_of(fd)
    return overlap(ranges, joined((r.start, r.end) for r in disk.device.list().regions)) == total(ranges)


def restarted(bench: Bench) -> Iterator[Row]:
    """Measure the time from a worker's death to exact cover of changes made meanwhile."""
    took = []
    with volume(128) as disk:
        paths = files(disk, bench.pick(9, 3), _EXTENTS)
        with fleet(disk, len(paths)) as supervisor:
            pids = {filemap["path"]: filemap["pid"] for filemap in supervisor.status()["filemaps"]}
            time.sleep(RestartPolicy().healthy)  # a worker that crashes sooner is restarted with a delay
            for path in paths:
                fd = disk.open(path)
                os.kill(pids[str(path)], signal.SIGSTOP)
                _one_more(fd)
                began = time.perf_counter()
                os.kill(pids[str(path)], signal.SIGKILL)
                took.append((_until(partial(covered, disk, fd)) - began) * _MS)
    yield Row(
        name="worker killed: death to exact cover", unit="ms", filemapd=tuple(took), goals=(Goal(most=300),)
    )


def memory_of_workers(bench: Bench) -> Iterator[Row]:
    """Measure the memory that one more file takes: its worker's private memory."""
    for extents, most in ((1, 1.0), (bench.pick(10_000, 200), 2.5)):
        ours: list[float] = []
        peers: list[float] = []
        with volume(512) as disk:
            paths = files(disk, 3, extents)
            with fleet(disk, len(paths)) as supervisor:
                pids = [filemap["pid"] for filemap in supervisor.status()["filemaps"]]
                ours = [uss(psutil.Process(pid)) for pid in pids]
            disk.clear()
            if bench.peer is not None:
                with daemons(bench.peer, disk, paths) as processes:
                    time.sleep(bench.pick(5, 1))
                    peers = [uss(process) for process in processes]
                disk.clear()
        yield Row(
            name=f"USS of the worker of a file of {extents:,} extents",
            unit="MiB",
            filemapd=tuple(ours),
            peer=tuple(peers),
            goals=(Goal(most=most),),
        )


MEASUREMENTS: Final = (
    Measurement("follow", "event to exact cover", followed),
    Measurement("restart", "a worker killed", restarted),
    Measurement("memory", "the memory of one more file", memory_of_workers),
)
