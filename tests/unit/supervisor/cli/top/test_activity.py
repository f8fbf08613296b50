"""Rates between two samples, the order of rows, and shares of the device's I/O time."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from supervisor.cli.top.activity import SORTS, Activity, Row, as_json, ordered
from supervisor.rates import Rates

BOUNDS = (100_000, 1_000_000)
NOTHING: dict[str, Any] = {
    "reads": 0,
    "writes": 0,
    "bytes_read": 0,
    "bytes_written": 0,
    "read_ns": 0,
    "write_ns": 0,
}


def at(second: float) -> str:
    """Return a time of the status."""
    return f"2026-11-23T05:28:{second:06.3f}Z"


def filemap(name: str, sampled: float | None, reads: int = 0, **changes: Any) -> dict[str, Any]:
    """Return a file's status with reads of 4 KiB that took 50 µs."""
    return {
        **NOTHING,
        "name": name,
        "path": f"/images/{name}",
        "device": "vg-lv",
        "state": "RUNNING",
        "vm": None,
        "reads": reads,
        "bytes_read": reads * 4096,
        "read_ns": reads * 50_000,
        "bounds_ns": list(BOUNDS),
        "histogram": [reads, 0, 0],
        "sampled_at": None if sampled is None else at(sampled),
        **changes,
    }


def device(reads: int, read_ns: int, name: str = "vg-lv") -> dict[str, Any]:
    """Return a device's status."""
    return {**NOTHING, "device": name, "number": "253:0", "reads": reads, "read_ns": read_ns}


def status(now: float, *filemaps: dict[str, Any], devices: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """Return a response to GET /v1/status."""
    return {"at": at(now), "devices": list(devices), "filemaps": list(filemaps)}


def only(activity: Activity) -> Row:
    """Return the one row."""
    (row,) = activity.rows()
    return row


def test_two_samples_make_a_row() -> None:
    """One sample has no rates. Two have rates by the time between the samples, not between the statuses."""
    activity = Activity()
    activity.take(status(11, filemap("db01.img", 10, 100)))
    assert (only(activity).rates, only(activity).share) == (None, None)
    activity.take(status(14, filemap("db01.img", 12, 300)))
    row = only(activity)
    assert row.rates is not None
    assert (row.rates.seconds, row.rates.reads_per_s, row.ios) == (2.0, 100.0, 200)
    assert (row.rates.latency_ns, row.p99_ns, row.sampled_at) == (50_000.0, 99_000.0, at(12))


def test_the_same_sample_again_changes_nothing() -> None:
    """A status without a new sample doesn't change the figures or their time."""
    activity = Activity()
    for now, sampled, reads in ((10, 10, 0), (13, 13, 300), (14, 13, 300), (15, 13, 300)):
        activity.take(status(now, filemap("db01.img", sampled, reads)))
    row = only(activity)
    assert row.rates is not None
    assert (row.rates.seconds, row.rates.reads_per_s, row.sampled_at) == (3.0, 100.0, at(13))


def test_retired_regions_count_once() -> None:
    """Totals that grow without a sample (of removed regions) count once, with the next sample."""
    activity = Activity()
    for now, sampled, reads in ((10, 10, 0), (11, 10, 40), (12, 12, 100), (13, 12, 130), (14, 14, 200)):
        activity.take(status(now, filemap("db01.img", sampled, reads)))
        if now == 12:
            assert only(activity).ios == 100
    assert only(activity).ios == 100


def test_a_file_that_is_not_running_has_no_figures() -> None:
    """Figures from before the worker stopped are hidden. After a restart the next sample has new ones."""
    activity = Activity()
    activity.take(status(10, filemap("db01.img", 10, 0)))
    activity.take(status(12, filemap("db01.img", 12, 100)))
    activity.take(status(13, filemap("db01.img", 12, 100, state="BACKOFF")))
    assert (only(activity).rates, only(activity).share) == (None, None)
    activity.take(status(22, filemap("db01.img", 22, 200)))
    assert only(activity).ios == 100


def test_removed_and_new_files() -> None:
    """A removed file has no row, a new one no figures yet, and one that was never sampled no age."""
    activity = Activity()
    activity.take(status(10, filemap("a", 10), filemap("b", 10)))
    activity.take(status(12, filemap("b", 12), filemap("c", 12), filemap("d", None)))
    assert [(r.name, r.rates is not None, r.sampled_at) for r in activity.rows()] == [
        ("b", True, at(12)),
        ("c", False, at(12)),
        ("d", False, None),
    ]


def test_only_one_device() -> None:
    """Rows, devices and shares are only those of the given device."""
    activity = Activity("vg-b")
    for now, reads in ((10, 0), (12, 100)):
        files = filemap("a", now, reads, device="vg-a"), filemap("b", now, reads, device="vg-b")
        devices = device(reads, 0, "vg-a"), device(reads, 0, "vg-b")
        activity.take(status(now, *files, devices=devices))
    assert [row.name for row in activity.rows()] == ["b"]
    assert list(activity.devices()) == ["vg-b"]


def shares(*files: tuple[int, int], others: tuple[int, int] = (0, 0)) -> list[float | None]:
    """Return the share of each file, given its I/Os and their latency in ns. `others` are I/Os of no file."""
    activity = Activity()
    activity.take(status(10, *(filemap(str(i), 10) for i in range(len(files))), devices=(device(0, 0),)))
    total = sum(ios for ios, _ in files) + others[0]
    rows = [filemap(str(i), 12, ios, read_ns=ios * ns) for i, (ios, ns) in enumerate(files)]
    activity.take(status(12, *rows, devices=(device(total, total * others[1]),)))
    return [row.share for row in activity.rows()]


def test_a_share_is_of_time() -> None:
    """The same number of I/Os with three times the latency is three times the share. An idle file has 0."""
    assert shares((100, 50_000), (100, 150_000), (0, 0)) == [0.25, 0.75, 0.0]
    assert shares((0, 0), (0, 0)) == [0.0, 0.0]


def test_the_kernels_ticks_do_not_matter_without_other_io() -> None:
    """If all I/O is that of files, the device's inexact latency is not used."""
    for ns in (0, 10_000_000):
        assert shares((100, 50_000), (100, 150_000), others=(0, ns)) == [0.25, 0.75]


def test_other_io_counts() -> None:
    """I/O outside the files reduces the shares. It has the device's mean latency."""
    assert shares((100, 50_000), others=(100, 50_000)) == [0.5]
    assert shares((100, 50_000), others=(300, 50_000)) == [0.25]


def test_an_io_that_counts_twice_makes_no_share_above_one() -> None:
    """An I/O across two regions counts in both, so files can have more I/Os than their device."""
    activity = Activity()
    activity.take(status(10, filemap("a", 10), devices=(device(0, 0),)))
    activity.take(status(12, filemap("a", 12, 110), devices=(device(100, 5_000_000),)))
    assert only(activity).share == 1.0


def row(name: str, **changes: Any) -> Row:
    """Return a row whose rates have these changes; without rates for `rates=None`."""
    done = None
    if "rates" not in changes:
        figures: dict[str, Any] = dict.fromkeys(
            ("reads_per_s", "writes_per_s", "read_bytes_per_s", "write_bytes_per_s"), 0.0
        ) | dict.fromkeys(("read_latency_ns", "write_latency_ns", "latency_ns"))
        figures |= {"bounds_ns": BOUNDS, "bins": (0, 0, 0)}
        share = changes.pop("share", 0.0)
        done = Rates(seconds=2.0, **(figures | changes))
        return Row(name, f"/{name}", "vg-lv", "RUNNING", None, at(0), done, share)
    return Row(name, f"/{name}", "vg-lv", "RUNNING", None, None, None, None)


ROWS = {
    "iops": [row("x", reads_per_s=1.0, writes_per_s=2.0), row("y", reads_per_s=2.0), row("a", rates=None)],
    "bytes": [
        row("x", read_bytes_per_s=9.0, write_bytes_per_s=2.0),
        row("y", write_bytes_per_s=10.0),
        row("a"),
    ],
    "latency": [row("x", latency_ns=2.0), row("y", latency_ns=1.0), row("a", latency_ns=None)],
    "p99": [row("x", bins=(0, 0, 100)), row("y", bins=(0, 100, 0)), row("a", bins=(0, 0, 99))],
    "share": [row("x", share=0.5), row("y", share=0.1), row("a", rates=None)],
    "name": [row("a"), row("x"), row("y")],
}


@pytest.mark.parametrize("sort", SORTS)
def test_order(sort: str) -> None:
    """The highest comes first, from any order. A p99 above the last bound is the highest, an unknown one the last."""
    for rows in permutations(ROWS[sort]):
        assert ordered(rows, sort) == ROWS[sort]


@pytest.mark.parametrize("sort", SORTS)
def test_backwards(sort: str) -> None:
    """The reverse order, but unknown values are still last."""
    unknown = [r for r in ROWS[sort] if sort in {"iops", "latency", "p99", "share"} and r.name == "a"]
    known = [r for r in ROWS[sort] if r not in unknown]
    assert ordered(ROWS[sort], sort, backwards=True) == known[::-1] + unknown


def test_equal_values_are_by_name() -> None:
    """Idle files stay in the same order from one table to the next."""
    rows = [row(name) for name in "cab"]
    assert [r.name for r in ordered(rows, "iops")] == ["a", "b", "c"]
    assert [r.name for r in ordered(rows, "iops", backwards=True)] == ["a", "b", "c"]


def test_json() -> None:
    """The keys of files and devices. Unknown values are null. A p99 above the last bound has `p99_above_ns`."""
    activity = Activity()
    files = [filemap("a", 10), filemap("b", 10), filemap("c", 10), filemap("d", None, state="WAITING")]
    activity.take(status(10, *files, devices=(device(0, 0),)))
    files = [
        filemap("a", 12, 200),
        filemap("b", 12, 100, histogram=[0, 0, 100]),
        filemap("c", 12, 99),
        filemap("d", None, state="WAITING"),
    ]
    activity.take(status(12.5, *files, devices=(device(399, 399 * 50_000),)))
    result = as_json(activity, "iops")
    assert result["at"] == at(12.5)
    assert result["devices"] == [
        {
            "device": "vg-lv",
            "seconds": 2.5,
            "reads_per_s": 159.6,
            "writes_per_s": 0.0,
            "read_bytes_per_s": 0.0,
            "write_bytes_per_s": 0.0,
            "read_latency_ns": 50_000,
            "write_latency_ns": None,
            "latency_ns": 50_000,
        }
    ]
    first, second, third, last = result["filemaps"]
    assert first == {
        "name": "a",
        "path": "/images/a",
        "device": "vg-lv",
        "state": "RUNNING",
        "vm": None,
        "sampled_at": at(12),
        "seconds": 2.0,
        "reads_per_s": 100.0,
        "writes_per_s": 0.0,
        "read_bytes_per_s": 409_600.0,
        "write_bytes_per_s": 0.0,
        "read_latency_ns": 50_000,
        "write_latency_ns": None,
        "latency_ns": 50_000,
        "ios": 200,
        "p99_ns": 99_000,
        "p99_above_ns": None,
        "share": 0.5013,
    }
    assert (second["p99_ns"], second["p99_above_ns"]) == (None, 1_000_000)
    assert (third["ios"], third["p99_ns"], third["p99_above_ns"]) == (99, None, None)
    assert last == {
        **dict.fromkeys(first),
        "name": "d",
        "path": "/images/d",
        "device": "vg-lv",
        "state": "WAITING",
        "ios": 0,
    }
