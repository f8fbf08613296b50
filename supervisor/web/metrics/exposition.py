"""Renders /metrics from the store, in Prometheus's text format or as OpenMetrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from supervisor.text.display import display
from supervisor.text.printable import printable
from supervisor.web.metrics.families import FAMILIES
from supervisor.web.state.store import Message, Status, Store

Encoder = Callable[[Any], bytes]
_EOF: Final = b"# EOF\n"
# Two for each file. Labels of further files are rendered in each scrape, which takes 50 us a file.
_LABELS_KEPT: Final = 8192


class Metrics:
    """The metrics of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Supervisor(store))
        store.listen(self._render_labels)

    def _render_labels(self, message: Message) -> None:
        """Render the labels of a file before the next scrape."""
        if message[0] == "file":
            _labels(_of_file(message[1]))
            _labels(_about(message[1]))

    def render(self, accept: str, now: float) -> tuple[bytes, str]:
        """Return all metrics at `now` (seconds since the epoch) and their content type, for an Accept header."""
        encoder, content_type = _encoder(accept)
        files = [(_labels(_of_file(status)), status) for status in self._store.files.values()]
        parts = [
            _part(family.head, encoder, (family.lines(labels, status, now) for labels, status in files))
            for family in FAMILIES
        ]
        about = (f"filemapd_file_info{{{_labels(_about(status))}}} 1\n" for _, status in files)
        parts += [_part(_INFO, encoder, about), encoder(self._registry)]
        return b"".join(parts), content_type


_INFO: Final = Metric(
    "filemapd_file", "Path, mode and VM of the file. label_* are the configuration's labels.", "info"
)


def _part(metric: Metric, encoder: Encoder, lines: Iterable[str]) -> bytes:
    return encoder(_Only(metric)).removesuffix(_EOF) + "".join(lines).encode()


def _of_file(status: Status) -> tuple[tuple[str, str], ...]:
    device = status["device"]
    return (("file", status["name"]), *((("device", display(device)),) if device is not None else ()))


def _about(status: Status) -> tuple[tuple[str, str], ...]:
    vm: Mapping[str, str | None] = status.get("vm") or {}
    about = {
        "path": display(status["path"]),
        "mode": status["mode"],
        "vm": printable(vm.get("name") or ""),
        "uuid": printable(vm.get("uuid") or ""),
        "role": vm.get("role") or "",
        **{f"label_{name}": printable(value) for name, value in status["labels"].items()},
    }
    return *_of_file(status), *about.items()


class _Only:
    """A registry with one metric."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        return [self._metric]


@lru_cache(maxsize=_LABELS_KEPT)
def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    """Return labels in the format between the braces."""
    metric = Metric("x", "", "gauge")
    metric.add_sample("x", dict(labels), 0)
    line = generate_latest(_Only(metric)).decode().splitlines()[-1]
    return line.removeprefix("x{").removesuffix("} 0.0")


def _encoder(accept: str) -> tuple[Encoder, str]:
    try:
        return choose_encoder(accept)
    except TypeError:  # an invalid version
        return choose_encoder("")


class _Supervisor(Collector):
    """The metrics of the supervisor and of the devices."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        status = self._store.supervisor
        yield InfoMetricFamily("filemapd_build", "The version of filemapd.", {"version": status["version"]})
        for name, documentation, key in (
            ("supervisor_cpu_seconds", "CPU time of the supervisor.", "cpu_seconds"),
            ("log_records_dropped", "Log records that were dropped.", "log_records_dropped"),
        ):
            yield CounterMetricFamily(f"filemapd_{name}", documentation, status[key])
        for name, documentation, value in (
            ("supervisor_resident_memory_bytes", "Resident memory of the supervisor.", status["rss_bytes"]),
            (
                "supervisor_loop_lag_seconds",
                "Maximum event-loop lag in the last 10 s.",
                status["loop_lag_seconds"],
            ),
            (
                "ledger_writable",
                "1 if totals are written to disk, 0 if they are only in memory.",
                status["ledger_problem"] is None,
            ),
            (
                "last_snapshot_timestamp_seconds",
                "Time of the supervisor's last message to the web process, since the epoch.",
                self._store.last_message_at,
            ),
        ):
            if value is not None:
                yield GaugeMetricFamily(f"filemapd_{name}", documentation, float(value))
        for kind, name, documentation, key in (
            (
                GaugeMetricFamily,
                "device_regions",
                "Regions of the device, including those of other programs.",
                "regions",
            ),
            (
                GaugeMetricFamily,
                "device_max_regions",
                "The device's budget of regions: their maximum number.",
                "max_regions",
            ),
            (
                CounterMetricFamily,
                "device_grants",
                "How many times a worker of the device's files got another part of the budget.",
                "grants",
            ),
        ):
            family = kind(f"filemapd_{name}", documentation, labels=["device"])
            for device in status["devices"]:
                if device[key] is not None:
                    family.add_metric([display(device["device"])], device[key])
            yield family
