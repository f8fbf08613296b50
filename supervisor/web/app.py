"""The web process's routes. All of them only read, and only the store.

Endpoints are `async def` and wait for nothing: the others would be run in threads. No file is read and nothing
imported any more when a request comes, as the process's user may not be allowed to: templates and the like are
loaded when the application is made.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Route

from supervisor.web.store import Store


def application(store: Store, pages: Sequence[BaseRoute] = ()) -> Starlette:
    """Return the application on `store`; `pages` are the routes of the page."""

    async def healthz(_request: Request) -> PlainTextResponse:
        """Well once the supervisor's first heartbeat has come."""
        if not store.supervisor:
            return PlainTextResponse("nothing has come from the supervisor yet\n", 503)
        return PlainTextResponse("ok\n")

    return Starlette(routes=[Route("/healthz", healthz), *pages])
