"""`filemapd map` against filefrag and dmstats."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dmstats.filemap import create_regions_from_fd
from tests.kernel import oracle
from tests.kernel.conftest import KIB64, Disk, punch
from tests.kernel.running import FILEMAPD, running


def filemapd(*words: str | Path, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run a filemapd command, behind another command if given."""
    return subprocess.run([*before, *FILEMAPD, *words], capture_output=True, text=True, check=False)


def map_of(path: Path) -> dict[str, Any]:
    """Return the output of `filemapd map --json` for a file."""
    done = filemapd("map", "--json", path)
    assert (done.returncode, done.stderr) == (0, "")
    mapping: dict[str, Any] = json.loads(done.stdout)
    return mapping


def assert_as_filefrag(path: Path, mapping: dict[str, Any]) -> None:
    """Assert that the pieces cover the file, and lie where filefrag lists them."""
    ends = [piece["offset"] + piece["length"] for piece in mapping["pieces"]]
    assert [piece["offset"] for piece in mapping["pieces"]] == [0, *ends][:-1]
    assert ends[-1] == mapping["size"] == path.stat().st_size
    places = {
        piece["offset"] + at: piece["sector"] * 512 + at
        for piece in mapping["pieces"]
        if piece["sector"] is not None
        for at in range(0, piece["length"], 512)
    }
    assert places == {
        piece.logical + at: piece.physical + at
        for piece in oracle.extents(path)
        for at in range(0, piece.length, 512)
    }


def test_without_a_supervisor(disk: Disk) -> None:
    """For a file with holes, an uncounted extent and others' regions on it the extents are filefrag's, the
    regions and groups those of dmstats, and the device isn't changed."""
    path = disk.pieces("vm.img", 3)
    first, *_, last = oracle.extents(path)
    create_regions_from_fd(disk.open(path))
    punch(path, last.logical, length=last.length)
    theirs = disk.others_region(first.physical // 512)
    disk.others_region(last.physical // 512)
    with path.open("rb+") as file:
        file.seek(5 * KIB64)
        file.write(b"y" * KIB64)
        os.fsync(file.fileno())
    os.posix_fallocate(disk.open(path), 6 * KIB64, KIB64)
    before = oracle.table(disk.name)
    mapping = map_of(path)
    assert oracle.table(disk.name) == before
    assert_as_filefrag(path, mapping)
    assert (mapping["device"], mapping["inode"]) == (disk.name, path.stat().st_ino)
    listed = {row.id: row for row in oracle.rows(disk.name)}
    assert {
        region["id"]: (region["sector"], region["length"] // 512) for region in mapping["regions"]
    }.items() <= {row.id: (row.start, row.length) for row in listed.values()}.items()
    on_file = oracle.sectors_of(path)
    for piece in mapping["pieces"]:
        if piece["sector"] is not None:
            sectors = range(piece["sector"], piece["sector"] + piece["length"] // 512)
            assert piece["regions"] == sorted(
                row.id
                for row in listed.values()
                if row.start <= sectors[0] and sectors[-1] < row.start + row.length
            )
    covered = {sector for row in listed.values() for sector in range(row.start, row.start + row.length)}
    assert mapping["uncovered_bytes"] == 512 * len(on_file - covered) > 0
    (group,) = mapping["groups"]
    ((name, group_id, members),) = oracle.fields(disk.name, "group", "stats_name", "group_id", "region_id")
    assert (group["group_id"], group["regions"]) == (int(group_id), 3)
    assert group["alias"] in name
    assert members == "0-2"
    counted = {s for n in range(3) for s in range(listed[n].start, listed[n].start + listed[n].length)}
    assert group["covered_bytes"] == 512 * len(counted & on_file)
    assert group["excess_bytes"] == 512 * len(counted - on_file) == last.length
    assert {"id": theirs, "group_id": None, "program": "theirs"}.items() <= mapping["regions"][-1].items()
    table = filemapd("map", path)
    assert table.returncode == 0
    lines = table.stdout.splitlines()
    assert lines[1].split() == ["OFFSET", "LENGTH", "SECTOR", "REGION", "GROUP", "FLAGS"]
    assert all(len(line) <= 80 for line in lines[1:])
    assert any("unwritten, uncovered" in line for line in lines)


def test_with_a_supervisor(disk: Disk, tmp_path: Path) -> None:
    """The group of filemapd covers the file to the byte."""
    path = disk.pieces("vm.img", 4)
    with running(tmp_path, {"filemaps": [{"path": str(path)}]}) as supervisor:
        group_id = supervisor.wait_state(path)["group_id"]
        mapping = map_of(path)
    assert_as_filefrag(path, mapping)
    oracle.assert_exact_cover(path, disk.name, group_id)
    assert mapping["uncovered_bytes"] == 0
    assert mapping["groups"] == [
        {
            "group_id": group_id,
            "alias": "vm.img",
            "program": "dmstats",
            "regions": 4,
            "covered_bytes": 512 * len(oracle.sectors_of(path)),
            "excess_bytes": 0,
        }
    ]


@pytest.mark.parametrize("made", ["ext4"], indirect=True)
def test_what_has_no_map(disk: Disk, btrfs: Path) -> None:
    """Unmappable files of each kind are reported with their reason on stderr, with status 1."""
    path = disk.write("vm.img", 4096)
    told_of = {
        disk.folder: "not a regular file: a directory",
        disk.folder / "none\x1b.img": "No such file or directory",
        path / "x": "Not a directory",
        Path("/proc/version"): "on proc, which has no block device of its own",
    }
    inside = "its extents have addresses of btrfs's own, not of the device, so they can't be mapped"
    told_of[btrfs / "file"] = f"on btrfs: {inside}"
    for file, reason in told_of.items():
        done = filemapd("map", file)
        shown = str(file).replace("\x1b", r"\x1b")
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"filemapd: {shown}: {reason}\n")
    for mode, lacking, reason in (
        (0o000, "-dac_override,-dac_read_search", f"{path}: Permission denied"),
        (0o600, "-sys_admin", f"{path}: device-mapper refused: it asks for CAP_SYS_ADMIN, run as root"),
    ):
        path.chmod(mode)
        done = filemapd("map", path, before=("setpriv", f"--bounding-set={lacking}"))
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"filemapd: {reason}\n")
