"""The web process's routes. They read the store, and change nothing.

Endpoints are `async def` and never wait: Starlette would run plain functions in threads. Requests read no files and
import nothing, because the process's user may have no permission. Templates are loaded when the application is made.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from supervisor.web.metrics.exposition import Metrics
from supervisor.web.state.store import Store

_NOTHING_YET: Final = "no complete status from the supervisor yet\n"
# Small responses are not worth it, and higher levels compress hardly better.
_COMPRESSED = Middleware(GZipMiddleware, minimum_size=1024, compresslevel=3, thread_minimum_size=2**40)


def application(store: Store, pages: Sequence[BaseRoute] = ()) -> Starlette:
    """Return the application for `store`. `pages` are the routes of the page."""

    async def healthz(_request: Request) -> PlainTextResponse:
        """Healthy once the supervisor's first heartbeat has arrived."""
        if not store.supervisor:
            return PlainTextResponse(_NOTHING_YET, 503)
        return PlainTextResponse("ok\n")

    rendered = Metrics(store)

    async def metrics(request: Request) -> Response:
        """All metrics, or none: with some of the files, the others would seem to be gone."""
        if not store.supervisor:
            return PlainTextResponse(_NOTHING_YET, 503)
        body, content_type = rendered.render(request.headers.get("accept", ""), time.time())
        return Response(body, headers={"Content-Type": content_type})

    routes = [Route("/healthz", healthz), Route("/metrics", metrics), *pages]
    return Starlette(routes=routes, middleware=[_COMPRESSED])
