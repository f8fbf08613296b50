"""Compares `filemapd top` with the I/O of the test and with dmstats."""

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
    """Return the output of `top`, once it has exited."""
    text, _ = top.communicate(timeout=DEADLINE)
    assert top.returncode == 0
    return text


def wait_sampled(supervisor: Running, *files: Path, after: str = "") -> str:
    """Wait until all files were sampled after `after`. Return the time of the latest sample."""

    def read() -> str:
        at = [supervisor.filemap(file).get("sampled_at") or "" for file in files]
        assert min(at) > after, at
        return max(at)

    return wait_for("the files are sampled", read)


def wait_measuring(top: subprocess.Popen[str], supervisor: Running, after: str, *files: Path) -> None:
    """Wait until `top` has its first samples and waits for the end of its interval.

    `top` polls every 0.2 s until it has the samples. So it has them if it doesn't wake in forty checks 0.02 s apart.
    A time limit would not do, as the whole machine may be suspended.
    """
    wait_sampled(supervisor, *files, after=after)
    checks = Counter[int]()

    def idle() -> bool:
        checks[wakes := wakes_of(top.pid)] += 1
        return checks[wakes] > 40

    wait_for("top waits", idle, seldom=0.02)


def dmstats(device: str) -> dict[int, list[int]]:
    """Return reads, writes, bytes read and bytes written of each region from `dmstats report`, which resets them."""
    text = oracle.run(
        "dmstats", "report", "--region", "--noheadings", "--separator", "|", "--units", "s", "--nosuffix", "-o",
        "region_id,read_count,write_count,read_sector_count,write_sector_count", device,
    )  # fmt: skip
    rows = [[int(float(word)) for word in line.split("|")] for line in text.splitlines()]
    return {row[0]: [row[1], row[2], row[3] * 512, row[4] * 512] for row in rows}


def sums(rows: Iterable[list[int]]) -> list[int]:
    """Return the sum of each column."""
    return [sum(column) for column in zip(*rows, strict=True)]


def times(device: str, numbers: list[int]) -> list[int]:
    """Return the total ns of reads and of writes of regions, from the kernel."""
    lines = [oracle.message(device, f"@stats_print {number}").split() for number in numbers]
    return [sum(int(words[field]) for words in lines) for field in (4, 8)]


def figures(row: dict[str, Any], keys: Sequence[str]) -> list[float]:
    """Return counts per interval from rates per second."""
    return [row[key] * row["seconds"] for key in keys]


def test_order_and_figures_agree_with_dmstats(disk: Disk, tmp_path: Path) -> None:
    """With known O_DIRECT I/O to two images, order, rates and latencies agree with dmstats."""
    slow, busy = disk.write("a-slow.img", MIB), disk.write("z-busy.img", MIB)
    quiet = disk.write("m-quiet.img", MIB)
    files = {"filemaps": [{"path": str(path)} for path in (slow, busy, quiet)]}
    with running(tmp_path, files | {"defaults": {"sample": "1h"}}) as supervisor:
        before = wait_sampled(supervisor, slow, busy, quiet)
        # `top` accepts samples of the last second.
        wait_for("the samples are old", lambda: time.time() - seconds_of(before) > 1.5)
        top = start_top(supervisor, "--json", "--interval", str(INTERVAL))
        wait_measuring(top, supervisor, before, slow, busy, quiet)
        write_direct(slow, 0, 40)
        read_direct(busy, 0, 150)
        write_direct(busy, 8192, 50)
        printed = json.loads(result(top))
        first, second, last = printed["filemaps"]
        assert [f["name"] for f in (first, second, last)] == ["z-busy.img", "a-slow.img", "m-quiet.img"]
        assert [f["ios"] for f in (first, second, last)] == [200, 40, 0]
        groups = oracle.groups(disk.name)
        members = [groups[supervisor.filemap(path)["group_id"]] for path in (busy, slow)]
        took = [times(disk.name, numbers) for numbers in members]
        regions = dmstats(disk.name)
        for filemap, numbers, ns in zip((first, second), members, took, strict=True):
            counted = sums(regions[number] for number in numbers)
            assert figures(filemap, RATES) == pytest.approx(counted, abs=0.1 * INTERVAL)
            # Printed in whole ns, and this device's latencies are only a few ns.
            assert filemap["latency_ns"] == pytest.approx(sum(ns) / sum(counted[:2]), abs=0.5)
        # Each file's share is over its own interval, and intervals differ on a busy machine.
        ratio = second["seconds"] / first["seconds"]
        assert first["share"] / second["share"] == pytest.approx(
            sum(took[0]) / sum(took[1]) * ratio, rel=0.01
        )
        assert first["share"] + second["share"] <= 1.0001
        assert last["share"] == 0
        (device,) = printed["devices"]
        assert device["device"] == disk.name
        assert device["reads_per_s"] * device["seconds"] >= 149.9


def test_by_name_and_device(disk: Disk, tmp_path: Path) -> None:
    """The table in the given order, only with files on the device of the given path."""
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
