"""python -m supervisor.web GIVEN: the web process. The supervisor starts it, and it ends when its feed does.

GIVEN is what supervisor/webprocess.py says, as JSON: descriptors of sockets, and whose privileges to take.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from typing import Any

from supervisor.web import log, privileges
from supervisor.web.app import application
from supervisor.web.feed import follow
from supervisor.web.pages import Pages
from supervisor.web.recent import Recent
from supervisor.web.serve import Answering
from supervisor.web.store import Store
from workers.libc import die_with_parent


async def _run(given: dict[str, Any]) -> None:
    feed, listening = (socket.socket(fileno=given[name]) for name in ("feed", "listening"))
    store, recent = Store(), Recent()
    store.listen(recent.take)
    answering = Answering(application(store, Pages(store, recent, socket.gethostname()).routes()))
    privileges.drop(given["user"])
    die_with_parent(given["parent"])  # only now, as another user has to ask for it anew
    await answering.on(listening)
    await follow(feed, store.take)


def main() -> None:
    """Serve until the feed ends."""
    given = json.loads(sys.argv[1])
    log.join(socket.socket(fileno=given["log"]), given["level"])
    asyncio.run(_run(given))


if __name__ == "__main__":
    main()
