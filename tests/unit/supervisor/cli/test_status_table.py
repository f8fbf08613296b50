"""The table of `filemapd status`."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from supervisor.cli.status_table import print_status

FILEMAP: dict[str, Any] = {
    "name": "db01.img",
    "path": "/var/lib/libvirt/images/db01.img",
    "device": "vg-lv",
    "inode": 12,
    "mode": "inode",
    "state": "RUNNING",
    "reason": None,
    "pid": 123,
    "group_id": 4,
    "configured_group_id": 4,
    "moves": [],
    "moves_total": 2,
    "extents": 12,
    "regions": 13,
    "uncovered_bytes": 0,
    "excess_bytes": 0,
    "degraded": None,
    "restarts": 1,
    "log_lines": [],
    "last_change": None,
    "rss_bytes": 31 << 20,
    "cpu_percent": 0.25,
}


WEB = {"listen": "127.0.0.1:9737", "state": "RUNNING", "reason": None}


def status_of(*filemaps: dict[str, Any]) -> dict[str, Any]:
    """Return a status of FILEMAP with these changes."""
    return {
        "version": "0.1.0",
        "pid": 812,
        "started": "2026-11-23T03:20:22Z",
        "ledger_problem": None,
        "web": WEB,
        "filemaps": [FILEMAP | changes for changes in filemaps],
    }


def printed(
    *filemaps: dict[str, Any],
    terminal: bool = False,
    web: dict[str, Any] | None = None,
    problem: str | None = None,
) -> list[str]:
    """Return the lines for FILEMAP with these changes, on 80 columns."""
    out = io.StringIO()
    status = status_of(*filemaps) | {"ledger_problem": problem, "web": WEB | (web or {})}
    console = Console(
        file=out, width=80, force_terminal=terminal, color_system="standard" if terminal else None
    )
    print_status(status, console)
    return out.getvalue().splitlines()


def row(**changes: Any) -> list[str]:
    """Return the cells of one file's line."""
    return printed(changes)[3].split()


def test_one_line_for_each_file() -> None:
    """All columns in order, below a header with the daemon and the states."""
    assert printed({}) == [
        "filemapd 0.1.0, pid 812, since 2026-11-23T03:20:22Z",
        "1 file: 1 RUNNING",
        "NAME     STATE   GROUP MOVES EXTENTS REGIONS UNCOV RST   RSS  CPU",
        "db01.img RUNNING 4         2      12      13     -   1 31MiB 0.2%",
    ]


def test_no_files() -> None:
    """A daemon without files has no table."""
    assert printed() == ["filemapd 0.1.0, pid 812, since 2026-11-23T03:20:22Z", "0 files"]


def test_states_are_counted_in_order_of_the_life_cycle() -> None:
    """The header counts the files in each state. An unknown state of a newer daemon comes last."""
    states = ("FAILED", "RUNNING", "RUNNING", "ODD", "STARTING")
    assert printed(*({"state": state} for state in states))[1] == (
        "5 files: 1 STARTING, 2 RUNNING, 1 FAILED, 1 ODD"
    )


def test_a_moved_group_shows_its_configured_id() -> None:
    """Both ids are shown if they differ. Without a configured id or a group there is nothing to compare."""
    assert row(configured_group_id=0)[2] == "0→4"
    assert row(configured_group_id=None)[2] == "4"
    assert row(configured_group_id=0, group_id=None)[2] == "-"


def test_bytes_have_a_unit() -> None:
    """Bytes have a unit; no uncovered bytes are a dash."""
    sizes = {
        0: "-",
        1: "1B",
        1023: "1023B",
        1536: "1.5KiB",
        2**20 - 1: "1.0MiB",
        2**40: "1.0TiB",
        2**60: "1024PiB",
    }
    assert {size: row(uncovered_bytes=size)[6] for size in sizes} == sizes


def test_unknown_values_are_dashes() -> None:
    """A file without a worker process has neither memory nor CPU time."""
    nothing = {"group_id": None, "extents": None, "regions": None, "rss_bytes": None, "cpu_percent": None}
    assert row(state="FAILED", **nothing) == ["db01.img", "FAILED", "-", "2", "-", "-", "-", "1", "-", "-"]


def test_reasons_are_below_the_table() -> None:
    """Each file that isn't RUNNING has its full reason below the table; a RUNNING one has none."""
    lines = printed(
        {"reason": "all is well"},
        {"name": "b", "state": "FAILED", "reason": "not on a device-mapper device"},
        {"name": "c", "state": "STOPPED"},
    )
    assert lines[6:] == ["b: not on a device-mapper device"]


def test_degraded_files_are_below_the_table() -> None:
    """A RUNNING file whose group is not exact has its reason below the table."""
    assert printed({"degraded": "max_regions of the file"})[4:] == [
        "db01.img: degraded: max_regions of the file"
    ]
    assert printed({"degraded": "max_regions of the file", "excess_bytes": 15 << 20})[4:] == [
        "db01.img: degraded: max_regions of the file, 15MiB in excess"
    ]


def test_a_pipe_has_whole_names(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal no name or reason is broken, so that `grep` finds it, unless COLUMNS is set."""
    name = 3 * "a-long-name-of-a-machine "
    status = status_of({"name": name, "state": "FAILED", "reason": 3 * name})
    monkeypatch.delenv("COLUMNS", raising=False)
    print_status(status)
    lines = capsys.readouterr().out.splitlines()
    assert [line.startswith(name) for line in lines] == [False, False, False, True, True]
    assert 3 * name in lines[-1]
    monkeypatch.setenv("COLUMNS", "80")
    print_status(status)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_a_ledger_in_memory_is_reported() -> None:
    """The line is above the table, as it concerns all files."""
    assert printed({}, problem="/x: disk is full")[2] == "ledger: in memory only: /x: disk is full"


def test_the_widest_line_fits() -> None:
    """With long figures, 14 of 80 columns remain for the name."""
    lines = printed(
        {
            "name": "0123456789.img",
            "state": "STOPPING",
            "moves_total": 99999,
            "extents": 1234567,
            "regions": 1234567,
            "uncovered_bytes": 1023 << 20,
            "restarts": 999,
            "cpu_percent": 100.0,
            "rss_bytes": 127 << 20,
        }
    )
    assert len(lines) == 4
    assert lines[3].startswith(
        "0123456789.img STOPPING 4     99999 1234567 1234567 1023MiB 999 127MiB 100.0%"
    )


def test_the_log_of_a_failed_worker_is_below_the_table() -> None:
    """The last three lines of a FAILED worker's log are below its reason."""
    lines = printed(
        {
            "name": "b",
            "state": "FAILED",
            "reason": "too many restarts",
            "log_lines": ["1", "2", "3", "4\x1b[2J"],
        }
    )
    assert lines[-4:] == ["b: too many restarts", "    2", "    3", "    4\\x1b[2J"]
    assert "logged" not in " ".join(printed({"log_lines": ["logged"]})), "not for a RUNNING file"


def test_colour_is_for_terminals() -> None:
    """Output to a terminal has colours, other output has none."""
    assert "\x1b[32mRUNNING" in "\n".join(printed({}, terminal=True))
    assert "\x1b" not in "\n".join(printed({}))


def test_a_long_name_is_shown_whole() -> None:
    """`restart` takes the name, so it is folded within its column and not cut."""
    name = "images/" + "0123456789" * 5
    lines = printed(
        {"name": name, "configured_group_id": 1000, "uncovered_bytes": 1023 << 20, "state": "STOPPING"}
    )
    assert "".join(line.split(" ")[0] for line in lines[3:]) == name
    assert "1000→4" in lines[3]


def test_markup_in_names_is_text() -> None:
    """Square brackets and colons in a name are shown unchanged."""
    assert row(name="[red]:x:")[0] == "[red]:x:"


@given(st.text(max_size=60), st.text(max_size=60))
def test_names_and_reasons_are_escaped(name: str, reason: str) -> None:
    """For any name or reason, every line is printable and none is wider than the terminal."""
    lines = printed({"name": name, "reason": reason, "state": "FAILED"})
    assert all(line.isprintable() for line in lines)
    assert all(cell_len(line) <= 80 for line in lines)


def test_a_web_process_that_is_not_running() -> None:
    """It is reported with the reason, also without any files. `web.listen: off` is not reported."""
    problem = {"state": "WAITING", "reason": "the port\x1b[31m is taken"}
    fleets: list[list[dict[str, Any]]] = [[], [{}]]
    for files in fleets:
        assert "web: WAITING: the port\\x1b[31m is taken" in printed(*files, web=problem)
        off = printed(*files, web={"listen": None, "state": "STOPPED", "reason": "web.listen is off"})
        assert not [line for line in (*off, *printed(*files)) if "web" in line]
