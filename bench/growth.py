"""How cost grows: an update with the extents of a file, a supervisor with its files, a scrape with both."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import psutil
from prometheus_client.parser import text_string_to_metric_families

from bench.context import Bench, Measurement, timed
from bench.daemons import daemons
from bench.fleet import SETTLING, cpu_percent, files, fleet, map_bare
from bench.hosts import OF_FILE, OF_HOST
from bench.processes import total_pss, tree
from bench.reconcile import unchanged_at
from bench.results import Row, Series
from bench.volume import Volume, volume
from tests.kernel.running import wait_for
from tests.kernel.scraping import fetch, free_port, listen

_EXTENTS: Final = (100, 300, 1_000, 3_000, 10_000, 20_000, 50_000)
_FILES: Final = (10, 30, 120, 500, 2_000)
_INSTANCES: Final = Path("/proc/sys/fs/inotify/max_user_instances")
_VOLUME_MB: Final = 600
_WINDOWS: Final = 2
_WINDOW: Final = 10.0
_SCRAPED: Final = (2, 6)
# What is known last: a worker's memory with the first round of health checks, of the device what the watch sees.
_LAST_OF_FILE: Final = "filemapd_worker_resident_memory_bytes"
_LAST_OF_HOST: Final = "filemapd_device_regions"
_OFTEN: Final = {"health": {"interval": "1s"}}
_SCRAPE_DEADLINE: Final = 60.0


def by_extents(bench: Bench) -> Iterator[Row]:
    """Measure updates that change nothing, from few extents to many."""
    for size in bench.pick(_EXTENTS, (50, 100)):
        row, other, _ = unchanged_at(bench, size)
        yield _point(row, "update", size)
        yield _point(other, "update-other", size)


def _point(row: Row, of: Series, size: int) -> Row:
    return row.model_copy(update={"name": f"growth: {row.name}", "goals": (), "series": of, "size": size})


def by_files(bench: Bench) -> Iterator[Row]:
    """Measure supervisors of few files to many, of one extent each: the start, then CPU and memory at rest; and the
    peer's daemons, as long as there is an inotify instance for each."""
    sizes = bench.pick(_FILES, (1, 2))
    most = int(_INSTANCES.read_text())
    last = max((size for size in sizes if size < most), default=0)
    for size in sizes:
        note = f"ends at {most} files: an inotify instance each" if size == last < sizes[-1] else ""
        with volume(_VOLUME_MB) as disk:
            paths = files(disk, size, 1)
            yield from _fleet_of(bench, disk, paths, note if bench.peer is not None else "", size <= last)


def _fleet_of(bench: Bench, disk: Volume, paths: Sequence[Path], note: str, peer: bool) -> Iterator[Row]:
    size = len(paths)
    floor = timed(lambda: map_bare(disk, paths)) / 1000
    disk.clear()
    began = time.monotonic()
    with fleet(disk, size) as supervisor:
        took = time.monotonic() - began
        cpu, pss = _at_rest(bench, tree(supervisor.process.pid))
    disk.clear()
    peer_cpu: tuple[float, ...] = ()
    peer_pss: tuple[float, ...] = ()
    if bench.peer is not None and peer:
        with daemons(bench.peer, disk, paths) as processes:
            peer_cpu, peer_pss = _at_rest(bench, processes)
        disk.clear()
    name = f"growth: {size:,} files"
    yield Row(name=f"{name}: start", unit="s", filemapd=(took,), floor=(floor,), series="start", size=size)
    yield Row(
        name=f"{name}: idle CPU",
        unit="% CPU",
        filemapd=cpu,
        peer=peer_cpu,
        note=note,
        series="idle-cpu",
        size=size,
    )
    yield Row(
        name=f"{name}: PSS",
        unit="MiB",
        filemapd=pss,
        peer=peer_pss,
        note=note,
        series="pss",
        size=size,
    )


def _at_rest(
    bench: Bench, processes: Sequence[psutil.Process]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the CPU in percent, of a few whiles, and the PSS in MiB of processes, once they have settled."""
    time.sleep(bench.pick(SETTLING, 1.0))
    used = tuple(cpu_percent(processes, bench.pick(_WINDOW, 1.0)) for _ in range(_WINDOWS))
    return used, (total_pss(processes),)


def series(_bench: Bench) -> Iterator[Row]:
    """Count the series of two fleets' scrapes: what the larger has more is its files'."""
    few, many = _SCRAPED
    less, more = _series_of(few), _series_of(many)
    each = (more - less) / (many - few)
    yield Row(name=OF_FILE, unit="count", filemapd=(each,))
    yield Row(name=OF_HOST, unit="count", filemapd=(less - few * each,))


def _series_of(count: int) -> int:
    """Return how many series a scrape has once all is known of that many files."""
    port = free_port()
    with volume(64) as disk:
        files(disk, count, 1)
        with fleet(disk, count, supervisor=_OFTEN, **listen(port)):
            return wait_for("all is known of the files", lambda: _complete(port, count), _SCRAPE_DEADLINE)


def _complete(port: int, count: int) -> int:
    """Return how many series there are; 0 while one of that many files, or the device, is not fully known."""
    families = text_string_to_metric_families(fetch(port).decode())
    names = [sample.name for family in families for sample in family.samples]
    known = names.count(_LAST_OF_FILE) == count and _LAST_OF_HOST in names
    return len(names) if known else 0


MEASUREMENTS: Final = (
    Measurement("series", "what Prometheus has of a file and of a host", series),
    Measurement("extents", "updates that change nothing, from few extents to many", by_extents),
    Measurement("files", "from few files to many: start, at rest", by_files),
)
