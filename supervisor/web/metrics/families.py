"""The metrics of a file: families, and their values from the file's status.

prometheus_client renders the heads and the labels. The lines are formatted here, because the library takes some 20 us
for each, and a host has 50,000.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import accumulate
from typing import Final

from prometheus_client.metrics_core import Metric

from supervisor.fleet.state_machine import State
from supervisor.web.state.store import Status

Value = Callable[[Status], float | None]
Lines = Callable[[str, Status, float], str]
_NS: Final = 1e9
_MS: Final = 1e3


@dataclass(frozen=True, slots=True)
class Family:
    """A metric. `lines` renders a file's lines from its labels as text, its status and the time since the epoch."""

    head: Metric
    lines: Lines


def _counter(name: str, documentation: str, value: Value) -> Family:
    head = Metric(f"filemapd_{name}", documentation, "counter")
    return Family(head, lambda labels, status, _now: f"{head.name}_total{{{labels}}} {value(status)}\n")


def _gauge(name: str, documentation: str, value: Value) -> Family:
    head = Metric(f"filemapd_{name}", documentation, "gauge")

    def lines(labels: str, status: Status, _now: float) -> str:
        known = value(status)
        return "" if known is None else f"{head.name}{{{labels}}} {known}\n"

    return Family(head, lines)


def _histogram(
    name: str, documentation: str, of: Callable[[Status], tuple[Sequence[float], Sequence[int], float]]
) -> Family:
    """`of` returns the upper bounds in seconds, one more bin than bounds, and the sum of the times in seconds."""
    head = Metric(f"filemapd_{name}", documentation, "histogram")

    def lines(labels: str, status: Status, _now: float) -> str:
        bounds, bins, total = of(status)
        if len(bins) != len(bounds) + 1:
            return ""
        counts = list(accumulate(bins))
        buckets = "".join(
            f'{head.name}_bucket{{{labels},le="{bound}"}} {count}\n'
            for bound, count in zip(_bounds(tuple(bounds)), counts, strict=True)
        )
        return f"{buckets}{head.name}_count{{{labels}}} {counts[-1]}\n{head.name}_sum{{{labels}}} {total}\n"

    return Family(head, lines)


@lru_cache(maxsize=64)
def _bounds(seconds: tuple[float, ...]) -> list[str]:
    return [*map(repr, seconds), "+Inf"]


def _states(name: str, documentation: str) -> Family:
    head = Metric(f"filemapd_{name}", documentation, "stateset")

    def lines(labels: str, status: Status, _now: float) -> str:
        return "".join(
            f'{head.name}{{{labels},{head.name}="{state}"}} {int(state == status["state"])}\n'
            for state in State
        )

    return Family(head, lines)


def _age(labels: str, status: Status, now: float) -> str:
    since = status["pending_since"]
    age = max(0.0, now - datetime.fromisoformat(since).timestamp()) if since is not None else 0.0
    return f"filemapd_mapping_age_seconds{{{labels}}} {age}\n"


FAMILIES: Final = (
    _counter("file_reads_completed", "Reads completed.", lambda s: s["reads"]),
    _counter("file_writes_completed", "Writes completed.", lambda s: s["writes"]),
    _counter("file_read_bytes", "Bytes read.", lambda s: s["bytes_read"]),
    _counter("file_written_bytes", "Bytes written.", lambda s: s["bytes_written"]),
    _counter("file_read_time_seconds", "Sum of the latencies of reads.", lambda s: s["read_ns"] / _NS),
    _counter("file_write_time_seconds", "Sum of the latencies of writes.", lambda s: s["write_ns"] / _NS),
    _gauge("file_io_now", "I/Os in progress at the last sample.", lambda s: s["in_flight"]),
    _counter(
        "file_io_time_seconds",
        "Time with I/O in progress, summed over the regions.",
        lambda s: s["busy_ns"] / _NS,
    ),
    _counter(
        "file_io_time_weighted_seconds",
        "Time with I/O in progress, weighted by the number of I/Os.",
        lambda s: s["queue_ns"] / _NS,
    ),
    _histogram(
        "file_io_latency_seconds",
        "Latencies of reads and writes together.",
        lambda s: ([ns / _NS for ns in s["bounds_ns"]], s["histogram"], s["histogram_ns"] / _NS),
    ),
    _gauge("mapping_extents", "Extents of the file on disk.", lambda s: s["extents"]),
    _gauge("mapping_regions", "Regions of the file's group.", lambda s: s["regions"]),
    _gauge(
        "mapping_uncovered_bytes", "Bytes of the file that no region counts.", lambda s: s["uncovered_bytes"]
    ),
    _gauge(
        "mapping_covered_ratio",
        "The share of the file's bytes that its regions count.",
        lambda s: s["covered_share"],
    ),
    _gauge(
        "mapping_excess_bytes", "Bytes outside the file that its regions count.", lambda s: s["excess_bytes"]
    ),
    Family(
        Metric(
            "filemapd_mapping_age_seconds",
            "Time since the first change to the file that its group may not reflect yet, else 0.",
            "gauge",
        ),
        _age,
    ),
    _counter("mapping_changes", "Extent changes that were followed.", lambda s: s["changes"]),
    _histogram(
        "mapping_follow_seconds",
        "Time from an event to the updated group.",
        lambda s: (
            [ms / _MS for ms in s["follow_histogram"]["bounds_ms"]],
            s["follow_histogram"]["bins"],
            s["follow_histogram"]["sum_ms"] / _MS,
        ),
    ),
    _counter("group_moves", "Changes of the group's id.", lambda s: s["moves_total"]),
    _counter("refused_creates", "Regions that the kernel refused.", lambda s: s["refused_creates"]),
    _counter("worker_restarts", "Worker restarts.", lambda s: s["restarts"]),
    _states("worker_state", "1 for the worker's state, 0 for the others."),
    _gauge(
        "worker_resident_memory_bytes",
        "Resident memory of the worker, including shared memory.",
        lambda s: s["rss_bytes"],
    ),
)
