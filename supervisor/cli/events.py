"""`filemapd events`: prints and follows the event log."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlencode

import click

from supervisor.cli.common import complete_names, fail, json_option, send_request
from supervisor.text.printable import printable

_INTERVAL: Final = 1.0
_PAGE: Final = 1000
_SHOWN: Final = 20
_STYLES: Final = {"moved": "yellow", "restarted": "red", "state": "cyan"}


@click.command()
@json_option
@click.option("-f", "--follow", is_flag=True, help="Continue with new events, until Ctrl-C.")
@click.option("--since", type=click.IntRange(min=0), metavar="ID", help="All events after this id.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0, _PAGE),
    metavar="COUNT",
    help=f"The last COUNT events.  [default: {_SHOWN}]",
)
@click.argument("name", required=False, shell_complete=complete_names)
@click.pass_context
def events(
    context: click.Context,
    *,
    as_json: bool,
    follow: bool,
    since: int | None,
    lines: int | None,
    name: str | None,
) -> None:
    """Show the events of all files, or of the file NAME.

    Events are moves of groups, restarts of workers, and files that are currently not followed or are followed again.
    With --json, each event is one line.
    """
    if since is not None and lines is not None:
        raise click.UsageError("--since and --lines can't be given together")
    shown = 0
    with contextlib.suppress(KeyboardInterrupt):
        for event in _events(context, name, since, _SHOWN if lines is None else lines, follow=follow):
            click.echo(json.dumps(event) if as_json else _line(event))
            shown += 1
        if name is not None and shown == 0 and lines != 0 and since is None:
            _check_known(context, name)


def _events(
    context: click.Context, name: str | None, since: int | None, lines: int, *, follow: bool
) -> Iterator[dict[str, Any]]:
    """Yield the requested events, with `follow` new ones too."""
    last = since
    if last is None:
        found, last = _page(context, name=name, limit=max(lines, 1))
        yield from found if lines else []
    while True:
        found, newest = _page(context, after=last, name=name, limit=_PAGE)
        yield from found
        if len(found) == _PAGE:
            last = found[-1]["id"]
            continue
        last = newest
        if not follow:
            return
        time.sleep(_INTERVAL)


def _page(context: click.Context, **query: object) -> tuple[list[dict[str, Any]], int]:
    """Return one request's events, and the id of the newest event of all files."""
    given = {key: value for key, value in query.items() if value is not None}
    # A name that is a path may hold any bytes.
    encoded = urlencode(given, errors="surrogateescape")
    response = send_request(context, "GET", f"/v1/events?{encoded}")
    return response["events"], response["last"]


def _check_known(context: click.Context, name: str) -> None:
    """Exit with 1 if no file has the name. Call it only without events, as files no longer followed may have some."""
    filemaps = send_request(context, "GET", "/v1/status")["filemaps"]
    if not any(name in (filemap["name"], filemap["path"]) for filemap in filemaps):
        fail(f"there is no filemap {name!r}, and no event of that name")


def _line(event: dict[str, Any]) -> str:
    kind = click.style(event["kind"], fg=_STYLES.get(event["kind"]))
    return f"{event['id']}  {event['at'][:19]}Z  {printable(event['name'])}  {kind}{_description(event)}"


def _description(event: dict[str, Any]) -> str:
    details, reason = event["details"], printable(event["reason"])
    match event["kind"]:
        case "moved":
            description = f" {details['from']}→{details['to']} on {printable(details['device'])}"
        case "restarted":
            description = f" ({details['restarts']})"
        case _:
            description = f" {details.get('from', '')}→{details.get('to', '')}"
    return f"{description}: {reason}" if reason else description
