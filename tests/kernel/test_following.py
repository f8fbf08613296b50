"""A supervisor follows a file through every way in which its allocation can change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from sandbox.devices import Filesystem, filesystem
from tests.kernel.changes import EXT4_CHANGES, XFS_CHANGES
from tests.kernel.oracle import assert_exact_cover, assert_no_orphan
from tests.kernel.running import Running, running, wait_for, write

FS: dict[str, Literal["ext4", "xfs"]] = {"ext4": "ext4", "xfs": "xfs"}


class Scene:
    """A file system, a file on it and a supervisor that follows it."""

    def __init__(self, fs: Filesystem, supervisor: Running) -> None:
        self.file = fs.mountpoint / "disk.img"
        self.device = fs.device.name
        self.supervisor = supervisor

    def exact(self) -> bool:
        """Return whether the group covers the file exactly and nothing is left behind."""
        assert_exact_cover(self.file, self.device)
        assert_no_orphan(self.device)
        return True


@pytest.fixture(scope="module", params=["ext4", "xfs"])
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One supervisor for all changes on a file system."""
    with filesystem(FS[request.param], size_mb=600) as fs:
        write(fs.mountpoint / "disk.img", 6)
        config = {"filemaps": [{"path": str(fs.mountpoint / "disk.img")}]}
        with running(tmp_path_factory.mktemp("following"), config) as supervisor:
            supervisor.wait_state(fs.mountpoint / "disk.img")
            yield Scene(fs, supervisor)


@pytest.mark.parametrize("name", sorted(EXT4_CHANGES | XFS_CHANGES))
def test_change_is_followed(scene: Scene, name: str) -> None:
    """After the change the group's regions cover exactly filefrag's extents, without orphans or restarts."""
    changes = EXT4_CHANGES if "ext4" in scene.device else XFS_CHANGES
    change = changes.get(name)
    if change is None:
        return
    change(scene.file)
    wait_for(f"{name} is followed", scene.exact)
    # The worker reports it a moment later: a file that was empty is WAITING until then.
    filemap = scene.supervisor.wait_state(scene.file)
    assert filemap["restarts"] == 0
    assert filemap["excess_bytes"] == 0


def test_regions_are_joined_at_rest(scene: Scene) -> None:
    """A file that grew in small steps ends with as many regions as it has extents on disk."""
    path: Path = scene.file
    path.write_bytes(b"")
    for i in range(5):
        write(path, 1, i)
        wait_for("each step is followed", scene.exact)

    def at_rest() -> bool:
        filemap = scene.supervisor.filemap(path)
        assert filemap["regions"] <= filemap["extents"], filemap
        return scene.exact()

    wait_for("the regions are joined", at_rest)
