"""The web process's end of the feed, over a real socket."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest

from supervisor.web.feed_receiver import follow


def test_all_that_was_said(caplog: pytest.LogCaptureFixture) -> None:
    """More messages than are taken at a turn all come, in order, till the end; one that is none is told and left."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    said = [["event", number] for number in range(150)]
    taken: list[Any] = []

    async def read() -> None:
        following = asyncio.create_task(follow(theirs, taken.append))
        for message in said:
            await asyncio.get_running_loop().sock_sendall(ours, json.dumps(message).encode())
        await asyncio.get_running_loop().sock_sendall(ours, b"{")
        ours.close()
        await asyncio.wait_for(following, 60)

    with ours, theirs:
        ours.setblocking(False)
        asyncio.run(read())
    assert taken == said
    assert "a message of the supervisor was not taken: b'{'" in caplog.text
