"""Prints `filemapd status`: a table of the files, and below it why files aren't followed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from supervisor.cli.cells import count, percent, size, standard_output, text

_STYLES: Final = {
    "STARTING": "cyan",
    "RUNNING": "green",
    "WAITING": "cyan",
    "BACKOFF": "yellow",
    "STOPPING": "cyan",
    "STOPPED": "dim",
    "FAILED": "bold red",
}
# The last lines of a FAILED worker's log.
_LOG_LINES: Final = 3
_NUMBERS: Final = ("MOVES", "EXTENTS", "REGIONS", "UNCOV", "RST", "RSS", "CPU")


def print_status(status: Mapping[str, Any], console: Console | None = None) -> None:
    """Print `status` (GET /v1/status) as a table."""
    out = console or standard_output()
    out.print(_header(status))
    for problem in (_web(status), _ledger(status)):
        if problem is not None:
            out.print(problem)
    if not status["filemaps"]:
        return
    out.print(filemap_table(status))
    for reason in _reasons(status):
        out.print(reason)


def filemap_table(status: Mapping[str, Any]) -> Table:
    """Return a table with a line for each file."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    # `filemapd restart` takes the name, so it is folded, never cut.
    table.add_column("NAME", overflow="fold", min_width=8)
    table.add_column("STATE", no_wrap=True)
    table.add_column("GROUP", no_wrap=True)
    for number in _NUMBERS:
        table.add_column(number, justify="right", no_wrap=True)
    for filemap in status["filemaps"]:
        table.add_row(
            text(filemap["name"]),
            _state(filemap["state"]),
            _group(filemap["configured_group_id"], filemap["group_id"]),
            count(filemap["moves_total"]),
            count(filemap["extents"]),
            count(filemap["regions"]),
            size(filemap["uncovered_bytes"] or None),
            count(filemap["restarts"]),
            size(filemap["rss_bytes"]),
            percent(filemap["cpu_percent"]),
        )
    return table


def _header(status: Mapping[str, Any]) -> Text:
    states = Counter(str(filemap["state"]) for filemap in status["filemaps"])
    known = [state for state in _STYLES if states[state]]
    total = states.total()
    line = text(f"filemapd {status['version']}, pid {status['pid']}, since {status['started']}")
    line.append(f"\n{total} file{'' if total == 1 else 's'}")
    for number, state in enumerate(known + sorted(states.keys() - _STYLES.keys())):
        line.append(f"{', ' if number else ': '}{states[state]} ").append_text(_state(state))
    return line


def _reasons(status: Mapping[str, Any]) -> list[Text]:
    """Return the reasons of files that aren't RUNNING or are degraded, and the last log lines of FAILED ones."""
    lines = []
    for filemap in status["filemaps"]:
        if filemap["state"] != "RUNNING" and filemap["reason"]:
            line = text(filemap["name"])
            lines.append(line.append(": ").append_text(text(filemap["reason"])))
        elif filemap["degraded"]:
            lines.append(_degraded(filemap))
        if filemap["state"] == "FAILED":
            lines += [text(f"    {logged}") for logged in filemap["log_lines"][-_LOG_LINES:]]
    return lines


def _degraded(filemap: Mapping[str, Any]) -> Text:
    line = text(f"{filemap['name']}: degraded: {filemap['degraded']}")
    return line.append(f", {size(filemap['excess_bytes'])} in excess") if filemap["excess_bytes"] else line


def _web(status: Mapping[str, Any]) -> Text | None:
    """Return why the web process isn't running; None if it is, or is off."""
    web = status["web"]
    if web["listen"] is None or web["state"] == "RUNNING":
        return None
    return text("web: ").append_text(_state(web["state"])).append_text(text(f": {web['reason'] or ''}"))


def _ledger(status: Mapping[str, Any]) -> Text | None:
    """Return why the ledger is in memory only; None if it is on disk."""
    problem = status["ledger_problem"]
    return None if problem is None else text(f"ledger: in memory only: {problem}")


def _state(state: str) -> Text:
    word = text(state)
    word.stylize(_STYLES.get(state, ""))
    return word


def _group(configured: int | None, current: int | None) -> str:
    if current is None:
        return "-"
    return str(current) if configured in {None, current} else f"{configured}→{current}"
