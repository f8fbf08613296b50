"""The web process's end of the feed, over a real socket."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest

from supervisor.web.feed_receiver import follow


def test_all_messages_arrive(caplog: pytest.LogCaptureFixture) -> None:
    """All messages arrive in order, also more than one turn takes. An invalid one is logged and skipped."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sent = [["event", number] for number in range(150)]
    taken: list[Any] = []

    async def read() -> None:
        following = asyncio.create_task(follow(theirs, taken.append))
        for message in sent:
            await asyncio.get_running_loop().sock_sendall(ours, json.dumps(message).encode())
        await asyncio.get_running_loop().sock_sendall(ours, b"{")
        ours.close()
        await asyncio.wait_for(following, 60)

    with ours, theirs:
        ours.setblocking(False)
        asyncio.run(read())
    assert taken == sent
    assert "invalid message from the supervisor: b'{'" in caplog.text
