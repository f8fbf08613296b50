"""Serves the application over HTTP with uvicorn's protocol, with limits for each client."""

from __future__ import annotations

import asyncio
import socket
import ssl
from email.utils import formatdate
from typing import Final

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

MOST_CONNECTIONS: Final = 200
# A request line and all headers together.
_LARGEST_HEAD: Final = 16 * 1024
# No request needs a body. A body up to this size is discarded; with a larger one the connection is aborted.
_LARGEST_BODY: Final = 16 * 1024
# From a connection or the last response to the end of the next response, also for slow clients.
_DEADLINE: Final = 30.0
# For the TLS handshake, which is before the connection, and for the TLS shutdown.
_HANDSHAKE: Final = 10.0
# Connections accepted in one turn of the event loop.
_AT_ONCE: Final = 100
# Seconds without accepting if the system has no descriptors or memory for a connection.
_PAUSE: Final = 1.0

# Pages have no inline scripts or styles, and load nothing from other hosts.
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
    """One client's connection. It is closed if the client is too slow or sends too much."""

    _deadline: asyncio.TimerHandle | None = None
    _body = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        self.server_state.default_headers[0] = (b"date", formatdate(usegmt=True).encode())
        super().data_received(data)
        self._body = self._body + len(data) if self.conn.their_state is h11.SEND_BODY else 0
        if self._body > _LARGEST_BODY:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Refuse invalid HTTP. The response to the request so far is discarded; if it has started, a 400 can't
        follow, and the connection is closed."""
        if self.cycle is not None:
            self.cycle.disconnected = True
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            super().send_400_response(msg)
        else:
            self.transport.close()

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


class HttpServer:
    """Serves `app`, with TLS if `tls` is given. Nothing is imported after this is made.

    uvicorn's own server wakes ten times a second and handles signals, which this process doesn't need. asyncio's
    server reports clients only after their TLS handshake, too late to limit their number.
    """

    def __init__(self, app: ASGIApp, tls: ssl.SSLContext | None = None) -> None:
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
        self._tls = tls
        self._opening: set[asyncio.Task[None]] = set()

    def start(self, listening: socket.socket) -> None:
        """Serve the clients of `listening`."""
        listening.setblocking(False)
        asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        """Accept waiting clients. Close those above the limit at once."""
        for _ in range(_AT_ONCE):
            try:
                client, _ = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:
                loop = asyncio.get_running_loop()
                loop.remove_reader(listening)
                loop.call_later(_PAUSE, self.start, listening)
                return
            if len(self._state.connections) < MOST_CONNECTIONS:
                self._open(client)
            else:
                client.close()

    def _open(self, client: socket.socket) -> None:
        connection = _Connection(self._config, self._state, {})
        self._state.connections.add(connection)
        opening = asyncio.get_running_loop().create_task(self._connect(client, connection))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    async def _connect(self, client: socket.socket, connection: _Connection) -> None:
        timeout = None if self._tls is None else _HANDSHAKE
        client.setblocking(False)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                client,
                ssl=self._tls,
                ssl_handshake_timeout=timeout,
                ssl_shutdown_timeout=timeout,
            )
        except OSError:  # the handshake failed or timed out
            self._state.connections.discard(connection)
