"""Interference with the device: changes to our groups are detected and repaired; others' regions don't
change."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dmstats.device import Device
from dmstats.filemap import create_regions_from_fd
from sandbox.devices import Filesystem, filesystem
from tests.kernel import oracle
from tests.kernel.changes import CHANGES, opened
from tests.kernel.running import Running, running, stopped, wait_for, write


class Scene:
    """A file that a supervisor follows, in two extents that lie apart."""

    def __init__(self, fs: Filesystem, supervisor: Running, file: Path) -> None:
        self.fs, self.supervisor, self.file = fs, supervisor, file
        self.device, self.name = Device(fs.device.dev_t), fs.device.name

    def group(self) -> int:
        """Return the id of the file's group."""
        return oracle.groups_of(self.file, self.name)[0]

    def exact(self) -> bool:
        """Return whether the group is exact and nothing is left behind."""
        oracle.assert_exact_cover(self.file, self.name)
        oracle.assert_no_orphan(self.name)
        return True

    def mended(self, what: str) -> bool:
        """Return whether the group is exact again, nothing is left behind and `what` was counted."""
        self.exact()
        filemap = self.supervisor.filemap(self.file)
        assert filemap["noticed"].get(what), filemap
        assert filemap["restarts"] == 0
        return True


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """One for each test."""
    with filesystem("ext4", size_mb=200) as fs:
        file = fs.mountpoint / "disk.img"
        write(file, 2)
        write(fs.mountpoint / "apart", 2)
        write(file, 2, 4)
        with running(tmp_path, {"filemaps": [{"path": str(file)}]}) as supervisor:
            supervisor.wait_state(file)
            yield Scene(fs, supervisor, file)


def test_ungrouped(scene: Scene) -> None:
    """`dmstats ungroup`: the regions get their tag back, with their counters."""
    regions = {row.id: (row.start, row.length) for row in oracle.rows(scene.name)}
    oracle.run("dmstats", "ungroup", "--groupid", str(scene.group()), scene.name)
    wait_for("the group is back", lambda: scene.mended("ungrouped"))
    assert {row.id: (row.start, row.length) for row in oracle.rows(scene.name)} == regions


def test_deleted(scene: Scene) -> None:
    """`dmstats delete --allregions`: the group is recreated."""
    oracle.run("dmstats", "delete", "--allregions", scene.name)
    wait_for("the group is back", lambda: scene.mended("lost"))


def test_one_region_deleted(scene: Scene) -> None:
    """A deleted member is recreated, the other doesn't change."""
    group = scene.group()
    leader = next(row for row in oracle.rows(scene.name) if row.id == group)
    oracle.run("dmsetup", "message", scene.name, "0", f"@stats_delete {oracle.groups(scene.name)[group][-1]}")
    wait_for("the region is back", lambda: scene.mended("lost"))
    assert (leader.id, leader.start) in {(row.id, row.start) for row in oracle.rows(scene.name)}


def test_taken_into_another_group(scene: Scene) -> None:
    """A tag takes our regions into another program's group: that group is left alone, and the file gets a new
    one."""
    group = scene.group()
    theirs = scene.device.create(0, 8, program="other", aux="theirs")
    scene.device.set_aux(group, f"DMS_GROUP=stolen:{group}-{theirs}#-")
    rows = [row for row in oracle.rows(scene.name) if row.id <= theirs]  # ours may already be recreated
    wait_for("the file has a group", lambda: bool(oracle.assert_exact_cover(scene.file, scene.name)))
    wait_for("it is reported", lambda: scene.supervisor.filemap(scene.file)["noticed"] == {"lost": 1})
    CHANGES["append"](scene.file)
    wait_for("it is followed", lambda: bool(oracle.assert_exact_cover(scene.file, scene.name)))
    assert [row for row in oracle.rows(scene.name) if row.id <= theirs] == rows


def test_tag_overwritten(scene: Scene) -> None:
    """A leader with any other aux gets its tag back: it is recognised by its place."""
    regions = {row.id: (row.start, row.length) for row in oracle.rows(scene.name)}
    scene.device.set_aux(scene.group(), "hello")
    wait_for("the group is back", lambda: scene.mended("ungrouped"))
    assert {row.id: (row.start, row.length) for row in oracle.rows(scene.name)} == regions


def test_id_reused_by_another_files_group(scene: Scene) -> None:
    """The group is deleted and its id reused by another file's group, which isn't touched."""
    group, other = scene.group(), scene.fs.mountpoint / "apart"
    # Otherwise the file's own group might be recreated in between, with that id.
    with stopped(scene.supervisor.process.pid):
        for number in reversed(oracle.groups(scene.name)[group]):
            scene.device.delete(number)
        with opened(other, os.O_RDONLY) as fd:
            assert group in create_regions_from_fd(fd)
    wait_for("the file has a group again", lambda: scene.mended("lost"))
    oracle.assert_exact_cover(other, scene.name)
    CHANGES["append"](scene.file)
    wait_for("it is followed", lambda: scene.mended("lost"))
    oracle.assert_exact_cover(other, scene.name)


def test_adopted_id_reused_under_the_same_alias(tmp_path: Path) -> None:
    """An adopted group is deleted, and dmstats reuses its id and alias for another file's group. That group
    isn't touched, and the file gets its own."""
    with filesystem("ext4", size_mb=200) as fs:
        file, other, name = fs.mountpoint / "disk.img", fs.mountpoint / "other.img", fs.device.name
        write(file, 2)
        write(other, 2)
        create = ("dmstats", "create", "--filemap", "--nomonitor", "--alias", "disk.img")
        oracle.run(*create, str(file))
        with running(tmp_path, {"filemaps": [{"path": str(file), "group_id": 0}]}) as supervisor:

            def exact() -> bool:
                """Return whether the reported group isn't theirs, and is exact."""
                filemap = supervisor.filemap(file)
                assert filemap["noticed"].get("reused") == 1, filemap
                assert filemap["group_id"] not in {0, None}
                oracle.assert_exact_cover(file, name, filemap["group_id"])
                return True

            assert supervisor.wait_state(file)["group_id"] == 0
            with stopped(supervisor.process.pid):
                oracle.run("dmstats", "delete", "--allregions", name)
                oracle.run(*create, str(other))
                theirs = oracle.table(name)
            wait_for("it has a group of its own", exact)
            CHANGES["append"](file)
            wait_for("it is followed", exact)
            assert theirs.items() <= oracle.table(name).items()


def test_a_group_to_adopt_that_is_anothers(tmp_path: Path) -> None:
    """It is reported and left unchanged; the file gets its own group."""
    with filesystem("ext4", size_mb=200) as fs:
        file, other, name = fs.mountpoint / "disk.img", fs.mountpoint / "other.img", fs.device.name
        write(file, 2)
        write(other, 2)
        oracle.run("dmstats", "create", "--filemap", "--nomonitor", str(other))
        theirs = oracle.table(name)
        with running(tmp_path, {"filemaps": [{"path": str(file), "group_id": 0}]}) as supervisor:
            filemap = supervisor.wait_state(file)
            assert (filemap["configured_group_id"], filemap["noticed"]) == (0, {"foreign": 1})
            assert filemap["group_id"] not in {0, None}
            oracle.assert_exact_cover(file, name, filemap["group_id"])
            assert theirs.items() <= oracle.table(name).items()
            assert "group 0 is of another file: the file gets a new group" in supervisor.log.read_text()


def test_ids_taken_as_they_become_free(scene: Scene) -> None:
    """Another program takes ids while the file changes: its regions and ours remain separate."""
    theirs: dict[int, int] = {}
    for i, change in enumerate(["append", "punch", "scatter", "punch_first", "append", "shrink"]):
        for n in range(3):
            theirs[scene.device.create(n * 8, 8, program="other")] = n * 8
        CHANGES[change](scene.file)
        wait_for("it is followed", scene.exact)
        for number in sorted(theirs)[i % 2 :: 2]:
            scene.device.delete(number)
            del theirs[number]
        oracle.assert_no_orphan(scene.name)
    assert {r.id: r.start for r in oracle.rows(scene.name) if r.program == b"other"} == theirs


def test_second_supervisor_waits_for_the_group(scene: Scene, tmp_path: Path) -> None:
    """A second supervisor on the same file reports the group's owner, touches nothing, and takes over at the
    owner's end."""
    folder = tmp_path / "second"
    folder.mkdir()
    table = oracle.run("dmsetup", "message", scene.name, "0", "@stats_list")
    with running(folder, {"filemaps": [{"path": str(scene.file)}]}) as second:
        reason = second.wait_state(scene.file, "WAITING")["reason"]
        assert f"process {scene.supervisor.filemap(scene.file)['pid']}" in reason
        assert oracle.run("dmsetup", "message", scene.name, "0", "@stats_list") == table
        assert scene.supervisor.stop() == 0
        second.wait_state(scene.file)
        CHANGES["append"](scene.file)
        wait_for("it follows", lambda: bool(oracle.assert_exact_cover(scene.file, scene.name)))
