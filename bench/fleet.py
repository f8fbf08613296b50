"""A supervisor with many files: its start, and its and its workers' usage at rest and under load."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from bench.context import Bench, Measurement, timed
from bench.daemons import daemons
from bench.floor import fiemap
from bench.processes import cpu_seconds, total_pss, tree, wakes
from bench.results import Goal, Row
from bench.volume import BLOCK, Volume, append_pieces, ranges_of, volume
from dmstats.ranges import Range
from supervisor.control.client import call
from supervisor.text.times import seconds_of
from tests.kernel.running import Running, running, wait_for

_FOLDER: Final = "images"
_START_DEADLINE: Final = 1800.0
_PAUSE: Final = 0.25
SETTLING: Final = 20.0
"""Seconds until a fleet with all files mapped is at rest: new processes are monitored for 15 s, for one."""
# A worker's wait after a look that came to nothing doubles up to 10 s.
_BACKING_OFF: Final = 30.0
# A file under constant writes is reconciled every 10 s, and sampled as often.
_WAKES_ALLOWED: Final = 0.3
_PEER_DAEMONS: Final = 10
_WINDOWS: Final = 3
_WINDOW: Final = 20.0
# Within so many seconds a sample of all files is over; and so long is what the fleet uses without one measured.
_SAMPLE_WINDOW: Final = 8.0
# Seconds until the last worker that began to read its counters has finished.
_OVER: Final = 1.0
# The status has times in whole milliseconds.
_TOLD: Final = 0.001
# Only those samples that are asked for: others would fall into them.
_OWN_SAMPLES: Final = "1h"


@contextmanager
def fleet(disk: Volume, count: int, **more: object) -> Iterator[Running]:
    """A supervisor that follows the `count` files that files() made, all mapped, while the context lasts. It has no
    web process, unless `more` configures one."""
    config = {
        "directories": [{"path": str(disk.folder / _FOLDER), "max_files": count}],
        "devices": {"max_regions": 100_000},
        "defaults": {"max_regions": 20_000},
        **more,
    }
    with tempfile.TemporaryDirectory(dir="/run") as state, running(Path(state), config) as supervisor:
        wait_for("all files are mapped", lambda: _groups(disk) == count, _START_DEADLINE, _PAUSE)
        yield supervisor


def _groups(disk: Volume) -> int:
    """Return the number of groups. A status request would take CPU time from the start."""
    return disk.device.list_text().count(b" DMS_GROUP=")


def files(disk: Volume, count: int, extents: int) -> list[Path]:
    """Make so many files of so many extents each, in a folder of their own."""
    folder = disk.folder / _FOLDER
    folder.mkdir()
    made = [folder / f"vm{number:04}.img" for number in range(count)]
    for file in made:
        fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        append_pieces(fd, extents)
        os.close(fd)
    os.sync()
    return made


def cpu_percent(processes: Sequence[psutil.Process], seconds: float) -> float:
    """Watch processes for a while and return the CPU they used, in percent of one."""
    before, began = cpu_seconds(processes), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(processes) - before) / (time.monotonic() - began) * 100


def thousand(bench: Bench) -> Iterator[Row]:
    """Measure 1,000 files of one extent: the start, at rest, and written all the time."""
    count = bench.pick(1_000, 10)
    with volume(600) as disk:
        paths = files(disk, count, 1)
        floor = timed(lambda: map_bare(disk, paths)) / 1000
        disk.clear()
        began = time.monotonic()
        with fleet(disk, count) as supervisor:
            yield Row(
                name=f"start {count:,} workers, all mapped",
                unit="s",
                filemapd=(time.monotonic() - began,),
                floor=(floor,),
                goals=(Goal(most=1.5, of="floor", plus=0.015 * count),),
            )
            processes = tree(supervisor.process.pid)
            time.sleep(bench.pick(SETTLING, 1))
            window = bench.pick(_WINDOW, 1.0)
            idle = [cpu_percent(processes, window) for _ in range(_WINDOWS)]
            yield Row(
                name=f"idle, {count:,} files of 1 extent: CPU",
                unit="% CPU",
                filemapd=tuple(idle),
                goals=(Goal(most=3),),
            )
            yield Row(
                name=f"idle, {count:,} files of 1 extent: PSS", unit="MiB", filemapd=(total_pss(processes),)
            )
            yield from _written(bench, paths, processes, supervisor)


def map_bare(disk: Volume, paths: Sequence[Path]) -> None:
    """Issue the ioctls needed to map these files."""
    for number, path in enumerate(paths):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        fiemap(fd, 32)
        disk.bare.list()
        disk.bare.create([Range(8 * number, 8 * number + 8)])
        disk.bare.set_aux(number)
        os.close(fd)


def _written(
    bench: Bench, paths: Sequence[Path], processes: Sequence[psutil.Process], supervisor: Running
) -> Iterator[Row]:
    workers = [one for one in processes if one.pid in _worker_pids(supervisor)]
    used, woken = [], []
    with _writing(paths):
        time.sleep(bench.pick(_BACKING_OFF, 1.0))
        for _ in range(_WINDOWS):
            before, began = wakes(workers), time.monotonic()
            used.append(cpu_percent(processes, bench.pick(_WINDOW, 1.0)))
            seconds = time.monotonic() - began
            after = wakes(workers)
            woken.append(max(after[pid] - before[pid] for pid in before.keys() & after.keys()) / seconds)
    name = f"{len(paths):,} files written all the time"
    yield Row(name=f"{name}: CPU", unit="% CPU", filemapd=tuple(used), goals=(Goal(most=10),))
    yield Row(
        name=f"{name}: wakes of the worker that has most",
        unit="/s",
        filemapd=tuple(woken),
        goals=(Goal(most=_WAKES_ALLOWED),),
    )


def _worker_pids(supervisor: Running) -> set[int]:
    return {filemap["pid"] for filemap in supervisor.status()["filemaps"]}


@contextmanager
def _writing(paths: Sequence[Path]) -> Iterator[None]:
    """Another process writes a block of each file about once a second, where it is allocated already."""
    writer = subprocess.Popen([sys.executable, "-m", "bench.writer", str(paths[0].parent)])
    try:
        yield
    finally:
        writer.terminate()
        writer.wait()


def regions(bench: Bench) -> Iterator[Row]:
    """Measure 200 files of 50 extents: at rest, and sampled while all are read."""
    count, extents = bench.pick((200, 50), (5, 4))
    with volume(600) as disk:
        paths = files(disk, count, extents)
        with fleet(disk, count, defaults={"max_regions": 20_000, "sample": _OWN_SAMPLES}) as supervisor:
            processes = tree(supervisor.process.pid)
            time.sleep(bench.pick(SETTLING, 1))
            idle = [cpu_percent(processes, bench.pick(_WINDOW, 1.0)) for _ in range(_WINDOWS)]
            pss = total_pss(processes)
            sampled, bare = _sampled(bench, disk, paths, extents, supervisor)
        disk.clear()
        peer_cpu, peer_pss = _peer_at_rest(bench, disk, paths)
    name = f"idle, {count} files of {extents} extents"
    yield Row(
        name=f"{name}: CPU",
        unit="% CPU",
        filemapd=tuple(idle),
        peer=peer_cpu,
        goals=(Goal(most=1 / 100, of="peer"),),
    )
    yield Row(
        name=f"{name}: PSS", unit="MiB", filemapd=(pss,), peer=peer_pss, goals=(Goal(most=1 / 4, of="peer"),)
    )
    yield Row(
        name=f"sampling {count * extents:,} busy regions: CPU",
        unit="s",
        filemapd=tuple(sampled),
        floor=tuple(bare),
        goals=(Goal(most=1.3, of="floor"),),
    )


def _sampled(
    bench: Bench, disk: Volume, paths: Sequence[Path], extents: int, supervisor: Running
) -> tuple[list[float], list[float]]:
    """Return the CPU seconds of samples of all regions, beyond what the fleet uses without, and of as many bare
    prints, in turns."""
    ours, bare = [], []
    window = bench.pick(_SAMPLE_WINDOW, 2.0)
    ids = [region.id for region in disk.device.list().regions]
    processes, own = tree(supervisor.process.pid), [psutil.Process()]
    for _ in range(_WINDOWS):
        idle = cpu_percent(processes, window) / 100
        _read_all(paths, extents)
        before, began, asked_at = cpu_seconds(processes), time.monotonic(), time.time()
        asked = call(supervisor.runtime_dir, "POST", "/v1/sample", None)["asked"]
        time.sleep(window)
        ours.append(cpu_seconds(processes) - before - idle * (time.monotonic() - began))
        _see_sampled(supervisor, asked, asked_at, time.time() - _OVER)
        before = cpu_seconds(own)
        disk.bare.print(ids)
        bare.append(cpu_seconds(own) - before)
    return ours, bare


def _see_sampled(supervisor: Running, asked: int, since: float, until: float) -> None:
    """Raise AssertionError unless all workers were asked for a sample, and read it within that time."""
    filemaps = supervisor.status()["filemaps"]
    at = sorted(seconds_of(filemap["sampled_at"]) for filemap in filemaps)
    if asked != len(filemaps) or at[0] < since - _TOLD or at[-1] > until:
        raise AssertionError(
            f"{asked} of {len(filemaps)} workers were asked for a sample, and had begun to read it "
            f"{at[0] - since:.1f} to {at[-1] - since:.1f} s later: that is no sample of all"
        )


def _read_all(paths: Sequence[Path], extents: int) -> None:
    """Read each extent from the device once."""
    buffer = mmap.mmap(-1, BLOCK)
    for path in paths:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
        for piece in range(extents):
            os.preadv(fd, [buffer], 2 * piece * BLOCK)
        os.close(fd)


def _peer_at_rest(
    bench: Bench, disk: Volume, paths: Sequence[Path]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the CPU in percent and the PSS of a dmfilemapd for each file: those of a few, on a device with as many
    regions as all would have, times as many as there are files to a few."""
    if bench.peer is None:
        return (), ()
    few = paths[:_PEER_DAEMONS]
    for path in paths[_PEER_DAEMONS:]:
        disk.bare.create(ranges_of(disk.open(path)))
    with daemons(bench.peer, disk, few) as processes:
        time.sleep(bench.pick(5.0, 1.0))
        used = [cpu_percent(processes, bench.pick(10.0, 1.0)) for _ in range(_WINDOWS)]
        pss = total_pss(processes)
    disk.clear()
    disk.close()
    times = len(paths) / len(few)
    return tuple(one * times for one in used), (pss * times,)


MEASUREMENTS: Final = (
    Measurement("regions", "10,000 regions: at rest, sampled", regions),
    Measurement("thousand", "1,000 files: start, at rest, written all the time", thousand),
)
