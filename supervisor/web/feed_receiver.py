"""The web process's end of the feed: one JSON message in each packet."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Callable
from typing import Any, Final

_log = logging.getLogger("filemapd.web")

# The maximum size of a packet (supervisor/web/feed_sender.py).
_LARGEST: Final = 512 * 1024
# Packets in one turn of the event loop, so that requests are not delayed.
_AT_ONCE: Final = 100


def settings(feed: socket.socket) -> dict[str, Any]:
    """Return the settings in the first message of `feed`, which was sent before this process started."""
    found: dict[str, Any] = json.loads(feed.recv(_LARGEST))[1]
    return found


async def follow(feed: socket.socket, take: Callable[[list[Any]], None]) -> None:
    """Call `take` with each message of `feed` until the other end is closed."""
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
    except Exception:  # noqa: BLE001 - an invalid message must not stop the others
        _log.exception("invalid message from the supervisor: %.80r", packet)
