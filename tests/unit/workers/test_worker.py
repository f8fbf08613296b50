"""Messages of a worker without a file."""

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
    """A sample that comes with a reconcile is sent only if the file was found: zeros could replace earlier
    counts."""
    upper, lower = pair()
    with closing(upper), closing(lower):
        upper.send(messages.Reconcile(verify=False, join=False, sample=True))
        upper.send(messages.Stop(delete=False))
        job = Job(str(tmp_path / name), FilemapdMode.PATH, GroupSettings())
        assert run(lower, job) == Exit.ENDED
        received = [upper.receive() for _ in range(3)]
    waiting = messages.Waiting("there is no file at the path")
    assert received == [waiting, waiting, messages.Exiting(int(Exit.ENDED), "asked to stop")]


def test_no_sample_of_a_group_that_is_not_known_yet(tmp_path: Path) -> None:
    """A worker that was given a predecessor's group but finds no file yet sends no sample of it: zeros would
    be taken for a loss, and the counts count twice."""
    upper, lower = pair()
    with closing(upper), closing(lower):
        upper.send(messages.Sample())
        upper.send(messages.Stop(delete=False))
        known = KnownGroup(file=FileIdentity(1, 2, 3))
        job = Job(str(tmp_path / "none.img"), FilemapdMode.PATH, GroupSettings(), known, delete=False)
        assert run(lower, job) == Exit.ENDED
        received = [upper.receive() for _ in range(2)]
    waiting = messages.Waiting("there is no file at the path")
    assert received == [waiting, messages.Exiting(int(Exit.ENDED), "asked to stop")]
