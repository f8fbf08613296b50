"""Directories that appear, vanish and are mounted over."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from sandbox.devices import filesystem
from tests.kernel import oracle
from tests.kernel.running import Running, running, wait_for, write


def followed(supervisor: Running, names: list[str]) -> bool:
    """Return whether exactly these files are there, all RUNNING."""
    found = {f["name"]: f["state"] for f in supervisor.status()["filemaps"]}
    assert found == dict.fromkeys(names, "RUNNING"), found
    return True


def follows(supervisor: Running, *names: str) -> None:
    """Wait until exactly these files are followed."""
    wait_for(f"{names} are followed", partial(followed, supervisor, list(names)))


def test_a_missing_directory_is_waited_for(tmp_path: Path) -> None:
    """A missing directory is no error: its files are selected when it appears, wait when it vanishes, and are
    selected again."""
    with filesystem("ext4", 64) as fs:
        folder, aside = fs.mountpoint / "images", fs.mountpoint / "aside"
        aside.mkdir()
        write(aside / "a.img", 1)
        with running(tmp_path, {"directories": [{"path": str(folder), "mode": "path"}]}) as supervisor:
            wait_for("the supervisor responds", lambda: "version" in supervisor.status())
            follows(supervisor)
            aside.rename(folder)
            follows(supervisor, "a.img")
            folder.rename(aside)
            supervisor.wait_state(folder / "a.img", "WAITING")
            wait_for("its group goes", lambda: oracle.groups(fs.device.name) == {})
            aside.rename(folder)
            follows(supervisor, "a.img")


def test_an_unmounted_directory_is_waited_for(tmp_path: Path) -> None:
    """A file system mounted on an empty directory is scanned, and so are files created in it later."""
    with filesystem("ext4", 64) as fs:
        write(fs.mountpoint / "a.img", 1)
        os.sync()
        where = str(fs.mountpoint)
        oracle.run("umount", where)
        with running(tmp_path, {"directories": [{"path": where, "include": ["*.img"]}]}) as supervisor:
            wait_for("the supervisor responds", lambda: "version" in supervisor.status())
            follows(supervisor)
            oracle.run("mount", str(fs.device.path), where)
            follows(supervisor, "a.img")
            oracle.assert_exact_cover(fs.mountpoint / "a.img", fs.device.name)
            write(fs.mountpoint / "b.img", 1)
            follows(supervisor, "a.img", "b.img")


def test_beyond_max_files(tmp_path: Path) -> None:
    """New files take no places of followed ones, not after a restart either, but those of dropped ones."""
    with filesystem("ext4", 64) as fs:
        write(fs.mountpoint / "m.img", 1)
        write(fs.mountpoint / "n.img", 1)
        directory = {"path": str(fs.mountpoint), "include": ["*.img"], "max_files": 2}
        with running(tmp_path, {"directories": [directory]}) as supervisor:
            follows(supervisor, "m.img", "n.img")
            groups = oracle.groups(fs.device.name)
            write(fs.mountpoint / "a.img", 1)
            wait_for(
                "it is left out", lambda: "left out: 1 more, as max_files is 2" in supervisor.log.read_text()
            )
            follows(supervisor, "m.img", "n.img")
            assert supervisor.stop() == 0
            supervisor.again()
            follows(supervisor, "m.img", "n.img")
            assert oracle.groups(fs.device.name) == groups
            (fs.mountpoint / "m.img").unlink()
            follows(supervisor, "a.img", "n.img")


def test_of_two_names_one_goes(tmp_path: Path) -> None:
    """A hard link waits while the file is followed by its other name, and is followed once that name is
    gone."""
    with filesystem("ext4", 64) as fs:
        one, other = fs.mountpoint / "one.img", fs.mountpoint / "other.img"
        write(one, 1)
        with running(
            tmp_path, {"directories": [{"path": str(fs.mountpoint), "include": ["*.img"]}]}
        ) as supervisor:
            follows(supervisor, "one.img")
            os.link(one, other)
            supervisor.wait_state(other, "WAITING")
            one.unlink()
            follows(supervisor, "other.img")
            oracle.assert_exact_cover(other, fs.device.name)
            assert len(oracle.groups(fs.device.name)) == 1
