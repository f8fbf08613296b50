"""What the page remembers of the feed's messages."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor.text.times import rfc3339, seconds_of
from supervisor.web.state.recent import Recent
from tests.unit.serving import recorded_status
from tests.unit.web_fleet import T0, Fleet


@pytest.fixture
def fleet() -> Fleet:
    """A fleet of one busy file, of which it is told where it lies."""
    made = Fleet()
    made.supervisor()
    made.busy("db01.img")
    made.places("db01.img", [(0, 8, 3)])
    return made


def test_what_has_gone_is_forgotten(fleet: Fleet) -> None:
    """A file that is gone takes its hour and its places along, a device that no file is on any more its hour."""
    assert (list(fleet.recent.files), list(fleet.recent.heats)) == (
        ["/images/db01.img"],
        ["/images/db01.img"],
    )
    assert list(fleet.recent.devices) == ["vg0-images"]
    fleet.store.put(["gone", "/images/db01.img"])
    fleet.supervisor(devices=[])
    assert (fleet.recent.files, fleet.recent.heats, fleet.recent.devices) == ({}, {}, {})


def test_a_pause_comes_from_the_status(fleet: Fleet) -> None:
    """What was read after a pause counts from when the status says that it is new, not from the last reading."""
    fleet.now += 600
    before = fleet.store.files["/images/db01.img"]
    more = {"reads": before["reads"] + 1000, "sampled_since": rfc3339(fleet.now - 12)}
    fleet.store.put(["file", before | more | {"sampled_at": rfc3339(fleet.now - 2)}])
    *_, last = fleet.recent.files["/images/db01.img"].intervals(fleet.now)
    assert (last.until - last.since, last.rates.reads_per_s) == (10, 100)


def test_a_file_without_a_sample_has_no_hour() -> None:
    """Its counters are not known yet: they are no zeros."""
    fleet = Fleet()
    fleet.file("new.img", sampled_at=None)
    assert fleet.recent.files == {}


def test_devices_are_as_of_the_heartbeat() -> None:
    """The hour of a device begins with the first heartbeat, and goes on with each one."""
    recent, status = Recent(), recorded_status()
    device: dict[str, Any] = status["devices"][0]
    for seconds, reads in ((0, 36), (10, 36), (20, 86)):
        now = {"at": rfc3339(T0 + seconds), "devices": [device | {"reads": reads}]}
        recent.put(["supervisor", status | now])
    series = recent.devices[device["device"]]
    assert series.begun == seconds_of(rfc3339(T0))
    (interval,) = series.intervals(T0 + 20)
    assert (interval.since, interval.until, interval.rates.reads_per_s) == (T0 + 10, T0 + 20, 5)
