"""The owners of regions according to configuration and ledger."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from dmstats.files import FileIdentity
from supervisor.cleanup.owners import UnknownError, find_owners, read_known
from supervisor.config.load import parse
from supervisor.config.models import Config
from supervisor.ledger.ledger import Ledger
from supervisor.runtime.child_reaper import ChildReaper
from workers.messages import FileOpened

GONE = FileIdentity(0xFD00, 12, 7)


def config_of(folder: Path, **content: Any) -> Config:
    """Return a configuration whose supervisor isn't running."""
    folders = {"runtime_dir": str(folder / "run"), "state_dir": str(folder / "state")}
    return parse(yaml.safe_dump({"version": 1, **folders, **content}).encode(), "x.yaml", lambda _path: None)


def remember(folder: Path, path: str, file: FileIdentity) -> Ledger:
    """Return an open ledger with an entry for the file at a path."""
    ledger = Ledger(folder / "state", ChildReaper())
    ledger.record_file(path, "vg-lv", FileOpened(file.dev, file.inode, file.generation, 3))
    ledger.flush()
    return ledger


def test_files_by_identity(tmp_path: Path) -> None:
    """Listed files and those of a directory are known by identity; others are not."""
    folder = tmp_path / "images"
    folder.mkdir()
    for path in (tmp_path / "listed", folder / "a.img", folder / "b.raw"):
        path.write_bytes(b"x")
    config = config_of(
        tmp_path,
        filemaps=[{"path": str(tmp_path / "listed")}],
        directories=[{"path": str(folder), "include": ["*.img"]}],
    )
    keepers = find_owners(config, {}, {})
    wanted = {os.stat(path).st_ino for path in (tmp_path / "listed", folder / "a.img")}
    assert {file.inode for file in keepers.files} == wanted
    assert {file.dev for file in keepers.files} == {os.stat(folder).st_dev}
    assert keepers.aliases == set()


def test_a_missing_file(tmp_path: Path) -> None:
    """A missing file is known by the ledger's entry for its path, and by its alias; entries of other files
    don't count."""
    path, other = str(tmp_path / "my vm.img"), str(tmp_path / "other.img")
    config = config_of(tmp_path, filemaps=[{"path": path}, {"path": other, "alias": "named"}])
    known = {path: GONE, "/elsewhere": FileIdentity(0xFD00, 13, 7)}
    keepers = find_owners(config, {}, known)
    assert keepers.files == {GONE}
    assert keepers.name(GONE)
    assert not keepers.name(known["/elsewhere"])
    assert keepers.aliases == {"my_vm.img", "named"}


def test_a_directory_that_can_not_be_read(tmp_path: Path) -> None:
    """An unreadable directory makes the wanted files unknown."""
    config = config_of(tmp_path, directories=[{"path": str(tmp_path / "none")}])
    with pytest.raises(
        UnknownError, match="none: No such file or directory: which files are wanted is not known"
    ):
        find_owners(config, {}, {})


def test_the_ledger_is_only_read(tmp_path: Path) -> None:
    """Its entries are read while it is open and after it was closed. A missing ledger isn't created."""
    state = tmp_path / "state"
    assert read_known(state) == {}
    assert not state.exists()
    path = "/images/\udcffvm.img"
    ledger = remember(tmp_path, path, GONE)
    assert read_known(state) == {path: GONE}
    ledger.close()
    before = (state / "ledger.sqlite3").read_bytes()
    assert read_known(state) == {path: GONE}
    assert (state / "ledger.sqlite3").read_bytes() == before


@pytest.mark.parametrize("damage", [b"", b"x" * 4096])
def test_a_ledger_that_can_not_be_read(tmp_path: Path, damage: bytes) -> None:
    """A ledger of another version and a file that is none are reported."""
    remember(tmp_path, "/x", GONE).close()
    path = tmp_path / "state" / "ledger.sqlite3"
    path.write_bytes(damage)
    with pytest.raises(UnknownError, match=r"ledger\.sqlite3 can't be read"):
        read_known(path.parent)
