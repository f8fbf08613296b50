"""The web process's routes. All of them only read, and only the store.

Endpoints are `async def` and wait for nothing: the others would be run in threads. No file is read and nothing
imported any more when a request comes, as the process's user may not be allowed to: templates and the like are
loaded when the application is made.
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

_NOTHING_YET: Final = "not all has come from the supervisor yet\n"
# Of what is worth it; and more than that is not gained by more work.
_COMPRESSED = Middleware(GZipMiddleware, minimum_size=1024, compresslevel=3, thread_minimum_size=2**40)


def application(store: Store, pages: Sequence[BaseRoute] = ()) -> Starlette:
    """Return the application on `store`; `pages` are the routes of the page."""

    async def healthz(_request: Request) -> PlainTextResponse:
        """Well once the supervisor's first heartbeat has come."""
        if not store.supervisor:
            return PlainTextResponse(_NOTHING_YET, 503)
        return PlainTextResponse("ok\n")

    rendered = Metrics(store)

    async def metrics(request: Request) -> Response:
        """All metrics, or none: half of the files would look like the others were gone."""
        if not store.supervisor:
            return PlainTextResponse(_NOTHING_YET, 503)
        body, content_type = rendered.render(request.headers.get("accept", ""), time.time())
        return Response(body, headers={"Content-Type": content_type})

    routes = [Route("/healthz", healthz), Route("/metrics", metrics), *pages]
    return Starlette(routes=routes, middleware=[_COMPRESSED])
