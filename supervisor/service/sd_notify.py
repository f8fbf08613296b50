"""sd_notify(3)."""

from __future__ import annotations

import functools
import os
import socket
from typing import Final

# Seconds. systemd reads at once; if it doesn't, the service must not hang.
_PATIENCE: Final = 1.0


def notify(message: str) -> bool:
    """Send `message` (READY=1, RELOADING=1, STATUS=...) to the service manager; return False if there is none."""
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
    """Return a socket that stays open: the watchdog must be fed even if no descriptor is available."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.settimeout(_PATIENCE)
    return made
