"""A fleet without processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from selectors import DefaultSelector

from supervisor.children import Children
from supervisor.config import Config
from supervisor.filemap import Filemap
from supervisor.fleet import Fleet
from supervisor.forkserver import ForkServer
from supervisor.ledger import Ledger
from supervisor.selection import wanted
from supervisor.timers import Timers
from workers.watch import Watch


@contextmanager
def small_fleet(folder: Path) -> Iterator[Fleet]:
    """A fleet that has one file, /x, and has not started; its ledger is in `folder`."""
    config = Config.model_validate({"version": 1, "filemaps": [{"path": "/x"}]})
    children = Children()
    with (
        closing(Watch()) as watch,
        closing(Ledger(folder, children)) as ledger,
        DefaultSelector() as selector,
    ):
        made = Fleet(
            config, ledger, watch, selector, Timers(), children, ForkServer(2), print, lambda _pid: []
        )
        made.filemaps["/x"] = Filemap(wanted(config, {})["/x"])
        yield made
