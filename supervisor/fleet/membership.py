"""Adds, changes, renames and removes filemaps, so that the fleet follows the selected files."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Container, Iterable
from functools import cache, partial
from typing import Final

from supervisor.config.filemap_spec import FilemapSpec
from supervisor.fleet.filemap import Filemap, Identity, path_state
from supervisor.fleet.fleet import Fleet
from supervisor.fleet.state_machine import Event, State
from supervisor.runtime.rlimits import raise_descriptors
from workers.cached_stat import exists

_HAS_WORKER: Final = frozenset({State.STARTING, State.RUNNING, State.WAITING, State.BACKOFF})
"""The states in which there is a worker, or another will follow, to notice that its file is gone."""


def set_files(fleet: Fleet, files: dict[str, FilemapSpec], *, complete: bool = True) -> dict[str, list[str]]:
    """Follow exactly `files`; return the names added, changed and removed.

    Unchanged files keep their worker. Without `complete` no file is removed for not being among `files`.
    """
    changes: dict[str, list[str]] = {"added": [], "changed": [], "removed": []}
    _apply_renames(fleet, files)
    for path, wanted in files.items():
        filemap = fleet.filemaps.get(path)
        was_unseen = filemap is not None and filemap.removed
        if filemap is not None:
            filemap.removed = False
        if filemap is None:
            fleet.filemaps[path] = _new_filemap(fleet, wanted)
            changes["added"].append(wanted.name)
            fleet.advance(fleet.filemaps[path], Event.START)
        elif filemap.spec != wanted:
            changes["changed"].append(wanted.name)
            _change(fleet, filemap, wanted)
        if was_unseen:
            fleet.advance(fleet.filemaps[path], Event.START)
    identities = cache(partial(_identities, files))
    for filemap in [f for path, f in fleet.filemaps.items() if path not in files] if complete else ():
        if _outlives_its_name(filemap) and not _has_other_name(filemap, identities):
            _remove_when_ended(fleet, filemap)
        else:
            _remove(fleet, filemap)
            changes["removed"].append(filemap.name)
    if changes["added"]:
        raise_descriptors(len(fleet.filemaps))
    return changes


def _apply_renames(fleet: Fleet, files: dict[str, FilemapSpec]) -> None:
    """Let files in mode inode keep their worker and their totals under a new name."""
    held = {
        (f.file.dev, f.file.inode): f
        for f in fleet.filemaps.values()
        if f.file is not None and f.fd is not None and f.follows_inode
    }
    new = deque(path for path in files if held and path not in fleet.filemaps)
    while new:
        path = new.popleft()
        stands = path_state(path)
        filemap = held.get((stands[0], stands[1])) if stands else None
        if filemap is None or _worker_settings(filemap.spec) != _worker_settings(files[path]):
            continue
        old = filemap.path
        if old not in files or _has_left_its_name(filemap):
            filemap.log(logging.INFO, "%s was renamed to %s", old, path)
            _rename(fleet, filemap, files[path])
            if old in files:
                new.append(old)  # another file may have been renamed to `old`


def _has_left_its_name(filemap: Filemap) -> bool:
    """Return whether the file is no longer at its path in the directory."""
    stands, holds = path_state(filemap.path), filemap.file
    if filemap.spec.directory is None or holds is None or stands == ():
        return False
    return stands is None or stands[:2] != (holds.dev, holds.inode)


def _worker_settings(wanted: FilemapSpec) -> tuple[object, ...]:
    """Return the part of the specification that a worker depends on while it has its file open."""
    return wanted.options, wanted.group_id, wanted.alias


def _rename(fleet: Fleet, filemap: Filemap, wanted: FilemapSpec) -> None:
    fleet.watcher.remove(filemap.path)
    fleet.ledger.rename(filemap.path, wanted.path)
    fleet.status_changed(filemap.path)
    del fleet.filemaps[filemap.path]
    filemap.spec = wanted
    filemap.placement.resend()
    fleet.filemaps[wanted.path] = filemap
    fleet.watcher.add(wanted.path, filemap.fd, None)
    # The watcher has forgotten the events of the old name.
    fleet.watcher.mark_changed(wanted.path, time.monotonic())
    fleet.status_changed(wanted.path)


def _new_filemap(fleet: Fleet, wanted: FilemapSpec) -> Filemap:
    entry = fleet.ledger.entry(wanted.path)
    filemap = Filemap(wanted, account=entry.account, moves=entry.moves, moves_total=entry.moves_total)
    state = fleet.ledger.last_state(wanted.path)
    filemap.reported = State(state) if state is not None and state in State.__members__ else None
    filemap.last_group_id = entry.group_id if entry.group_id is not None else wanted.group_id
    return filemap


def _change(fleet: Fleet, filemap: Filemap, wanted: FilemapSpec) -> None:
    renamed = filemap.spec.name != wanted.name
    before, filemap.spec = filemap.spec, wanted
    fleet.status_changed(filemap.path)
    if (before.directory, *_worker_settings(before)) != (wanted.directory, *_worker_settings(wanted)):
        filemap.sample_at = 0.0  # the interval may have changed
        fleet.advance(filemap, Event.RESTART, reason="its configuration changed")
    elif renamed:
        filemap.log(logging.INFO, "new name of %s", filemap.path)


def _outlives_its_name(filemap: Filemap) -> bool:
    """Return whether the file left its directory and may still be open or have another name (mode inode)."""
    return (
        filemap.spec.source.startswith("directories")
        and filemap.follows_inode
        and (filemap.record.state in _HAS_WORKER or filemap.record.again)
        and filemap.fd is not None
        and not exists(filemap.path)
    )


def _has_other_name(filemap: Filemap, identities: Callable[[], Container[Identity]]) -> bool:
    """Return whether the file open as `filemap.fd` is one of the selected files."""
    if filemap.fd is None or not os.fstat(filemap.fd).st_nlink or filemap.file is None:
        return False
    return (filemap.file.dev, filemap.file.inode) in identities()


def _identities(files: Iterable[str]) -> set[Identity]:
    return {(stands[0], stands[1]) for stands in map(path_state, files) if stands}


def _remove_when_ended(fleet: Fleet, filemap: Filemap) -> None:
    """Remove a file that left its directory once its worker finds that no process has it open."""
    filemap.removed = True
    fleet.watcher.mark_changed(filemap.path, time.monotonic())


def _remove(fleet: Fleet, filemap: Filemap) -> None:
    """Stop following a file that is no longer selected."""
    filemap.removed = True
    filemap.delete = filemap.spec.group_id is None
    reason = "the file was deleted" if _is_deleted(filemap) else "no longer selected"
    fleet.advance(filemap, Event.STOP, reason=reason)
    fleet.remove_if_ended(filemap)


def _is_deleted(filemap: Filemap) -> bool:
    """Return whether the file has no name any more, as far as is known without asking a disk."""
    if filemap.fd is None:
        is_missing = filemap.record.state is State.WAITING or path_state(filemap.path) is None
        return filemap.spec.directory is not None and is_missing
    try:
        return os.fstat(filemap.fd).st_nlink == 0
    except OSError:  # a file system that was shut down
        return False
