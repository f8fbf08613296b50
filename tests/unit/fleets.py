"""A fleet without processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from selectors import DefaultSelector
from typing import Any

from supervisor.config.models import Config
from supervisor.control.status import StatusSource
from supervisor.discovery.selection import select_files
from supervisor.fleet.filemap import Filemap
from supervisor.fleet.fleet import Fleet
from supervisor.fleet.fork_server import ForkServer
from supervisor.ledger.ledger import Ledger
from supervisor.runtime.child_reaper import ChildReaper
from supervisor.runtime.timers import Timers
from workers.watcher import FileWatcher


def status_of(fleet: Fleet, filemap: Filemap) -> dict[str, Any]:
    """Return the status of a file without a virtual machine."""
    return StatusSource(fleet, lambda _filemap: None).filemap(filemap)


@contextmanager
def small_fleet(folder: Path) -> Iterator[Fleet]:
    """A fleet with one file, /x, that isn't started; its ledger is in `folder`."""
    config = Config.model_validate({"version": 1, "filemaps": [{"path": "/x"}]})
    children = ChildReaper()
    watch = FileWatcher()
    with (
        closing(watch.watches),
        closing(Ledger(folder, children)) as ledger,
        DefaultSelector() as selector,
    ):
        made = Fleet(
            config, ledger, watch, selector, Timers(), children, ForkServer(2), print, lambda _pid: []
        )
        made.filemaps["/x"] = Filemap(select_files(config, {})["/x"])
        yield made
