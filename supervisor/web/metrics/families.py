"""The metrics of a file: a family each, and what a file's status has of it.

The library makes the heads and the labels. The lines are put together here: it takes some 20 us for each, and a host
has 50,000.
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
    """`lines` gives what there is of one file: from its labels as text, its status and the time (since the epoch)."""

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
    """`of` gives the upper bounds in seconds, one bin more than those, and the sum of what is in the bins."""
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
    _gauge("file_io_now", "I/Os under way.", lambda s: s["in_flight"]),
    _counter("file_io_time_seconds", "Time with I/O under way.", lambda s: s["busy_ns"] / _NS),
    _counter(
        "file_io_time_weighted_seconds",
        "Time with I/O under way, each I/O counted.",
        lambda s: s["queue_ns"] / _NS,
    ),
    _histogram(
        "file_io_latency_seconds",
        "Latencies of reads and writes together.",
        lambda s: ([ns / _NS for ns in s["bounds_ns"]], s["histogram"], s["histogram_ns"] / _NS),
    ),
    _gauge("mapping_extents", "Extents that the file has on disk.", lambda s: s["extents"]),
    _gauge("mapping_regions", "Regions of the file's group.", lambda s: s["regions"]),
    _gauge(
        "mapping_uncovered_bytes", "Bytes of the file that no region counts.", lambda s: s["uncovered_bytes"]
    ),
    _gauge(
        "mapping_excess_bytes", "Bytes of others that are counted with the file.", lambda s: s["excess_bytes"]
    ),
    Family(
        Metric(
            "filemapd_mapping_age_seconds",
            "Time since something happened to the file that no look has followed yet, else 0.",
            "gauge",
        ),
        _age,
    ),
    _counter("mapping_changes", "Changes of the extents that were followed.", lambda s: s["changes"]),
    _histogram(
        "mapping_follow_seconds",
        "Time from an event to the group in step with the file.",
        lambda s: (
            [ms / _MS for ms in s["follow_histogram"]["bounds_ms"]],
            s["follow_histogram"]["bins"],
            s["follow_histogram"]["sum_ms"] / _MS,
        ),
    ),
    _counter("group_moves", "Changes of the group's id.", lambda s: s["moves_total"]),
    _counter("refused_creates", "Regions that the kernel refused.", lambda s: s["refused_creates"]),
    _counter("worker_restarts", "Processes that followed the worker's first.", lambda s: s["restarts"]),
    _states("worker_state", "The worker's state."),
    _gauge("worker_resident_memory_bytes", "Resident memory of the worker.", lambda s: s["rss_bytes"]),
)
