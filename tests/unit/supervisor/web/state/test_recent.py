"""The history of the feed's messages for the pages."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor.text.times import rfc3339, seconds_of
from supervisor.web.state.recent import Recent
from tests.unit.serving import recorded_status
from tests.unit.web_fleet import T0, Fleet


@pytest.fixture
def fleet() -> Fleet:
    """A fleet of one busy file with a known place."""
    made = Fleet()
    made.supervisor()
    made.busy("db01.img")
    made.places("db01.img", [(0, 8, 3)])
    return made


def test_removed_files_and_devices_are_dropped(fleet: Fleet) -> None:
    """The history and places of a removed file, and the history of a removed device, are dropped."""
    assert (list(fleet.recent.files), list(fleet.recent.heats)) == (
        ["/images/db01.img"],
        ["/images/db01.img"],
    )
    assert list(fleet.recent.devices) == ["vg0-images"]
    fleet.store.put(["gone", "/images/db01.img"])
    fleet.supervisor(devices=[])
    assert (fleet.recent.files, fleet.recent.heats, fleet.recent.devices) == ({}, {}, {})


def test_a_pause_comes_from_the_status(fleet: Fleet) -> None:
    """I/O after a pause is counted from sampled_since, not from the last reading."""
    fleet.now += 600
    before = fleet.store.files["/images/db01.img"]
    more = {"reads": before["reads"] + 1000, "sampled_since": rfc3339(fleet.now - 12)}
    fleet.store.put(["file", before | more | {"sampled_at": rfc3339(fleet.now - 2)}])
    *_, last = fleet.recent.files["/images/db01.img"].intervals(fleet.now)
    assert (last.until - last.since, last.rates.reads_per_s) == (10, 100)


def test_a_file_without_a_sample_has_no_history() -> None:
    """Its counters are unknown, not 0."""
    fleet = Fleet()
    fleet.file("new.img", sampled_at=None)
    assert fleet.recent.files == {}


def test_devices_are_as_of_the_heartbeat() -> None:
    """The history of a device starts at the first heartbeat, and each further one extends it."""
    recent, status = Recent(), recorded_status()
    device: dict[str, Any] = status["devices"][0]
    for seconds, reads in ((0, 36), (10, 36), (20, 86)):
        now = {"at": rfc3339(T0 + seconds), "devices": [device | {"reads": reads}]}
        recent.put(["supervisor", status | now])
    series = recent.devices[device["device"]]
    assert series.begun == seconds_of(rfc3339(T0))
    (interval,) = series.intervals(T0 + 20)
    assert (interval.since, interval.until, interval.rates.reads_per_s) == (T0 + 10, T0 + 20, 5)
