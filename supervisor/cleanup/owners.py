"""Collects the owners of regions: configuration, supervisor, ledger, and processes that have a group's lock."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil

from dmstats.filemap import safe_alias
from dmstats.files import FileIdentity, identify
from supervisor.cleanup.leftovers import Owners
from supervisor.config.models import Config
from supervisor.control.client import NotRunning, call
from supervisor.discovery.selection import scan, select_files
from supervisor.ledger.entries import known_files
from supervisor.vms.open_files import open_files
from workers.group_lock import holders


class UnknownError(Exception):
    """The selected files are unknown."""


def find_owners(config: Config, devices: Mapping[str, int], known: Mapping[str, FileIdentity]) -> Owners:
    """Return the present owners of regions. `devices` are the device numbers by name, `known` is the ledger's.

    Raises UnknownError where a directory of the configuration can't be read, ControlError where the supervisor
    doesn't respond.
    """
    aliases = _configured(config)
    status = _status(Path(config.runtime_dir))
    for filemap in status:
        aliases.setdefault(filemap["path"], None)
    found = {path: _identity(path) for path in aliases}
    by_status = {
        (devices[filemap["device"]], filemap["inode"])
        for filemap in status
        if filemap["device"] in devices and filemap["inode"] is not None
    }
    named = {file for file in found.values() if file is not None}
    exact = named | {known[path] for path in aliases if path in known}
    held = {group: pid for group, pid in holders().items() if pid != os.getpid()}
    return Owners(
        files=exact,
        # Where the generation is known, an older file that had the inode is another.
        inodes=by_status - {(file.dev, file.inode) for file in named} | _held_open(held.values()),
        aliases={
            alias or safe_alias(os.path.basename(path))
            for path, alias in aliases.items()
            if found[path] is None
        },
        groups=held.keys(),
    )


def read_known(state_dir: Path) -> dict[str, FileIdentity]:
    """Return which file the ledger knows at each path; none where there is no ledger. Raises UnknownError."""
    path = state_dir / "ledger.sqlite3"
    try:
        return known_files(path) if path.exists() else {}
    except sqlite3.Error as error:
        raise UnknownError(
            f"{path} can't be read ({error}), so it isn't known which files were followed: see `filemapd run`'s log"
        ) from None


def _configured(config: Config) -> dict[str, str | None]:
    """Return the alias, if there is one, of each file that the configuration selects now, by path."""
    scans = {directory.path: scan(directory) for directory in config.directories}
    for found in scans.values():
        if found.reason is not None:
            raise UnknownError(f"{found.reason}: which files are wanted is not known, so nothing is removed")
    return {path: wish.alias for path, wish in select_files(config, scans).items()}


def _status(runtime_dir: Path) -> list[dict[str, Any]]:
    """Return the status of the running supervisor's files, none where it doesn't run."""
    try:
        status: list[dict[str, Any]] = call(runtime_dir, "GET", "/v1/status")["filemaps"]
    except NotRunning:
        return []
    return status


def _identity(path: str) -> FileIdentity | None:
    """Return the identity of the file at a path, None where it can't be opened."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None
    try:
        return identify(fd)
    finally:
        os.close(fd)


def _held_open(pids: Iterable[int]) -> set[tuple[int, int]]:
    """Return which files processes have open, and their parents: a supervisor has those of all its workers, also of
    such as are about to be started again."""
    everyone = set(pids)
    for pid in list(everyone):
        with contextlib.suppress(psutil.Error):
            everyone.add(psutil.Process(pid).ppid())
    return {file for pid in everyone for file, _ in open_files(pid)}
