"""python -m supervisor.web FEED LISTENING: the web process, on the descriptors of its two sockets.

It is started by the supervisor, and ends when the feed does.
"""

from __future__ import annotations

import asyncio
import socket
import sys

from supervisor.web.app import application
from supervisor.web.feed import follow
from supervisor.web.serve import listen
from supervisor.web.store import Store


async def _run(feed: socket.socket, listening: socket.socket) -> None:
    store = Store()
    server = await listen(application(store), listening)
    await follow(feed, store.take)
    server.close()


def main() -> None:
    """Serve until the feed ends."""
    feed, listening = (socket.socket(fileno=int(word)) for word in sys.argv[1:3])
    asyncio.run(_run(feed, listening))


if __name__ == "__main__":
    main()
