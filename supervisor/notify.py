"""sd_notify(3): tell systemd how the service is doing."""

from __future__ import annotations

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
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(_PATIENCE)
        try:
            sock.sendto(message.encode(), address)
        except OSError:
            return False
    return True
