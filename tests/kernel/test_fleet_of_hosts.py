"""Two supervisors as two hosts, scraped by Debian's Prometheus with the rules in deploy/: recorded rates are those of
the test's I/O."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

from sandbox.devices import Filesystem, filesystem
from tests.kernel.changes import MIB, fallocate, opened
from tests.kernel.driver import Driver
from tests.kernel.prometheus import Prometheus, Vector, prometheus
from tests.kernel.running import Running, running, wait_for, write
from tests.kernel.scraping import fetch, free_port, listen
from tests.unit.dashboard import panel_queries, variable_queries

T = TypeVar("T")
Image = tuple[str, str]
"""Host and file."""
WINDOW: Final = 300
"""Seconds that the recorded rates cover. All tests here take a fraction of that, so it includes all I/O and the
scrape before it."""
SCRAPES: Final = 12
"""The minimum number of scrapes in it. Prometheus extrapolates an increase by at most 1.1 intervals."""
MOST: Final = 1 + 1.1 / (SCRAPES - 1)
KIB4: Final = 4096
HOSTS: Final = ("hv1", "hv2")
PLAN: Final[Mapping[Image, tuple[int, int, int]]] = {
    ("hv1", "db01.img"): (40, 30, 4 * KIB4),
    ("hv1", "mail01.img"): (300, 450, KIB4),
    ("hv1", "web01.img"): (120, 0, KIB4),
    ("hv1", "idle.img"): (0, 0, KIB4),
    ("hv2", "db01.img"): (500, 0, KIB4),
    ("hv2", "app01.img"): (10, 300, 2 * KIB4),
    ("hv2", "mail01.img"): (100, 80, 2 * KIB4),
    ("hv2", "web01.img"): (0, 60, 16 * KIB4),
}
"""Reads, writes and bytes per I/O of each image. By I/Os or by bytes, neighbours differ by more than MOST, and the
order by reads or by writes is different."""
UNMAPPABLE: Final = "nowhere.img"
EVERYTHING: Final = {"host": ".*", "device": ".*", "file": ".*", "top": "10", "__rate_interval": "1m"}
ONE_IMAGE: Final = {**EVERYTHING, "host": "hv1", "file": r"mail01\\.img"}


@dataclass
class Fleet:
    """The hosts after their I/O."""

    prometheus: Prometheus
    supervisors: dict[str, Running]
    filesystems: dict[str, Filesystem]

    def status(self, image: Image) -> dict[str, Any]:
        """Return the status of an image."""
        host, name = image
        return self.supervisors[host].filemap(self.filesystems[host].mountpoint / name)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two hosts that have done the planned I/O, after Prometheus scraped them idle."""
    ports = {host: free_port() for host in HOSTS}
    with contextlib.ExitStack() as stack:
        filesystems = {host: stack.enter_context(filesystem("ext4", 64)) for host in HOSTS}
        for host, name in PLAN:
            write(filesystems[host].mountpoint / name, 4)
        os.sync()
        supervisors = {
            host: stack.enter_context(host_of(tmp_path_factory.mktemp(host), filesystems[host], ports[host]))
            for host in HOSTS
        }
        server = stack.enter_context(prometheus(tmp_path_factory.mktemp("prometheus") / "etc", ports))
        one = Fleet(server, supervisors, filesystems)
        eventually(lambda: known(server, "reads_completed") == dict.fromkeys(PLAN, 0))
        drive(filesystems)
        yield one


@contextlib.contextmanager
def host_of(folder: Path, fs: Filesystem, port: int) -> Iterator[Running]:
    """Run a supervisor that follows all images of a file system, and a file that it can't map."""
    unmappable = folder / UNMAPPABLE
    write(unmappable, 1)
    config = {
        "defaults": {"sample": "1s"},
        "directories": [{"path": str(fs.mountpoint), "include": ["*.img"]}],
        "filemaps": [{"path": str(unmappable)}],
    }
    with running(folder, {**config, **listen(port)}) as supervisor:
        supervisor.wait_state(unmappable, "FAILED")
        for path in fs.mountpoint.glob("*.img"):
            supervisor.wait_state(path)
        wait_for("it serves", lambda: fetch(port))
        yield supervisor


def drive(filesystems: Mapping[str, Filesystem]) -> None:
    """Do the I/O, and change the extents of a file on each host without I/O."""
    for (host, name), (reads, writes, block) in PLAN.items():
        one = Driver(filesystems[host].mountpoint / name, block)
        one.read(reads, 0)
        one.write(writes, 0)
    for host in HOSTS:
        with opened(filesystems[host].mountpoint / "mail01.img") as fd:
            fallocate(fd, 0, 8 * MIB, MIB)


def eventually(condition: Callable[[], T]) -> T:
    """Wait until counters are sampled, scraped and evaluated. Return the result of `condition`."""
    return wait_for("Prometheus has it", condition, deadline=60, pause=0.5)


def by_image(vector: Vector) -> dict[Image, float]:
    """Return the values of mapped files, one for each image."""
    found = {(labels["host"], labels["file"]): value for labels, value in vector if "device" in labels}
    assert len(found) == sum("device" in labels for labels, _ in vector)
    return found


def known(server: Prometheus, what: str) -> dict[Image, float]:
    """Return the last scraped value of a counter for each image."""
    return by_image(server.query(f"filemapd_file_{what}_total"))


def exact(fleet: Fleet, what: str) -> bool:
    """Fail unless a counter of each image has its planned value."""
    assert known(fleet.prometheus, what) == done(what)
    return True


def agrees(rate: float, done: float) -> bool:
    """Return whether a recorded rate is that of the I/O, within the precision of Prometheus."""
    return done * (1 - 1e-9) <= rate * WINDOW <= done * MOST


def busiest(fleet: Fleet, what: str) -> list[Image]:
    """Wait until the five busiest are recorded correctly. Return them, the busiest first."""
    most = dict(sorted(done(what).items(), key=lambda item: -item[1])[:5])

    def right() -> dict[Image, float]:
        found = by_image(fleet.prometheus.query(f"fleet:filemapd_{what}:top5"))
        assert all_agree(found, most)
        return found

    found = eventually(right)
    ordered = sorted(found, key=lambda image: -found[image])
    assert ordered == list(most)
    return ordered


def done(what: str) -> dict[Image, float]:
    """Return the planned value for each image."""
    return {
        image: {
            "reads_completed": reads,
            "writes_completed": writes,
            "ios": reads + writes,
            "read_bytes": reads * block,
            "written_bytes": writes * block,
            "bytes": (reads + writes) * block,
        }[what]
        for image, (reads, writes, block) in PLAN.items()
    }


@pytest.mark.parametrize("what", ["reads_completed", "writes_completed", "read_bytes", "written_bytes"])
def test_scraped_counters_are_exact(fleet: Fleet, what: str) -> None:
    """Prometheus has the exact I/O of each image of both hosts."""
    eventually(partial(exact, fleet, what))


@pytest.mark.parametrize("what", ["ios", "bytes"])
def test_five_busiest_of_all_hosts(fleet: Fleet, what: str) -> None:
    """The five busiest images of all hosts, by I/Os and by bytes, are those with the most I/O of the test, with their
    order and rates."""
    found = busiest(fleet, what)
    assert {host for host, _ in found} == set(HOSTS)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("reads", "reads_completed"),
        ("writes", "writes_completed"),
        ("ios", "ios"),
        ("read_bytes", "read_bytes"),
        ("written_bytes", "written_bytes"),
        ("bytes", "bytes"),
    ],
)
def test_rates_of_files(fleet: Fleet, name: str, what: str) -> None:
    """The rates of each image are those of its I/O."""
    eventually(
        lambda: all_agree(by_image(fleet.prometheus.query(f"file:filemapd_{name}:rate5m")), done(what))
    )


@pytest.mark.parametrize("level", ["host", "device"])
@pytest.mark.parametrize("what", ["ios", "bytes"])
def test_sums(fleet: Fleet, level: str, what: str) -> None:
    """The rates of a host and of its device are the sums over its images only."""
    sums = {
        (host, fleet.filesystems[host].device.name if level == "device" else None): sum(
            n for image, n in done(what).items() if image[0] == host
        )
        for host in HOSTS
    }

    def right() -> bool:
        found = fleet.prometheus.query(f"{level}:filemapd_{what}:rate5m")
        return all_agree({(of["host"], of.get("device")): rate for of, rate in found}, sums)

    eventually(right)


@pytest.mark.parametrize(
    ("name", "keys"),
    [("read_latency", ["read"]), ("write_latency", ["write"]), ("latency", ["read", "write"])],
)
def test_mean_latencies(fleet: Fleet, name: str, keys: list[str]) -> None:
    """A latency is the time of the image's I/Os over their number. Without I/O there is none."""
    expected = {}
    for image in PLAN:
        status = fleet.status(image)
        count = sum(status[f"{key}s"] for key in keys)
        if count:
            expected[image] = pytest.approx(sum(status[f"{key}_ns"] for key in keys) / count / 1e9)
    assert 0 < len(expected) < len(PLAN)

    def right() -> bool:
        found = by_image(fleet.prometheus.query(f"file:filemapd_{name}_seconds:mean5m"))
        assert found == expected
        return True

    eventually(right)


def test_shares_of_the_device(fleet: Fleet) -> None:
    """The share of each image is its time in the status over that of all images of its host's device. The latency of
    the others is that of the other images there."""
    spent = {image: time_spent(fleet, image) for image in PLAN}
    shares, others = {}, {}
    for image in PLAN:
        near = [one for one in PLAN if one[0] == image[0]]
        shares[image] = pytest.approx(spent[image] / sum(spent[one] for one in near))
        rest = [one for one in near if one != image]
        others[image] = pytest.approx(sum(spent[one] for one in rest) / sum(done("ios")[one] for one in rest))

    def right() -> bool:
        assert by_image(fleet.prometheus.query("file:filemapd_device_share:ratio5m")) == shares
        assert by_image(fleet.prometheus.query("file:filemapd_others_latency_seconds:mean5m")) == others
        return True

    eventually(right)


def test_alerts(fleet: Fleet) -> None:
    """On both hosts the only alert, pending or firing, is that of the file that can't be mapped."""

    def right() -> bool:
        found = [(of["alertname"], of["host"], of.get("file")) for of, _ in fleet.prometheus.query("ALERTS")]
        assert sorted(found) == [("FilemapdWorkerFailed", host, UNMAPPABLE) for host in HOSTS]
        return True

    eventually(right)


def test_a_host_that_dies_and_comes_back(fleet: Fleet) -> None:
    """While a host is down its alert is pending. Afterwards no I/O is counted twice or missing, and the busiest are
    the same."""
    supervisor = fleet.supervisors["hv2"]
    supervisor.process.kill()
    eventually(
        lambda: (
            [of["host"] for of, _ in fleet.prometheus.query('ALERTS{alertname="FilemapdDown"}')] == ["hv2"]
        )
    )
    supervisor.again()
    for what in ("reads_completed", "writes_completed"):
        eventually(partial(exact, fleet, what))
        rates = fleet.prometheus.query(f"rate(filemapd_file_{what}_total[{WINDOW}s])")
        assert all_agree(by_image(rates), done(what))
    assert busiest(fleet, "ios")


@pytest.mark.parametrize("values", [EVERYTHING, ONE_IMAGE], ids=["everything", "one image"])
def test_panels_show_something(fleet: Fleet, values: dict[str, str]) -> None:
    """Each query of the dashboard has a finite value, for all hosts and for one image."""

    def right() -> bool:
        empty = [
            (title, query)
            for title, query in panel_queries(values)
            if not any(math.isfinite(value) for _, value in fleet.prometheus.query(query))
        ]
        assert empty == []
        return True

    eventually(right)


def test_panels_show_the_chosen_image(fleet: Fleet) -> None:
    """With one image chosen, panels of files show only that image, except the busiest of all hosts."""
    shown = {
        (of["host"], of["file"])
        for _, query in panel_queries(ONE_IMAGE)
        if not query.startswith("fleet:")
        for of, _ in fleet.prometheus.query(query)
        if "file" in of
    }
    assert shown == {("hv1", "mail01.img")}


def test_variables(fleet: Fleet) -> None:
    """The dashboard's variables list the hosts, and the devices and files of the chosen hosts."""
    devices = [fleet.filesystems[host].device.name for host in HOSTS]
    for host, chosen in ((".*", HOSTS), ("hv2", ["hv2"])):
        found = {
            name: fleet.prometheus.label_values(label, series)
            for name, series, label in variable_queries({**EVERYTHING, "host": host})
        }
        assert found == {
            "host": list(HOSTS),
            "device": [device for device, of in zip(devices, HOSTS, strict=True) if of in chosen],
            "file": sorted({name for of, name in PLAN if of in chosen} | {UNMAPPABLE}),
        }


def all_agree(rates: Mapping[Any, float], expected: Mapping[Any, float]) -> bool:
    """Fail unless there is a correct rate for each expected key, and no other."""
    assert sorted(rates) == sorted(expected)
    wrong = {
        key: (rate * WINDOW, expected[key]) for key, rate in rates.items() if not agrees(rate, expected[key])
    }
    assert wrong == {}
    return True


def time_spent(fleet: Fleet, image: Image) -> float:
    """Return the total time of an image's I/Os in seconds."""
    status = fleet.status(image)
    return float(status["read_ns"] + status["write_ns"]) / 1e9
