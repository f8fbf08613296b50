"""What a worker tells where there is no file."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from dmstats.files import FileIdentity
from dmstats.mode import FilemapdMode
from workers import messages
from workers.channel import pair
from workers.exit_codes import Exit
from workers.group_finder import GroupSettings, KnownGroup
from workers.job import Job
from workers.worker import run


@pytest.mark.parametrize("name", ["none.img", "x" * 300])
def test_no_sample_of_a_file_that_is_not_there(name: str, tmp_path: Path) -> None:
    """Counters that are to be read along with a look are told only where the look found the file: of none, nothing is
    counted that could stand in for what was."""
    upper, lower = pair()
    with closing(upper), closing(lower):
        upper.send(messages.Reconcile(verify=False, join=False, sample=True))
        upper.send(messages.Stop(delete=False))
        job = Job(str(tmp_path / name), FilemapdMode.PATH, GroupSettings())
        assert run(lower, job) == Exit.ENDED
        told = [upper.receive() for _ in range(3)]
    waiting = messages.Waiting(f"there is no file at {job.path}")
    assert told == [waiting, waiting, messages.Exiting(int(Exit.ENDED), "asked to stop")]


def test_no_sample_of_a_group_that_is_not_known_yet(tmp_path: Path) -> None:
    """A worker that was told of a predecessor's group, and finds no file yet, counts nothing of it: none at all would
    be taken for lost, and then count twice."""
    upper, lower = pair()
    with closing(upper), closing(lower):
        upper.send(messages.Sample())
        upper.send(messages.Stop(delete=False))
        known = KnownGroup(file=FileIdentity(1, 2, 3))
        job = Job(str(tmp_path / "none.img"), FilemapdMode.PATH, GroupSettings(), known, delete=False)
        assert run(lower, job) == Exit.ENDED
        told = [upper.receive() for _ in range(2)]
    waiting = messages.Waiting(f"there is no file at {job.path}")
    assert told == [waiting, messages.Exiting(int(Exit.ENDED), "asked to stop")]
