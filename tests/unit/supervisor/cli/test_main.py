"""Commands run in this process, without a supervisor."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from supervisor.cli.main import main


def test_check_reports_missing_directories_and_limits(tmp_path: Path) -> None:
    """A missing directory and files beyond a limit are reported, but are no errors."""
    (tmp_path / "full").mkdir()
    for name in ("a.img", "b.img", "c.img"):
        (tmp_path / "full" / name).touch()
    config = tmp_path / "filemaps.yaml"
    directories = [{"path": f"{tmp_path}/full", "max_files": 1}, {"path": f"{tmp_path}/gone"}]
    config.write_text(json.dumps({"version": 1, "directories": directories}))
    done = CliRunner().invoke(main, ["check", "-c", str(config)])
    assert done.exit_code == 0
    assert f"directory {tmp_path}/full: left out: 2 more, as max_files is 1\n" in done.output
    assert (
        f"directory {tmp_path}/gone: No such file or directory (filemapd would wait for it)\n" in done.output
    )
    assert done.output.endswith("OK, 1 file selected\n")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("events", "--since", "1", "-n", "1"), 2, "--since and --lines can't be given together"),
        (("map", "/nowhere/disk.img"), 1, "filemapd: /nowhere/disk.img: No such file or directory"),
        (("map", os.devnull), 1, f"filemapd: {os.devnull}: "),
        (("nonsense",), 2, "No such command 'nonsense'"),
    ],
)
def test_errors(words: tuple[str, ...], status: int, message: str) -> None:
    """An error is one line, with the exit status that the README lists."""
    done = CliRunner().invoke(main, words)
    assert done.exit_code == status
    assert message in done.output
