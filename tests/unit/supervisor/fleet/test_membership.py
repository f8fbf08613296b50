"""Files that are released, renamed, removed and added again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from supervisor.config.models import Config
from supervisor.control.handlers import Handlers
from supervisor.control.requests import RestartRequest
from supervisor.control.status import StatusSource
from supervisor.discovery.selection import Scan, select_files
from supervisor.fleet.filemap import Filemap
from supervisor.fleet.fleet import Fleet
from supervisor.fleet.fork_server import Child
from supervisor.fleet.membership import set_files
from supervisor.fleet.state_machine import Event, Record, State
from supervisor.web.feed_messages import file_messages
from tests.unit.fleets import small_fleet
from workers import messages
from workers.channel import pair

# Above any that the kernel gives.
NO_PID = 1 << 30


@contextmanager
def held(fleet: Fleet, file: Path, scanned: Path | None = None) -> Iterator[Filemap]:
    """Make the fleet's one file `file`, whose worker has just died; `scanned` is its directory."""
    config = Config.model_validate(
        {"version": 1, "directories": [{"path": str(scanned)}]}
        if scanned
        else {"version": 1, "filemaps": [{"path": str(file)}]}
    )
    fleet.config = config
    scans = {str(scanned): Scan((str(file),))} if scanned else {}
    (filemap,) = fleet.filemaps.values()
    fleet.filemaps.clear()
    filemap.spec = select_files(config, scans)[str(file)]
    fleet.filemaps[filemap.path] = filemap
    file.touch()
    filemap.fd = os.open(file, os.O_PATH)
    filemap.file = holds(file, 5)
    ours, theirs = pair()
    with closing(ours), closing(theirs):
        filemap.child = Child(NO_PID, ours)
        yield filemap


def holds(file: Path, fd: int) -> messages.FileOpened:
    """Return the message with which a worker reports its file."""
    found = file.stat()
    return messages.FileOpened(found.st_dev, found.st_ino, 0, fd)


def in_directory(fleet: Fleet, folder: Path) -> None:
    """Apply what the directory contains now."""
    files = tuple(sorted(map(str, folder.iterdir())))
    set_files(fleet, select_files(fleet.config, {str(folder): Scan(files)}))


def test_the_file_of_a_dead_worker_stays_open(tmp_path: Path) -> None:
    """The descriptor may be the only way to the file. Another file replaces it."""
    with small_fleet(tmp_path) as fleet, held(fleet, tmp_path / "a.img") as filemap:
        before, reported = filemap.fd, holds(tmp_path / "a.img", 7)
        (tmp_path / "a.img").unlink()
        fleet._messages.handle(filemap, reported)
        assert (filemap.fd, filemap.file) == (before, reported)
        fleet._messages.handle(filemap, replace(reported, generation=1))
        assert filemap.fd is None


def test_renamed_while_its_next_worker_waits_to_be_started(tmp_path: Path) -> None:
    """It is started."""
    folder = tmp_path / "images"
    folder.mkdir()
    with small_fleet(tmp_path) as fleet, held(fleet, folder / "a.img", folder) as filemap:
        filemap.child = None
        filemap.record = Record(State.BACKOFF, retry_at=0.0)
        fleet.advance(filemap, Event.TIMER)
        assert filemap.record.state is State.STARTING
        (folder / "a.img").rename(folder / "b.img")
        in_directory(fleet, folder)
        assert filemap.path == str(folder / "b.img")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fleet._queue, "_start", lambda _filemap: True)
            fleet._queue._start_some()
        assert fleet._queue._starting == {filemap}


@pytest.mark.parametrize("status", [0, 69])
def test_a_file_that_is_not_followed_has_no_mapping(tmp_path: Path, status: int) -> None:
    """It has no extents, no group and no place on the page."""
    with small_fleet(tmp_path) as fleet, held(fleet, tmp_path / "a.img") as filemap:
        filemap.record = Record(State.RUNNING, started_at=0.0)
        filemap.mapped = messages.Mapped({"group_id": 3}, "", 1, 1, 0, 0, 0, None, True, False, False, False)
        filemap.group_id = 3
        filemap.placement.set_pieces([8], [8])
        list(file_messages(StatusSource(fleet, lambda _filemap: None), filemap.path))
        fleet.processes._by_pid[NO_PID] = filemap
        fleet.processes._exited(filemap, status)
        reported = {
            message[0]: message
            for message in file_messages(StatusSource(fleet, lambda _filemap: None), filemap.path)
        }
        assert (reported["file"][1]["group_id"], reported["file"][1]["extents"]) == (None, 0)
        assert reported["regions"] == ["regions", filemap.path, []]


def test_a_removed_file_is_not_restarted(tmp_path: Path) -> None:
    """While the last worker of a removed file is ending, a restart request doesn't find the file."""
    with small_fleet(tmp_path) as fleet, held(fleet, tmp_path / "a.img") as filemap:
        filemap.record = Record(State.RUNNING, started_at=0.0)
        answers = Handlers(fleet, None, None, None, None, None, None)  # type: ignore[arg-type] # what is not asked
        set_files(fleet, {})
        assert answers._restart(RestartRequest(name=filemap.path)).status == 404
        assert not filemap.record.again
        set_files(fleet, {filemap.path: filemap.spec})
        assert answers._restart(RestartRequest(name=filemap.path)).status == 200


def test_the_event_of_a_deleted_file(tmp_path: Path) -> None:
    """It says that the file was deleted; of a file that is still there, that it is no longer selected."""
    reasons = []
    for is_deleted in (True, False):
        folder = tmp_path / str(is_deleted)
        folder.mkdir()
        file = folder / "a.img"
        with small_fleet(folder) as fleet, held(fleet, file) as filemap:
            fleet.listeners.append(lambda event: reasons.append(event.reason))
            filemap.record = Record(State.RUNNING, started_at=0.0)
            if is_deleted:
                file.unlink()
            set_files(fleet, {})
            filemap.reason = "asked to stop"
            fleet.processes._by_pid[NO_PID] = filemap
            fleet.processes._exited(filemap, 0)
    assert reasons == ["the file was deleted", "no longer selected"]
