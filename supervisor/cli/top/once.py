"""`filemapd top --once`: the figures of one interval. Also the requests that both modes of `top` send."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from supervisor.cli.top.activity import Activity, ordered
from supervisor.cli.top.table import footer, header, top_table
from supervisor.text.times import seconds_of

Request = Callable[[str, str, object], Any]
"""(method, path, body) -> the JSON of the supervisor's response. Raises ControlError."""

# The supervisor doesn't sample a file again within this time, in seconds.
RECENT: Final = 1.0
# For a response, and for all workers' samples, in seconds.
TIMEOUT: Final = 5.0
_POLL: Final = 0.2


def device_named(given: str, devices: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the name of the device (of the status's `devices`) with name, number or path `given`, or None."""
    number = None
    with contextlib.suppress(OSError):
        device = os.stat(given).st_rdev if given.startswith("/") else 0
        number = f"{os.major(device)}:{os.minor(device)}" if device else None
    for status in devices:
        if given in {status["device"], status["number"]} or number == status["number"]:
            return str(status["device"])
    return None


@dataclass(frozen=True, slots=True)
class View:
    """The options of `top`, as changed by keys. `device` is a name, None for all."""

    sort: str
    device: str | None
    interval: float
    backwards: bool = False
    over: bool = False
    at_once: bool = False
    """Whether to sample now, without waiting for the interval."""


def once(request: Request, view: View, progress: Console) -> tuple[Mapping[str, Any], Activity]:
    """Return the last status and the activity of one interval. This takes a little longer than the interval.

    `progress` shows a bar meanwhile, if it is a terminal. Raises ControlError.
    """
    activity = Activity(view.device)
    _sample(request, view, activity)
    _wait(time.monotonic() + view.interval, progress)
    return _sample(request, view, activity), activity


def _sample(request: Request, view: View, activity: Activity) -> Mapping[str, Any]:
    """Request samples. Add and return the first status that has all of them, or the one after TIMEOUT."""
    since, deadline = time.time() - RECENT, time.monotonic() + TIMEOUT
    request("POST", "/v1/sample", sample_body(view))
    while True:
        status: Mapping[str, Any] = request("GET", "/v1/status", None)
        if _all_since(since, status, view.device) or time.monotonic() > deadline:
            activity.take(status)
            return status
        time.sleep(_POLL)


def sample_body(view: View) -> object:
    """Return the body for POST /v1/sample."""
    return None if view.device is None else {"device": view.device}


def _all_since(since: float, status: Mapping[str, Any], device: str | None) -> bool:
    """Return whether all RUNNING files (on `device`, if given) were sampled at `since` or later."""
    return all(
        f["sampled_at"] is not None and seconds_of(f["sampled_at"]) >= since
        for f in status["filemaps"]
        if f["state"] == "RUNNING" and device in {None, f["device"]}
    )


def _wait(until: float, console: Console) -> None:
    """Wait until `until` (monotonic), with a bar on a terminal."""
    seconds = max(0.0, until - time.monotonic())
    if not console.is_terminal:
        time.sleep(seconds)
        return
    columns = (TextColumn("measuring"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}s"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=seconds)
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _POLL))
            bar.update(task, completed=seconds - left)


def print_once(status: Mapping[str, Any], activity: Activity, view: View, console: Console) -> None:
    """Print the table with all files."""
    rows = ordered(activity.rows(), view.sort)
    console.print(header(rows, view.sort, version=status["version"], device=view.device))
    if rows:
        console.print(top_table(rows, view.sort, width=console.width, now=time.time(), cut=False))
        console.print(footer(rows, len(rows)))
