"""The web process, started as the supervisor does, on a feed of the test."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from supervisor.config.web import TlsServerConfig
from tests.unit.data import recorded

DEADLINE = 60.0


@dataclass
class Response:
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes


class Serving:
    """A running web process with the packages of `python`. `tls` is web.tls_server_config, `context` is for its
    clients, and `users` is web.basic_auth_users."""

    def __init__(
        self,
        python: str = sys.executable,
        *,
        tls: TlsServerConfig | None = None,
        context: ssl.SSLContext | None = None,
        users: Mapping[str, str] | None = None,
    ) -> None:
        self.context = context
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.port: int = listening.getsockname()[1]
            self.feed, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.log, log_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            settings = {"tls_server_config": tls and tls.model_dump(), "basic_auth_users": users or {}}
            self.send("settings", settings)
            sockets = {"feed": theirs, "listening": listening, "log": log_end}
            numbers = {name: one.fileno() for name, one in sockets.items()}
            given = {**numbers, "level": 20, "parent": os.getpid(), "user": None}
            self.process = subprocess.Popen(
                [python, "-I", "-m", "supervisor.web", json.dumps(given)],
                pass_fds=tuple(numbers.values()),
                stdout=subprocess.PIPE,
                env={},
            )
            theirs.close()
            log_end.close()
        self.log.setblocking(False)

    def send(self, *message: Any) -> None:
        """Send a message on its feed."""
        self.feed.send(json.dumps(message).encode())

    def send_all(self, status: dict[str, Any]) -> None:
        """Send the whole status of a fleet, and wait until the process has it."""
        for filemap in status["filemaps"]:
            self.send("file", filemap)
        self.send("supervisor", {key: value for key, value in status.items() if key != "filemaps"})
        deadline = time.monotonic() + DEADLINE
        while self.get("/healthz").status == http.HTTPStatus.SERVICE_UNAVAILABLE:
            assert time.monotonic() < deadline

    def connection(self) -> http.client.HTTPConnection:
        """Return a connection that is not open yet, with TLS if configured."""
        if self.context is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=DEADLINE, context=self.context)

    def get(self, path: str, method: str = "GET", **headers: str) -> Response:
        """Send a request. _ in a header's name is replaced by -."""
        connection = self.connection()
        try:
            connection.request(
                method, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
            )
            response = connection.getresponse()
            return Response(
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                response.read(),
            )
        finally:
            connection.close()

    def records(self) -> list[str]:
        """Return the messages logged since the last call."""
        found = []
        while True:
            try:
                found.append(str(json.loads(self.log.recv(1 << 20))["msg"]))
            except BlockingIOError:
                return found

    def close(self) -> tuple[int, bytes]:
        """Close its feed. Return its exit status and its output on stdout."""
        self.feed.close()
        out, _ = self.process.communicate(timeout=DEADLINE)
        self.log.close()
        return self.process.returncode, out


@contextmanager
def serving(python: str = sys.executable, **settings: Any) -> Iterator[Serving]:
    """Run one. It must exit with 0 and without output on stdout."""
    one = Serving(python, **settings)
    try:
        yield one
    except BaseException:
        one.process.kill()
        raise
    finally:
        status, out = one.close()
    assert (status, out) == (0, b"")


def recorded_status() -> dict[str, Any]:
    """Return the recorded status of a fleet (data/record_status.py)."""
    status: dict[str, Any] = json.loads(recorded("status.json"))
    return status
