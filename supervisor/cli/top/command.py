"""`filemapd top`: its options, and the choice between one interval and the live table."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from supervisor.cli.common import exit_with, fail, json_option, runtime_dir, send_request
from supervisor.cli.top import activity


@click.command()
@json_option
@click.option("--once", is_flag=True, help="Print one interval and exit.  [default without a terminal]")
@click.option(
    "--interval",
    type=click.FloatRange(1, 3600),
    metavar="SECONDS",
    default=3,
    show_default=True,
    help="Length of an interval, at least 1.",
)
@click.option(
    "--sort",
    type=click.Choice(activity.SORTS),
    default="iops",
    show_default=True,
    help="The order of the files.",
)
@click.option(
    "--device", metavar="DEVICE", help="Only files on this device, given by name, MAJOR:MINOR or path."
)
@click.pass_context
def top(
    context: click.Context, *, as_json: bool, once: bool, interval: float, sort: str, device: str | None
) -> None:
    """Show the I/O of each file, the busiest first.

    These are rates, latencies and the share of the device's I/O time.
    """
    from rich.console import Console  # noqa: PLC0415 - `--help` needs none of these

    from supervisor.cli.top import once as one_interval  # noqa: PLC0415
    from supervisor.control.client import ControlError, call  # noqa: PLC0415

    status = send_request(context, "GET", "/v1/status")
    name = None if device is None else one_interval.device_named(device, status["devices"])
    if device is not None and name is None:
        known = ", ".join(repr(d["device"]) for d in status["devices"]) or "none"
        fail(f"no followed file is on {device!r}; devices with files: {known}")
    view = one_interval.View(sort, name, interval)

    def request(method: str, path: str, body: object) -> Any:
        return call(runtime_dir(context), method, path, body, timeout=one_interval.TIMEOUT)

    try:
        if once or as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
            status, found = one_interval.once(request, view, Console(stderr=True))
            if as_json:
                click.echo(json.dumps(activity.as_json(found, sort), indent=1))
            else:
                one_interval.print_once(status, found, view, Console())
        else:
            from supervisor.cli.top.live import LiveTop  # noqa: PLC0415

            LiveTop(request, view, Console(), status["version"]).run()
    except ControlError as error:
        exit_with(error)
