"""`filemapd top` without a terminal, against a fake fleet: one interval, as a table and as JSON."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from supervisor.cli.top.once import device_named
from tests.unit.supervisor.cli.top.fake_fleet import TOP, serving


def top(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `filemapd top` without a terminal."""
    return subprocess.run([*TOP, str(folder), "top", *words], capture_output=True, text=True, check=False)


def test_once(tmp_path: Path) -> None:
    """Without a terminal, `top` prints one interval, the busiest file first, without escape sequences."""
    with serving(tmp_path, "a10.img", "a500.img", "a0.img") as fleet:
        done = top(tmp_path, "--interval", "1")
    assert (done.returncode, done.stderr) == (0, "")
    header, _, *rows, footer = done.stdout.splitlines()
    assert header == "filemapd 9.9: 3 files, 2 with I/O, by iops"
    assert [line.split()[:2] for line in rows] == [
        ["a500.img", "500k"],
        ["a10.img", "10000"],
        ["a0.img", "0"],
    ]
    assert re.match(r"over [1-9]\d*\.\d", footer)
    assert "\x1b" not in done.stdout
    assert fleet.samples == [None, None]


def test_no_files(tmp_path: Path) -> None:
    """Without files there is no table."""
    with serving(tmp_path):
        done = top(tmp_path, "--interval", "1")
    assert (done.returncode, done.stdout) == (0, "filemapd 9.9: 0 files, 0 with I/O, by iops\n")


def test_json(tmp_path: Path) -> None:
    """--json prints the same figures, in the order of --sort."""
    with serving(tmp_path, "a10.img", "a500.img", "b20.img"):
        done = top(tmp_path, "--json", "--sort", "name", "--interval", "1")
    result = json.loads(done.stdout)
    assert [f["name"] for f in result["filemaps"]] == ["a10.img", "a500.img", "b20.img"]
    assert [f["reads_per_s"] for f in result["filemaps"]] == pytest.approx([10_000, 500_000, 20_000])
    assert [d["device"] for d in result["devices"]] == ["vg-a", "vg-b"]


def test_one_device(tmp_path: Path) -> None:
    """--device takes a name or number. Only files on the device are sampled and shown."""
    with serving(tmp_path, "a10.img", "b20.img") as fleet:
        for words in (("--device", "vg-b"), ("--device", "253:1")):
            fleet.samples.clear()
            done = top(tmp_path, "--json", "--interval", "1", *words)
            result = json.loads(done.stdout)
            assert [f["name"] for f in result["filemaps"]] == ["b20.img"]
            assert [d["device"] for d in result["devices"]] == ["vg-b"]
            assert fleet.samples == [{"device": "vg-b"}] * 2


def test_no_such_device(tmp_path: Path) -> None:
    """The error lists the known devices."""
    with serving(tmp_path, "a10.img", "b20.img"):
        done = top(tmp_path, "--device", "sda")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("filemapd: no followed file is on 'sda'; devices with files: 'vg-a', 'vg-b'\n")


def test_not_running(tmp_path: Path) -> None:
    """The exit status is 3, as for the other commands."""
    done = top(tmp_path)
    assert done.returncode == 3
    assert "filemapd is not running: there is no control socket" in done.stderr


@pytest.mark.parametrize("words", [("--interval", "0.5"), ("--interval", "x"), ("--sort", "size")], ids=str)
def test_invalid_options(tmp_path: Path, words: tuple[str, ...]) -> None:
    """The exit status is 2, and the error lists the valid values."""
    done = top(tmp_path, *words)
    assert done.returncode == 2
    assert re.search(r"1<=x<=3600|not a valid float|'iops', 'bytes'", done.stderr)


def test_a_device_by_its_path() -> None:
    """A path in /dev is resolved to its device, whatever its name."""
    node = os.stat("/dev/null").st_rdev
    devices = [
        {"device": "vg-a", "number": "253:0"},
        {"device": "vg-b", "number": f"{os.major(node)}:{os.minor(node)}"},
    ]
    assert device_named("/dev/null", devices) == "vg-b"
    assert device_named("/dev/zero", devices) is None
    assert device_named("/dev/none", devices) is None
    assert device_named("/etc/hostname", devices) is None
