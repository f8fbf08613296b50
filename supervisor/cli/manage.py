"""`filemapd status`, `reload`, `restart` and `stop`: one request to the supervisor each."""

from __future__ import annotations

import json
import sys
import time
from typing import Any, Final

import click

from supervisor.cli.common import EX_CONFIG, complete_names, fail, json_option, send_request
from supervisor.text.printable import printable

_STOP_DEADLINE: Final = 60.0
_UNPROCESSABLE: Final = 422


@click.command()
@json_option
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_names)
@click.pass_context
def status(context: click.Context, *, as_json: bool, names: tuple[str, ...]) -> None:
    """Show all files, or only the files NAME."""
    response = send_request(context, "GET", "/v1/status")
    if names:
        response["filemaps"] = _select(response["filemaps"], names)
    if as_json:
        click.echo(json.dumps(response, indent=1))
        return
    from supervisor.cli.status_table import print_status  # noqa: PLC0415 - rich is not needed for JSON

    print_status(response)


def _select(filemaps: list[dict[str, Any]], names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the files with these names or paths. Exit with 1 if one of them is unknown."""
    known = {word for filemap in filemaps for word in (filemap["name"], filemap["path"])}
    for name in names:
        if name not in known:
            fail(f"there is no filemap {name!r}")
    return [f for f in filemaps if f["name"] in names or f["path"] in names]


@click.command()
@json_option
@click.pass_context
def reload(context: click.Context, *, as_json: bool) -> None:
    """Reload the configuration.

    An invalid configuration is rejected, and the exit status is 78.
    """
    from supervisor.control.client import ControlError  # noqa: PLC0415 - slow to import

    try:
        changes = send_request(context, "POST", "/v1/reload", raise_errors=True)
    except ControlError as error:
        click.echo(str(error), err=True)
        sys.exit(EX_CONFIG if error.status == _UNPROCESSABLE else 1)
    if as_json:
        click.echo(json.dumps(changes))
        return
    for what, names in changes.items():
        click.echo(f"{what}: {', '.join(map(printable, names)) or '-'}")


@click.command()
@click.argument("name", shell_complete=complete_names)
@click.pass_context
def restart(context: click.Context, name: str) -> None:
    """Restart the worker of the file NAME, also one that FAILED."""
    send_request(context, "POST", "/v1/restart", {"name": name})
    click.echo(f"{printable(name)}: restarted")


@click.command()
@click.pass_context
def stop(context: click.Context) -> None:
    """Stop the supervisor and wait until it has exited."""
    from dmstats.marker import start_time  # noqa: PLC0415 - only needed if filemapd runs

    pid = send_request(context, "POST", "/v1/stop")["pid"]
    deadline = time.monotonic() + _STOP_DEADLINE
    while start_time(pid) is not None:
        if time.monotonic() > deadline:
            fail(f"filemapd (pid {pid}) has not stopped within {_STOP_DEADLINE:.0f} s")
        time.sleep(0.05)
