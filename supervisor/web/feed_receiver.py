"""The web process's end of the feed: one JSON message a packet, read as they come."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Callable
from typing import Any, Final

_log = logging.getLogger("filemapd.web")

# As much as a packet can hold (supervisor/web/feed_sender.py).
_LARGEST: Final = 512 * 1024
# Then requests get their turn.
_AT_ONCE: Final = 100


def settings(feed: socket.socket) -> dict[str, Any]:
    """Return what the first message of `feed` says, which is there when this process is: how to serve."""
    found: dict[str, Any] = json.loads(feed.recv(_LARGEST))[1]
    return found


async def follow(feed: socket.socket, take: Callable[[list[Any]], None]) -> None:
    """Hand each message of `feed` to `take`, until the other end is closed."""
    over = asyncio.Event()
    feed.setblocking(False)
    buffer = memoryview(bytearray(_LARGEST))

    def readable() -> None:
        for _ in range(_AT_ONCE):
            try:
                size = feed.recv_into(buffer)
            except BlockingIOError:
                return
            except OSError:
                size = 0
            if not size:
                over.set()
                return
            _receive(bytes(buffer[:size]), take)

    loop = asyncio.get_running_loop()
    loop.add_reader(feed, readable)
    try:
        await over.wait()
    finally:
        loop.remove_reader(feed)


def _receive(packet: bytes, take: Callable[[list[Any]], None]) -> None:
    try:
        take(json.loads(packet))
    except Exception:  # noqa: BLE001 - one message that can't be made use of takes none of the others along
        _log.exception("a message of the supervisor was not taken: %.80r", packet)
