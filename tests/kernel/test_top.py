"""`filemapd top` against I/O that the test made and what dmstats counted of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from supervisor.text.times import seconds_of
from tests.kernel import oracle
from tests.kernel.conftest import Disk, read_direct, write_direct
from tests.kernel.running import DEADLINE, Running, running, wait_for, wakes_of

MIB = 1 << 20
INTERVAL = 6
RATES = ("reads_per_s", "writes_per_s", "read_bytes_per_s", "write_bytes_per_s")


def start_top(supervisor: Running, *words: str) -> subprocess.Popen[str]:
    """Run `filemapd top` without a terminal."""
    program = (sys.executable, "-c", "from supervisor.cli.main import main; main()")
    command = [*program, "--runtime-dir", str(supervisor.runtime_dir), "top", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def result(top: subprocess.Popen[str]) -> str:
    """Return what it printed."""
    text, _ = top.communicate(timeout=DEADLINE)
    assert top.returncode == 0
    return text


def wait_sampled(supervisor: Running, *files: Path, after: str = "") -> str:
    """Return when the last of the files' counters was read, once all were after `after`."""

    def read() -> str:
        at = [supervisor.filemap(file).get("sampled_at") or "" for file in files]
        assert min(at) > after, at
        return max(at)

    return wait_for("counters are read", read)


def wait_measuring(top: subprocess.Popen[str], supervisor: Running, after: str, *files: Path) -> None:
    """Return once it has read the counters and but waits for its interval's end.

    It looks at the device itself a moment after the workers have read theirs, and asks again each 0.2 s until then.
    So it was not woken in forty looks 0.02 s apart: time alone may pass while the whole machine stands still.
    """
    wait_sampled(supervisor, *files, after=after)
    looks = Counter[int]()

    def still() -> bool:
        looks[now := wakes_of(top.pid)] += 1
        return looks[now] > 40

    wait_for("top waits", still, seldom=0.02)


def dmstats(device: str) -> dict[int, list[int]]:
    """Return reads, writes, bytes read and bytes written of each region, as `dmstats report` tells (and zeroes)."""
    text = oracle.run(
        "dmstats", "report", "--region", "--noheadings", "--separator", "|", "--units", "s", "--nosuffix", "-o",
        "region_id,read_count,write_count,read_sector_count,write_sector_count", device,
    )  # fmt: skip
    rows = [[int(float(word)) for word in line.split("|")] for line in text.splitlines()]
    return {row[0]: [row[1], row[2], row[3] * 512, row[4] * 512] for row in rows}


def added(rows: Iterable[list[int]]) -> list[int]:
    """Return the sums of columns."""
    return [sum(column) for column in zip(*rows, strict=True)]


def times(device: str, numbers: list[int]) -> list[int]:
    """Return the ns that reads and writes of regions took, as the kernel prints them."""
    lines = [oracle.message(device, f"@stats_print {number}").split() for number in numbers]
    return [sum(int(words[field]) for words in lines) for field in (4, 8)]


def figures(told: dict[str, Any], keys: Sequence[str]) -> list[float]:
    """Return how often per interval, from how often per second."""
    return [told[key] * told["seconds"] for key in keys]


def test_the_busier_is_first_and_its_figures_are_dmstats(disk: Disk, tmp_path: Path) -> None:
    """Two images with known O_DIRECT I/O: the order, the rates and the latencies are those that dmstats counted."""
    slow, busy = disk.write("a-slow.img", MIB), disk.write("z-busy.img", MIB)
    quiet = disk.write("m-quiet.img", MIB)
    files = {"filemaps": [{"path": str(path)} for path in (slow, busy, quiet)]}
    with running(tmp_path, files | {"defaults": {"sample": "1h"}}) as supervisor:
        before = wait_sampled(supervisor, slow, busy, quiet)
        # What was read within the last second is as good as new to `top`.
        wait_for("the counters are old", lambda: time.time() - seconds_of(before) > 1.5)
        top = start_top(supervisor, "--json", "--interval", str(INTERVAL))
        wait_measuring(top, supervisor, before, slow, busy, quiet)
        write_direct(slow, 0, 40)
        read_direct(busy, 0, 150)
        write_direct(busy, 8192, 50)
        told = json.loads(result(top))
        first, second, last = told["filemaps"]
        assert [f["name"] for f in (first, second, last)] == ["z-busy.img", "a-slow.img", "m-quiet.img"]
        assert [f["ios"] for f in (first, second, last)] == [200, 40, 0]
        groups = oracle.groups(disk.name)
        members = [groups[supervisor.filemap(path)["group_id"]] for path in (busy, slow)]
        took = [times(disk.name, numbers) for numbers in members]
        regions = dmstats(disk.name)
        for filemap, numbers, ns in zip((first, second), members, took, strict=True):
            counted = added(regions[number] for number in numbers)
            assert figures(filemap, RATES) == pytest.approx(counted, abs=0.1 * INTERVAL)
            # Told in whole nanoseconds, of which such a device takes few.
            assert filemap["latency_ns"] == pytest.approx(sum(ns) / sum(counted[:2]), abs=0.5)
        # Each file's share is of its own time between two samples, and these differ on a busy machine.
        lasted = second["seconds"] / first["seconds"]
        assert first["share"] / second["share"] == pytest.approx(
            sum(took[0]) / sum(took[1]) * lasted, rel=0.01
        )
        assert first["share"] + second["share"] <= 1.0001
        assert last["share"] == 0
        (device,) = told["devices"]
        assert device["device"] == disk.name
        assert device["reads_per_s"] * device["seconds"] >= 149.9


def test_by_name_and_device(disk: Disk, tmp_path: Path) -> None:
    """The table for a person: in the order asked for, only of the device's node that was named."""
    one, other = disk.write("a.img", MIB), disk.write("b.img", MIB)
    with running(tmp_path, {"filemaps": [{"path": str(path)} for path in (other, one)]}) as supervisor:
        wait_sampled(supervisor, one, other)
        node = os.path.realpath(f"/dev/mapper/{disk.name}")
        text = result(start_top(supervisor, "--sort", "name", "--device", node, "--interval", "1"))
    header, _, *rows, footer = text.splitlines()
    assert header.startswith("filemapd ")
    assert f"2 files on {disk.name}" in header
    assert [line.split()[0] for line in rows] == ["a.img", "b.img"]
    assert footer.startswith("over ")
