"""Ask the running filemapd: HTTP with JSON over the control socket."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any, Final

SOCKET_NAME: Final = "control.sock"


class ControlError(Exception):
    """The request failed; the text is the reason. `status` is the response's, None without a response."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class NotRunning(ControlError):  # noqa: N818 - the name states the condition
    """Nobody listens on the control socket."""


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def call(runtime_dir: Path, method: str, path: str, body: object = None, timeout: float = 10) -> Any:
    """Send a request and return the JSON of the response.

    Raises NotRunning where there is no filemapd, ControlError with its text for a response that is an error.
    """
    address = runtime_dir / SOCKET_NAME
    connection = _Connection(address, timeout)
    try:
        status, text = _exchange(connection, method, path, body)
    except FileNotFoundError:
        raise NotRunning(f"filemapd is not running: there is no control socket at {address}") from None
    except ConnectionRefusedError:
        raise NotRunning(
            f"filemapd is not running: no process listens on its control socket {address}"
        ) from None
    except PermissionError:
        raise ControlError(f"no permission to use {address}: be root or in its group") from None
    except TimeoutError:
        raise ControlError(f"filemapd did not respond on {address} within {timeout:g} s") from None
    except BlockingIOError:
        raise ControlError(f"filemapd has too many clients on {address}: try again") from None
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise ControlError(f"the connection to filemapd on {address} broke: {reason}") from error
    finally:
        connection.close()
    return _parse_response(status, text)


def _exchange(connection: _Connection, method: str, path: str, body: object) -> tuple[int, bytes]:
    if body is None:
        connection.request(method, path)
    else:
        connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    return response.status, response.read()


def _parse_response(status: int, text: bytes) -> Any:
    try:
        value = json.loads(text) if text else None
    except ValueError:
        raise ControlError(
            f"filemapd responded with status {status} and no JSON: {text[:80]!r}", status
        ) from None
    if status < http.client.BAD_REQUEST:
        return value
    reason = value.get("error") if isinstance(value, dict) else None
    raise ControlError(str(reason or f"filemapd responded with status {status}"), status)
