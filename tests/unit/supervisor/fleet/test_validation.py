"""Messages of a compromised worker: they end that worker, not the supervisor."""

from __future__ import annotations

import json
import os
from contextlib import closing
from dataclasses import asdict, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from supervisor.fleet import validation
from supervisor.fleet.fork_server import Child
from tests.unit.fleets import small_fleet, status_of
from tests.unit.test_bad_input import ANY_JSON
from workers import messages
from workers.channel import pair

COUNTERS: messages.Packed = [*range(9), [1, 2], 3, [4]]
GROUP = {"group_id": 3, "program": "p", "alias": "a", "userdata": "u", "precise": True, "bounds": ""}
RIGHT: list[messages.Message] = [
    messages.FileOpened(1, 2, 3, 4),
    messages.Moving(1, None, 2, "why"),
    messages.Mapped(GROUP, "", 1, 1, 0, 0, 0, None, True, False, False, False),
    messages.Waiting("why"),
    messages.Placed([8], [8]),
    messages.Sampled(COUNTERS, [1], 1.5),
    messages.Retiring(1, [["0:0+8", COUNTERS]]),
    messages.Retired(["0:0+8"], COUNTERS),
    messages.RetirementsResolved(["0:0+8"]),
    messages.ForeignChange("lost", "detail"),
    messages.Exiting(1, "why"),
]


@pytest.mark.parametrize("message", RIGHT, ids=lambda message: type(message).__name__)
def test_valid_messages_pass(message: messages.Message) -> None:
    """Messages that workers send pass; none of their values may be an object or NaN."""
    validation.check(messages.decode(messages.encode(message)))
    for one in fields(message):
        if one.name != "group":
            with pytest.raises(ValueError, match=f"{one.name} of {type(message).__name__}"):
                validation.check(type(message)(**{**asdict(message), one.name: {"x": float("nan")}}))


def test_retired_counters_come_in_packets_that_have_room_for_them() -> None:
    """With any number of regions and any length of histograms, all arrive, in order."""
    largest = 2**64 - 1
    for bounds, regions in ((0, 1000), (5, 1000), (1000, 64), (5000, 3)):
        packed: messages.Packed = [largest for _ in range(9)]
        packed += [[largest] * (bounds + 1), largest, [largest] * bounds]
        keys = [f"{number}:0+8" for number in range(regions)]
        arrived = []
        ours, theirs = pair()
        with closing(ours), closing(theirs):
            for batch in messages.batches((key, packed) for key in keys):
                theirs.send(messages.Retiring(1, batch))
                message = ours.receive()
                assert isinstance(message, messages.Retiring)
                validation.check(message)
                arrived += message.counters
        assert arrived == [[key, packed] for key in keys]


def handled(packets: list[bytes]) -> tuple[bool, dict[str, Any]]:
    """Send packets as the worker of a fleet's one file; return whether it is terminated, and the file's status."""
    with TemporaryDirectory() as folder, small_fleet(Path(folder)) as fleet:
        filemap = fleet.filemaps["/x"]
        pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
        ours, theirs = pair()
        filemap.child = Child(pid, ours)
        with closing(ours):
            for packet in packets:
                theirs.socket.send(packet)
                fleet.processes._readable(filemap, 1)
                fleet.ledger.flush_due(0.0)
            theirs.close()
            status = json.loads(json.dumps(status_of(fleet, filemap), allow_nan=False))
        ended = filemap.terminated_at is not None
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return ended, status


def test_valid_messages_are_handled() -> None:
    """One after the other, without harm."""
    assert not handled([messages.encode(message) for message in RIGHT])[0]


VALUES = ANY_JSON | st.sampled_from(
    [2**64, -1, 0, "", [], [[]], ["x"], COUNTERS, [["0:0+8", COUNTERS]], GROUP]
)


@given(
    st.sampled_from(RIGHT).flatmap(
        lambda message: st.tuples(
            st.just(type(message).__name__),
            st.tuples(*(st.just(value) | VALUES for value in asdict(message).values())),
        )
    )
)
@example(("Moving", (1, None, 2**64, "why")))
@example(("Sampled", (COUNTERS, [1], 2**64, None, False)))
@example(("FileOpened", (2**64, 1, 1, 1)))
def test_invalid_messages_end_no_other_process(said: tuple[str, tuple[Any, ...]]) -> None:
    """With any values in place of valid ones, the status can be shown and the ledger written."""
    kind, values = said
    handled([json.dumps([kind, *values]).encode()])
