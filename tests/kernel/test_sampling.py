"""When counters are sampled, what that costs the workers, and what the status shows of their age."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from supervisor.control.client import ControlError, call
from tests.kernel import oracle
from tests.kernel.conftest import Disk, read_direct
from tests.kernel.running import Running, running, wait_for, wakes_of

MIB = 1 << 20


def sample(supervisor: Running, device: str | None = None) -> int:
    """Request a sample now and return how many workers got a request."""
    response = call(
        supervisor.runtime_dir, "POST", "/v1/sample", None if device is None else {"device": device}
    )
    return int(response["asked"])


def rare(*files: Path) -> dict[str, Any]:
    """Return a configuration whose interval between samples is an hour."""
    return {"filemaps": [{"path": str(file)} for file in files], "defaults": {"sample": "1h"}}


def sampled(supervisor: Running, file: Path, after: str = "") -> dict[str, Any]:
    """Return a file's status once its counters are newer than `after`."""

    def found() -> dict[str, Any]:
        filemap = supervisor.filemap(file)
        return filemap if (filemap.get("sampled_at") or "") > after else {}

    return wait_for(f"the counters of {file.name} are as of after {after}", found)


def test_counters_are_sampled_on_request(disk: Disk, tmp_path: Path) -> None:
    """POST /v1/sample updates the counters in the status long before the interval is over, of one device
    only."""
    file = disk.write("db01.img", MIB)
    with running(tmp_path, rare(file)) as supervisor:
        first = sampled(supervisor, file)
        read_direct(file, 0, 25)
        assert sample(supervisor, "another") == 0
        wait_for("the worker may be sampled again", lambda: sample(supervisor, disk.name) == 1)
        now = sampled(supervisor, file, first["sampled_at"])
        assert (now["reads"] - first["reads"], now["bytes_read"] - first["bytes_read"]) == (25, 25 * 4096)


def test_an_idle_device_costs_no_worker_a_wake(disk: Disk, tmp_path: Path) -> None:
    """On an idle device no worker gets a request; the time of the counters shows that they still hold."""
    file = disk.write("db01.img", MIB)
    with running(tmp_path, rare(file)) as supervisor:
        first = sampled(supervisor, file)

        def idle() -> bool:
            """Check that the time moves on three times without a request to a worker or a wake-up."""
            before = supervisor.filemap(file)
            wakes = wakes_of(before["pid"])
            for _ in range(3):
                wait_for("the time moves on", lambda: moved_on(supervisor, file))
            after = supervisor.filemap(file)
            assert wakes_of(before["pid"]) == wakes
            assert (after["pid"], after["reads"]) == (before["pid"], first["reads"])
            return True

        # The file system may still have something to write at first.
        wait_for("an idle while costs nothing", idle)


def moved_on(supervisor: Running, file: Path) -> bool:
    """Request a sample and return whether the counters have a later time. No worker may get a request."""
    before = supervisor.filemap(file)["sampled_at"]
    assert sample(supervisor) == 0
    return bool(supervisor.filemap(file)["sampled_at"] > before)


def test_no_worker_is_sampled_twice_within_a_second(disk: Disk, tmp_path: Path) -> None:
    """However many samples are requested during I/O, a file is sampled at most once a second."""
    file = disk.write("db01.img", MIB)
    with running(tmp_path, rare(file)) as supervisor:
        sampled(supervisor, file)
        asked, begin = 0, time.monotonic()
        while asked < 3:
            read_direct(file, 0, 1)
            asked += sample(supervisor)
        assert asked <= time.monotonic() - begin + 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([], "the request must be a mapping"),
        ("vg-lv", "the request must be a mapping"),
        ({"device": 7}, "device: must be text, not 7"),
    ],
    ids=str,
)
def test_another_body_is_refused(disk: Disk, tmp_path: Path, body: object, reason: str) -> None:
    """The error shows what would be valid."""
    file = disk.write("db01.img", MIB)
    with running(tmp_path, rare(file)) as supervisor:
        sampled(supervisor, file)
        with pytest.raises(ControlError, match=reason):
            call(supervisor.runtime_dir, "POST", "/v1/sample", body)


def test_the_status_has_the_devices_counters(disk: Disk, tmp_path: Path) -> None:
    """The device's counters equal /proc/diskstats, its number of regions dmsetup's list, including other
    programs' regions."""
    file = disk.write("db01.img", MIB)
    disk.others_region()
    with running(tmp_path, rare(file)) as supervisor:
        sampled(supervisor, file)
        read_direct(file, 0, 10)

        def agree() -> bool:
            before = diskstats(disk.name)
            (device,) = supervisor.status()["devices"]
            found = [device[key] for key in ("reads", "bytes_read", "writes", "bytes_written")]
            assert diskstats(disk.name) == before == found
            assert (device["device"], device["max_regions"]) == (disk.name, 300)
            assert device["regions"] == len(oracle.table(disk.name)) == 2
            return True

        wait_for("the device's figures agree", agree)


def diskstats(name: str) -> list[int]:
    """Return reads, bytes read, writes and bytes written of a dm device in /proc/diskstats."""
    number = oracle.run(
        "dmsetup", "info", "-c", "--noheadings", "--separator", " ", "-o", "major,minor", name
    ).split()
    for line in Path("/proc/diskstats").read_text(encoding="ascii").splitlines():
        fields = line.split()
        if fields[:2] == number:
            return [int(fields[3]), int(fields[5]) * 512, int(fields[7]), int(fields[9]) * 512]
    raise AssertionError(f"no such device: {name}")
