"""What `filemapd status` prints: one table, and below it why a file isn't followed."""

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
# Of what a worker logged before it was given up.
_SAID_LAST: Final = 3
_NUMBERS: Final = ("MOVES", "EXTENTS", "REGIONS", "UNCOV", "RST", "RSS", "CPU")


def print_status(status: Mapping[str, Any], console: Console | None = None) -> None:
    """Print `status` (GET /v1/status) for a person."""
    out = console or standard_output()
    out.print(_header(status))
    for trouble in (_web(status), _ledger(status)):
        if trouble is not None:
            out.print(trouble)
    if not status["filemaps"]:
        return
    out.print(filemap_table(status))
    for reason in _reasons(status):
        out.print(reason)


def filemap_table(status: Mapping[str, Any]) -> Table:
    """Return a line for each file."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    # The name is what `filemapd restart` takes: it is folded, never cut.
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
    """Return why each file that isn't RUNNING isn't, and why one is degraded."""
    lines = []
    for filemap in status["filemaps"]:
        if filemap["state"] != "RUNNING" and filemap["reason"]:
            line = text(filemap["name"])
            lines.append(line.append(": ").append_text(text(filemap["reason"])))
        elif filemap["degraded"]:
            lines.append(_degraded(filemap))
        if filemap["state"] == "FAILED":
            lines += [text(f"    {said}") for said in filemap["log_lines"][-_SAID_LAST:]]
    return lines


def _degraded(filemap: Mapping[str, Any]) -> Text:
    line = text(f"{filemap['name']}: degraded: {filemap['degraded']}")
    return line.append(f", {size(filemap['excess_bytes'])} in excess") if filemap["excess_bytes"] else line


def _web(status: Mapping[str, Any]) -> Text | None:
    """Return why there is no web process where there should be one."""
    web = status["web"]
    if web["listen"] is None or web["state"] == "RUNNING":
        return None
    return text("web: ").append_text(_state(web["state"])).append_text(text(f": {web['reason'] or ''}"))


def _ledger(status: Mapping[str, Any]) -> Text | None:
    """Return why the ledger is kept in memory only, if it is."""
    problem = status["ledger_problem"]
    return None if problem is None else text(f"ledger: in memory only: {problem}")


def _state(state: str) -> Text:
    word = text(state)
    word.stylize(_STYLES.get(state, ""))
    return word


def _group(configured: int | None, now: int | None) -> str:
    if now is None:
        return "-"
    return str(now) if configured in {None, now} else f"{configured}→{now}"
