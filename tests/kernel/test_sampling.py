"""When counters are read, what that costs the workers, and what the status tells of their age."""

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
    """Ask for a sample now and return how many workers were asked."""
    answer = call(
        supervisor.runtime_dir, "POST", "/v1/sample", None if device is None else {"device": device}
    )
    return int(answer["asked"])


def rare(*files: Path) -> dict[str, Any]:
    """Return a configuration whose own samples are an hour apart."""
    return {"filemaps": [{"path": str(file)} for file in files], "defaults": {"sample": "1h"}}


def sampled(supervisor: Running, file: Path, after: str = "") -> dict[str, Any]:
    """Return a file's status once its counters are as of later than `after`."""

    def told() -> dict[str, Any]:
        filemap = supervisor.filemap(file)
        return filemap if (filemap.get("sampled_at") or "") > after else {}

    return wait_for(f"the counters of {file.name} are as of after {after}", told)


def test_counters_are_read_when_somebody_asks(disk: Disk, tmp_path: Path) -> None:
    """POST /v1/sample has exact counters in the status long before the interval is over; of that device only."""
    file = disk.write("db01.img", MIB)
    with running(tmp_path, rare(file)) as supervisor:
        first = sampled(supervisor, file)
        read_direct(file, 0, 25)
        assert sample(supervisor, "another") == 0
        wait_for("the worker may be asked again", lambda: sample(supervisor, disk.name) == 1)
        now = sampled(supervisor, file, first["sampled_at"])
        assert (now["reads"] - first["reads"], now["bytes_read"] - first["bytes_read"]) == (25, 25 * 4096)


def test_an_idle_device_costs_no_worker_a_wake(disk: Disk, tmp_path: Path) -> None:
    """Where nothing was done no worker is asked; that the counters hold still is told by their time."""
    file = disk.write("db01.img", MIB)
    with running(tmp_path, rare(file)) as supervisor:
        first = sampled(supervisor, file)

        def idle() -> bool:
            """See the time move on three times, in which no worker was asked nor woke up."""
            before = supervisor.filemap(file)
            wakes = wakes_of(before["pid"])
            for _ in range(3):
                wait_for("the time moves on", lambda: moved_on(supervisor, file))
            after = supervisor.filemap(file)
            assert wakes_of(before["pid"]) == wakes
            assert (after["pid"], after["reads"]) == (before["pid"], first["reads"])
            return True

        # The file system may have something left to write at first.
        wait_for("an idle while costs nothing", idle)


def moved_on(supervisor: Running, file: Path) -> bool:
    """Ask and tell whether the counters are as of later than before; no worker may be asked."""
    before = supervisor.filemap(file)["sampled_at"]
    assert sample(supervisor) == 0
    return bool(supervisor.filemap(file)["sampled_at"] > before)


def test_no_worker_is_asked_twice_within_a_second(disk: Disk, tmp_path: Path) -> None:
    """However often somebody asks while there is I/O, a file is sampled once a second at most."""
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
    """The error says what would be right."""
    file = disk.write("db01.img", MIB)
    with running(tmp_path, rare(file)) as supervisor:
        sampled(supervisor, file)
        with pytest.raises(ControlError, match=reason):
            call(supervisor.runtime_dir, "POST", "/v1/sample", body)


def test_the_status_tells_what_the_device_did(disk: Disk, tmp_path: Path) -> None:
    """Its counters are those in /proc/diskstats, its regions those that dmsetup lists, other programs' too."""
    file = disk.write("db01.img", MIB)
    disk.others_region()
    with running(tmp_path, rare(file)) as supervisor:
        sampled(supervisor, file)
        read_direct(file, 0, 10)

        def agree() -> bool:
            before = diskstats(disk.name)
            (device,) = supervisor.status()["devices"]
            told = [device[key] for key in ("reads", "bytes_read", "writes", "bytes_written")]
            assert diskstats(disk.name) == before == told
            assert (device["device"], device["max_regions"]) == (disk.name, 300)
            assert device["regions"] == len(oracle.table(disk.name)) == 2
            return True

        wait_for("the device's figures agree", agree)


def diskstats(name: str) -> list[int]:
    """Return reads, bytes read, writes and bytes written of a dm device, as /proc/diskstats tells them."""
    number = oracle.run(
        "dmsetup", "info", "-c", "--noheadings", "--separator", " ", "-o", "major,minor", name
    ).split()
    for line in Path("/proc/diskstats").read_text(encoding="ascii").splitlines():
        fields = line.split()
        if fields[:2] == number:
            return [int(fields[3]), int(fields[5]) * 512, int(fields[7]), int(fields[9]) * 512]
    raise AssertionError(f"no such device: {name}")
