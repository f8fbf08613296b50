"""`filemapd top`."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from supervisor.cli.common import exit_with, fail, json_option, runtime_dir, send_request
from supervisor.cli.top import activity


@click.command()
@json_option
@click.option(
    "--once", is_flag=True, help="Print one interval's figures and end.  [default without a terminal]"
)
@click.option(
    "--interval",
    type=click.FloatRange(1, 3600),
    metavar="SECONDS",
    default=3,
    show_default=True,
    help="Over how many seconds the figures are; 1 at least.",
)
@click.option(
    "--sort", type=click.Choice(activity.SORTS), default="iops", show_default=True, help="What is first."
)
@click.option("--device", metavar="DEVICE", help="Only the files on it: its name, MAJOR:MINOR or path.")
@click.pass_context
def top(
    context: click.Context, *, as_json: bool, once: bool, interval: float, sort: str, device: str | None
) -> None:
    """Show what the files do, the busiest first.

    That is the rates and latencies of each.
    """
    from rich.console import Console  # noqa: PLC0415 - `--help` needs none of these

    from supervisor.cli.top import once as shown  # noqa: PLC0415
    from supervisor.control.client import ControlError, call  # noqa: PLC0415

    status = send_request(context, "GET", "/v1/status")
    name = None if device is None else shown.device_named(device, status["devices"])
    if device is not None and name is None:
        there = ", ".join(repr(d["device"]) for d in status["devices"]) or "none"
        fail(f"no file that is followed is on {device!r}; devices with files: {there}")
    view = shown.View(sort, name, interval)

    def question(method: str, path: str, body: object) -> Any:
        return call(runtime_dir(context), method, path, body, timeout=shown.PATIENCE)

    try:
        if once or as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
            status, found = shown.once(question, view, Console(stderr=True))
            if as_json:
                click.echo(json.dumps(activity.as_json(found, sort), indent=1))
            else:
                shown.print_once(status, found, view, Console())
        else:
            from supervisor.cli.top.live import LiveTop  # noqa: PLC0415

            LiveTop(question, view, Console(), status["version"]).run()
    except ControlError as error:
        exit_with(error)
