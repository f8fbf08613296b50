"""The worker's end of the channel: messages that wait for an Ack, and those that come meanwhile."""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Sequence

from dmstats.apply import Retired
from dmstats.moves import Move
from workers import messages
from workers.channel import Channel
from workers.totals import pack


class SupervisorGoneError(Exception):
    """The supervisor has closed its end of the channel."""


class SupervisorLink:
    """Sends and receives messages. Methods raise OSError or SupervisorGoneError where the supervisor has gone."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._inbox: deque[messages.Message] = deque()
        self._seq = 0

    def send(self, message: messages.Message) -> None:
        """Send a message that needs no Ack."""
        self._channel.send(message)

    def announce_move(self, move: Move) -> None:
        """Announce another group id; return once the supervisor has recorded it."""
        self._send_and_wait(messages.Moving(self._next_seq(), move.old, move.new, move.reason))

    def announce_retirement(self, retired: Sequence[Retired]) -> None:
        """Send the last counters of regions that are about to be deleted; return once the supervisor has recorded
        them."""
        for batch in messages.batches((one.key, pack(one.counters)) for one in retired):
            self._send_and_wait(messages.Retiring(self._next_seq(), batch))

    def next_message(self, deadline: float | None) -> messages.Message | None:
        """Wait for the next message; return None at `deadline` (monotonic)."""
        if self._inbox:
            return self._inbox.popleft()
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._channel], [], [], left)[0]:
                return None
        return self._receive()

    def _send_and_wait(self, message: messages.Moving | messages.Retiring) -> None:
        """Send `message` and wait for its Ack. Other messages that arrive before it are queued."""
        self._channel.send(message)
        while True:
            received = self._receive()
            if isinstance(received, messages.Ack) and received.seq == message.seq:
                return
            self._inbox.append(received)

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def _receive(self) -> messages.Message:
        message = self._channel.receive()
        if message is None:
            raise SupervisorGoneError
        return message
