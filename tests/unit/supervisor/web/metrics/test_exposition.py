"""The metrics of a recorded status, read by the library's own parsers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from supervisor.fleet.state_machine import State
from supervisor.web.metrics.exposition import Metrics
from supervisor.web.state.store import Store
from tests.unit.serving import recorded_status

OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5"
SCALARS = {
    "file_reads_completed_total": ("reads", 1),
    "file_writes_completed_total": ("writes", 1),
    "file_read_bytes_total": ("bytes_read", 1),
    "file_written_bytes_total": ("bytes_written", 1),
    "file_read_time_seconds_total": ("read_ns", 1e9),
    "file_write_time_seconds_total": ("write_ns", 1e9),
    "file_io_now": ("in_flight", 1),
    "file_io_time_seconds_total": ("busy_ns", 1e9),
    "file_io_time_weighted_seconds_total": ("queue_ns", 1e9),
    "mapping_extents": ("extents", 1),
    "mapping_regions": ("regions", 1),
    "mapping_uncovered_bytes": ("uncovered_bytes", 1),
    "mapping_covered_ratio": ("covered_share", 1),
    "mapping_excess_bytes": ("excess_bytes", 1),
    "mapping_changes_total": ("changes", 1),
    "group_moves_total": ("moves_total", 1),
    "refused_creates_total": ("refused_creates", 1),
    "worker_restarts_total": ("restarts", 1),
}


@pytest.fixture
def status() -> dict[str, Any]:
    """The recorded status. Each number of its first file is different."""
    found = recorded_status()
    first = found["filemaps"][0]
    for number, (key, _) in enumerate(SCALARS.values()):
        first[key] = 2**number + number
    first["histogram"] = [3, 1, 4, 1, 5, 9]
    return found


def families(status: dict[str, Any], accept: str = "", now: float = 0.0) -> dict[str, Metric]:
    """Return the parsed metrics of `status` by name."""
    store = Store()
    for filemap in status["filemaps"]:
        store.put(["file", filemap])
    store.put(["supervisor", {key: value for key, value in status.items() if key != "filemaps"}])
    body, content_type = Metrics(store).render(accept, now)
    parse = parse_openmetrics if content_type.startswith("application/openmetrics-text") else parse_text
    found = list(parse(body.decode()))
    assert len({family.name for family in found}) == len(found)
    return {family.name: family for family in found}


def samples(found: dict[str, Metric], name: str) -> Iterator[tuple[dict[str, str], float]]:
    """Yield the labels and values of the samples of this name."""
    for family in found.values():
        for sample in family.samples:
            if sample.name == f"filemapd_{name}":
                yield sample.labels, sample.value


def value(found: dict[str, Metric], name: str, **labels: str) -> float:
    """Return the value of the only sample with these labels."""
    (one,) = (number for have, number in samples(found, name) if have.items() >= labels.items())
    return one


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_counters_and_gauges(status: dict[str, Any], accept: str) -> None:
    """In both formats each file has all counters and gauges, with the numbers of its status in base units."""
    found = families(status, accept)
    for name, (key, unit) in SCALARS.items():
        exported = {labels["file"]: number for labels, number in samples(found, name)}
        assert exported == {
            filemap["name"]: filemap[key] / unit for filemap in status["filemaps"] if filemap[key] is not None
        }, name
    resident = {labels["file"]: number for labels, number in samples(found, "worker_resident_memory_bytes")}
    assert resident == {f["name"]: f["rss_bytes"] for f in status["filemaps"] if f["rss_bytes"] is not None}


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_histograms(status: dict[str, Any], accept: str) -> None:
    """Buckets are cumulative, with le in seconds up to +Inf. _count is the last bucket, and _sum covers the same
    I/Os. A file without a histogram has no buckets."""
    found = families(status, accept)
    first = status["filemaps"][0]
    buckets = [
        (labels["le"], number)
        for labels, number in samples(found, "file_io_latency_seconds_bucket")
        if labels["file"] == first["name"]
    ]
    bounds = [*(ns / 1e9 for ns in first["bounds_ns"]), float("inf")]
    assert [(float(le), number) for le, number in buckets] == list(
        zip(bounds, [3, 4, 8, 9, 14, 23], strict=True)
    )
    assert value(found, "file_io_latency_seconds_count", file=first["name"]) == 23
    assert value(found, "file_io_latency_seconds_sum", file=first["name"]) == first["histogram_ns"] / 1e9
    without = [filemap["name"] for filemap in status["filemaps"] if not filemap["histogram"]]
    assert without
    assert not {labels["file"] for labels, _ in samples(found, "file_io_latency_seconds_count")} & {*without}
    follow = first["follow_histogram"]
    assert value(found, "mapping_follow_seconds_count", file=first["name"]) == sum(follow["bins"]) > 0
    assert value(found, "mapping_follow_seconds_sum", file=first["name"]) == follow["sum_ms"] / 1e3


def test_types(status: dict[str, Any]) -> None:
    """OpenMetrics has types that the text format lacks. In both formats all metrics have a help text."""
    found = families(status, OPENMETRICS)
    kinds = {name.removeprefix("filemapd_"): family.type for name, family in found.items()}
    for name, kind in {
        "file": "info",
        "build": "info",
        "worker_state": "stateset",
        "file_io_latency_seconds": "histogram",
        "file_reads_completed": "counter",
        "mapping_age_seconds": "gauge",
    }.items():
        assert kinds[name] == kind
    for family in (*found.values(), *families(status).values()):
        assert family.documentation.endswith("."), family.name
        assert family.type != "unknown", family.name


def test_state_set(status: dict[str, Any]) -> None:
    """Each file has a sample for each state: 1 for its own, 0 for the others."""
    found = families(status)
    for filemap in status["filemaps"]:
        states = {
            labels["filemapd_worker_state"]: number
            for labels, number in samples(found, "worker_state")
            if labels["file"] == filemap["name"]
        }
        assert states == {state.value: float(state == filemap["state"]) for state in State}


def test_few_labels(status: dict[str, Any]) -> None:
    """Except for the two infos, samples only have the labels file and device, and those of their type."""
    for name, family in families(status).items():
        for sample in family.samples:
            extra = sample.labels.keys() - {"file", "device", "le", "filemapd_worker_state"}
            assert not extra or name in {"filemapd_file_info", "filemapd_build_info"}, sample


def test_a_machine_without_uuid(status: dict[str, Any]) -> None:
    """A QEMU that was started by hand has no uuid: the label is empty."""
    status["filemaps"][0]["vm"] = {"name": "db01", "uuid": None, "role": "disk", "others": 0}
    (labels,) = (
        have
        for have, _ in samples(families(status), "file_info")
        if have["file"] == status["filemaps"][0]["name"]
    )
    assert (labels["vm"], labels["uuid"]) == ("db01", "")


def test_info(status: dict[str, Any]) -> None:
    """Path, mode, VM and the configuration's labels are in one metric with the value 1."""
    first, second, *_ = status["filemaps"]
    first["vm"] = {"name": "db01", "uuid": "6f1c…", "role": "disk"}
    first["labels"] = {"tenant": "acme"}
    first["path"] = "/images/db\\01\udcff.img"
    second["vm"] = None
    found = families(status)
    (labels,) = (have for have, _ in samples(found, "file_info") if have["file"] == first["name"])
    assert labels == {
        "file": first["name"],
        "device": first["device"],
        "path": "/images/db\\\\01\\udcff.img",
        "mode": first["mode"],
        "vm": "db01",
        "uuid": "6f1c…",
        "role": "disk",
        "label_tenant": "acme",
    }
    assert {number for _, number in samples(found, "file_info")} == {1.0}


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
@pytest.mark.parametrize(
    "hostile",
    ['"} 1\nfilemapd_worker_state{file="x', "\\", 'a\\"b', "\x1b[31m", "\udcff\ud800", "\u2028", ""],
)
def test_hostile_labels(status: dict[str, Any], accept: str, hostile: str) -> None:
    """Labels can't inject lines, control a terminal or break a parser."""
    first = status["filemaps"][0]
    first["labels"] = {"tenant": hostile}
    first["path"] = f"/{hostile}"
    first["device"] = f"vg-{hostile}"
    first["vm"] = {"name": hostile, "uuid": hostile, "role": "disk"}
    found = families(status, accept)
    for family in found.values():
        for sample in family.samples:
            assert all(text.isprintable() for text in sample.labels.values())
    names = sorted(filemap["name"] for filemap in status["filemaps"])
    assert sorted(labels["file"] for labels, _ in samples(found, "file_reads_completed_total")) == names


def test_awkward_name(status: dict[str, Any]) -> None:
    """The label `file` is exactly the name in the status."""
    (awkward,) = (f["name"] for f in status["filemaps"] if "\\n" in f["name"])
    assert value(families(status), "mapping_extents", file=awkward) == 1


def test_age(status: dict[str, Any]) -> None:
    """The age starts at pending_since. It is 0 without one, or if that is in the future."""
    first, second, third, *_ = status["filemaps"]
    now = datetime.fromisoformat("2026-01-02T03:04:05.500Z").timestamp()
    first["pending_since"], second["pending_since"] = "2026-01-02T03:04:03.250Z", "2026-01-02T03:04:09.000Z"
    ages = {
        labels["file"]: number for labels, number in samples(families(status, now=now), "mapping_age_seconds")
    }
    assert [ages[f["name"]] for f in (first, second, third)] == [2.25, 0, 0]


def test_supervisor(status: dict[str, Any]) -> None:
    """The metrics of the supervisor and of the devices."""
    status["ledger_problem"] = "the disk is full"
    status["log_records_dropped"] = 7
    found = families(status)
    assert value(found, "build_info", version=status["version"]) == 1
    assert value(found, "supervisor_cpu_seconds_total") == status["cpu_seconds"]
    assert value(found, "supervisor_resident_memory_bytes") == status["rss_bytes"]
    assert value(found, "supervisor_loop_lag_seconds") == status["loop_lag_seconds"]
    assert value(found, "log_records_dropped_total") == 7
    assert value(found, "ledger_writable") == 0
    assert value(found, "last_snapshot_timestamp_seconds") > 1e9
    (device,) = status["devices"]
    for name in ("regions", "max_regions"):
        assert value(found, f"device_{name}", device=device["device"]) == device[name]
    assert value(found, "device_grants_total", device=device["device"]) == device["grants"]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;version=1.0.0", "application/openmetrics-text; version=1.0.0"),
        ("application/openmetrics-text;version=abc", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/html,\xff;;=", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_negotiation(status: dict[str, Any], accept: str, content_type: str) -> None:
    """The client gets OpenMetrics if it accepts it, else text. An invalid header is no error."""
    store = Store()
    store.put(["supervisor", {key: text for key, text in status.items() if key != "filemaps"}])
    body, sent_type = Metrics(store).render(accept, 0.0)
    assert sent_type.startswith(content_type)
    assert body.endswith(b"# EOF\n") == ("openmetrics" in sent_type)
    assert re.match(rb"# HELP filemapd_", body)


def test_unknown_values(status: dict[str, Any]) -> None:
    """Unknown values have no sample, rather than 0."""
    status["rss_bytes"] = None
    device = status["devices"][0]
    device["regions"] = None
    found = families(status)
    assert "filemapd_supervisor_resident_memory_bytes" not in found
    assert device["device"] not in {s.labels["device"] for s in found["filemapd_device_regions"].samples}
    assert device["device"] in {s.labels["device"] for s in found["filemapd_device_max_regions"].samples}
