"""python -m supervisor.web ARGUMENTS: the web process. The supervisor starts it, and it ends when its feed is closed.

ARGUMENTS are JSON from supervisor/web/process.py: descriptors of sockets, the log level, and the user to run as. TLS
and users are in the feed's first message, because all users of the host can read ARGUMENTS.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import sys
from typing import Any

from starlette.types import ASGIApp

from supervisor.config.tls import UnusableError, server_context
from supervisor.web import log, privileges
from supervisor.web.app import application
from supervisor.web.feed_receiver import follow, settings
from supervisor.web.pages.routes import Pages
from supervisor.web.server import HttpServer
from supervisor.web.state.recent import Recent
from supervisor.web.state.store import Store
from workers.libc import die_with_parent

_log = logging.getLogger("filemapd.web")


async def _run(given: dict[str, Any]) -> None:
    feed, listening = (socket.socket(fileno=given[name]) for name in ("feed", "listening"))
    web = settings(feed)
    tls = server_context(web["tls_server_config"]) if web["tls_server_config"] else None
    store, recent = Store(), Recent()
    store.listen(recent.put)
    app = application(store, Pages(store, recent, socket.gethostname()).routes())
    server = HttpServer(_guarded(app, web["basic_auth_users"]), tls)
    privileges.drop(given["user"])
    die_with_parent(given["parent"])  # the kernel clears this when the user changes
    server.start(listening)
    await follow(feed, store.put)


def _guarded(app: ASGIApp, users: dict[str, str]) -> ASGIApp:
    if not users:
        return app
    from supervisor.web.auth import BasicAuth  # noqa: PLC0415 - bcrypt is only needed with users

    return BasicAuth(app, users)


def main() -> None:
    """Serve until the feed is closed."""
    given = json.loads(sys.argv[1])
    log.join(socket.socket(fileno=given["log"]), given["level"])
    try:
        asyncio.run(_run(given))
    except UnusableError as error:
        _log.error("web.tls_server_config: %s", error)
        sys.exit(os.EX_CONFIG)


if __name__ == "__main__":
    main()
