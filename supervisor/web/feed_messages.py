"""The feed messages about one file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supervisor.control.status import StatusSource
    from supervisor.web.feed_sender import Message


def file_messages(status: StatusSource, path: str) -> Iterator[Message]:
    """Yield the messages about the file at `path`, as of now. I/Os of its regions are in one message only."""
    fleet = status.fleet
    fleet.ledger.flush()  # totals on the page must not decrease after a crash
    filemap = fleet.filemaps.get(path)
    if filemap is None:
        yield ["gone", path]
    else:
        yield ["file", status.filemap(filemap)]
        if filemap.placement.is_changed:
            yield ["regions", path, filemap.placement.take()]
