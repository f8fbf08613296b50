"""Progress reports while many files are mapped for the first time."""

from __future__ import annotations

import logging

import pytest

from supervisor.fleet.state_machine import State
from supervisor.service.progress import Progress, bar

HALF = [State.RUNNING, State.FAILED, State.STARTING, State.STARTING]
DONE = [State.RUNNING, State.FAILED, State.RUNNING, State.WAITING]


def test_lines_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """After two seconds and then every five; the end is logged too."""
    caplog.set_level(logging.INFO)
    progress = Progress(None)
    for now in (0.0, 1.0, 2.0, 3.0, 6.0, 7.0):
        progress.tick(now, HALF)
    progress.tick(8.0, DONE)
    progress.tick(9.0, DONE)
    assert caplog.messages == [
        "starting: 2 of 4 files",
        "starting: 2 of 4 files",
        "started: all 4 files after 8 s",
    ]


def test_a_quick_start_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Nor is the restart of one worker."""
    caplog.set_level(logging.INFO)
    shown: list[str] = []
    progress = Progress(shown.append)
    progress.tick(0.0, HALF)
    progress.tick(1.0, DONE)
    assert not caplog.messages
    assert not shown


def test_bar_on_a_terminal() -> None:
    """It is redrawn each second, and erased at the end."""
    shown: list[str] = []
    progress = Progress(shown.append)
    for now in (0.0, 2.0, 3.0):
        progress.tick(now, HALF)
    progress.tick(4.0, DONE)
    assert shown == [bar(2, 4), bar(2, 4), ""]


@pytest.mark.parametrize(("done", "full"), [(0, 0), (499, 14), (500, 15), (1000, 30)])
def test_bar(done: int, full: int) -> None:
    """Its length shows the share of files mapped."""
    assert bar(done, 1000) == f"[{'#' * full}{'.' * (30 - full)}] {done} of 1000 files"
