"""Files that are let go, renamed and taken up again, and what of them is remembered."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from supervisor.config import Config
from supervisor.filemap import Filemap
from supervisor.fleet import Fleet
from supervisor.forkserver import Child
from supervisor.membership import want
from supervisor.selection import Scan, wanted
from supervisor.states import Event, Record, State
from tests.unit.fleets import small_fleet
from workers import channel as say

# Above any that the kernel gives.
NO_PID = 1 << 30


@contextmanager
def held(fleet: Fleet, file: Path, scanned: Path | None = None) -> Iterator[Filemap]:
    """Have the fleet's one file be `file`, which a worker that has died just now held; `scanned` is its directory."""
    config = Config.model_validate(
        {"version": 1, "directories": [{"path": str(scanned)}]}
        if scanned
        else {"version": 1, "filemaps": [{"path": str(file)}]}
    )
    fleet.config = config
    scans = {str(scanned): Scan((str(file),))} if scanned else {}
    (filemap,) = fleet.filemaps.values()
    fleet.filemaps.clear()
    filemap.wanted = wanted(config, scans)[str(file)]
    fleet.filemaps[filemap.path] = filemap
    file.touch()
    filemap.fd = os.open(file, os.O_PATH)
    filemap.holds = holds(file, 5)
    ours, theirs = say.pair()
    with closing(ours), closing(theirs):
        filemap.child = Child(NO_PID, ours)
        yield filemap


def holds(file: Path, fd: int) -> say.Holds:
    """Return what the worker of a file says of it."""
    found = file.stat()
    return say.Holds(found.st_dev, found.st_ino, 0, fd)


def in_directory(fleet: Fleet, folder: Path) -> None:
    """Have the fleet run what the directory has now."""
    files = tuple(sorted(map(str, folder.iterdir())))
    want(fleet, wanted(fleet.config, {str(folder): Scan(files)}))


def test_renamed_while_its_next_worker_waits_to_be_started(tmp_path: Path) -> None:
    """It is started all the same."""
    folder = tmp_path / "images"
    folder.mkdir()
    with small_fleet(tmp_path) as fleet, held(fleet, folder / "a.img", folder) as filemap:
        filemap.child = None
        filemap.record = Record(State.BACKOFF, retry_at=0.0)
        fleet.event(filemap, Event.TIMER)
        assert filemap.record.state is State.STARTING
        (folder / "a.img").rename(folder / "b.img")
        in_directory(fleet, folder)
        assert filemap.path == str(folder / "b.img")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fleet, "_start", lambda _filemap: True)
            fleet._start_some()
        assert fleet._starting == {filemap}
