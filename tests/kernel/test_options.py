"""Options of filemapd's groups follow the configuration; those of adopted groups don't change."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sandbox.devices import filesystem
from tests.kernel import oracle
from tests.kernel.changes import CHANGES
from tests.kernel.conftest import Disk
from tests.kernel.driver import Driver
from tests.kernel.running import running, wait_for, write


def test_changed_options_of_a_made_group(tmp_path: Path) -> None:
    """A reload with another histogram and program recreates the regions; counts stay."""
    with filesystem("ext4", size_mb=100) as fs:
        file = fs.mountpoint / "disk.img"
        write(file, 3)
        os.sync()
        drive = Driver(file)
        defaults = {"sample": "100ms", "histogram": ["1ms"]}
        with running(tmp_path, {"filemaps": [{"path": str(file)}], "defaults": defaults}) as supervisor:
            supervisor.wait_state(file)
            drive.read(8, 0)
            wait_for("all is counted", lambda: drive.counted(supervisor))
            changed = {**defaults, "histogram": ["2ms", "20ms"], "program_id": "fleet"}
            supervisor.write({"filemaps": [{"path": str(file)}], "defaults": changed})
            assert "changed: disk.img" in supervisor.command("reload").stdout

            def recreated() -> bool:
                oracle.assert_exact_cover(file, fs.device.name)
                row = oracle.rows(fs.device.name)[0]
                assert row.aux.endswith(b"histogram:2000000,20000000"), row
                return row.program == b"fleet"

            wait_for("the regions are recreated", recreated)
            assert len(oracle.rows(fs.device.name)) == 1
            wait_for("what was counted stays", lambda: supervisor.filemap(file)["reads"] == drive.reads)


def test_long_histograms(tmp_path: Path) -> None:
    """A file of many regions has a histogram with the maximum of bounds, then another: nothing crashes."""
    with filesystem("ext4", size_mb=100) as fs:
        file = Disk(fs.device, fs.mountpoint).pieces("disk.img", 60, 16384)
        drive = Driver(file)
        entry: dict[str, Any] = {"path": str(file), "histogram": [f"{n}us" for n in range(1001, 2001)]}
        defaults = {"sample": "100ms"}
        with running(tmp_path, {"filemaps": [entry], "defaults": defaults}) as supervisor:
            assert supervisor.wait_state(file)["regions"] == 60
            drive.read(4, 0)
            wait_for("all is counted", lambda: drive.counted(supervisor))
            supervisor.write({"filemaps": [entry | {"histogram": ["1ms"]}], "defaults": defaults})
            supervisor.command("reload")

            def recreated() -> dict[str, Any]:
                filemap = supervisor.filemap(file)
                assert (filemap["state"], filemap["bounds_ns"]) == ("RUNNING", [1_000_000])
                return filemap

            filemap = wait_for("the regions are recreated", recreated)
            oracle.assert_exact_cover(file, fs.device.name)
            assert (filemap["last_crash"], filemap["reads"]) == (None, drive.reads)


def test_a_group_of_several_kinds(tmp_path: Path) -> None:
    """A group of regions with different histograms, which dmstats would not create, is adopted. All is
    counted, and the histogram sums the regions with the same bounds as the first."""
    with filesystem("ext4", size_mb=100) as fs:
        file = fs.mountpoint / "disk.img"
        write(file, 2)
        write(fs.mountpoint / "apart", 2)
        write(file, 2, 4)
        oracle.run("dmstats", "create", "--filemap", "--nogroup", "--nomonitor", "--bounds", "5ms", str(file))
        second = oracle.rows(fs.device.name)[1]
        oracle.run("dmstats", "delete", "--regionid", str(second.id), fs.device.name)
        where = ("--start", f"{second.start}s", "--length", f"{second.length}s")
        oracle.run("dmstats", "create", *where, "--bounds", "1ms,7ms", fs.device.name)
        oracle.message(fs.device.name, "@stats_set_aux 0 DMS_GROUP=disk.img:0-1#-")
        config = {"filemaps": [{"path": str(file), "group_id": 0}], "defaults": {"sample": "100ms"}}
        with running(tmp_path, config) as supervisor:
            assert supervisor.wait_state(file)["group_id"] == 0
            drive = Driver(file)
            drive.read(20, 0)
            drive.write(12, 4)

            def counted() -> dict[str, Any]:
                filemap = supervisor.filemap(file)
                assert (filemap["reads"], filemap["writes"]) == (drive.reads, drive.writes)
                return filemap

            filemap = wait_for("all is counted", counted)
            assert filemap["restarts"] == 0
            assert (filemap["bounds_ns"], sum(filemap["histogram"])) == ([5_000_000], drive.reads)


def test_options_of_an_adopted_group(tmp_path: Path) -> None:
    """An adopted group retains precision, bounds, alias and program, even if the configuration has others."""
    with filesystem("ext4", size_mb=100) as fs:
        file = fs.mountpoint / "disk.img"
        write(file, 3)
        oracle.run(
            "dmstats", "create", "--filemap", "--nomonitor", "--bounds", "5ms", "--alias", "mine", str(file)
        )
        config = {"filemaps": [{"path": str(file), "group_id": 0, "alias": "other"}]}
        with running(tmp_path, config) as supervisor:
            assert supervisor.wait_state(file)["group_id"] == 0
            CHANGES["write_hole"](file)
            wait_for("it follows", lambda: bool(oracle.assert_exact_cover(file, fs.device.name, 0)))
            rows = oracle.rows(fs.device.name)
            assert len(rows) > 1
            assert all(row.aux.endswith(b" histogram:5") and row.program == b"dmstats" for row in rows)
            assert b"DMS_GROUP=mine:" in rows[0].aux
