"""HTTP for the application by uvicorn, with limits on what a client can have."""

from __future__ import annotations

import asyncio
import socket
from email.utils import formatdate
from typing import Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

MOST_CONNECTIONS: Final = 200
# A request line and all headers together.
_LARGEST_HEAD: Final = 16 * 1024
# From a connection, or the last answer, to the next answer's end: for slow clients, too.
_DEADLINE: Final = 30.0
_BACKLOG: Final = 128

# No page has a script or style of its own in it, nor anything of another host.
HEADERS: Final = (
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
)


class _Connection(H11Protocol):
    """One client's connection. One too many is closed at once, one that is too slow at its deadline."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
        else:
            self._wait()

    def data_received(self, data: bytes) -> None:
        self.server_state.default_headers[0] = (b"date", formatdate(usegmt=True).encode())
        super().data_received(data)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(_DEADLINE, self.transport.abort)


class Answering:
    """Answers with what `app` says. Once this is made there is nothing left to import.

    uvicorn's own server would wake ten times a second, and see to signals: this process just ends.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._config = uvicorn.Config(
            app,
            http=_Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            h11_max_incomplete_event_size=_LARGEST_HEAD,
            headers=list(HEADERS),
        )
        self._config.load()
        self._state = ServerState()
        self._state.default_headers = [(b"date", b""), *self._config.encoded_headers]

    async def on(self, listening: socket.socket) -> asyncio.Server:
        """Answer who connects to `listening`, from now on."""
        loop = asyncio.get_running_loop()
        return await loop.create_server(self._connection, sock=listening, backlog=_BACKLOG)

    def _connection(self) -> _Connection:
        return _Connection(self._config, self._state, {})
