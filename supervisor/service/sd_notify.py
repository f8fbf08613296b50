"""sd_notify(3): tell systemd how the service is doing."""

from __future__ import annotations

import functools
import os
import socket
from typing import Final

# systemd reads at once; a service must not hang on it when it doesn't.
_PATIENCE: Final = 1.0


def notify(message: str) -> bool:
    """Send `message` (READY=1, RELOADING=1, STATUS=...) to the service manager; False where there is none to hear."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        _socket().sendto(message.encode(), address)
    except OSError:
        return False
    return True


@functools.cache
def _socket() -> socket.socket:
    """Return a socket that is kept: the watchdog is to be fed where no descriptor is to be had any more, too."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.settimeout(_PATIENCE)
    return made
