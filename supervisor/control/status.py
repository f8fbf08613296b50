"""The status as JSON. Other programs read it, so its keys don't change."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final

import psutil

from supervisor.fleet.devices import devices_status
from supervisor.fleet.filemap import FOLLOW_BOUNDS_MS, Filemap
from supervisor.fleet.fleet import Fleet
from supervisor.fleet.state_machine import State
from supervisor.text.times import rfc3339
from supervisor.vms.matching import Machine
from workers.messages import Mapped
from workers.pace import Pace

# Read once: later no descriptor may be available, and after an upgrade it would be the new version.
_VERSION: Final = version("filemapd")


@dataclass(slots=True)
class SupervisorInfo:
    """The supervisor's own part of the status. `started` is seconds since the epoch, `loop_lag_seconds` the longest
    delay of a timer within the last heartbeat."""

    started: float
    log_records_dropped: int = 0
    loop_lag_seconds: float = 0.0
    web: Mapping[str, Any] = field(default_factory=dict)
    on_move: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StatusSource:
    """Makes the status. `machine_of` returns the virtual machine of a file."""

    fleet: Fleet
    machine_of: Callable[[Filemap], Machine | None]

    def supervisor(self, own: SupervisorInfo) -> dict[str, Any]:
        """Return the status without the files."""
        return {
            "version": _VERSION,
            "at": rfc3339(time.time()),
            "pid": os.getpid(),
            "started": rfc3339(own.started),
            "ledger_problem": self.fleet.ledger.problem,
            "cpu_seconds": round(time.process_time(), 3),
            "rss_bytes": _rss_bytes(),
            "loop_lag_seconds": round(own.loop_lag_seconds, 6),
            "log_records_dropped": own.log_records_dropped,
            "web": dict(own.web),
            "on_move": dict(own.on_move),
            "devices": devices_status(self.fleet),
        }

    def filemap(self, filemap: Filemap) -> dict[str, Any]:
        """Return the status of one of the fleet's files."""
        return filemap_status(filemap, self.fleet.watcher.pace(filemap.path), self.machine_of(filemap))


def _rss_bytes() -> int | None:
    try:
        return int(psutil.Process().memory_info().rss)
    except OSError:
        return None  # no descriptor is available


def filemap_status(
    filemap: Filemap, pace: Pace | None = None, machine: Machine | None = None
) -> dict[str, Any]:
    """Return the status of one filemap, whose schedule is `pace`. Units: bytes, RFC 3339, and milliseconds or
    nanoseconds by the key's name; null for unknown values."""
    mapped, holds, record = filemap.mapped, filemap.file, filemap.record
    followed = filemap.follow_times
    total = filemap.total()
    return {
        "name": filemap.name,
        "path": filemap.path,
        "device": filemap.device,
        "inode": holds.inode if holds else None,
        "vm": machine.as_status() if machine else None,
        "mode": filemap.spec.options.mode.value,
        "state": record.state.value,
        "reason": record.reason or None,
        "pid": filemap.child.pid if filemap.child else None,
        "group_id": filemap.group_id,
        "configured_group_id": filemap.spec.group_id,
        "moves": [
            {"from": m.old, "to": m.new, "at": rfc3339(m.at), "reason": m.reason} for m in filemap.moves
        ],
        "moves_total": filemap.moves_total,
        "extents": mapped.extents if mapped else 0,
        "regions": mapped.regions if mapped else 0,
        "uncovered_bytes": mapped.uncovered_bytes if mapped else 0,
        "covered_share": _covered_share(mapped) if mapped else None,
        "excess_bytes": mapped.excess_bytes if mapped else 0,
        "pending_since": rfc3339(_pending_since(filemap, pace)),
        "refused_creates": filemap.refused_creates,
        "degraded": mapped.degraded if mapped else None,
        "restarts": record.restarts,
        "last_crash": record.last_crash or None,
        "log_lines": list(filemap.log_lines),
        "last_change": rfc3339(followed.last_at),
        "changes": followed.changes,
        "follow_ms": round(statistics.median(followed.recent_ms), 1) if followed.recent_ms else None,
        "follow_ms_max": round(max(followed.recent_ms), 1) if followed.recent_ms else None,
        "follow_histogram": {
            "bounds_ms": list(FOLLOW_BOUNDS_MS),
            "bins": list(followed.bins),
            "sum_ms": round(followed.sum_ms, 3),
        },
        "noticed": dict(filemap.foreign_changes),
        "reads": total.reads,
        "writes": total.writes,
        "bytes_read": total.sectors_read * 512,
        "bytes_written": total.sectors_written * 512,
        "read_ns": total.read_ns,
        "write_ns": total.write_ns,
        "in_flight": total.in_flight,
        "busy_ns": total.busy_ns,
        "queue_ns": total.queue_ns,
        "histogram": list(total.histogram),
        "histogram_ns": total.histogram_ns,
        "bounds_ns": list(total.bounds_ns),
        "sampled_at": rfc3339(filemap.sampled_at),
        "sampled_since": rfc3339(filemap.sampled_since),
        "labels": dict(filemap.spec.options.labels),
        "rss_bytes": filemap.health.rss_bytes,
        "cpu_percent": filemap.health.cpu_percent,
        "process_status": filemap.health.status,
        "open_files": filemap.health.open_files,
        "silent_ms": None
        if filemap.request_at is None
        else round((time.monotonic() - filemap.request_at) * 1000),
    }


def _covered_share(mapped: Mapped) -> float:
    """Return the share of the file's bytes that regions count."""
    share = 1 - mapped.uncovered_bytes / mapped.size_bytes if mapped.size_bytes else 1.0
    return round(max(0.0, share), 4)


def _pending_since(filemap: Filemap, pace: Pace | None) -> float | None:
    """Return since when (seconds since the epoch) the mapping may be out of date; None where no change of the file is
    known, or it is not mapped."""
    if filemap.mapped is None or filemap.record.state is State.STOPPED or filemap.record.unable:
        return None
    since = filemap.event_at if filemap.event_at is not None else pace.since if pace is not None else None
    return None if since is None else since - time.monotonic() + time.time()
