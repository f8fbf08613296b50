"""What a worker says that was taken over: it ends that worker, not the supervisor."""

from __future__ import annotations

import json
import os
from contextlib import closing
from dataclasses import asdict, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.fleet import validation
from supervisor.fleet.fork_server import Child
from tests.unit.fleets import small_fleet, status_of
from tests.unit.test_bad_input import ANY_JSON
from workers import channel as say

COUNTERS: say.Packed = [*range(9), [1, 2], 3, [4]]
GROUP = {"group_id": 3, "program": "p", "alias": "a", "userdata": "u", "precise": True, "bounds": ""}
RIGHT: list[say.Message] = [
    say.Holds(1, 2, 3, 4),
    say.Moving(1, None, 2, "why"),
    say.Mapped(GROUP, "", 1, 1, 0, 0, None, True, False, False, False),
    say.Waiting("why"),
    say.Placed([8], [8]),
    say.Sampled(COUNTERS, [1], 1.5),
    say.Retiring(1, [["0:0+8", COUNTERS]]),
    say.Retired(["0:0+8"], COUNTERS),
    say.Settled(["0:0+8"]),
    say.Noticed("lost", "detail"),
    say.Ending(1, "why"),
]


@pytest.mark.parametrize("message", RIGHT, ids=lambda message: type(message).__name__)
def test_right_ones_pass(message: say.Message) -> None:
    """What workers do say is taken; no value of it may be an object or a number that is none."""
    validation.check(say.decode(say.encode(message)))
    for one in fields(message):
        if one.name != "group":
            with pytest.raises(ValueError, match=f"{one.name} of {type(message).__name__}"):
                validation.check(type(message)(**{**asdict(message), one.name: {"x": float("nan")}}))


def test_retired_counters_come_in_packets_that_have_room_for_them() -> None:
    """However many regions there are and however long their histograms, all arrive, in their order."""
    largest = 2**64 - 1
    for bounds, regions in ((0, 1000), (5, 1000), (1000, 64), (5000, 3)):
        packed: say.Packed = [largest for _ in range(9)]
        packed += [[largest] * (bounds + 1), largest, [largest] * bounds]
        keys = [f"{number}:0+8" for number in range(regions)]
        arrived = []
        ours, theirs = say.pair()
        with closing(ours), closing(theirs):
            for batch in say.batches((key, packed) for key in keys):
                theirs.send(say.Retiring(1, batch))
                message = ours.receive()
                assert isinstance(message, say.Retiring)
                validation.check(message)
                arrived += message.retired
        assert arrived == [[key, packed] for key in keys]


def told(packets: list[bytes]) -> tuple[bool, dict[str, Any]]:
    """Have the worker of a fleet's one file say this; return whether it is to end for it, and the file's status."""
    with TemporaryDirectory() as folder, small_fleet(Path(folder)) as fleet:
        filemap = fleet.filemaps["/x"]
        pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
        ours, theirs = say.pair()
        filemap.child = Child(pid, ours)
        with closing(ours):
            for packet in packets:
                theirs.socket.send(packet)
                fleet._readable(filemap, 1)
                fleet.ledger.turn(0.0)
            theirs.close()
            status = json.loads(json.dumps(status_of(fleet, filemap), allow_nan=False))
        ended = filemap.killed_at is not None
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return ended, status


def test_right_ones_are_taken_in() -> None:
    """One after the other, they harm nobody."""
    assert not told([say.encode(message) for message in RIGHT])[0]


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
def test_wrong_ones_end_nobody_else(said: tuple[str, tuple[Any, ...]]) -> None:
    """Any values instead of some that are right: the status can be shown, the ledger written."""
    kind, values = said
    told([json.dumps([kind, *values]).encode()])
