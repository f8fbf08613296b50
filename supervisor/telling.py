"""What the web process is told: of a file, and of the supervisor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from supervisor.status import status_of

if TYPE_CHECKING:
    from supervisor.feed import Message
    from supervisor.fleet import Fleet


def about_file(fleet: Fleet, path: str) -> Iterator[Message]:
    """Walk the messages about the file at `path`, as of now. What they say of its regions is told once."""
    fleet.ledger.flush()  # totals that were shown must not go back, whoever is killed next
    filemap = fleet.filemaps.get(path)
    if filemap is None:
        yield ["gone", path]
    else:
        yield ["file", status_of(fleet, filemap)]
        if filemap.placed.news:
            yield ["regions", path, filemap.placed.take()]
